"""What native code prints: ExecuTorch's libraries log to the process's stdout and stderr, past Python's streams.

Why not wurlitzer (3.1): it cannot let output pass in between, as the stock runner's callback needs; and where it does
not write into a file it reads a pipe on a Python thread, a deadlock once C++ code that holds the GIL has filled it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from mlp_export.scratch import temporary_file


class NativeOutput:
    """What was captured, while the block runs and afterwards."""

    def __init__(self, log: BinaryIO, saved: tuple[int, int]) -> None:
        self._log = log
        self._saved = saved  # descriptors of the real stdout and stderr

    @contextmanager
    def passthrough(self) -> Iterator[None]:
        """stdout and stderr as they were, for the body."""
        _redirect(*self._saved)
        try:
            yield
        finally:
            _redirect(self._log.fileno(), self._log.fileno())

    def last_line(self) -> str:
        """The last line that was captured, such as the reason of an error."""
        _flush()
        self._log.seek(0)  # it ends at the end again, where the next output belongs
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it gave no reason"


@contextmanager
def capture_native_output() -> Iterator[NativeOutput]:
    """Send what the process writes to stdout and stderr into a file, for the body; Python's streams as well."""
    log = temporary_file()  # read after the block, and closed with the result
    saved = os.dup(1), os.dup(2)
    _redirect(log.fileno(), log.fileno())
    try:
        yield NativeOutput(log, saved)
    finally:
        _redirect(*saved)
        for descriptor in saved:
            os.close(descriptor)


def _redirect(out: int, err: int) -> None:
    _flush()
    os.dup2(out, 1)
    os.dup2(err, 2)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    ctypes.CDLL(None).fflush(None)
