"""What a long command shows while it works: stages with a bar, seconds, memory and time left, on stderr.

On a terminal the stages are live bars; elsewhere each finished stage is one line, and a long one says each minute how
far it is; `quiet` shows nothing. Either way the lines are logged, and `Progress.stages` keeps what each stage took, for
benchmarks.
"""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from mlp_export.resources import human_bytes
from mlp_export.streams import discard

_log = logging.getLogger(__name__)
_TELL_SECONDS = 60
_ESTIMATE_SECONDS = 5


@dataclass(frozen=True)
class StageRecord:
    """What a finished stage took. `peak_rss_bytes` is the process's highest resident memory up to its end."""

    name: str
    seconds: float
    peak_rss_bytes: int


class Stage:
    """A stage that is running; `advance` moves its bar."""

    def __init__(
        self,
        bars: Bars | None = None,
        task: TaskID | None = None,
        total: int | None = None,
        tell: Callable[[str], object] = lambda line: None,
    ) -> None:
        """`tell` takes a line now and then of a stage that takes minutes."""
        self._bars = bars
        self._task = task
        self._total = total
        self._tell = tell
        self._done = 0
        self._start = self._told = time.perf_counter()

    def advance(self, steps: int = 1) -> None:
        """`steps` more of the stage's `total` are done."""
        self._done += steps
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, advance=steps, memory=_memory(), left=self._left())
        elif time.perf_counter() - self._told > _TELL_SECONDS:
            self._told = time.perf_counter()
            self._tell(", ".join(filter(None, (f"{self._done} of {self._total or '?'}", self._left()))))

    def _left(self) -> str:
        """The time left at the speed so far, in words; nothing for stages that are short, or of unknown length."""
        elapsed = time.perf_counter() - self._start
        if self._total is None or elapsed < _ESTIMATE_SECONDS or not 0 < self._done < self._total:
            return ""
        seconds = elapsed / self._done * (self._total - self._done)
        return f"{seconds:.0f} s left" if seconds < 90 else f"{seconds / 60:.0f} min left"


class Progress:
    """The stages of one command."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.stages: list[StageRecord] = []
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._bars: Bars | None = None

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        """Run the body as stage `name` of `total` steps. Stages may stand inside each other."""
        _log.info("%s: begins%s", name, f", {total:,} steps" if total else "")
        start = time.perf_counter()
        outermost = self._bars is None
        if outermost and self._console.is_terminal and not self.quiet:
            self._bars = _bars(self._console)
            self._bars.start()
        bars = self._bars
        task = None if bars is None else bars.add_task(name, total=total, memory=_memory(), left="")
        try:
            yield Stage(bars, task, total, lambda line: self.note(f"{name}: {line}"))
            self._finish(name, time.perf_counter() - start)
            if bars is not None and task is not None:
                bars.update(task, total=total or 1, completed=total or 1, memory=_memory(), left="")
        finally:
            if outermost and bars is not None:
                bars.stop()
                self._bars = None

    def note(self, line: str) -> None:
        """A line for the person, above any bars, and for the log."""
        _log.info(line)
        try:
            self._console.print(line, markup=False, soft_wrap=True)
        except BrokenPipeError:
            raise
        except OSError:  # the terminal is gone, or the disk of a log is full: no reason to lose the work
            discard(sys.stderr)

    def _finish(self, name: str, seconds: float) -> None:
        record = StageRecord(name, seconds, peak_rss_bytes())
        self.stages.append(record)
        line = f"{name}: {seconds:.1f} s, peak memory {human_bytes(record.peak_rss_bytes)}"
        if self._console.is_terminal and not self.quiet:
            _log.info(line)  # its bar tells the rest
        else:
            self.note(line)


def peak_rss_bytes() -> int:
    """The highest resident memory of this process so far (getrusage: KiB on Linux, bytes on macOS)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _memory() -> str:
    return human_bytes(psutil.Process().memory_info().rss)


def _bars(console: Console) -> Bars:
    return Bars(
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[memory]}"),
        TextColumn("[dim]{task.fields[left]}"),
        console=console,
    )
