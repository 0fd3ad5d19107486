"""Mutants: which are killed, and which make the run fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from ios_demo.tools.common import DEMO, CheckError
from ios_demo.tools.mutants import Mutant, Verdict, judge, mirror, read_mutants, run_mutants
from ios_demo.tools.swift_tests import Counts, Outcome
from ios_demo.tools.toolchain import Toolchain

ONE = """
[[mutant]]
name = "one"
fault = "f"
package = "core"
file = "MlpCore/a.swift"
old = "right"
new = "wrong"
tests = ["ATests"]
"""
# A `swift` that fails to compile what holds "broken", and to test what holds "wrong".
SWIFT = """#!/bin/sh
if [ "$1" = build ]; then grep -q broken a.swift || exit 0; echo "a.swift:1: error: broken"; exit 1; fi
echo "Test Case 'ATests.testA' started at 1"
grep -q wrong a.swift || { echo "Test Case 'ATests.testA' passed (0.1 seconds)"; exit 0; }
echo "Test Case 'ATests.testA' failed (0.1 seconds)"
exit 1
"""


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "demo/MlpCore"
    folder.mkdir(parents=True)
    (folder / "a.swift").write_text("right\n")
    program = tmp_path / "bin/swift"
    program.parent.mkdir()
    program.write_text(SWIFT)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return folder.parent


def mutant(old: str = "right", new: str = "wrong", file: str = "MlpCore/a.swift") -> Mutant:
    return Mutant("one", "f", "core", file, old, new, ["ATests"])


@pytest.mark.parametrize(
    ("made", "killed", "by"),
    [
        (mutant(), True, "ATests.testA"),
        (mutant(new="left"), False, "1 tests passed"),
        (mutant(new="broken"), False, "it does not compile: a.swift:1: error: broken"),
        (mutant(old="nothing"), False, "`old` is 0 times in MlpCore/a.swift, expected once"),
        (mutant(file="MlpCore/b.swift"), False, "MlpCore/b.swift is not there"),
    ],
)
def test_verdict_on_a_mutant(demo: Path, tmp_path: Path, made: Mutant, killed: bool, by: str) -> None:
    shown: list[Verdict] = []
    (verdict,) = run_mutants([made], Toolchain("own"), shown.append, demo, tmp_path / "build")
    assert (verdict.killed, verdict.by) == (killed, by)
    assert shown == [verdict]
    assert str(verdict).startswith("killed one" if killed else "NOT KILLED one")
    assert (demo / "MlpCore/a.swift").read_text() == "right\n"
    assert (tmp_path / "build/copy/ios_demo/MlpCore/a.swift").read_text() == "right\n"


def test_tests_that_fail_without_a_mutant_show_nothing(demo: Path, tmp_path: Path) -> None:
    (demo / "MlpCore/a.swift").write_text("wrong, right\n")
    with pytest.raises(CheckError, match="fail without one: core: 0 passed, 1 failed"):
        run_mutants([mutant()], Toolchain("own"), print, demo, tmp_path / "build")


@pytest.mark.parametrize(
    ("outcome", "killed"),
    [
        (Outcome("core", Counts(3, ["A.b"]), 1), True),
        (Outcome("core", Counts(3), 1), True),  # it crashed
        (Outcome("core", Counts(3), 0), False),
        (Outcome("core", Counts(0), 0), False),
        (Outcome("core", Counts(0), 1), False),
        (Outcome("core", Counts(0, ["A.b"]), -9, timed_out=True), True),
        (Outcome("core", Counts(), -9, timed_out=True), True),
        (Outcome("core", Counts(), 1, compiled=False), False),
        (Outcome("core", Counts(), -9, compiled=False, timed_out=True), False),
    ],
)
def test_judgement(outcome: Outcome, killed: bool) -> None:
    assert judge(outcome)[0] is killed


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (ONE + ONE, "twice"),
        ("", "none at all"),
        (ONE.replace("core", "kernel"), "one is not as expected"),
        (ONE.replace('tests = ["ATests"]', "tests = []"), "one is not as expected"),
        (ONE.replace("wrong", "right"), "one is not as expected"),
        (ONE.replace('fault = "f"', ""), "one is not as expected"),
        (ONE + "x", "m.toml: "),
    ],
)
def test_list_of_mutants_that_is_wrong(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(CheckError, match=problem):
        read_mutants(tmp_path / "m.toml")


def test_mutants_by_name(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(ONE + ONE.replace('"one"', '"two"'))
    assert [each.name for each in read_mutants(tmp_path / "m.toml", ["two"])] == ["two"]
    with pytest.raises(CheckError, match="no mutant three"):
        read_mutants(tmp_path / "m.toml", ["two", "three"])


def test_every_mutant_of_the_app_has_its_place() -> None:
    for each in read_mutants():
        assert (DEMO / each.file).read_text().count(each.old) == 1, each.name


def test_copy_of_the_app_has_all_that_its_links_lead_to(tmp_path: Path) -> None:
    mirror(DEMO, tmp_path)
    links = [path for path in tmp_path.rglob("*") if path.is_symlink()]
    assert links and [path for path in links if not path.exists()] == []


def test_mirror_writes_what_differs_alone(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    for name, text in (("App/same.swift", "s"), ("App/new/other.swift", "o"), ("App/.build/x.swift", "x")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    (source / "LinuxCheck").mkdir()
    (source / "LinuxCheck/App").symlink_to("../App")
    mirror(source, target)
    before = (target / "App/same.swift").stat().st_mtime_ns
    (target / "App/gone.swift").write_text("g")
    (source / "App/new/other.swift").write_text("changed")
    mirror(source, target)
    found = {path.relative_to(target).as_posix() for path in target.rglob("*.swift")}
    assert {name for name in found if name.startswith("App")} == {"App/same.swift", "App/new/other.swift"}
    assert (target / "App/same.swift").stat().st_mtime_ns == before
    assert (target / "App/new/other.swift").read_text() == "changed"
    assert (target / "LinuxCheck/App").is_symlink()
