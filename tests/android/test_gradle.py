"""Gradle's own files: Gradle and its plugins are not to be had everywhere, but Kotlin's parser is."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from android_demo.tools import fetch
from android_demo.tools.apk import npm_runtime
from android_demo.tools.common import DEMO, ROOT, java_tool, joined
from android_demo.tools.compile import Project

SCRIPTS = sorted(DEMO.rglob("*.gradle.kts"))


@pytest.fixture(scope="module")
def syntax_errors(needs: Callable[..., Path]) -> Callable[[Path], list[str]]:
    compiler = fetch.jars(needs("javac", "mvn", "kotlin"), "kotlin")

    def parse(script: Path) -> list[str]:
        command = [java_tool("java"), "-cp", joined(compiler), "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"]
        options = ["-no-stdlib", "-no-reflect", "-Xallow-any-scripts-in-source-roots", "-d", "/dev/null", str(script)]
        shown = subprocess.run([*command, *options], capture_output=True, text=True).stderr
        assert "error:" in shown  # without Gradle's classes nothing resolves: the parser was there
        return [line for line in shown.splitlines() if "syntax error" in line.lower() or "expecting" in line.lower()]

    return parse


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(DEMO)))
def test_a_script_parses(syntax_errors: Callable[[Path], list[str]], script: Path, tmp_path: Path) -> None:
    assert syntax_errors(script) == []


def test_a_script_with_a_brace_too_few_does_not(syntax_errors: Callable[[Path], list[str]], tmp_path: Path) -> None:
    text = (DEMO / "app/build.gradle.kts").read_text()
    broken = tmp_path / "broken.gradle.kts"
    broken.write_text(text[: text.rindex("}")])
    assert syntax_errors(broken)


def test_the_instrumented_test_compiles(needs: Callable[..., Path]) -> None:
    """Against the part of androidx.test that Robolectric brings, too."""
    cache = needs(*fetch.TESTS)
    project = Project(cache, ROOT / "build/android", npm_runtime(cache).jars)
    assert (project.app_tests("androidTest") / "org/mlpexport/demo/GenerationTest.class").is_file()
