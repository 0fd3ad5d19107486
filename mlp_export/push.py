"""`push`: a bundle onto an Android device, whole or not at all."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from mlp_export.backends.base import get_backend
from mlp_export.bundle import MANIFEST, Bundle, file_sha256
from mlp_export.errors import InputError, MissingError, ResourceError, UsageError
from mlp_export.progress import Progress
from mlp_export.resources import human_bytes

DEVICE_FOLDER = "/data/local/tmp/mlp-export"


@dataclass(frozen=True)
class PushReport:
    """Where the bundle is now."""

    serial: str
    path: str
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """The object `push --json` prints."""
        return asdict(self)


def push(
    bundle: Bundle, progress: Progress, *, serial: str | None = None, device_folder: str = DEVICE_FOLDER
) -> PushReport:
    """Copy the bundle to `device_folder`/NAME with adb, check its hashes there, and only then give it its name.

    Raises InputError for a bundle that no phone runs rightly, MissingError without adb, without a device or where one
    refuses, UsageError for a bundle for iOS, or where several devices are there and none is chosen, ResourceError where
    the device is full.
    """
    if "ios" in bundle.manifest.backend.min_runtime:
        raise UsageError("this bundle is for iOS, push copies to Android", "see docs/guides/iphone.md")
    compatibility_issues = get_backend(bundle.manifest.backend.name).compatibility_issues(bundle.pte)
    if compatibility_issues:
        raise InputError("; ".join(compatibility_issues), "export it again with this mlp-export")
    adb = shutil.which("adb")
    if adb is None:
        raise MissingError(
            "adb is not installed", "install Android's platform-tools (apt install adb, brew install adb)"
        )
    serial = _device(adb, serial)
    device = [adb, "-s", serial]
    files = [*bundle.manifest.files, MANIFEST]
    size = sum((bundle.path / name).stat().st_size for name in files)
    target = PurePosixPath(device_folder) / bundle.path.resolve().name
    partial = f"{target}.partial"
    _shell(device, f"rm -rf {shlex.quote(partial)} && mkdir -p {shlex.quote(partial)}")
    try:
        _copy(bundle, device, files, size, partial, progress)
    except BaseException:
        # The transfer broke off, so this may not get through either: the next push removes it then.
        subprocess.run([*device, "shell", f"rm -rf {shlex.quote(partial)}"], capture_output=True, check=False)
        raise
    _shell(device, f"rm -rf {shlex.quote(str(target))} && mv {shlex.quote(partial)} {shlex.quote(str(target))}")
    return PushReport(serial, str(target), size)


def _copy(bundle: Bundle, device: list[str], files: list[str], size: int, folder: str, progress: Progress) -> None:
    """The files into `folder` of the device, where they are hashed again."""
    free = _free_bytes(device, folder)
    if free is not None and free < size:
        raise ResourceError(
            f"the bundle has {human_bytes(size)}, {human_bytes(free)} are free at {folder} on {device[-1]}",
            "free some space on the device",
        )
    with progress.stage("push", total=len(files)) as stage:
        for name in files:
            _run([*device, "push", str(bundle.path / name), f"{folder}/{name}"])
            stage.advance()
    with progress.stage("check on the device"):
        hashes = {name: entry.sha256 for name, entry in bundle.manifest.files.items()}
        hashes[MANIFEST] = file_sha256(bundle.path / MANIFEST)
        for name, expected in hashes.items():
            found = _shell(device, f"sha256sum {shlex.quote(f'{folder}/{name}')}").split()
            if found[:1] != [expected]:
                raise MissingError(f"{name} arrived damaged on {device[-1]}", "try again, with another cable or port")


def _device(adb: str, serial: str | None) -> str:
    lines = [line.split() for line in _run([adb, "devices"]).splitlines()[1:]]
    states = {line[0]: line[1] for line in lines if len(line) >= 2}
    if serial is None:
        if len(states) > 1:
            raise UsageError(f"{len(states)} devices: {', '.join(states)}", "choose one with --serial")
        if not states:
            raise MissingError("adb sees no device", "connect it and turn on USB debugging in its developer options")
        serial = next(iter(states))
    state = states.get(serial)
    if state is None:
        raise MissingError(f"adb sees no device {serial}", f"it sees: {', '.join(states) or 'none'}")
    if state == "unauthorized":
        raise MissingError(f"{serial} does not trust this machine", "unlock it and allow USB debugging")
    if state != "device":
        raise MissingError(f"{serial} is {state}", "connect it again")
    return serial


def _free_bytes(device: list[str], folder: str) -> int | None:
    """The fourth column of `df -k`; None where the device's df says something else."""
    lines = _shell(device, f"df -k {shlex.quote(folder)}").splitlines()
    match = re.match(r"\S+\s+\d+\s+\d+\s+(\d+)\s", lines[-1]) if lines else None
    return int(match[1]) * 1024 if match else None


def _shell(device: list[str], command: str) -> str:
    return _run([*device, "shell", command])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        said = lines[-1] if lines else f"exit code {done.returncode}"
        if "No space left" in said:
            raise ResourceError(f"the device is full: {said}", "free some space on it")
        raise MissingError(f"adb failed: {said}", "see that the device is connected, unlocked and has space")
    return done.stdout
