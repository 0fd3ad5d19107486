"""The APK that `make apk` builds from this tree: what Android reads of it, and what its code calls in the runtime."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from phone_runtime import forms

from android_demo.tools import apk as packaging
from android_demo.tools import fetch
from android_demo.tools.android_library import patch
from android_demo.tools.classfile import Member, read_classes
from android_demo.tools.common import DEMO, ROOT, BuildError
from android_demo.tools.compile import ANDROID_NAMESPACE, Project
from mlp_export.errors import InputError
from mlp_export.evaluation.inspect_artifact import _read_program

LLM = "org/pytorch/executorch/extension/llm/LlmModule"
PAGE = 16384
MACHINES = {"arm64-v8a": 183, "x86_64": 62}
LIBRARIES = {"libc++_shared.so", "libexecutorch.so", "libfbjni.so"}


@pytest.fixture(scope="module")
def runtime(needs: Callable[..., Path]) -> packaging.Runtime:
    return packaging.npm_runtime(needs(*fetch.APK, "dexdump"))


@pytest.fixture(scope="module")
def project(needs: Callable[..., Path], runtime: packaging.Runtime) -> Project:
    return Project(needs(), ROOT / "build/android", runtime.jars)


@pytest.fixture(scope="module")
def apk(project: Project, runtime: packaging.Runtime, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("apk") / "app.apk"
    return packaging.build_apk(project, runtime, packaging.machine_key(project.cache), target)


def test_badging(apk: Path) -> None:
    shown = packaging.badging(apk)
    assert re.search(r"^package: name='org\.mlpexport\.demo' versionCode='1' versionName='\d+\.\d+\.\d+'", shown, re.M)
    assert "\nsdkVersion:'28'\ntargetSdkVersion:'35'\n" in shown
    assert re.findall(r"^launchable-activity: name='([\w.]+)'", shown, re.M) == ["org.mlpexport.demo.BundlesActivity"]
    assert "\nnative-code: 'arm64-v8a' 'x86_64'\n" in shown
    assert re.search(r"^locales: .*'de'", shown, re.M)


def test_it_asks_for_a_service_and_notifications_and_not_for_the_network(apk: Path) -> None:
    found = re.findall(
        r"^uses-permission(?:-sdk-\d+)?: name='android\.permission\.(\w+)'", packaging.badging(apk), re.M
    )
    assert {"FOREGROUND_SERVICE", "POST_NOTIFICATIONS", "WAKE_LOCK"} <= set(found)
    assert not {"INTERNET", "ACCESS_NETWORK_STATE", "READ_EXTERNAL_STORAGE", "MANAGE_EXTERNAL_STORAGE"} & set(found)


def test_the_signature_holds_until_a_byte_changes(apk: Path, tmp_path: Path) -> None:
    def verified(path: Path) -> str:
        command: list[str | Path] = ["apksigner", "verify", "--verbose", path]
        return subprocess.run(command, capture_output=True, text=True).stdout

    shown = verified(apk)
    assert "Verified using v3 scheme (APK Signature Scheme v3): true" in shown
    damaged = tmp_path / "damaged.apk"
    data = bytearray(apk.read_bytes())
    with zipfile.ZipFile(apk) as archive:
        data[archive.getinfo("classes.dex").header_offset + 100] ^= 1
    damaged.write_bytes(data)
    assert "Verified using" not in verified(damaged)


def test_stored_libraries_start_at_pages(apk: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(apk) as archive:
        libraries = [info for info in archive.infolist() if info.filename.endswith(".so")]
        assert {info.compress_type for info in libraries} == {zipfile.ZIP_STORED}
        assert packaging.misaligned(apk) == []
        careless = tmp_path / "careless.apk"
        with zipfile.ZipFile(careless, "w") as copy:
            copy.writestr(zipfile.ZipInfo(libraries[0].filename), archive.read(libraries[0]))
    assert packaging.misaligned(careless) == [libraries[0].filename]
    assert _extracts(apk) is False


def test_compressed_libraries_are_extracted(project: Project, runtime: packaging.Runtime, tmp_path: Path) -> None:
    """The DSP opens Qualcomm's by path, so those have to be files."""
    files = {
        "libQnnHtp.so": b"v2.49.40.260810104044",
        "libQnnSystem.so": b"v2.49.40.260810104044",
        "libQnnHtpV75Skel.so": b"",
        "libQnnHtpV75Stub.so": b"",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    qnn = packaging.add_qnn_libraries(runtime, tmp_path, tmp_path)
    target = tmp_path / "qnn.apk"
    packaging.build_apk(project, qnn, packaging.machine_key(project.cache), target, ["arm64-v8a"])
    with zipfile.ZipFile(target) as archive:
        found = {i.filename: i.compress_type for i in archive.infolist() if i.filename.endswith(".so")}
    assert set(found) == {f"lib/arm64-v8a/{name}" for name in LIBRARIES | set(files)}
    assert set(found.values()) == {zipfile.ZIP_DEFLATED}
    assert _extracts(target) is True


def test_qualcomms_libraries_of_two_releases_are_refused(runtime: packaging.Runtime, tmp_path: Path) -> None:
    (tmp_path / "libQnnHtp.so").write_bytes(b"\0v2.49.40.260810104044\0")
    (tmp_path / "libQnnSystem.so").write_bytes(b"\0v2.37.0.250724175447\0")
    (tmp_path / "libQnnHtpV75Stub.so").touch()
    (tmp_path / "libQnnHtpV79Skel.so").touch()
    with pytest.raises(InputError, match=r"has no pair of libQnnHtpV75Stub\.so and libQnnHtpV75Skel\.so"):
        packaging.add_qnn_libraries(runtime, tmp_path, tmp_path / "out")
    (tmp_path / "libQnnHtpV75Skel.so").touch()
    with pytest.raises(
        InputError, match=r"mixes releases of QAIRT: libQnnHtp\.so 2\.49\.40, libQnnSystem\.so 2\.37\.0"
    ):
        packaging.add_qnn_libraries(runtime, tmp_path, tmp_path)
    (tmp_path / "libQnnSystem.so").unlink()
    with pytest.raises(InputError, match=r"has no libQnnSystem\.so"):
        packaging.add_qnn_libraries(runtime, tmp_path, tmp_path)


def test_each_abi_has_libraries_of_its_machine_for_16_kib_pages(apk: Path) -> None:
    with zipfile.ZipFile(apk) as archive:
        for abi, machine in MACHINES.items():
            names = [name for name in archive.namelist() if name.startswith(f"lib/{abi}/")]
            assert {name.rpartition("/")[2] for name in names} == LIBRARIES
            for name in names:
                data = archive.read(name)
                assert struct.unpack_from("<H", data, 18) == (machine,), name
                assert min(load_alignments(data)) >= PAGE, name
    assert load_alignments(data)[0] % PAGE == 0
    (headers,) = struct.unpack_from("<Q", data, 0x20)
    small = bytearray(data)
    first_load = next(at for at in range(headers, headers + 56 * 20, 56) if struct.unpack_from("<I", data, at) == (1,))
    struct.pack_into("<Q", small, first_load + 48, 4096)
    assert min(load_alignments(bytes(small))) == 4096


def load_alignments(library: bytes) -> list[int]:
    """Alignments of the segments that are loaded."""
    (headers,) = struct.unpack_from("<Q", library, 0x20)
    size, count = struct.unpack_from("<HH", library, 0x36)
    entries = [struct.unpack_from("<IIQQQQQQ", library, headers + n * size) for n in range(count)]
    return [entry[7] for entry in entries if entry[0] == 1]


def test_a_build_in_another_folder_is_the_same_but_for_the_signature(
    apk: Path, project: Project, runtime: packaging.Runtime, tmp_path: Path
) -> None:
    demo = tmp_path / "elsewhere"
    shutil.copytree(DEMO, demo, ignore=shutil.ignore_patterns("tools", "build"))
    key = packaging.machine_key(tmp_path / "key")

    def rebuild() -> bytes:
        other = Project(project.cache, tmp_path / "out", runtime.jars, demo)
        return unsigned(packaging.build_apk(other, runtime, key, tmp_path / "again.apk"))

    assert rebuild() == unsigned(apk)
    assert (tmp_path / "again.apk").read_bytes() != apk.read_bytes()  # another key
    strings = demo / "app/src/main/res/values/strings.xml"
    strings.write_text(strings.read_text(encoding="utf-8").replace("</string>", ".</string>", 1), encoding="utf-8")
    assert rebuild() != unsigned(apk)


def unsigned(apk: Path) -> bytes:
    """The APK's bytes without its signing block, which stands before the central directory."""
    data = apk.read_bytes()
    end = data.rindex(b"PK\5\6")
    (directory,) = struct.unpack_from("<I", data, end + 16)
    assert data[directory - 16 : directory] == b"APK Sig Block 42"
    (size,) = struct.unpack_from("<Q", data, directory - 24)
    return data[: directory - size - 8] + data[directory : end + 16] + data[end + 20 :]


def test_what_the_app_calls_is_in_the_runtime(project: Project, runtime: packaging.Runtime, tmp_path: Path) -> None:
    called = {member for c in read_classes(project.app) for member in c.called if member.owner == LLM}
    assert Member(LLM, "prefillPrompt", "(Ljava/lang/String;)V") in called
    assert packaging.missing_members(read_classes(project.app), runtime.jars) == []
    lacking = tmp_path / "lacking.jar"
    with zipfile.ZipFile(runtime.jars[0]) as jar, zipfile.ZipFile(lacking, "w") as copy:
        for name in jar.namelist():
            if name.endswith(".class"):
                copy.writestr(name, jar.read(name).replace(b"prefillPrompt", b"prefillPrompx"))
    missing = packaging.missing_members(read_classes(project.app), [lacking])
    assert missing == [Member(LLM, "prefillPrompt", "(Ljava/lang/String;)V")]
    old = packaging.Runtime([lacking], runtime.libraries, qnn=False, versions={})
    with pytest.raises(BuildError, match=r"LlmModule\.prefillPrompt\(Ljava/lang/String;\)V"):
        packaging.build_apk(project, old, packaging.machine_key(project.cache), tmp_path / "old.apk")


def test_the_class_reader_sees_what_javap_does(runtime: packaging.Runtime) -> None:
    shown = subprocess.run(
        ["javap", "-s", "-p", "-cp", runtime.jars[0], LLM.replace("/", ".")], check=True, capture_output=True, text=True
    ).stdout
    expected = sorted(re.findall(r"descriptor: (\S+)", shown))
    (found,) = (c for c in read_classes(runtime.jars[0]) if c.name == LLM)
    assert sorted(member.descriptor for member in found.declared) == expected
    assert len(expected) > 20
    calls = subprocess.run(
        ["javap", "-c", "-p", "-cp", runtime.jars[0], LLM.replace("/", ".")], check=True, capture_output=True, text=True
    ).stdout
    inside = {name.strip('"') for name in re.findall(r"// (?:Interface)?Method (?:[\w/$]+\.)?(\S+?):\(", calls)}
    assert inside <= {member.name for member in found.called}


def test_the_dex_has_what_is_found_by_name_alone(apk: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(apk) as archive:
        dex = [archive.extract(name, tmp_path) for name in archive.namelist() if name.endswith(".dex")]
    shown = subprocess.run(["dexdump", *dex], check=True, capture_output=True, text=True).stdout
    classes = dict(re.findall(r"Class descriptor  : 'L(\S+);'\n(.*?)(?=\nClass #|\Z)", shown, re.S))
    names = set(classes)
    tree = ET.parse(DEMO / "app/src/main/AndroidManifest.xml").getroot()
    components = [
        e.get(f"{{{ANDROID_NAMESPACE}}}name", "")
        for e in tree.iter()
        if e.tag in ("activity", "service", "application")
    ]
    assert len(components) > 5
    assert {name.replace(".", "/") for name in components} <= names
    assert "name          : 'mHybridData'" in classes[LLM]  # fbjni looks this field up
    for method in ("generate", "prefillPrompt", "stop", "resetContext", "load"):
        assert f"name          : '{method}'" in classes[LLM]
    assert "com/facebook/jni/HybridData" in names and "com/facebook/jni/NativeRunnable" in names
    assert "org/mlpexport/core/ChatSession" in names  # and not under a shortened name
    assert not any(name.startswith(("org/junit/", "android/app/", "org/robolectric/")) for name in names)


def test_licenses_of_what_is_inside_are_inside(apk: Path) -> None:
    with zipfile.ZipFile(apk) as archive:
        text = archive.read("assets/licenses.txt").decode()
    for name in (
        "ExecuTorch",
        "XNNPACK",
        "fbjni",
        "Gson",
        "Kotlin",
        "SoLoader",
        "LLVM",
        "Apache License",
        "Redistribution",
    ):
        assert name in text, name


FORMS = [form for form in forms.FORMS if form.runtime == "1.3"]


@pytest.mark.parametrize("abi", MACHINES)
def test_the_runtime_has_the_operators_and_delegates_of_exports(runtime: packaging.Runtime, abi: str) -> None:
    """By name: that they compute the same is what the runs on both halves show."""
    (library,) = (file for file in runtime.libraries[abi] if file.name == "libexecutorch.so")
    data = library.read_bytes()
    for path in [*map(forms.exported, FORMS), ROOT / "build/app-bundles/real/model.pte"]:
        needed = needs_of(path)
        assert "XnnpackBackend" in needed and any(name.startswith("llama::update_cache") for name in needed)
        assert [name for name in needed if name.encode() + b"\0" not in data] == [], path
    assert b"llama::no_such_operator.out\0" not in data


def needs_of(path: Path) -> list[str]:
    """Operators with their overloads, and delegates, of a `.pte`."""
    program, _ = _read_program(path)
    plans = program.execution_plan
    operators = {f"{o.name}.{o.overload}" if o.overload else o.name for plan in plans for o in plan.operators}
    return sorted(operators | {delegate.id for plan in plans for delegate in plan.delegates})


def test_only_android_libraries_are_patched(tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    text.write_text("not ELF")
    with pytest.raises(ValueError, match="is no 64-bit ELF file"):
        patch(text, tmp_path / "out.so")
    own = Path(os.path.realpath(shutil.which("java") or "")).parents[1] / "lib/libjava.so"
    with pytest.raises(ValueError, match=r"does not need libc\.so: no Android library"):
        patch(own, tmp_path / "out.so")


def test_an_aar_without_the_classes_is_refused(tmp_path: Path) -> None:
    aar = tmp_path / "other.aar"
    with zipfile.ZipFile(aar, "w") as archive:
        archive.writestr("AndroidManifest.xml", "")
    with pytest.raises(InputError, match=r"has no class org\.pytorch\.executorch\.extension\.llm\.LlmModule"):
        packaging.aar_runtime(aar, tmp_path / "aar")
    aar.write_text("no zip")
    with pytest.raises(InputError, match="cannot be read"):
        packaging.aar_runtime(aar, tmp_path / "aar")


def test_an_aar_is_taken_as_the_npm_package_is(runtime: packaging.Runtime, tmp_path: Path) -> None:
    aar = tmp_path / "executorch.aar"
    with zipfile.ZipFile(aar, "w") as archive:
        archive.write(runtime.jars[0], "classes.jar")
        archive.write(runtime.libraries["arm64-v8a"][0], "jni/arm64-v8a/libexecutorch.so")
    found = packaging.aar_runtime(aar, tmp_path / "aar")
    assert list(found.libraries) == ["arm64-v8a"] and not found.qnn and found.flavor == "cpu"
    assert found.jars[0].read_bytes() == runtime.jars[0].read_bytes()


def _extracts(apk: Path) -> bool:
    """The value of `extractNativeLibs` in the manifest."""
    command: list[str | Path] = ["aapt2", "dump", "xmltree", apk, "--file", "AndroidManifest.xml"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (value,) = re.findall(r"extractNativeLibs\(0x[0-9a-f]+\)=(\S+)", shown)
    return {"true": True, "false": False}[value]
