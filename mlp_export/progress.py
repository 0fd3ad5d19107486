"""What a long call tells of its work: one callback, silent unless one is given."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from mlp_export.loggers import get_logger
from mlp_export.resources import human_bytes

_log = get_logger(__name__)


@dataclass(frozen=True)
class StageRecord:
    """What a finished stage took. `peak_rss_bytes` is the process's highest resident memory up to its end."""

    name: str
    seconds: float
    peak_rss_bytes: int

    def line(self) -> str:
        """The same in words."""
        return f"{self.name}: {self.seconds:.1f} s, peak memory {human_bytes(self.peak_rss_bytes)}"


@dataclass(frozen=True)
class ProgressEvent:
    """What the callback is told: a stage begins, goes on or ends, or a note for the person."""

    kind: Literal["begin", "advance", "end", "note"]
    text: str  # the stage's name, or the note
    stage: int = 0  # tells stages apart: they may stand inside each other
    done: int = 0  # steps
    total: int | None = None  # steps; None where their number is not known
    seconds: float = 0.0  # since the stage began
    record: StageRecord | None = None  # of a stage that ended without an exception


class Progress:
    """The stages of one call, and its callback. `stages` keeps what each took, with and without a callback."""

    def __init__(self, report: Callable[[ProgressEvent], object] | None = None) -> None:
        """`report` is told each event; None: nobody is."""
        self.stages: list[StageRecord] = []
        self._report = report
        self._begun = 0

    @staticmethod
    def on_stderr() -> Progress:
        """One that is shown on stderr: bars on a terminal, lines elsewhere."""
        from mlp_export.terminal_progress import TerminalProgress

        return Progress(TerminalProgress())

    @property
    def quiet(self) -> bool:
        """Whether nobody is told anything, so that libraries below are to show no bars of their own."""
        return self._report is None

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        """Run the body as stage `name` of `total` steps. Stages may stand inside each other."""
        _log.info("%s: begins%s", name, f", {total:,} steps" if total else "")
        self._begun += 1
        stage = Stage(self._tell, name, self._begun, total)
        stage.tell("begin")
        record = None
        try:
            yield stage
            record = StageRecord(name, stage.seconds, peak_rss_bytes())
            self.stages.append(record)
            _log.info(record.line(), extra={"stage": record})
        finally:
            stage.tell("end", record)

    def note(self, line: str) -> None:
        """A line for the person, and for the log."""
        _log.info(line)
        self._tell(ProgressEvent("note", line))

    def _tell(self, event: ProgressEvent) -> None:
        if self._report is not None:
            self._report(event)


class Stage:
    """A stage that is running."""

    def __init__(
        self,
        tell: Callable[[ProgressEvent], object] = lambda event: None,
        name: str = "",
        number: int = 0,
        total: int | None = None,
    ) -> None:
        self._tell, self._name, self._number, self._total = tell, name, number, total
        self._done = 0
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the stage began."""
        return time.perf_counter() - self._start

    def advance(self, steps: int = 1) -> None:
        """`steps` more of the stage's `total` are done."""
        self._done += steps
        self.tell("advance")

    def tell(self, kind: Literal["begin", "advance", "end"], record: StageRecord | None = None) -> None:
        """Report where the stage is."""
        self._tell(ProgressEvent(kind, self._name, self._number, self._done, self._total, self.seconds, record))


def peak_rss_bytes() -> int:
    """The highest resident memory of this process so far (getrusage: KiB on Linux, bytes on macOS)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
