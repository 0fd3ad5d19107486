"""Builds Swift packages, runs their XCTests, and counts them."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ios_demo.tools.common import BUILD, DEMO, ROOT, CheckError, run, show
from ios_demo.tools.toolchain import Toolchain

# Name -> folder of the package
PACKAGES = {"core": "MlpCore", "app": "LinuxCheck"}
BUILD_SECONDS = 2400.0  # all of it on two cores: some minutes
TEST_SECONDS = 900.0  # about a minute
RUNNER = Path(__file__).with_name("text_runner.py")
TEXTS = Path(__file__).with_name("tokenizer_texts.py")
TEXT_COUNT = 1000
_STATE = re.compile(r"^Test Case '(?P<test>.+)' (?P<state>started|passed|failed|skipped)\b", re.M)


@dataclass(frozen=True)
class Counts:
    """Tests by how they ended; one that began and did not end is among the failed ones."""

    passed: int = 0
    failed: Sequence[str] = ()
    skipped: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a package's tests ended. `exit_code` is not 0 where it did not compile, too."""

    name: str
    counts: Counts
    exit_code: int
    compiled: bool = True
    output: str = ""
    timed_out: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether tests ran, and none failed."""
        ended = self.compiled and self.exit_code == 0 and not self.timed_out
        return ended and self.counts.passed > 0 and not self.counts.failed

    def __str__(self) -> str:
        if not self.compiled:
            return f"{self.name}: {'not built in time' if self.timed_out else 'does not compile'}"
        skipped = f", {self.counts.skipped} skipped" if self.counts.skipped else ""
        broken = "" if self.succeeded or self.counts.failed else f", exit code {self.exit_code}"
        broken = ", not ended in time" if self.timed_out else broken
        return f"{self.name}: {self.counts.passed} passed, {len(self.counts.failed)} failed{skipped}{broken}"


@dataclass(frozen=True)
class Package:
    """A Swift package of the app, and where it is built."""

    name: str
    toolchain: Toolchain
    demo: Path = DEMO
    scratch: Path = BUILD
    variables: Mapping[str, str] = field(default_factory=dict)  # for the tests

    def build(self, timeout: float = BUILD_SECONDS, quiet: bool = False) -> Outcome | None:
        """Compile sources and tests; None where that succeeds."""
        ended = run(self._swift("build", "--build-tests"), None if quiet else _show_build, timeout)
        if ended.exit_code or ended.timed_out:
            return Outcome(self.name, Counts(), ended.exit_code, False, ended.output, ended.timed_out)
        return None

    def test(
        self,
        only: Sequence[str] = (),
        timeout: float = TEST_SECONDS,
        build_timeout: float = BUILD_SECONDS,
        quiet: bool = False,
    ) -> Outcome:
        """Compile and run the tests, or those of `only` (Class, or Class/test). Both are killed after their timeout."""
        start = time.monotonic()
        broken = self.build(build_timeout, quiet)
        if broken:
            return broken
        filters = [part for name in only for part in ("--filter", _anchored(name))]
        command = self._swift("test", "--skip-build", "--disable-swift-testing", *filters)
        ended = run(command, None if quiet else show, timeout)
        if not quiet:
            print(f"{time.monotonic() - start:6.1f} s  {self.name}", file=sys.stderr, flush=True)
        return Outcome(self.name, counts(ended.output), ended.exit_code, True, ended.output, ended.timed_out)

    def _swift(self, *arguments: str) -> list[str]:
        scratch = ["--scratch-path", str(self.scratch / self.name), *self.toolchain.flags]
        variables = {"VECTORS": str(ROOT / "tests/vectors"), **self.variables}
        return self.toolchain.command(["swift", *arguments, *scratch], self.demo / PACKAGES[self.name], variables)


@contextmanager
def real_runtime(bundles: Path, folder: Path) -> Iterator[dict[str, str]]:
    """Serves ExecuTorch's own text runner; yields the variables by which tests find it, the `bundles` and texts whose
    tokens `tokenizers` has counted.

    Raises CheckError where the server does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = folder / "texts"
    made = run([sys.executable, str(TEXTS), str(bundles / "real/tokenizer.json"), str(texts), str(TEXT_COUNT)])
    if made.exit_code:
        raise CheckError(f"{TEXTS.name} ended with exit code {made.exit_code}: {made.output[-2000:].strip()}")
    replies = folder / "replies"
    replies.unlink(missing_ok=True)
    server = subprocess.Popen([sys.executable, str(RUNNER), str(folder)])
    try:
        while not replies.exists():
            if server.poll() is not None:
                raise CheckError(f"{RUNNER.name} ended with exit code {server.returncode}", "see above")
            time.sleep(0.05)
        yield {"RUNNER": str(folder), "BUNDLES": str(bundles), "TOKENIZER_TEXTS": str(texts)}
    finally:
        server.kill()
        server.wait()


def counts(printed: str) -> Counts:
    """The tests of what XCTest printed."""
    states: dict[str, str] = {}
    for found in _STATE.finditer(printed):
        states[found["test"]] = found["state"]
    ended = list(states.values())
    failed = [test for test, state in states.items() if state in ("started", "failed")]
    return Counts(ended.count("passed"), failed, ended.count("skipped"))


def _show_build(line: str) -> None:
    if not line.startswith("["):  # progress
        show(line)


def _anchored(name: str) -> str:
    """A filter of `swift test` that takes `name` for a whole name of a class, or of a class and a test."""
    return rf"(^|\.){re.escape(name)}($|/)"
