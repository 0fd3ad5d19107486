"""What long stages say on the way: how far they are, and the time left."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlp_export import progress as module
from mlp_export.progress import Progress, ProgressEvent
from mlp_export.terminal_progress import time_left


class Clock:
    """Seconds that pass when told to."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_long_stage_tells_its_time_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """At most once a minute, off a terminal; 2 of 12 steps in 150 s leave 750 s."""
    with Progress.on_stderr().stage("quantize", total=12) as stage:
        for _ in range(6):
            clock.now += 50
            stage.advance()
            clock.now += 50
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["quantize: 2 of 12, 12 min left", "quantize: 3 of 12, 12 min left"]
    assert len(said) == 6 and said[-1].startswith("quantize: 600.0 s, peak memory ")


def test_a_short_stage_tells_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress.on_stderr().stage("load", total=4) as stage:
        for _ in range(4):
            clock.now += 14
            stage.advance()
    assert capsys.readouterr().err.splitlines()[0].startswith("load: 56.0 s")


def test_a_stage_of_unknown_length_tells_how_far_it_is(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress.on_stderr().stage("read") as stage:
        clock.now += 61
        stage.advance(5)
    assert capsys.readouterr().err.splitlines()[0] == "read: 5 of ?"


def test_time_left_is_that_at_the_speed_so_far() -> None:
    running = ProgressEvent("advance", "quantize", 1, done=4, total=10, seconds=20)
    assert time_left(running) == "30 s left"
    assert time_left(replace(running, seconds=2000)) == "50 min left"
    for silent in ({"done": 0}, {"done": 10}, {"total": None}, {"seconds": 4}):
        assert time_left(replace(running, **silent)) == ""


def test_the_callback_is_told_stages_in_each_other_and_notes(clock: Clock) -> None:
    events: list[ProgressEvent] = []
    progress = Progress(events.append)
    with progress.stage("outer", total=2) as outer:
        with progress.stage("inner"):
            clock.now += 3
        outer.advance(2)
        progress.note("by the way")
    told = [(event.kind, event.text, event.stage, event.done, event.total) for event in events]
    assert told == [
        ("begin", "outer", 1, 0, 2),
        ("begin", "inner", 2, 0, None),
        ("end", "inner", 2, 0, None),
        ("advance", "outer", 1, 2, 2),
        ("note", "by the way", 0, 0, None),
        ("end", "outer", 1, 2, 2),
    ]
    assert [event.record for event in events if event.record] == progress.stages
    assert [(stage.name, stage.seconds) for stage in progress.stages] == [("inner", 3.0), ("outer", 3.0)]


def test_a_stage_that_fails_ends_without_a_record() -> None:
    events: list[ProgressEvent] = []
    with pytest.raises(KeyError), Progress(events.append).stage("read"):
        raise KeyError
    assert [(event.kind, event.record) for event in events] == [("begin", None), ("end", None)]
