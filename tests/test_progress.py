"""What long stages say on the way: how far they are, and the time left."""

from __future__ import annotations

import pytest

from mlp_export import progress as module
from mlp_export.progress import Progress


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
    with Progress().stage("quantize", total=12) as stage:
        for _ in range(6):
            clock.now += 50
            stage.advance()
            clock.now += 50
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["quantize: 2 of 12, 12 min left", "quantize: 3 of 12, 12 min left"]
    assert len(said) == 6 and said[-1].startswith("quantize: 600.0 s, peak memory ")


def test_a_short_stage_tells_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress().stage("load", total=4) as stage:
        for _ in range(4):
            clock.now += 14
            stage.advance()
    assert capsys.readouterr().err.splitlines()[0].startswith("load: 56.0 s")


def test_a_stage_of_unknown_length_tells_how_far_it_is(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress().stage("read") as stage:
        clock.now += 61
        stage.advance(5)
    assert capsys.readouterr().err.splitlines()[0] == "read: 5 of ?"


def test_time_left_is_that_at_the_speed_so_far(clock: Clock) -> None:
    stage = module.Stage(total=10)
    assert stage._left() == ""
    clock.now += 20
    stage.advance(4)
    assert stage._left() == "30 s left"
    stage.advance(6)
    assert stage._left() == ""
