"""Mutants: faults that the app must not have, each put into a copy of the sources. The tests have to notice every one.

`mutants.toml` lists them: a text of one file, what it becomes, and the tests that are to fail. A mutant that no test
kills, that does not compile, or whose text is not there any more is a failure: nothing would have been shown.
"""

from __future__ import annotations

import os
import shutil
import time
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ios_demo.tools.common import BUILD, DEMO, CheckError
from ios_demo.tools.swift_tests import PACKAGES, Outcome, Package
from ios_demo.tools.toolchain import Toolchain

MUTANTS = Path(__file__).with_name("mutants.toml")
COPIED = ("MlpCore", "App", "Engine", "ShareExtension", "MlpDemoTests", "LinuxCheck")
_KEYS = {"name", "fault", "package", "file", "old", "new", "tests"}
TEST_SECONDS = 90.0  # a mutant may hang; its tests take a second or two
BUILD_SECONDS = 900.0


@dataclass(frozen=True)
class Mutant:
    """`old`, once in `file`, becomes `new`; `tests` of `package` have to fail then."""

    name: str
    fault: str
    package: str
    file: str
    old: str
    new: str
    tests: Sequence[str]


@dataclass(frozen=True)
class Verdict:
    """Whether a mutant was noticed, and by what."""

    name: str
    killed: bool
    by: str
    seconds: float

    def __str__(self) -> str:
        return f"{'killed' if self.killed else 'NOT KILLED'} {self.name} ({self.seconds:.1f} s): {self.by}"


def read_mutants(file: Path = MUTANTS, names: Iterable[str] = ()) -> list[Mutant]:
    """The mutants of `file`, or those of `names`. Raises CheckError."""
    try:
        listed = tomllib.loads(file.read_text(encoding="utf-8")).get("mutant", [])
    except tomllib.TOMLDecodeError as error:
        raise CheckError(f"{file.name}: {error}") from None
    mutants = []
    for item in listed:
        if set(item) != _KEYS or item["package"] not in PACKAGES or not item["tests"] or item["old"] == item["new"]:
            raise CheckError(
                f"{file.name}: {item.get('name', 'a mutant')} is not as expected",
                f"it has {', '.join(sorted(_KEYS))}; package: {', '.join(PACKAGES)}; tests are named; old is not new",
            )
        mutants.append(Mutant(**item))
    known = [mutant.name for mutant in mutants]
    if len(set(known)) < len(known) or not known:
        raise CheckError(f"{file.name} names a mutant twice, or none at all")
    wanted = list(names)
    if unknown := set(wanted) - set(known):
        raise CheckError(f"there is no mutant {', '.join(sorted(unknown))}", f"known are {', '.join(known)}")
    return [mutant for mutant in mutants if not wanted or mutant.name in wanted]


def run_mutants(
    mutants: Sequence[Mutant],
    toolchain: Toolchain,
    on_verdict: Callable[[Verdict], None],
    demo: Path = DEMO,
    build: Path = BUILD,
) -> list[Verdict]:
    """Try each of `mutants` on a copy of `demo` in `build`, of one package after the other.

    Raises CheckError where the copy fails without any mutant: then a failure says nothing.
    """
    copy = copy_sources(demo, build)
    verdicts = []
    for name in PACKAGES:
        of_package = [mutant for mutant in mutants if mutant.package == name]
        if not of_package:
            continue
        package = Package(name, toolchain, copy, copy.parent)
        tests = sorted({test for mutant in of_package for test in mutant.tests})
        healthy = _try(package, tests)
        if not healthy.succeeded:
            raise CheckError(f"the tests of the mutants fail without one: {healthy}\n{healthy.output[-4000:].strip()}")
        for mutant in of_package:
            verdict = _judge(package, copy / mutant.file, mutant)
            on_verdict(verdict)
            verdicts.append(verdict)
    return verdicts


def _judge(package: Package, file: Path, mutant: Mutant) -> Verdict:
    start = time.monotonic()
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return Verdict(mutant.name, False, f"{mutant.file} is not there", 0.0)
    if (count := text.count(mutant.old)) != 1:
        return Verdict(mutant.name, False, f"`old` is {count} times in {mutant.file}, expected once", 0.0)
    try:
        file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        outcome = _try(package, mutant.tests)
    finally:
        file.write_text(text, encoding="utf-8")
    killed, by = judge(outcome)
    return Verdict(mutant.name, killed, by, time.monotonic() - start)


def judge(outcome: Outcome) -> tuple[bool, str]:
    """Whether the tests of a mutant noticed it, and what tells so."""
    if not outcome.compiled:
        lines = [line for line in outcome.output.splitlines() if "error:" in line] or outcome.output.splitlines()[-1:]
        return False, f"it does not compile: {lines[0] if lines else 'the compiler printed nothing'}"
    if outcome.counts.failed:
        rest = len(outcome.counts.failed) - 1
        return True, outcome.counts.failed[0] + (f" and {rest} more" if rest else "")
    if outcome.timed_out:
        return True, "its tests did not end"
    if not outcome.counts.passed:
        return False, "none of its tests ran"
    if outcome.exit_code:
        return True, f"its tests ended with exit code {outcome.exit_code}"
    return False, f"{outcome.counts.passed} tests passed"


def _try(package: Package, tests: Sequence[str]) -> Outcome:
    return package.test(tests, timeout=TEST_SECONDS, build_timeout=BUILD_SECONDS, quiet=True)


def copy_sources(demo: Path, build: Path) -> Path:
    """The folder of a copy of the app's sources, made or brought up to date. They are built beside it."""
    copy = build / "copy/ios_demo"
    mirror(demo, copy)
    return copy


def mirror(source: Path, target: Path) -> None:
    """Make the sources in `target` those of `source`. What is alike is not written: it would be compiled again."""
    wanted = set()
    for folder in COPIED:
        for path in sorted((source / folder).rglob("*")):
            relative = path.relative_to(source)
            if ".build" in relative.parts or (path.is_dir() and not path.is_symlink()):
                continue
            wanted.add(relative)
            copy = target / relative
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink():
                if not copy.is_symlink() or os.readlink(copy) != os.readlink(path):
                    copy.unlink(missing_ok=True)
                    copy.symlink_to(os.readlink(path))
            elif not copy.is_file() or copy.read_bytes() != path.read_bytes():
                shutil.copyfile(path, copy)
    for copy in target.rglob("*"):
        if (copy.is_symlink() or copy.is_file()) and copy.relative_to(target) not in wanted:
            copy.unlink()
