"""Runs the instrumented test on a connected device or emulator, with a bundle, and tells what it measured."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

from android_demo.tools.common import BuildError, gradle_properties
from android_demo.tools.jvm_tests import counts
from mlp_export.errors import InputError, MissingError

RUNNER = "androidx.test.runner.AndroidJUnitRunner"
_STATUS = re.compile(r"^INSTRUMENTATION_STATUS: (\w+)=(.*)$", re.M)
FIGURES = ("prompt_tokens", "answer_tokens", "first_token_ms", "prefill_tok_s", "decode_tok_s")


def run_on_device(
    bundle: Path, tests: Path, question: str, tokens: int, expected: str | None, serial: str | None = None
) -> dict[str, str]:
    """Install the APK `tests` and run it on `bundle`, which `mlp-export push --install` brought with the app; returns
    what the test sent.

    Raises InputError, MissingError, and BuildError where a test fails or none ran.
    """
    if not (bundle / "manifest.json").is_file():
        raise InputError(f"{bundle} has no manifest.json, expected a bundle", "name the folder that mlp-export wrote")
    adb = ["adb", *(["-s", serial] if serial else [])]
    package = gradle_properties()["applicationId"]
    _call([*adb, "install", "-r", "-t", str(tests)])
    arguments = {"bundle": bundle.name, "question": question, "tokens": str(tokens)}
    if expected is not None:
        arguments["expected"] = expected
    given = " ".join(f"-e {name} {shlex.quote(value)}" for name, value in arguments.items())
    shown = _call([*adb, "shell", f"am instrument -w -r {given} {package}.test/{RUNNER}"])
    passed, failed = counts(shown)
    if failed or not passed:
        raise BuildError(f"the test on the device failed, or none ran:\n{shown[-4000:].strip()}", "see `adb logcat`")
    return {
        "tests": str(passed),
        **{key: value for key, value in _STATUS.findall(shown) if key in ("answer", *FIGURES)},
    }


def summary(bundle: Path, question: str, measured: dict[str, str]) -> str:
    """The result as Markdown, for a job's summary."""
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    model = manifest["model"]
    rows = [
        ("model", model["id"]),
        ("backend", manifest["backend"]["name"]),
        ("question", question),
        ("answer", measured.get("answer", "").replace("\\n", "<br>")),
        *((name, measured[name]) for name in FIGURES if name in measured),
        ("tests on the device", f"{measured['tests']} passed"),
    ]
    lines = [f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in rows]
    note = "An emulator on a shared machine: its rates say nothing about a phone's."
    return "\n".join(["### On an Android emulator", "", "| | |", "|---|---|", *lines, "", note, ""])


def _call(command: list[str]) -> str:
    try:
        result = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
        )
    except FileNotFoundError:
        raise MissingError("adb is not installed", "install Android's platform-tools (Debian: adb)") from None
    if result.returncode:
        raise BuildError(f"{shlex.join(command)} failed:\n{result.stdout[-4000:].strip()}", "see `adb devices -l`")
    return result.stdout
