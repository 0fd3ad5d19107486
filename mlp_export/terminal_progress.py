"""Progress on stderr: stages with a bar, seconds, memory and time left.

On a terminal the stages are live bars; elsewhere each finished stage is one line, and a long one says each minute how
far it is.
"""

from __future__ import annotations

import sys

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from mlp_export.progress import ProgressEvent
from mlp_export.resources import human_bytes
from mlp_export.streams import discard

_TELL_SECONDS = 60
_ESTIMATE_SECONDS = 5


class TerminalProgress:
    """A callback for Progress."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bars: Bars | None = None
        self._tasks: dict[int, TaskID] = {}  # by stage
        self._running = 0
        self._told: dict[int, float] = {}  # stage -> seconds into it when its last line was written

    def __call__(self, event: ProgressEvent) -> None:
        """Show `event`."""
        if event.kind == "note":
            self._print(event.text)
        elif self._console.is_terminal:
            self._draw(event)
        elif event.kind == "advance":
            if event.seconds - self._told.get(event.stage, 0.0) > _TELL_SECONDS:
                self._told[event.stage] = event.seconds
                told = ", ".join(filter(None, (f"{event.done} of {event.total or '?'}", time_left(event))))
                self._print(f"{event.text}: {told}")
        elif event.record is not None:
            self._print(event.record.line())

    def _draw(self, event: ProgressEvent) -> None:
        if event.kind == "begin":
            self._running += 1
            if self._bars is None:
                self._bars = _bars(self._console)
                self._bars.start()
            self._tasks[event.stage] = self._bars.add_task(event.text, total=event.total, memory=_memory(), left="")
            return
        assert self._bars is not None
        task = self._tasks[event.stage]
        if event.kind == "advance":
            self._bars.update(task, completed=event.done, memory=_memory(), left=time_left(event))
            return
        if event.record is not None:
            whole = event.total or 1
            self._bars.update(task, total=whole, completed=whole, memory=_memory(), left="")
        self._running -= 1
        if not self._running:  # the outermost stage ended
            self._bars.stop()
            self._bars = None

    def _print(self, line: str) -> None:
        """A line, above any bars."""
        try:
            self._console.print(line, markup=False, soft_wrap=True)
        except BrokenPipeError:
            raise
        except OSError:  # the terminal is gone, or the disk of a log is full: no reason to lose the work
            discard(sys.stderr)


def time_left(event: ProgressEvent) -> str:
    """The time left of a stage at its speed so far, in words; "" for stages that are short, or of unknown length."""
    if event.total is None or event.seconds < _ESTIMATE_SECONDS or not 0 < event.done < event.total:
        return ""
    seconds = event.seconds / event.done * (event.total - event.done)
    return f"{seconds:.0f} s left" if seconds < 90 else f"{seconds / 60:.0f} min left"


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
