"""`push --device ios` and `doctor --device` with iPhones and Simulators behind a fake xcrun."""

from __future__ import annotations

import errno
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_adb import FakePhone
from fake_backend import PROGRAM, write_bundle
from fake_xcrun import APP, IPHONE, FakeXcode, iphone
from typer.testing import CliRunner

from mlp_export.bundle.bundle import Bundle
from mlp_export.bundle.manifest import BackendInfo, BundleError, BundleProblem
from mlp_export.cli.app import app
from mlp_export.devices.apple_device import AppleFacts, find_apple_device, is_apple
from mlp_export.devices.apple_doctor import connected_doctor
from mlp_export.devices.apple_push import apple_push, check_apple_fit
from mlp_export.devices.device_command import NoAnswerError
from mlp_export.devices.push import PushReport
from mlp_export.errors import MissingError, MlpExportError, ResourceError, UsageError
from mlp_export.progress import Progress

QUIET = Progress()
CORE_ML = BackendInfo("coreml", "cpu_and_ne", {"coremltools": "9.0"}, {"executorch": "1.3", "ios": "18"})


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "my bundle")


@pytest.fixture
def xcode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeXcode:
    return FakeXcode(tmp_path / "mac", monkeypatch)


def send(bundle: Bundle, device: str = "ios", **options: Any) -> PushReport:
    return apple_push(bundle, QUIET, device, **options)


def of_backend(bundle: Bundle, backend: BackendInfo) -> Bundle:
    return replace(bundle, manifest=replace(bundle.manifest, backend=backend))


def with_backend(path: Path, backend: BackendInfo) -> Bundle:
    """A bundle whose manifest on disk says so as well."""
    bundle = write_bundle(path)
    values = bundle.manifest.to_json()
    values["backend"] = {
        "name": backend.name,
        "target": backend.target,
        "compiled_with": backend.compiled_with,
        "min_runtime": backend.min_runtime,
    }
    (path / "manifest.json").write_text(json.dumps(values))
    return Bundle.open(path)


# What is copied


def test_the_bundle_arrives_whole_and_its_manifest_last(bundle: Bundle, xcode: FakeXcode) -> None:
    xcode.install()
    (bundle.path / "notes.txt").write_text("mine")
    report = send(bundle)
    size = sum(path.stat().st_size for path in bundle.path.iterdir() if path.name != "notes.txt")
    assert report.to_json() == {
        "serial": IPHONE,
        "path": "Documents/my bundle",
        "bytes": size,
        "copied_bytes": size,
        "warnings": ["the bundle was not verified when it was exported (none)"],
        "installed": False,
        "opened": False,
    }
    assert Bundle.open(xcode.documents() / "my bundle").manifest == bundle.manifest
    assert xcode.copied() == [*bundle.manifest.files, "manifest.json"]
    assert xcode.started() is None


def test_folders_are_never_copied_nor_containers_cleared(bundle: Bundle, xcode: FakeXcode) -> None:
    xcode.install()
    send(bundle)
    for call in xcode.calls():
        assert "--remove-existing-content" not in call  # it clears more than the folder
        if "--source" in call:
            assert Path(call[call.index("--source") + 1]).is_file()


def test_a_newer_bundle_replaces_an_older_one(bundle: Bundle, xcode: FakeXcode) -> None:
    xcode.install()
    send(bundle)
    newer = write_bundle(bundle.path, PROGRAM + b"another", overwrite=True)
    send(newer)
    assert Bundle.open(xcode.documents() / "my bundle").pte.read_bytes() == PROGRAM + b"another"


def test_install_and_open(bundle: Bundle, xcode: FakeXcode) -> None:
    report = send(bundle, install=xcode.app("2.0"), start=True)
    assert (report.installed, report.opened) == (True, True)
    assert xcode.started() == ["--bundle", "my bundle"]
    launch = next(call for call in xcode.calls() if "launch" in call)
    assert "--terminate-existing" in launch and launch[-4:] == [APP, "--", "--bundle", "my bundle"]


def test_a_simulator(bundle: Bundle, xcode: FakeXcode) -> None:
    xcode.boot()
    xcode.install("SIM-1")
    (xcode.documents("SIM-1") / "my bundle").mkdir()
    (xcode.documents("SIM-1") / "my bundle" / "stale").touch()
    report = send(bundle, "simulator", start=True)
    assert (report.serial, report.path) == ("SIM-1", "Documents/my bundle")
    copied = Bundle.open(xcode.documents("SIM-1") / "my bundle")
    assert copied.manifest == bundle.manifest and not (copied.path / "stale").exists()
    assert [path.name for path in xcode.documents("SIM-1").iterdir()] == ["my bundle"]
    assert xcode.started("SIM-1") == ["--bundle", "my bundle"]
    assert all(call[0] == "simctl" for call in xcode.calls())


def test_a_simulator_whose_copy_is_damaged(bundle: Bundle, xcode: FakeXcode, monkeypatch: pytest.MonkeyPatch) -> None:
    xcode.boot()
    xcode.install("SIM-1")
    send(bundle, "simulator")
    newer = write_bundle(bundle.path, PROGRAM + b"another", overwrite=True)

    def damaged(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes() + b"x")

    monkeypatch.setattr("shutil.copyfile", damaged)
    with pytest.raises(MissingError, match="arrived damaged"):
        send(newer, "simulator")
    assert Bundle.open(xcode.documents("SIM-1") / "my bundle").pte.read_bytes() == PROGRAM


@pytest.mark.parametrize(
    ("number", "kind", "hint"), [(errno.ENOSPC, ResourceError, "disk"), (errno.EACCES, MissingError, "permissions")]
)
def test_a_simulator_whose_folder_cannot_be_written(
    bundle: Bundle,
    xcode: FakeXcode,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[MlpExportError],
    hint: str,
) -> None:
    def failing(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    xcode.boot()
    xcode.install("SIM-1")
    monkeypatch.setattr("shutil.copyfile", failing)
    with pytest.raises(kind, match=os.strerror(number)) as caught:
        send(bundle, "simulator")
    assert hint in caught.value.hint and not (xcode.documents("SIM-1") / "my bundle").exists()


# Checks before anything is copied


def test_a_mac_without_the_app(bundle: Bundle, xcode: FakeXcode) -> None:
    with pytest.raises(MissingError, match=r"org\.mlpexport\.demo is not installed on Anna's iPhone") as caught:
        send(bundle)
    assert "--install APP" in caught.value.hint and xcode.copied() == []


@pytest.mark.parametrize(
    ("backend", "ios", "said"),
    [
        (CORE_ML, "17.7", r"has iOS 17.7, the app needs iOS 18"),
        (replace(CORE_ML, min_runtime={"ios": "26"}), "18.5", "the bundle needs iOS 26, the phone has iOS 18.5"),
        (BackendInfo("qnn", "sm8650", {}, {"qairt": "2.49"}), "18.5", "the bundle is for Android"),
    ],
)
def test_devices_that_cannot_run_it(bundle: Bundle, backend: BackendInfo, ios: str, said: str) -> None:
    manifest = of_backend(bundle, backend).manifest
    facts = AppleFacts(IPHONE, "Anna's iPhone", "iPhone 16 Pro", ios, False)
    with pytest.raises(MissingError, match=said) as caught:
        check_apple_fit(manifest, facts)
    assert caught.value.hint and "Anna's iPhone (iPhone 16 Pro)" in caught.value.message
    check_apple_fit(bundle.manifest, replace(facts, ios="18.0"))


def test_nothing_is_copied_to_a_device_that_cannot_run_it(bundle: Bundle, xcode: FakeXcode) -> None:
    xcode.install()
    xcode.set(phones=[iphone(ios="17.7")])
    with pytest.raises(MissingError, match="the app needs iOS 18"):
        send(bundle, install=xcode.app())
    assert xcode.copied() == [] and not any("install" in call for call in xcode.calls())


def test_a_version_that_xcode_does_not_say_is_not_held_against_it(bundle: Bundle) -> None:
    facts = AppleFacts(IPHONE, "", "", None, False)
    kinds = [warning.kind for warning in check_apple_fit(of_backend(bundle, CORE_ML).manifest, facts).warnings]
    assert kinds == ["NOT_VERIFIED"]


def test_the_neural_engine_is_not_in_the_simulator(tmp_path: Path, bundle: Bundle) -> None:
    facts = AppleFacts("SIM-1", "iPhone 16", "Simulator", "18.5", True)
    warnings = check_apple_fit(of_backend(bundle, CORE_ML).manifest, facts).warnings
    assert [warning.kind for warning in warnings] == ["SIMULATOR", "NOT_VERIFIED"]


def test_an_app_that_is_not_there(bundle: Bundle, xcode: FakeXcode, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there, expected an app"):
        send(bundle, install=tmp_path / "none.app")
    assert xcode.calls() == []


# Which device


SECOND = iphone("00008140-0022BB", "Ben's iPad", deviceType="iPad", marketingName="iPad Pro")


@pytest.mark.parametrize(
    ("phones", "device", "udid"),
    [
        ([iphone()], "ios", IPHONE),
        ([iphone(), SECOND], "ios:Ben's iPad", "00008140-0022BB"),
        ([iphone(), SECOND], "ios:ben's ipad", "00008140-0022BB"),
        ([iphone(), SECOND], f"ios:{IPHONE}", IPHONE),
        ([iphone(), SECOND], f"ios:CORE-{IPHONE}", IPHONE),
        ([iphone(), iphone("W", platform="watchOS"), iphone("S", reality="virtual")], "ios", IPHONE),
        ([iphone("00008140-0033CC", tunnelState="unavailable"), iphone()], "ios", IPHONE),
        ([iphone(tunnelState="connected")], "ios", IPHONE),
    ],
)
def test_which_device(xcode: FakeXcode, phones: list[Any], device: str, udid: str) -> None:
    xcode.set(phones=phones)
    assert find_apple_device(device).id == udid


@pytest.mark.parametrize(
    ("phones", "device", "kind", "said", "hint"),
    [
        ([], "ios", MissingError, "Xcode sees no iPhone", "connect one"),
        ([iphone()], "ios:Carl", MissingError, "no iPhone Carl", f"Anna's iPhone ({IPHONE})"),
        ([], "ios:Carl", MissingError, "no iPhone Carl", "none"),
        ([iphone(), SECOND], "ios", UsageError, "2 devices: Anna's iPhone", "--device ios:ID"),
        ([iphone(tunnelState="unavailable")], "ios", MissingError, "is not connected", "cable"),
        ([iphone(pairingState="unpaired")], "ios", MissingError, "does not trust this machine", "Trust"),
        ([iphone(developerModeStatus="disabled")], "ios", MissingError, "developer mode off", "Developer Mode"),
        ([iphone(tunnelState="unavailable"), SECOND], f"ios:{IPHONE}", MissingError, "is not connected", "cable"),
        ([iphone()], "simulator", MissingError, "no booted Simulator", "simctl boot"),
    ],
)
def test_devices_that_cannot_be_used(
    xcode: FakeXcode, phones: list[Any], device: str, kind: type[MlpExportError], said: str, hint: str
) -> None:
    xcode.set(phones=phones)
    with pytest.raises(kind, match=said) as caught:
        find_apple_device(device)
    assert hint in caught.value.hint


def test_which_simulator(xcode: FakeXcode) -> None:
    xcode.boot("SIM-1", "iPhone 16", "iOS-18-5")
    xcode.boot("SIM-W", "Watch", "watchOS-11-0")
    assert find_apple_device("simulator").facts == AppleFacts("SIM-1", "iPhone 16", "Simulator", "18.5", True)
    xcode.boot("SIM-2", "iPad", "iOS-26-0-1")
    with pytest.raises(UsageError, match="2 devices: iPhone 16"):
        find_apple_device("simulator")
    assert find_apple_device("simulator:ipad").facts.ios == "26.0.1"


def test_names_of_android_phones_are_none_of_apples() -> None:
    assert is_apple("ios") and is_apple("ios:x") and is_apple("simulator") and is_apple("simulator:a:b")
    assert not is_apple("R58") and not is_apple("iosphone") and not is_apple("")


def test_off_macos(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for device in ("ios", "simulator"):
        with pytest.raises(MissingError, match="from a Mac with Xcode") as caught:
            send(bundle, device)
        assert caught.value.exit_code == 4 and "Finder" in caught.value.hint


# What goes wrong on the way


@pytest.mark.parametrize(
    ("text", "kind", "hint"),
    [
        ("ERROR: Unable to launch because the device was not, or could not be, unlocked.", MissingError, "unlock"),
        ("ERROR: Developer Mode is disabled.", MissingError, "Developer Mode"),
        ("ERROR: its profile has not been explicitly trusted by the user", MissingError, "VPN & Device Management"),
        ("ERROR: The requested container. (ContainerLookupErrorDomain error 7.)", MissingError, "development build"),
        ("ERROR: No provisioning profile matches", MissingError, "sign the app"),
        ("ERROR: The developer disk image could not be mounted", MissingError, "open Xcode"),
        ("ERROR: A connection to this device could not be established.", MissingError, "connect the device again"),
        ("ERROR: failed (CoreDeviceError error 4000.)", MissingError, "connect the device again"),
        ("ERROR: failed (CoreDeviceError error 10002.)", MissingError, "connected and unlocked"),
        ("ERROR: write failed\nERROR: No space left on device", ResourceError, "free some space"),
        ("something else", MissingError, "connected and unlocked"),
        ("", MissingError, "connected and unlocked"),
    ],
)
def test_what_devicectl_says(
    bundle: Bundle, xcode: FakeXcode, text: str, kind: type[MlpExportError], hint: str
) -> None:
    xcode.install()
    xcode.set(fails={"copy to": text})
    with pytest.raises(kind) as caught:
        send(bundle)
    assert hint in caught.value.hint
    for line in text.splitlines():
        assert line.removeprefix("ERROR: ") in caught.value.message


def test_warnings_are_told_before_anything_is_copied(
    bundle: Bundle, xcode: FakeXcode, capsys: pytest.CaptureFixture[str]
) -> None:
    xcode.install()
    xcode.set(fails={"copy to": "ERROR: The device disconnected"})
    with pytest.raises(MissingError, match="disconnected"):
        apple_push(bundle, Progress.on_stderr(), "ios")
    assert "warning: the bundle was not verified" in capsys.readouterr().err


def test_a_push_that_breaks_off_leaves_no_manifest(bundle: Bundle, xcode: FakeXcode) -> None:
    xcode.install()
    xcode.set(fails={"/tokenizer.json": "ERROR: The device disconnected"})
    with pytest.raises(MissingError, match="devicectl failed: The device disconnected"):
        send(bundle)
    assert not (xcode.documents() / "my bundle" / "manifest.json").exists()
    xcode.set(fails={})
    send(bundle)
    Bundle.open(xcode.documents() / "my bundle")


def test_a_push_that_breaks_off_over_an_older_bundle_is_not_taken_for_whole(bundle: Bundle, xcode: FakeXcode) -> None:
    xcode.install()
    send(bundle)
    newer = write_bundle(bundle.path, PROGRAM + b"another", overwrite=True)
    xcode.set(fails={"/manifest.json": "ERROR: The device disconnected"})
    with pytest.raises(MissingError, match="disconnected"):
        send(newer)
    with pytest.raises(BundleError) as caught:
        Bundle.open(xcode.documents() / "my bundle")
    assert caught.value.problem == BundleProblem.WRONG_SIZE
    xcode.set(fails={})
    send(newer)
    Bundle.open(xcode.documents() / "my bundle")


@pytest.mark.parametrize("name", ["model.pte", "manifest.json"])
def test_a_file_that_arrives_damaged(bundle: Bundle, xcode: FakeXcode, name: str) -> None:
    xcode.install()
    xcode.set(damage=name)
    with pytest.raises(MissingError, match=rf"{name} arrived damaged on Anna's iPhone.*expected"):
        send(bundle, start=True)
    assert xcode.started() is None


def test_a_device_that_does_not_list_files_is_a_warning(bundle: Bundle, xcode: FakeXcode) -> None:
    xcode.install()
    xcode.set(fails={"info files": "Error: Unknown option '--recurse'"})
    assert send(bundle).warnings[-1] == (
        "sizes on the device were not compared: devicectl failed: Error: Unknown option '--recurse'"
    )
    xcode.set(fails={"info files": "ERROR: The device disconnected"})
    with pytest.raises(MissingError, match="disconnected"):
        send(bundle)


def test_a_devicectl_without_json(bundle: Bundle, xcode: FakeXcode) -> None:
    xcode.set(json=False)
    with pytest.raises(MissingError, match="devicectl list devices gave no result") as caught:
        send(bundle)
    assert "Xcode 16" in caught.value.hint


def test_a_devicectl_that_does_not_answer(bundle: Bundle, xcode: FakeXcode, monkeypatch: pytest.MonkeyPatch) -> None:
    xcode.install()
    xcode.set(hang="copy to")
    monkeypatch.setattr("mlp_export.devices.apple_device._copy_seconds", lambda size: 2.0)
    start = time.monotonic()
    with pytest.raises(NoAnswerError, match=r"no answer from devicectl within 2 s \(devicectl device copy to"):
        send(bundle)
    assert time.monotonic() - start < 15


# doctor --device


def test_doctor_lists_iphones_and_simulators(tmp_path: Path, xcode: FakeXcode) -> None:
    xcode.install()
    send(with_backend(tmp_path / "ne", CORE_ML))
    (xcode.documents() / "broken").mkdir()
    (xcode.documents() / "broken" / "manifest.json").write_text("{")
    (xcode.documents() / "new.partial").mkdir()
    (xcode.documents() / "new.partial" / "manifest.json").write_text("{}")
    xcode.boot()
    away = iphone("00008140-0033CC", "Carl", tunnelState="unavailable")
    xcode.set(phones=[iphone(), away, iphone("00008140-0044DD", "Old", "17.1")])
    report = connected_doctor()
    assert report.ok and report.android is None
    anna, carl, old, simulator = report.apple
    assert (anna.device.id, anna.app_version, anna.issue) == (IPHONE, "1.0", "")
    assert {name: found.said for name, found in anna.backends.items()} == {
        "coreml": "yes: --backend coreml",
        "xnnpack": "yes: --backend xnnpack",
    }
    assert [(bundle.path, bundle.runs) for bundle in anna.bundles] == [
        ("Documents/broken", False),
        ("Documents/ne", True),
    ]
    assert carl.issue.startswith("is not connected: ") and not carl.ok
    assert not old.ok and old.backends["coreml"].said == "no: the app needs iOS 18"
    assert simulator.backends["coreml"].said == "yes: --backend coreml --compute-unit cpu_only"
    assert simulator.app_version is None
    summary = report.summary()
    assert summary["Anna's iPhone"][0] == f"iPhone 16 Pro, iOS 18.5, {IPHONE}"
    assert "bundle ne: owner/model: runs" in summary["Anna's iPhone"]
    assert "app: not installed" in summary["iPhone 16"][1]
    values = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert values["ok"] and [entry["device"]["name"] for entry in values["apple"]] == [
        "Anna's iPhone",
        "Carl",
        "Old",
        "iPhone 16",
    ]


def test_doctor_of_both_systems(tmp_path: Path, xcode: FakeXcode, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "phone").mkdir()
    android = FakePhone(tmp_path / "phone", monkeypatch)
    report = connected_doctor()
    assert report.android is not None and report.android.phone.serial == "R58" and len(report.apple) == 1
    assert {"phone", "Anna's iPhone"} <= set(report.summary()) and report.to_json()["backends"]["xnnpack"]["runs"]
    assert connected_doctor("coreml").android is None
    assert connected_doctor("qnn").apple == []
    android.set(DEVICES="")
    assert connected_doctor().android is None
    xcode.set(fails={"list devices": "xcrun: error: unable to find utility devicectl"})
    with pytest.raises(MissingError, match="adb sees no device"):
        connected_doctor()
    with pytest.raises(MissingError, match="unable to find utility"):
        connected_doctor("coreml")


def test_doctor_on_a_mac_without_adb_does_not_speak_of_it(
    tmp_path: Path, xcode: FakeXcode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(xcode.root / "bin"))
    xcode.set(phones=[])
    with pytest.raises(MissingError, match="Xcode sees no iPhone and no booted Simulator"):
        connected_doctor()
    xcode.set(fails={"list devices": "xcrun: error: unable to find utility devicectl"})
    with pytest.raises(MissingError, match="unable to find utility"):
        connected_doctor()
    with pytest.raises(MissingError, match="adb is not installed"):
        connected_doctor("qnn")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="adb is not installed"):
        connected_doctor()


def test_doctor_of_devices_of_one_name(xcode: FakeXcode) -> None:
    xcode.set(phones=[iphone(name="")])
    xcode.boot("SIM-1", "iPhone 16", "iOS-18-5")
    xcode.boot("SIM-2", "iPhone 16", "iOS-26-0")
    summary = connected_doctor("coreml").summary()
    assert list(summary) == ["unnamed", "iPhone 16 (SIM-1)", "iPhone 16 (SIM-2)"]
    assert "iOS 26.0" in summary["iPhone 16 (SIM-2)"][0]


def test_doctor_of_bundles_on_an_old_system(tmp_path: Path, xcode: FakeXcode) -> None:
    xcode.install()
    send(with_backend(tmp_path / "ne", CORE_ML))
    xcode.set(phones=[iphone(ios="17.1")])
    (bundle,) = connected_doctor().apple[0].bundles
    assert not bundle.runs and bundle.said[0] == "the phone has iOS 17.1, the app needs iOS 18"


def test_doctor_of_a_device_that_fails(xcode: FakeXcode) -> None:
    xcode.install()
    xcode.set(fails={"info files": "ERROR: The device disconnected"})
    (report,) = connected_doctor().apple
    assert not report.ok and report.issue.startswith("devicectl failed: The device disconnected: connect")


# The command line


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="mlp-export")


def test_push_on_the_command_line(bundle: Bundle, xcode: FakeXcode, monkeypatch: pytest.MonkeyPatch) -> None:
    done = invoke("push", bundle.path, "--device", "ios", "--install", xcode.app(), "--open", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["path"] == "Documents/my bundle" and xcode.started() == ["--bundle", "my bundle"]
    for options in (["--device", "android"], ["--device", "ios", "--serial", "R58"]):
        done = invoke("push", bundle.path, *options, "--json")
        assert done.exit_code == 2 and "simulator:ID" in json.loads(done.stdout)["hint"]
    assert json.loads(invoke("doctor", "--device", "--backend", "coreml", "--json").stdout)["apple"][0]["issue"] == ""
    monkeypatch.setenv("PATH", str(bundle.path))
    assert invoke("push", bundle.path, "--device", "ios").exit_code == 4


def test_a_core_ml_bundle_without_device(tmp_path: Path) -> None:
    bundle = with_backend(tmp_path / "ne", CORE_ML)
    done = invoke("push", bundle.path, "--json")
    assert done.exit_code == 2 and "--device ios" in json.loads(done.stdout)["hint"]


OWN = "com.example.chat"


def test_an_app_that_is_installed_as_ones_own_is_found_by_its_info_plist(xcode: FakeXcode, bundle: Bundle) -> None:
    report = send(bundle, install=xcode.app(identifier=OWN), start=True)
    assert report.installed
    assert (xcode.documents() / "my bundle" / "manifest.json").is_file()
    assert xcode.started() == ["--bundle", "my bundle"]
    launch = next(call for call in xcode.calls() if call[1:4] == ["device", "process", "launch"])
    assert OWN in launch
    assert APP not in launch


@pytest.mark.parametrize("device", ["ios", "simulator"])
def test_an_app_of_another_identifier_is_named(xcode: FakeXcode, bundle: Bundle, device: str) -> None:
    xcode.boot()
    xcode.install("SIM-1" if device == "simulator" else IPHONE, OWN)
    with pytest.raises(MissingError, match=f"{APP} is not installed") as refused:
        send(bundle, device)
    assert "--app-id" in (refused.value.hint or "")
    send(bundle, device, app=OWN, start=True)
    assert xcode.started("SIM-1" if device == "simulator" else IPHONE) == ["--bundle", "my bundle"]


def test_doctor_looks_for_the_app_that_it_is_told(xcode: FakeXcode) -> None:
    xcode.install(identifier=OWN)
    assert [device.app_version for device in connected_doctor("coreml").apple] == [None]
    [found] = connected_doctor("coreml", OWN).apple
    assert found.app_version == "1.0"
    assert f"app: {OWN} 1.0" in found.summary()


def test_a_folder_without_an_identifier_is_no_app(xcode: FakeXcode, bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names no identifier"):
        send(bundle, install=tmp_path)


def test_an_identifier_is_for_ios_alone(bundle: Bundle) -> None:
    result = CliRunner().invoke(app, ["push", str(bundle.path), "--app-id", OWN])
    assert result.exit_code == 2
    assert "--device ios" in result.stderr
