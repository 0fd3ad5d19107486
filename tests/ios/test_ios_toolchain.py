"""Where Swift comes from, how its tests are counted, and what is told where there is no Swift."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from ios_demo.tools import __main__ as command_line
from ios_demo.tools import toolchain
from ios_demo.tools.common import ROOT, CheckError, run
from ios_demo.tools.mutants import Verdict
from ios_demo.tools.swift_tests import Counts, Outcome, Package, counts, real_runtime
from ios_demo.tools.toolchain import Toolchain, find
from mlp_export.errors import InputError, MissingError

PASSED = """\
Test Suite 'TextsTests' started at 2026-11-26 08:18:26.667
Test Case 'TextsTests.testOne' started at 2026-11-26 08:18:26.667
Test Case 'TextsTests.testOne' passed (0.005 seconds)
Test Case 'TextsTests.testTwo' started at 2026-11-26 08:18:26.667
Test Case 'TextsTests.testTwo' skipped (0.005 seconds)
"""


def write_swift(folder: Path, version: str = "6.0.3", script: str = "") -> None:
    """A program `swift` that says its version, and runs `script` for anything else."""
    folder.mkdir(exist_ok=True)
    program = folder / "swift"
    program.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo "Swift version {version} (RELEASE)"; exit; fi\n{script}\n'
    )
    program.chmod(0o755)


@pytest.fixture
def no_swift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH without Swift, debootstrap and apt-get; returns its one folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "env", "bash", "cat", "sleep"):
        (folder / name).symlink_to(Path("/bin" if Path("/bin", name).exists() else "/usr/bin", name))
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_new_swift_of_the_machine_is_taken(no_swift: Path, tmp_path: Path) -> None:
    write_swift(no_swift, "6.1")
    found = find(tmp_path / "cache")
    assert (found.name, found.tree) == ("Swift 6.1 of this machine", None)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("version", ["5.10.1", "4.2"])
def test_old_swift_of_the_machine_is_none(
    no_swift: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    write_swift(no_swift, version)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MissingError, match="needs root"):
        find(tmp_path / "cache")


def test_machine_that_refuses_mounts_is_told(no_swift: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (no_swift / "unshare").write_text(
        "#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2\nexit 1\n"
    )
    (no_swift / "unshare").chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(MissingError, match="Operation not permitted"):
        find(tmp_path / "cache")


def test_machine_without_unshare_is_told(no_swift: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(MissingError, match="unshare"):
        find(tmp_path / "cache")


def test_debootstrap_that_fails_leaves_no_tree(no_swift: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "_need_namespaces", lambda: None)
    for name, script in (
        (
            "unshare",
            'while [ "$1" != debootstrap ]; do case "$1" in */debootstrap) break;; esac; shift; done; exec "$@"',
        ),
        ("debootstrap", 'for last; do :; done; mkdir -p "$last/usr"; echo "E: Failed getting release file"; exit 1'),
    ):
        (no_swift / name).write_text(f"#!/bin/sh\n{script}\n")
        (no_swift / name).chmod(0o755)
    (no_swift / "mkdir").symlink_to("/bin/mkdir")
    with pytest.raises(MissingError, match="E: Failed getting release file"):
        find(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_debootstrap_that_hangs_is_given_up(no_swift: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "_need_namespaces", lambda: None)
    monkeypatch.setattr(toolchain, "install_tools", lambda tools: {})
    monkeypatch.setattr(toolchain, "TREE_SECONDS", 1.0)
    for name in ("unshare", "debootstrap"):
        (no_swift / name).write_text("#!/bin/sh\necho I: Retrieving InRelease\nexec sleep 60\n")
        (no_swift / name).chmod(0o755)
    with pytest.raises(MissingError, match="not done after 1 s: I: Retrieving InRelease"):
        find(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_makes_the_tree_is_installed(no_swift: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "_need_namespaces", lambda: None)
    monkeypatch.setattr(toolchain, "HELPERS", {**toolchain.HELPERS, "/no/such/keyring.gpg": "its-keyring"})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    log = tmp_path / "log"
    (no_swift / "apt-get").write_text(f'#!/bin/sh\necho "$*" >> {log}\n')
    (no_swift / "apt-get").chmod(0o755)
    with pytest.raises(MissingError, match="apt-get could not install it") as caught:
        find(tmp_path / "cache")
    assert "sudo apt-get install debootstrap" in caught.value.hint
    updated, installed = log.read_text().splitlines()
    assert updated == "-qq update"
    assert installed.startswith("-qq install --yes --no-install-recommends debootstrap")
    assert installed.endswith("its-keyring")


def test_tree_without_swift_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no usr/bin/swift"):
        find(tmp_path, tree=tmp_path)


def test_no_room_is_told_before_anything_is_fetched(
    no_swift: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain, "_need_namespaces", lambda: None)
    monkeypatch.setattr(toolchain, "NEEDED_BYTES", 1 << 60)
    (no_swift / "debootstrap").write_text("#!/bin/sh\nexit 0\n")
    (no_swift / "debootstrap").chmod(0o755)
    with pytest.raises(MissingError, match="are free"):
        find(tmp_path / "cache")


def test_command_in_a_tree_sees_nothing_of_the_caller(tmp_path: Path) -> None:
    made = Toolchain("tree", tmp_path, [ROOT]).command(["swift", "build"], tmp_path / "a", {"A": "b c"})
    assert made[0] == "unshare" and "--kill-child" in made
    assert made[-6:] == ["HOME=/tmp", "LANG=C.UTF-8", "PATH=/usr/bin:/bin", "A=b c", "swift", "build"]
    assert made[-7] == "-i"


def test_command_of_the_machine_runs_in_its_folder(tmp_path: Path) -> None:
    made = Toolchain("own").command(["sh", "-c", 'echo "$A $PWD"'], tmp_path, {"A": "b  c"})
    assert run(made).output == f"b  c {tmp_path}\n"


def test_process_that_hangs_is_killed_with_its_children() -> None:
    start = time.monotonic()
    ended = run(["sh", "-c", "echo begun; sleep 60 & wait"], timeout=0.5)
    assert time.monotonic() - start < 20
    assert ended.timed_out and ended.exit_code != 0 and ended.output == "begun\n"


def test_process_whose_children_left_its_group_is_not_waited_for() -> None:
    # As `swift test` has them; an interrupt ends them, where it can pass it on.
    script = (
        "import os, signal, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "signal.signal(signal.SIGINT, lambda *_: (child.kill(), child.wait(), sys.exit(1)))\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    start = time.monotonic()
    ended = run([sys.executable, "-c", script], timeout=3)
    assert time.monotonic() - start < 20 and ended.timed_out
    with pytest.raises(ProcessLookupError):
        os.kill(int(ended.output), 0)


def test_pipe_that_a_survivor_holds_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ios_demo.tools.common._GRACE_SECONDS", 1.0)
    start = time.monotonic()
    ended = run(["sh", "-c", "setsid sleep 5 & echo é; printf half; wait"], timeout=1)
    assert time.monotonic() - start < 4
    assert (ended.timed_out, ended.output) == (True, "é\n")


def test_lines_are_given_as_they_come_and_the_last_one_without_its_end() -> None:
    shown: list[str] = []
    ended = run(["sh", "-c", "printf 'a\\nb\\303\\nc'; exit 3"], shown.append, timeout=60)
    assert shown == ["a\n", "b\ufffd\n", "c"]
    assert (ended.exit_code, ended.output, ended.timed_out) == (3, "a\nb\ufffd\nc", False)


def test_caller_that_fails_leaves_nothing_running() -> None:
    def fail(line: str) -> None:
        seen.append(int(line))
        raise ValueError(line)

    seen: list[int] = []
    with pytest.raises(ValueError, match=r"\d"):
        run(["sh", "-c", "echo $$; exec sleep 60"], fail)
    with pytest.raises(ProcessLookupError):
        os.kill(seen[0], 0)


def test_tests_are_counted_by_how_they_ended() -> None:
    assert counts(PASSED) == Counts(passed=1, failed=[], skipped=1)
    assert counts("Test Case '-[Core.TextsTests testOne]' passed (0.1 seconds).") == Counts(passed=1, failed=[])


def test_failed_test_and_one_that_did_not_end_are_failures() -> None:
    failed = PASSED.replace("testOne' passed", "testOne' failed") + "Test Case 'A.testCrash' started at 2026\n"
    assert counts(failed) == Counts(0, ["TextsTests.testOne", "A.testCrash"], 1)


@pytest.mark.parametrize(
    ("outcome", "succeeded", "shown"),
    [
        (Outcome("core", Counts(3), 0), True, "core: 3 passed, 0 failed"),
        (Outcome("core", Counts(3, [], 2), 0), True, "core: 3 passed, 0 failed, 2 skipped"),
        (Outcome("core", Counts(0), 0), False, "core: 0 passed, 0 failed, exit code 0"),
        (Outcome("core", Counts(3), 1), False, "core: 3 passed, 0 failed, exit code 1"),
        (Outcome("core", Counts(3, ["A.b"]), 1), False, "core: 3 passed, 1 failed"),
        (Outcome("core", Counts(), 1, compiled=False), False, "core: does not compile"),
        (Outcome("core", Counts(3), 0, timed_out=True), False, "core: 3 passed, 0 failed, not ended in time"),
        (Outcome("core", Counts(), -9, compiled=False, timed_out=True), False, "core: not built in time"),
    ],
)
def test_outcome_needs_tests_that_passed(outcome: Outcome, succeeded: bool, shown: str) -> None:
    assert (outcome.succeeded, str(outcome)) == (succeeded, shown)


def test_real_runtime_without_its_bundle_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckError, match=r"(?s)tokenizer_texts\.py ended with exit code 1: .*No such file"),
        real_runtime(tmp_path, tmp_path / "runner"),
    ):
        pytest.fail("nothing can be run")


def test_package_is_built_and_then_tested(no_swift: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    write_swift(no_swift, script=f'echo "$VECTORS|$*" >> {log}\n[ "$1" = build ] || printf "%s" "{PASSED}"')
    (tmp_path / "MlpCore").mkdir()
    outcome = Package("core", find(tmp_path), tmp_path, tmp_path / "build").test(["TextsTests"], quiet=True)
    assert outcome.succeeded and outcome.counts == Counts(1, [], 1)
    built, tested = log.read_text().splitlines()
    assert built == f"{ROOT}/tests/vectors|build --build-tests --scratch-path {tmp_path}/build/core"
    assert r"--filter (^|\.)TextsTests($|/)" in tested


def test_package_that_does_not_compile_is_not_tested(no_swift: Path, tmp_path: Path) -> None:
    write_swift(no_swift, script="echo 'a.swift:1:1: error: no'\nexit 1")
    (tmp_path / "MlpCore").mkdir()
    outcome = Package("core", find(tmp_path), tmp_path, tmp_path / "build").test(quiet=True)
    assert not outcome.compiled and not outcome.succeeded and "error: no" in outcome.output


def test_without_swift_all_says_what_did_not_run_and_is_no_failure(
    no_swift: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(command_line, "check_all", list)
    monkeypatch.setenv("CI", "true")
    paths = ["--cache", str(tmp_path / "cache"), "--build", str(tmp_path / "build")]
    assert command_line.main([*paths, "all"]) == 0
    shown = capsys.readouterr().out
    assert "SKIPPED: no Swift 6 is on PATH, and a Debian tree needs root" in shown
    for part in ("the tests of MlpCore", "against stand-ins", "the mutants", "Swift's format", "To run it: install"):
        assert part in shown
    last = shown.splitlines()[-1]
    assert last.startswith("checks: 0 problems; SKIPPED all that needs Swift: no Swift 6")


@pytest.mark.parametrize(
    ("problems", "outcomes", "alive", "code", "last"),
    [
        ([], [Counts(30, [], 2), Counts(5)], 0, 0, "37 passed, 0 failed, 2 skipped"),
        ([], [Counts(30), Counts(5)], 1, 1, "36 passed, 1 failed, 0 skipped"),
        (["x"], [Counts(30), Counts(5)], 0, 1, "37 passed, 1 failed, 0 skipped"),
        ([], [Counts(30), Counts(5, ["A.b", "A.c"])], 0, 1, "35 passed, 2 failed, 0 skipped"),
        ([], [Counts(30), Counts(0)], 0, 1, "30 passed, 1 failed, 0 skipped"),
    ],
)
def test_last_line_of_all_counts_what_ran(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    problems: list[str],
    outcomes: list[Counts],
    alive: int,
    code: int,
    last: str,
) -> None:
    verdicts = [Verdict("a", True, "T", 0.0), Verdict("b", not alive, "T", 0.0)]
    made = [Outcome("core", each, 1 if each.failed else 0) for each in outcomes]
    for name, result in (
        ("check_all", problems),
        ("_toolchain", Toolchain("own")),
        ("lint", []),
        ("copy_sources", tmp_path / "copy"),
        ("_tested", made),
        ("_tried", verdicts),
    ):
        monkeypatch.setattr(command_line, name, lambda *_, result=result: result)
    assert command_line.main(["--build", str(tmp_path), "all"]) == code
    *_, before, shown = capsys.readouterr().out.splitlines()
    assert shown == last
    assert before.startswith(f"checks: {len(problems)} problems; format: 0 findings; core: 30 passed, 0 failed")


def test_without_swift_a_problem_of_the_checks_is_a_failure_still(
    no_swift: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(command_line, "check_all", lambda: ["a.strings lacks b"])
    paths = ["--cache", str(tmp_path / "cache"), "--build", str(tmp_path / "build")]
    assert command_line.main([*paths, "all"]) == 1
    assert "checks: a.strings lacks b" in capsys.readouterr().out


def test_without_swift_the_tests_alone_are_missing(
    no_swift: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    paths = ["--cache", str(tmp_path / "cache"), "--build", str(tmp_path / "build")]
    assert command_line.main([*paths, "test", "core"]) == MissingError.exit_code
    assert "hint: install Swift 6" in capsys.readouterr().err
