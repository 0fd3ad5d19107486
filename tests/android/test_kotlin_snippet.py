"""The Kotlin of docs/guides/your-own-app.md, compiled against the runtime's classes and run on its native library."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from test_snippets import snippets

from android_demo.tools import apk, fetch
from android_demo.tools.android_library import SHIM
from android_demo.tools.common import ROOT, joined
from android_demo.tools.compile import Project

BUNDLES = ROOT / "build/app-bundles"
# System.exit: a thread of fbjni's is no daemon.
MAIN = """
fun main(arguments: Array<String>) {
    val text = StringBuilder()
    answer(File(arguments[0]), arguments[1]) { text.append(it) }
    File(arguments[2]).writeText(text.toString())
    System.exit(0)
}
"""


def test_the_kotlin_snippet_answers(needs: Callable[..., Path], tmp_path: Path) -> None:
    cache = needs(*fetch.TESTS)
    runtime = apk.npm_runtime(cache)
    project = Project(cache, ROOT / "build/android", runtime.jars)
    (kotlin,) = snippets("kotlin")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/Answer.kt").write_text(kotlin + MAIN, encoding="utf-8")
    path = [*project.libraries, *project.runtime]
    classes = project.kotlin("snippet", [tmp_path / "source"], path, android=True)
    question, expected = next(iter(json.loads((BUNDLES / "answers.json").read_text()).items()))
    java = ["java", f"-agentpath:{project.native / SHIM}", f"-Djava.library.path={project.native}", "-cp"]
    java.append(joined([classes, *path, *fetch.jars(cache, "platform")]))
    done = subprocess.run(
        [*java, "AnswerKt", BUNDLES / "real", question, tmp_path / "answer.txt"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "answer.txt").read_text(encoding="utf-8") == expected
