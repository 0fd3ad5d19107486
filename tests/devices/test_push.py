"""`push` onto a phone behind a fake adb: what is checked before, what is copied, and what a broken push leaves."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_adb import ONE_DEVICE, S24, FakePhone
from fake_backend import PROGRAM, write_bundle

from mlp_export.bundle.bundle import Bundle
from mlp_export.bundle.manifest import BackendInfo
from mlp_export.devices.adb import DEVICE_FOLDER, Phone, PhoneFacts
from mlp_export.devices.device_command import NoAnswerError, transfer_seconds
from mlp_export.devices.push import PushReport, check_fit, push
from mlp_export.errors import InputError, MissingError, MlpExportError, ResourceError, UsageError
from mlp_export.progress import Progress

QUIET = Progress()
LONG = (PROGRAM + bytes(range(256)) * 40)[:10240]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "my bundle")


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePhone:
    (tmp_path / "phone").mkdir()
    return FakePhone(tmp_path / "phone", monkeypatch)


def send(bundle: Bundle, phone: FakePhone, **options: Any) -> PushReport:
    return push(bundle, QUIET, device_folder=str(phone.folder), **options)


def bundle_bytes(bundle: Bundle) -> int:
    return sum(path.stat().st_size for path in bundle.path.iterdir())


# What is copied


def test_it_copies_the_whole_bundle(bundle: Bundle, phone: FakePhone) -> None:
    report = send(bundle, phone)
    assert (report.serial, report.path) == ("R58", f"{phone.folder}/my bundle")
    copied = Bundle.open(Path(report.path))  # hashes and all
    assert copied.manifest == bundle.manifest
    assert phone.names() == ["my bundle"]
    assert phone.copied()[-1] == "manifest.json"
    assert report.to_json() == {
        "serial": "R58",
        "path": report.path,
        "bytes": bundle_bytes(bundle),
        "copied_bytes": bundle_bytes(bundle),
        "warnings": ["the bundle was not verified when it was exported (none)"],
        "installed": False,
        "opened": False,
    }


def test_apps_can_read_it(bundle: Bundle, phone: FakePhone) -> None:
    for path in bundle.path.iterdir():
        path.chmod(0o600)
    folder = Path(send(bundle, phone).path)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


@pytest.mark.parametrize("earlier", [False, True])
def test_apps_can_list_the_folder_of_bundles(bundle: Bundle, phone: FakePhone, earlier: bool) -> None:
    before = os.umask(0o077)
    try:
        if earlier:
            send(bundle, phone)
            phone.folder.chmod(0o700)  # as an older mlp-export left it
        send(bundle, phone)
    finally:
        os.umask(before)
    assert phone.folder.stat().st_mode & 0o777 == 0o755


def test_other_files_of_the_folder_stay_at_home(bundle: Bundle, phone: FakePhone) -> None:
    (bundle.path / "notes.txt").write_text("mine")
    assert not (Path(send(bundle, phone).path) / "notes.txt").exists()


def test_it_goes_below_tmp_by_default(bundle: Bundle, phone: FakePhone) -> None:
    phone.set(REFUSE="mkdir")
    with pytest.raises(MissingError, match="refused"):
        push(bundle, QUIET)
    assert f"mkdir -p '{DEVICE_FOLDER}/my bundle.partial'" in phone.log.read_text()


def test_what_is_there_is_not_copied_again(bundle: Bundle, phone: FakePhone) -> None:
    send(bundle, phone)
    count = len(phone.copied())
    again = send(bundle, phone)
    assert (again.copied_bytes, again.bytes) == (0, bundle_bytes(bundle))
    assert len(phone.copied()) == count and phone.names() == ["my bundle"]


def test_only_what_changed_is_copied(bundle: Bundle, phone: FakePhone) -> None:
    send(bundle, phone)
    before = len(phone.copied())
    newer = write_bundle(bundle.path, PROGRAM + b"another", overwrite=True)
    report = send(newer, phone)
    assert phone.copied()[before:] == ["model.pte", "manifest.json"]
    assert report.copied_bytes == len(PROGRAM) + 7 + (newer.path / "manifest.json").stat().st_size
    assert Bundle.open(Path(report.path)).pte.read_bytes() == PROGRAM + b"another"


def test_it_replaces_an_older_copy_and_what_else_is_in_it(bundle: Bundle, phone: FakePhone) -> None:
    send(bundle, phone)
    (phone.folder / "my bundle" / "stale").touch()
    assert send(bundle, phone).copied_bytes == 0
    assert not (phone.folder / "my bundle" / "stale").exists()
    assert Bundle.open(phone.folder / "my bundle").manifest == bundle.manifest


def test_a_damaged_copy_is_mended(bundle: Bundle, phone: FakePhone) -> None:
    send(bundle, phone)
    (phone.folder / "my bundle" / "LICENSE").write_text("something else")
    assert send(bundle, phone).copied_bytes == bundle.manifest.files["LICENSE"].bytes
    Bundle.open(phone.folder / "my bundle")


# Pieces, and going on


def test_large_files_go_in_pieces(tmp_path: Path, phone: FakePhone) -> None:
    program = LONG
    bundle = write_bundle(tmp_path / "b", program)
    send(bundle, phone, piece_bytes=4096)
    assert phone.copied().count("model.pte.piece") == 3  # 10,240 bytes
    assert Bundle.open(phone.folder / "b").pte.read_bytes() == program
    assert sorted(path.name for path in (phone.folder / "b").iterdir()) == sorted(
        [*bundle.manifest.files, "manifest.json"]
    )


def test_a_broken_push_goes_on_where_it_stopped(tmp_path: Path, phone: FakePhone) -> None:
    program = LONG
    bundle = write_bundle(tmp_path / "b", program)
    partial = phone.folder / "b.partial"
    partial.mkdir(parents=True)
    (partial / "model.pte").write_bytes(program[:5000])  # not at a piece's edge: the disk was full
    (partial / "model.pte.piece").write_bytes(program[5000:6000])
    report = send(bundle, phone, piece_bytes=4096)
    assert phone.copied().count("model.pte.piece") == 2 and phone.names() == ["b"]
    assert report.copied_bytes == bundle_bytes(bundle) - 5000
    Bundle.open(phone.folder / "b")


@pytest.mark.parametrize("begun", [b"x" * 5000, b"x" * 20000, b""])
def test_a_beginning_that_is_another_files(begun: bytes, tmp_path: Path, phone: FakePhone) -> None:
    bundle = write_bundle(tmp_path / "b", LONG)
    (phone.folder / "b.partial").mkdir(parents=True)
    (phone.folder / "b.partial" / "model.pte").write_bytes(begun)
    assert send(bundle, phone, piece_bytes=4096).copied_bytes == bundle_bytes(bundle)
    Bundle.open(phone.folder / "b")


@pytest.mark.parametrize("name", ["model.pte", "tokenizer.json", "manifest.json"])
@pytest.mark.parametrize("older", [False, True])
def test_a_push_that_breaks_off_changes_nothing(bundle: Bundle, phone: FakePhone, name: str, older: bool) -> None:
    if older:
        send(bundle, phone)
    newer = write_bundle(bundle.path, PROGRAM + b"another", overwrite=True)
    (newer.path / "tokenizer.json").touch()
    phone.set(FAIL=f"/{name}", REASON="device offline")
    if not (older and name == "tokenizer.json"):  # which is not copied again
        with pytest.raises(MissingError, match="device offline") as caught:
            send(newer, phone)
        assert "it goes on" in caught.value.hint
        assert [found for found in phone.names() if not found.endswith(".partial")] == (["my bundle"] if older else [])
        assert not (phone.folder / "my bundle.partial" / "manifest.json").exists()  # so no app takes it for whole
        if older:
            assert Bundle.open(phone.folder / "my bundle").pte.read_bytes() == PROGRAM
    phone.set(FAIL="-")
    send(newer, phone)
    assert Bundle.open(phone.folder / "my bundle").pte.read_bytes() == PROGRAM + b"another"
    assert phone.names() == ["my bundle"]


@pytest.mark.parametrize("name", ["model.pte", "manifest.json"])
def test_a_file_that_arrives_damaged(bundle: Bundle, phone: FakePhone, name: str) -> None:
    phone.set(DAMAGE=f"/{name}")
    with pytest.raises(MissingError, match=f"{name} arrived damaged on R58"):
        send(bundle, phone)
    assert "my bundle" not in phone.names()
    assert not (phone.folder / "my bundle.partial" / name).exists()
    phone.set(DAMAGE="-")
    send(bundle, phone)
    Bundle.open(phone.folder / "my bundle")


# Space


def test_too_little_space_is_seen_before_anything_is_copied(bundle: Bundle, phone: FakePhone) -> None:
    phone.set(DF="/dev/block/dm-9 107 7 1 99% /data")
    with pytest.raises(ResourceError, match="1 kB are free"):
        send(bundle, phone)
    assert phone.copied() == []


def test_a_piece_beside_the_growing_file_needs_space(tmp_path: Path, phone: FakePhone) -> None:
    bundle = write_bundle(tmp_path / "b", LONG)
    kilobytes = bundle_bytes(bundle) // 1024 + 1
    phone.set(DF=f"/dev/block/dm-9 107 7 {kilobytes} 99% /data")
    with pytest.raises(ResourceError, match="the copy needs"):
        send(bundle, phone, piece_bytes=4096)
    assert phone.copied() == []
    phone.set(DF=f"/dev/block/dm-9 107 7 {kilobytes + 4} 99% /data")
    send(bundle, phone, piece_bytes=4096)
    Bundle.open(phone.folder / "b")


def test_files_that_cannot_be_linked_need_space(tmp_path: Path, phone: FakePhone) -> None:
    bundle = write_bundle(tmp_path / "b", LONG)
    send(bundle, phone)
    (phone.folder / "b" / "LICENSE").write_text("something else")
    phone.set(DF="/dev/block/dm-9 107 7 1 99% /data", LINKS="no")
    before = len(phone.copied())
    with pytest.raises(ResourceError, match="the copy needs"):
        send(bundle, phone)
    assert len(phone.copied()) == before
    phone.set(DF="/dev/block/dm-9 107 7 999 99% /data")
    send(bundle, phone)
    Bundle.open(phone.folder / "b")
    assert sorted(path.name for path in (phone.folder / "b").iterdir()) == sorted(
        [*bundle.manifest.files, "manifest.json"]
    )


def test_space_for_what_is_missing_is_enough(bundle: Bundle, phone: FakePhone) -> None:
    send(bundle, phone)
    (phone.folder / "my bundle" / "LICENSE").write_text("something else")
    phone.set(DF="/dev/block/dm-9 107 7 1 99% /data")
    send(bundle, phone)
    Bundle.open(phone.folder / "my bundle")


def test_a_phone_that_fills_up_meanwhile(bundle: Bundle, phone: FakePhone) -> None:
    phone.set(FAIL="/model.pte", REASON="remote write failed: No space left on device")
    with pytest.raises(ResourceError, match="No space left") as caught:
        send(bundle, phone)
    assert "my bundle" not in phone.names() and "free some space" in caught.value.hint


def test_a_df_of_another_form_is_no_obstacle(bundle: Bundle, phone: FakePhone) -> None:
    phone.set(DF="df: unknown")
    assert Bundle.open(Path(send(bundle, phone).path)).manifest == bundle.manifest


# Whether the phone can run it, before anything is copied


def for_npu(bundle: Bundle, target: str) -> Bundle:
    backend = BackendInfo("qnn", target, {"qairt": "2.49.40"}, {"executorch": "1.3", "qairt": "2.49.40"})
    return replace(bundle, manifest=replace(bundle.manifest, backend=backend))


FACTS = PhoneFacts("R58", "samsung", "SM-S921B", "SM8650", "14", 34, ("arm64-v8a",), 8 * 10**9, 4 * 10**9)


@pytest.mark.parametrize(
    ("changes", "reason", "hint"),
    [
        ({"soc_model": "s5e9945"}, "compiled for SM8650, the phone's chip is s5e9945", "--backend xnnpack"),
        ({"soc_model": "SM8750"}, "compiled for SM8650, the phone's chip is SM8750", "--soc"),
        ({"abis": ("armeabi-v7a",)}, "exists for arm64-v8a, the phone has armeabi-v7a", "another phone"),
        ({"sdk": 27, "android": "8.1"}, r"Android 8.1 \(API 27\), the app needs Android 9", "another phone"),
        ({"total_memory_bytes": 1_000_000}, "needs 0.0 GB of memory, the phone has 0.0 GB in all", "--context"),
    ],
)
def test_phones_that_cannot_run_it(bundle: Bundle, changes: dict[str, Any], reason: str, hint: str) -> None:
    manifest = for_npu(bundle, "sm8650").manifest
    assert check_fit(manifest, FACTS).runs
    kind = ResourceError if list(changes) == ["total_memory_bytes"] else MissingError
    with pytest.raises(kind, match=reason) as caught:
        check_fit(manifest, replace(FACTS, **changes))
    assert hint in caught.value.hint and "samsung SM-S921B" in caught.value.message


def test_another_chip_counts_before_memory(bundle: Bundle) -> None:
    with pytest.raises(MissingError, match=r"compiled for SM8650.*; the bundle needs .* of memory"):
        check_fit(for_npu(bundle, "sm8650").manifest, replace(FACTS, soc_model="SM8750", total_memory_bytes=1_000_000))


def test_what_a_phone_does_not_say_is_not_held_against_it(bundle: Bundle) -> None:
    silent = PhoneFacts("R58", "", "", None, "", 0, (), 0, 0)
    kinds = [warning.kind for warning in check_fit(for_npu(bundle, "sm8650").manifest, silent).warnings]
    assert kinds == ["UNKNOWN_SOC", "NOT_VERIFIED"]


def test_nothing_is_copied_to_a_phone_that_cannot_run_it(bundle: Bundle, phone: FakePhone) -> None:
    phone.say(**{**S24, "ro.product.cpu.abilist": "armeabi-v7a,armeabi"})
    with pytest.raises(MissingError, match=r"samsung SM-S921B cannot run this bundle: .* armeabi-v7a, armeabi"):
        send(bundle, phone)
    assert phone.names() == [] and phone.copied() == []


def test_little_free_memory_is_a_warning(bundle: Bundle, phone: FakePhone) -> None:
    phone.memory(total=8_000_000, available=900)
    report = send(bundle, phone)
    assert report.warnings[0] == "the bundle needs 0.0 GB of memory, 0.0 GB are free now"
    assert phone.names() == ["my bundle"]


def test_a_bundle_for_ios(bundle: Bundle, phone: FakePhone) -> None:
    backend = BackendInfo("coreml", "all", {}, {"executorch": "1.3", "ios": "18"})
    with pytest.raises(UsageError, match="for iOS"):
        send(replace(bundle, manifest=replace(bundle.manifest, backend=backend)), phone)
    assert not phone.log.exists()


# The app


def test_install_and_open(bundle: Bundle, phone: FakePhone, tmp_path: Path) -> None:
    apk = tmp_path / "app.apk"
    apk.write_bytes(b"PK")
    report = send(bundle, phone, install=apk, start=True)
    assert (report.installed, report.opened) == (True, True)
    lines = phone.log.read_text().splitlines()
    assert f"-s R58 install -r {apk}" in lines
    words = phone.started.read_text().splitlines()
    assert words == ["start", "-n", "org.mlpexport.demo/.BundlesActivity", "--es", "bundle", "my bundle"]


def test_an_app_that_is_not_installed(bundle: Bundle, phone: FakePhone) -> None:
    with pytest.raises(
        MissingError, match=r"BundlesActivity of org.mlpexport.demo did not start: Error type 3"
    ) as caught:
        send(bundle, phone, start=True)
    assert "--install" in caught.value.hint and phone.names() == ["my bundle"]


@pytest.mark.parametrize(
    ("reason", "kind", "hint"),
    [
        ("INSTALL_FAILED_UPDATE_INCOMPATIBLE", MissingError, "adb uninstall org.mlpexport.demo"),
        ("INSTALL_FAILED_NO_MATCHING_ABIS", MissingError, "no native libraries"),
        ("INSTALL_FAILED_INSUFFICIENT_STORAGE", ResourceError, "free some space"),
        ("INSTALL_FAILED_OTHER", MissingError, "see that the device"),
    ],
)
def test_an_apk_that_is_refused(
    bundle: Bundle, phone: FakePhone, tmp_path: Path, reason: str, kind: type[MlpExportError], hint: str
) -> None:
    (tmp_path / "app.apk").write_bytes(b"PK")
    phone.set(INSTALL=reason)
    with pytest.raises(kind, match=r"app\.apk") as caught:
        send(bundle, phone, install=tmp_path / "app.apk")
    assert hint in caught.value.hint and phone.copied() == []


@pytest.mark.parametrize(
    "output",
    [
        "adb: error: failed to copy 'app.apk' to '/data/local/tmp/app.apk': remote write: No space left on device",
        "adb: failed to install app.apk: Exception occurred while executing 'install':\\njava.io.IOException: "
        "Requested internal only, but not enough space\\n\\tat android.util.ExceptionUtils.wrap(Unknown)",
    ],
)
def test_a_full_phone_during_an_install(bundle: Bundle, phone: FakePhone, tmp_path: Path, output: str) -> None:
    (tmp_path / "app.apk").write_bytes(b"PK")
    phone.set(INSTALL_SAYS=output)
    with pytest.raises(ResourceError, match=r"no space for app\.apk on R58"):
        send(bundle, phone, install=tmp_path / "app.apk")
    assert phone.copied() == []


def test_no_apk(bundle: Bundle, phone: FakePhone, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file, expected an APK"):
        send(bundle, phone, install=tmp_path)
    assert not phone.log.exists()


# Devices

NO_PERMISSIONS = (
    r"R58\tno permissions (missing udev rules? user is in the plugdev group); "
    r"see [http://developer.android.com/tools/device.html]\n"
)


@pytest.mark.parametrize(
    ("devices", "serial", "kind", "said"),
    [
        ("", None, MissingError, "adb sees no device"),
        (r"R58\tunauthorized\n", None, MissingError, "R58 does not trust this machine"),
        (r"R58\toffline\n", None, MissingError, "R58 is offline"),
        (r"R58\tdevice\nemulator-5554\tdevice\n", None, UsageError, "2 devices: R58, emulator-5554"),
        (r"R58\tdevice\nemulator-5554\tunauthorized\n", "emulator-5554", MissingError, "does not trust"),
        (ONE_DEVICE, "R59", MissingError, "no device R59"),
        (NO_PERMISSIONS, None, MissingError, "R58 has the state 'no permissions .missing udev rules"),
        (NO_PERMISSIONS.replace(r"\t", "  "), "R58", MissingError, "no permissions"),
    ],
)
def test_devices_that_cannot_be_used(
    bundle: Bundle, phone: FakePhone, devices: str, serial: str | None, kind: type[MlpExportError], said: str
) -> None:
    phone.set(DEVICES=devices)
    with pytest.raises(kind, match=said) as caught:
        send(bundle, phone, serial=serial)
    assert caught.value.hint and phone.log.read_text() == "devices\n"


def test_no_permissions_is_about_udev(bundle: Bundle, phone: FakePhone) -> None:
    phone.set(DEVICES=NO_PERMISSIONS)
    with pytest.raises(MissingError) as caught:
        send(bundle, phone)
    assert "udev" in caught.value.hint and "plugdev" in caught.value.hint


def test_a_serial_with_spaces(bundle: Bundle, phone: FakePhone) -> None:
    phone.set(DEVICES=r"adb-R58 (2)._adb-tls-connect._tcp\tdevice\n")
    assert send(bundle, phone).serial == "adb-R58 (2)._adb-tls-connect._tcp"


def test_one_of_several_devices(bundle: Bundle, phone: FakePhone) -> None:
    phone.set(DEVICES=r"R58\tdevice\nR59\tdevice\n")
    send(bundle, phone, serial="R59")
    commands = phone.log.read_text().splitlines()[1:]
    assert commands and all(command.startswith("-s R59 ") for command in commands)


@pytest.mark.parametrize("broken", ["gone", "shell"])
def test_a_phone_that_goes_away(bundle: Bundle, phone: FakePhone, broken: str) -> None:
    if broken == "gone":
        phone.gone.touch()
    else:
        phone.set(SHELL="closed")
    with pytest.raises(MissingError, match=r"adb failed: .*(offline|closed)") as caught:
        send(bundle, phone)
    assert "connect the device again" in caught.value.hint


@pytest.mark.parametrize("command", ["devices", "getprop", "sha256sum", "push", "install"])
def test_an_adb_that_does_not_answer(
    bundle: Bundle, phone: FakePhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (tmp_path / "app.apk").write_bytes(b"PK")
    phone.set(HANG=command)
    moves_data = command in ("sha256sum", "push", "install")
    if moves_data:
        monkeypatch.setattr("mlp_export.devices.adb.transfer_seconds", lambda size: 2.0)
    else:
        monkeypatch.setattr("mlp_export.devices.adb.COMMAND_SECONDS", 2.0)
    start = time.monotonic()
    with pytest.raises(NoAnswerError, match=rf"no answer from adb within 2 s \(.*{command}"):
        send(bundle, phone, install=tmp_path / "app.apk")
    assert time.monotonic() - start < 15  # not the end of what hangs
    assert NoAnswerError.exit_code == 4


def test_a_command_that_does_not_answer_is_no_command_that_failed(phone: FakePhone) -> None:
    found = Phone.find()
    phone.set(HANG="echo")
    with pytest.raises(NoAnswerError):
        found.try_shell("echo a", 0.2)


def test_timeouts_grow_with_the_size() -> None:
    assert transfer_seconds(0) == 120 and transfer_seconds(3 * 10**9) == 420


def test_without_adb(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="adb is not installed") as caught:
        push(bundle, QUIET)
    assert "apt install adb" in caught.value.hint


def test_a_file_that_another_program_made(bundle: Bundle, phone: FakePhone) -> None:
    bundle.pte.write_bytes(b"")
    with pytest.raises(InputError):
        send(bundle, phone)
    assert not phone.log.exists()
