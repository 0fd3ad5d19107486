"""SIGTERM, SIGHUP, SIGINT and SIGXCPU as an exception in the main thread that is not lost.

Python runs a signal's handler between any two instructions of the main thread. Where that is inside a ctypes callback,
a `__del__` or an `except BaseException`, as libraries have around imports, an exception of the handler is dropped and
the program goes on. So after a signal a timer looks whether the exception is still on its way out, and raises it again
where it is not.

While torch is imported nothing is raised: its C++ code calls Python without a guard there (`_autograd_init` in 2.13),
and an exception of a signal would end the process by std::terminate, with no clean-up. The timer raises it afterwards.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGXCPU)  # the last of `ulimit -S -t`


class Terminated(SystemExit):
    """A signal ended the program: exit code 128 + its number."""


class Interrupted(Terminated, KeyboardInterrupt):
    """Ctrl-C did."""


class Termination:
    """Turns SIGINT into `Interrupted` and the others into `Terminated`, so that `with` and `finally` clean up.

    Uses SIGALRM.
    """

    def __init__(self, check_seconds: float = 0.1) -> None:
        """`check_seconds` is how often the timer looks for a lost exception, once a signal came."""
        self._check_seconds = check_seconds
        self.exit_code: int | None = None  # once a signal came

    def install(self) -> None:
        """Take the signals, but for those that are ignored already (nohup). For the main thread."""
        signal.signal(signal.SIGALRM, self._look)
        told = sys.unraisablehook

        def tell(dropped: sys.UnraisableHookArgs) -> None:
            if not isinstance(dropped.exc_value, Terminated):  # that is raised again: nothing is lost
                told(dropped)

        sys.unraisablehook = tell
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._terminate)

    def stop(self) -> None:
        """Raise nothing any more: the program is at its end."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in (*SIGNALS, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        if self.exit_code is not None:  # on its way out: a second signal must not disturb the clean-up
            return
        self.exit_code = 128 + number
        signal.setitimer(signal.ITIMER_REAL, self._check_seconds, self._check_seconds)
        if not _imports_torch(frame):
            raise self._exception()

    def _look(self, _: int, frame: FrameType | None) -> None:
        if _imports_torch(frame):
            return
        error = sys.exception()  # what the interrupted code is handling: `finally` and `with` count
        while error is not None:
            if isinstance(error, Terminated):
                return
            error = error.__context__
        raise self._exception()

    def _exception(self) -> Terminated:
        return (Interrupted if self.exit_code == 128 + signal.SIGINT else Terminated)(self.exit_code)

    @staticmethod
    @contextmanager
    def kept() -> Iterator[None]:
        """For the body, an error that comes after a signal is the signal's `Terminated`: libraries in C turn one into
        the other ("could not determine the shape of object", by torch).
        """
        try:
            yield
        except Exception as error:
            installed = getattr(signal.getsignal(signal.SIGALRM), "__self__", None)
            if isinstance(installed, Termination) and installed.exit_code is not None:
                raise installed._exception() from error
            raise


def _imports_torch(frame: FrameType | None) -> bool:
    """Whether `frame` or one that called it is the body of torch's package."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "torch":
            return True
        frame = frame.f_back
    return False
