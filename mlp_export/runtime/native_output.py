"""What native code prints: ExecuTorch's libraries log to the process's stdout and stderr, past Python's streams."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO


class Muted:
    """Sends what the process's C++ code writes to stdout and stderr into a file, without Python's own output.

    `said` is the last line of it once the block is left.
    """

    def __enter__(self) -> Muted:
        self._log: BinaryIO = tempfile.TemporaryFile()
        _flush()
        self._saved = (os.dup(1), os.dup(2))
        self._redirect(self._log.fileno(), self._log.fileno())
        return self

    def __exit__(self, *_: object) -> None:
        self.said = self.last_line()
        self._redirect(*self._saved)
        for descriptor in self._saved:
            os.close(descriptor)
        self._log.close()

    @contextmanager
    def aloud(self) -> Iterator[None]:
        """stdout and stderr as they were, for the body."""
        _flush()
        self._redirect(*self._saved)
        try:
            yield
        finally:
            _flush()
            self._redirect(self._log.fileno(), self._log.fileno())

    def last_line(self) -> str:
        """The last thing the C++ code had to say."""
        _flush()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        self._log.seek(0, os.SEEK_END)
        return lines[-1] if lines else "it gave no reason"

    def _redirect(self, out: int, err: int) -> None:
        os.dup2(out, 1)
        os.dup2(err, 2)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    ctypes.CDLL(None).fflush(None)
