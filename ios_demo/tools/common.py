"""Folders, and running another program while its output is shown."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlp_export.errors import VerificationError

DEMO = Path(__file__).resolve().parents[1]
ROOT = DEMO.parent
CACHE = ROOT / ".cache/ios"
BUILD = ROOT / "build/ios"


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
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    expired = threading.Event()

    def kill() -> None:
        expired.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(timeout, kill) if timeout is not None else None
    if timer:
        timer.start()
    lines = []
    try:
        assert process.stdout
        for line in process.stdout:
            lines.append(line)
            if on_line:
                on_line(line)
        exit_code = process.wait()
    except BaseException:  # an interrupt, say: nothing is left running
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        if timer:
            timer.cancel()
    return Ended(exit_code, "".join(lines), expired.is_set())


def show(line: str) -> None:
    """Print a line of another program."""
    print(line, end="", flush=True)
