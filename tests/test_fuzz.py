"""What fuzzing found, tried again: `make fuzz` and `make check-fuzz` look for more (tests/fuzz)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fuzz.edits import VALUES
from fuzz.target import TargetOfJson, expect
from fuzz.targets import TARGETS
from fuzz.watch import Watch, draw, try_input

from mlp_export.errors import InputError

CORPUS = [json.loads(line) for line in (Path(__file__).parent / "fuzz" / "corpus.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: f"{entry['target']}: {entry['why']}")
def test_what_was_found_is_mended(entry: dict[str, Any]) -> None:
    result = try_input(TARGETS[entry["target"]], entry["input"])
    assert not result.fault, result.fault
    assert result.accepted == (entry["outcome"] == "accepted"), result.told


@pytest.mark.parametrize("name", TARGETS)
def test_a_seed_gives_the_same_input_again(name: str) -> None:
    first = json.dumps(draw(TARGETS[name], "3 7"))
    assert first == json.dumps(draw(TARGETS[name], "3 7"))
    assert any(first != json.dumps(draw(TARGETS[name], f"3 {number}")) for number in range(8, 12))


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if isinstance(target, TargetOfJson)])
def test_every_edit_is_one_of_its_own(name: str) -> None:
    target = TARGETS[name]
    assert isinstance(target, TargetOfJson)
    inputs = [json.dumps(given) for given in target.every()]
    assert len(set(inputs)) == len(inputs) > len(VALUES)
    for value in VALUES:
        assert any(f'"to": {json.dumps(value)}}}' in given for given in inputs), value


class Misbehaving:
    """A target that does what its input says."""

    name = "misbehaving"
    compared_with = ""

    def draw(self, draw: Any) -> Any:
        return None

    def check(self, given: Any, folder: Path) -> int:
        exec(given, {"InputError": InputError, "expect": expect})
        return 0


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("pass", ""),
        ("raise InputError('a sentence')", ""),
        ("raise InputError('')", "empty refusal"),
        ("int('x')", "ValueError in "),
        ("expect(False, 'other ids than 17')", "other ids than _"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV of misbehaving"),
        ("import time; time.sleep(60)", "hang of misbehaving"),
        ("bytearray(2**40)", "MemoryError in "),
    ],
)
def test_a_fault_is_seen(code: str, kind: str) -> None:
    """Negative controls: what a target does wrong comes out as a fault, and the watch goes on behind it."""
    watch = Watch({"misbehaving": Misbehaving()}, limit_s=3)
    try:
        result = watch.try_input("misbehaving", code)
        assert result.kind.startswith(kind) and bool(result.fault) == bool(kind), result
        assert watch.try_input("misbehaving", "pass").accepted
    finally:
        watch.close()


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.compared_with])
def test_what_is_accepted_is_compared(name: str) -> None:
    """With another program: else a run without faults would say nothing."""
    results = (try_input(TARGETS[name], draw(TARGETS[name], f"1 {number}")) for number in range(60))
    assert any(result.compared for result in results)
