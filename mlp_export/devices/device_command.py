"""One command of a tool that talks to a phone (adb, xcrun), with a timeout."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from mlp_export.errors import MissingError

COMMAND_SECONDS = 30.0  # for a command that moves no data


class NoAnswerError(MissingError):
    """The tool did not end in time. Nothing is known of the cause."""


def transfer_seconds(size: int) -> float:
    """Timeout for `size` bytes that are copied, hashed or installed: two minutes, and 10 MB/s."""
    return 120 + size / 10e6


def capture(command: Sequence[str], seconds: float, tool: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command. Raises NoAnswerError after `seconds`."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, errors="replace") as process:
        try:
            stdout, stderr = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            process.kill()  # and no wait for the end of the pipes, which a child of it may hold
            raise NoAnswerError(
                f"no answer from {tool} within {seconds:.0f} s ({' '.join(command[1:])[:240]})",
                "look at the phone and the cable, and run the command again",
            ) from error
        except BaseException:
            process.kill()
            raise
    return process.returncode, stdout, stderr
