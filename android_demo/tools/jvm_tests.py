"""Runs JUnit tests on the JVM, and counts them."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from android_demo.tools.classfile import ABSTRACT, INTERFACE, read_classes
from android_demo.tools.common import java_tool, joined

_TEST = "Lorg/junit/Test;"
_PASSED = re.compile(r"^OK \((\d+) tests?\)$", re.M)
_FAILED = re.compile(r"^Tests run: (\d+),  Failures: (\d+)$", re.M)


@dataclass(frozen=True)
class Outcome:
    """How a runner of tests ended. `exit_code` is not 0 where the process broke, too."""

    name: str
    passed: int
    failed: int
    exit_code: int
    seconds: float

    @property
    def succeeded(self) -> bool:
        """Whether tests ran, and none failed."""
        return self.passed > 0 and self.failed == 0 and self.exit_code == 0

    def __str__(self) -> str:
        return f"{self.name}: {self.passed} passed, {self.failed} failed"


def find_tests(folder: Path, only: Sequence[str] = ()) -> list[str]:
    """Names of the classes of `folder` that hold tests; `only`: those whose simple or whole name is among these."""
    classes = [c for c in read_classes(folder) if _TEST in c.texts and not c.flags & (ABSTRACT | INTERFACE)]
    names = [c.name.replace("/", ".") for c in classes]
    return [name for name in names if not only or name in only or name.rpartition(".")[2] in only]


def run_tests(
    name: str,
    classes: Sequence[str],
    class_path: Sequence[Path],
    properties: Mapping[str, object],
    arguments: Sequence[str] = (),
) -> Outcome:
    """Run the JUnit test `classes` in one JVM; what it prints is shown as it comes."""
    start = time.monotonic()
    if not classes:
        return Outcome(name, 0, 0, 0, 0.0)
    values = [f"-D{key}={value}" for key, value in properties.items()]
    command = [java_tool("java"), "-Xmx2g", "-XX:+UseSerialGC", *arguments, *values, "-cp", joined(class_path)]
    process = subprocess.Popen(
        [*command, "org.junit.runner.JUnitCore", *classes],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    printed = []
    assert process.stdout
    for line in process.stdout:
        printed.append(line)
        print(line, end="", flush=True)
    exit_code = process.wait()
    passed, failed = counts("".join(printed))
    if exit_code and not failed:
        failed = 1  # the process broke: a test that did not end did not pass
    outcome = Outcome(name, passed, failed, exit_code, time.monotonic() - start)
    print(f"{outcome.seconds:6.1f} s  {name}", file=sys.stderr, flush=True)
    return outcome


def counts(printed: str) -> tuple[int, int]:
    """Passed and failed tests in what JUnitCore printed; (0, 0) where it did not come to its last line."""
    if found := _PASSED.findall(printed):
        return int(found[-1]), 0
    if both := _FAILED.findall(printed):
        ran, failed = map(int, both[-1])
        return ran - failed, failed
    return 0, 0
