"""The command line of the app's tests."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from ios_demo.tools import toolchain
from ios_demo.tools.checks import check_all, lint
from ios_demo.tools.common import BUILD, CACHE, DEMO, ROOT
from ios_demo.tools.mutants import MUTANTS, Verdict, copy_sources, read_mutants, run_mutants
from ios_demo.tools.swift_tests import PACKAGES, Outcome, Package, real_runtime
from ios_demo.tools.toolchain import Toolchain
from mlp_export.errors import MissingError, MlpExportError, UsageError

NOT_RUN = (
    "the tests of MlpCore",
    "the app's sources against stand-ins of Apple's and ExecuTorch's modules, and their tests",
    "the mutants",
    "Swift's format",
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m ios_demo.tools", description=__doc__)
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of what is fetched (%(default)s)")
    parser.add_argument("--tree", type=Path, help="a Debian tree with Swift that is there already")
    parser.add_argument("--build", type=Path, default=BUILD, help="folder of what is built (%(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("all", help="checks, format, tests, mutants; the checks alone where Swift is missing")
    command.add_argument(
        "--bundles", type=Path, help=(bundles := "what tests/app_bundles.py made: run the real runtime")
    )
    command = commands.add_parser("test", help="run the XCTests")
    command.add_argument("packages", nargs="*", metavar="PACKAGE", help=f"some of: {' '.join(PACKAGES)} (all)")
    command.add_argument("--only", action="append", default=[], metavar="TEST", help="this Class, or Class/test, only")
    command.add_argument("--bundles", type=Path, help=bundles)
    commands.add_parser("lint", help="Swift's formatter as a linter")
    commands.add_parser("check", help="the project file, property lists, assets and texts; needs no Swift")
    command = commands.add_parser("mutants", help="break the code in known ways: the tests have to notice")
    command.add_argument("names", nargs="*", metavar="NAME", help=f"some of {MUTANTS.name} (all)")
    command = commands.add_parser("swift", help="run a command where Swift is: `swift -- swift format --help`")
    command.add_argument("words", nargs="+", metavar="WORD")
    options = parser.parse_args(arguments)
    try:
        return {"all": _all, "test": _test, "lint": _lint, "check": _check, "mutants": _mutants, "swift": _swift}[
            options.command
        ](options)
    except MlpExportError as error:
        _say(error)
        return error.exit_code


def _all(options: argparse.Namespace) -> int:
    """Everything. The last line counts tests and mutants (one that was killed has passed), or says what did not run."""
    problems = _shown("checks", check_all())
    try:
        swift = _toolchain(options)
    except MissingError as error:
        _say_skipped(error)
        print(f"checks: {len(problems)} problems; SKIPPED all that needs Swift: {error.message}")
        return 1 if problems else 0
    findings = _shown("format", lint(swift))
    # In the copy that the mutants are put into: all is compiled once.
    copy = copy_sources(DEMO, options.build.resolve())
    outcomes = _tested(PACKAGES, swift, options, [], copy, copy.parent)
    failed = [outcome for outcome in outcomes if not outcome.succeeded]
    # Tests that fail anyway would kill each mutant.
    verdicts = [] if failed else _tried(swift, options, [])
    alive = [verdict for verdict in verdicts if not verdict.killed]
    mutants = "not tried, for tests fail" if failed else f"{len(verdicts) - len(alive)} killed, {len(alive)} not"
    counts = [f"checks: {len(problems)} problems", f"format: {len(findings)} findings", *map(str, outcomes)]
    print("; ".join([*counts, f"mutants: {mutants}"]))
    passed = sum(outcome.counts.passed for outcome in outcomes) + len(verdicts) - len(alive)
    # A package that did not compile, or ended otherwise than its tests say, has failed as one.
    broken = sum(max(len(outcome.counts.failed), 1) for outcome in failed)
    failures = len(problems) + len(findings) + broken + len(alive)
    skipped = sum(outcome.counts.skipped for outcome in outcomes)
    print(f"{passed} passed, {failures} failed, {skipped} skipped")
    return 1 if failures else 0


def _test(options: argparse.Namespace) -> int:
    if unknown := set(options.packages) - set(PACKAGES):
        raise UsageError(f"there is no package {', '.join(sorted(unknown))}", f"known are {', '.join(PACKAGES)}")
    swift = _toolchain(options)
    outcomes = _tested(options.packages or PACKAGES, swift, options, options.only, DEMO, options.build.resolve())
    print(*outcomes, sep="\n")
    return 0 if all(outcome.succeeded for outcome in outcomes) else 1


def _lint(options: argparse.Namespace) -> int:
    return 1 if _shown("format", lint(_toolchain(options))) else 0


def _check(options: argparse.Namespace) -> int:
    return 1 if _shown("checks", check_all()) else 0


def _mutants(options: argparse.Namespace) -> int:
    read_mutants(names=options.names)  # a wrong name is told before anything is built
    verdicts = _tried(_toolchain(options), options, options.names)
    alive = [verdict for verdict in verdicts if not verdict.killed]
    print(f"mutants: {len(verdicts) - len(alive)} killed, {len(alive)} not")
    return 1 if alive else 0


def _swift(options: argparse.Namespace) -> int:
    return subprocess.run(_toolchain(options).command(options.words, Path.cwd())).returncode


def _toolchain(options: argparse.Namespace) -> Toolchain:
    folders = [options.build.resolve()]
    folders[0].mkdir(parents=True, exist_ok=True)
    if bundles := getattr(options, "bundles", None):
        if not (bundles / "real/manifest.json").is_file():
            raise UsageError(f"{bundles} has no bundle `real`", "`python tests/app_bundles.py FOLDER` exports it")
        folders.append(bundles.resolve())
    outside = [folder for folder in folders if ROOT not in folder.parents]
    return toolchain.find(options.cache, options.tree, [ROOT, *outside])


def _tested(
    names: Iterable[str],
    swift: Toolchain,
    options: argparse.Namespace,
    only: Sequence[str],
    demo: Path,
    scratch: Path,
) -> list[Outcome]:
    if not options.bundles:
        return [Package(name, swift, demo, scratch).test(only) for name in names]
    with real_runtime(options.bundles.resolve(), options.build.resolve() / "runner") as variables:
        return [Package(name, swift, demo, scratch, variables).test(only) for name in names]


def _tried(swift: Toolchain, options: argparse.Namespace, names: Sequence[str]) -> list[Verdict]:
    start = time.monotonic()
    mutants = read_mutants(names=names)
    try:
        return run_mutants(mutants, swift, lambda verdict: print(verdict, flush=True), build=options.build.resolve())
    finally:
        print(f"{time.monotonic() - start:6.1f} s  mutants", file=sys.stderr, flush=True)


def _shown(name: str, problems: list[str]) -> list[str]:
    for problem in problems:
        print(f"{name}: {problem}", flush=True)
    if not problems:
        print(f"{name}: nothing found", flush=True)
    return problems


def _say(error: MlpExportError) -> None:
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)


def _say_skipped(error: MissingError) -> None:
    line = "!" * 100
    not_run = "\n".join(f"  - {what}" for what in NOT_RUN)
    print(f"{line}\nSKIPPED: {error.message}.\nTo run it: {error.hint}.\nNot run:\n{not_run}\n{line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
