"""Folders, and running another program while its output is shown."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlp_export.errors import VerificationError

DEMO = Path(__file__).resolve().parents[1]
ROOT = DEMO.parent
CACHE = ROOT / ".cache/ios"
BUILD = ROOT / "build/ios"
_GRACE_SECONDS = 10.0  # between an interrupt and the kill


class CheckError(VerificationError):
    """A compiler, a test or a check of the app failed."""


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it printed (stdout and stderr as they came)."""

    exit_code: int
    output: str
    timed_out: bool = False


def run(command: Sequence[str], on_line: Callable[[str], None] | None = None, timeout: float | None = None) -> Ended:
    """Run `command` to its end, or kill it with all that it started after `timeout` seconds.

    `on_line` gets each line of output as it comes.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    deadline = None if timeout is None else time.monotonic() + timeout
    lines: list[str] = []
    assert process.stdout
    with process.stdout as pipe:
        try:
            for line in _lines(pipe.fileno(), deadline):
                lines.append(line)
                if on_line:
                    on_line(line)
            process.wait(_left(deadline))
        except (TimeoutError, subprocess.TimeoutExpired):
            _end(process)
            return Ended(process.returncode, "".join(lines), True)
        except BaseException:  # an interrupt, say: nothing is left running
            _end(process)
            raise
    return Ended(process.returncode, "".join(lines))


def _lines(pipe: int, deadline: float | None) -> Iterator[str]:
    """The lines that come out of a pipe. Raises TimeoutError at the deadline, though the pipe is open still."""
    rest = b""
    while True:
        if not select.select([pipe], [], [], _left(deadline))[0]:
            raise TimeoutError
        data = os.read(pipe, 1 << 16)
        if not data:
            break
        *whole, rest = (rest + data).split(b"\n")
        yield from (line.decode("utf-8", "replace") + "\n" for line in whole)
    if rest:
        yield rest.decode("utf-8", "replace")


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a process and its group, then kill them.

    `swift test` runs tests in a group of their own, which only it can end: it passes an interrupt on.
    """
    for number in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)


def show(line: str) -> None:
    """Print a line of another program."""
    print(line, end="", flush=True)
