"""An Android phone behind adb: which one, what it is, commands and files."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlp_export.bundle.manifest import Manifest
from mlp_export.devices.device_command import COMMAND_SECONDS, NoAnswerError, capture, transfer_seconds
from mlp_export.devices.device_fit import Device, DeviceFit, FitKind, Reason, device_fit
from mlp_export.errors import MissingError, ResourceError, UsageError

APP = "org.mlpexport.demo"
DEVICE_FOLDER = "/data/local/tmp/mlp-export"  # where push puts bundles
APP_BUNDLES = f"/sdcard/Android/data/{APP}/files/bundles"  # where the app puts bundles that it imports
MIN_SDK = 28  # of the app: Android 9

_PROPERTIES = {
    "manufacturer": "ro.product.manufacturer",
    "model": "ro.product.model",
    "soc_model": "ro.soc.model",
    "android": "ro.build.version.release",
    "sdk": "ro.build.version.sdk",
    "abis": "ro.product.cpu.abilist",
}
# What adb says when a phone goes away in the middle of something.
_GONE = re.compile(
    r"device offline|device .*not found|no devices|error: closed|protocol fault|[Cc]onnection reset|\bEOF\b"
)
_FULL = re.compile(r"No space left|ENOSPC|[Nn]ot enough space|INSTALL_FAILED_INSUFFICIENT_STORAGE")
_OTHER_APP = f"is there: adb uninstall {APP} (its chats are lost)"
_INSTALL_HINTS = {
    "INSTALL_FAILED_UPDATE_INCOMPATIBLE": f"another build of the app {_OTHER_APP}",
    "INSTALL_FAILED_VERSION_DOWNGRADE": f"a newer app {_OTHER_APP}",
    "INSTALL_FAILED_NO_MATCHING_ABIS": "the APK has no native libraries for this phone's processor",
    "INSTALL_FAILED_OLDER_SDK": f"the app needs Android 9 (API {MIN_SDK})",
    "INSTALL_FAILED_USER_RESTRICTED": "allow `Install via USB` in the developer options",
    "INSTALL_PARSE_FAILED": "the file is not a whole APK: build it again",
}


@dataclass(frozen=True)
class PhoneFacts:
    """What a phone states of itself. Numbers that it does not state are 0; the chip is None before Android 12."""

    serial: str
    manufacturer: str
    model: str
    soc_model: str | None
    android: str
    sdk: int
    abis: tuple[str, ...]
    total_memory_bytes: int
    available_memory_bytes: int

    def to_json(self) -> dict[str, Any]:
        """The facts as JSON has them."""
        return {**asdict(self), "abis": list(self.abis)}

    def device(self) -> Device:
        """The same for `device_fit`. No app has been asked for its runtimes."""
        return Device(self.soc_model, self.abis, self.sdk, self.total_memory_bytes, self.available_memory_bytes)

    def fit(self, manifest: Manifest) -> DeviceFit:
        """`device_fit` without what the phone does not state: that is not held against it."""
        fit = device_fit(manifest, self.device())
        return DeviceFit(*([r for r in found if not self._is_unstated(r)] for found in (fit.reasons, fit.warnings)))

    def system_issue(self) -> str | None:
        """Why the app cannot be installed on the phone's Android; None where it can."""
        if 0 < self.sdk < MIN_SDK:
            return f"Android {self.android} (API {self.sdk}), the app needs Android 9 (API {MIN_SDK})"
        return None

    def _is_unstated(self, reason: Reason) -> bool:
        if reason.kind in (FitKind.TOO_LITTLE_MEMORY, FitKind.LITTLE_FREE_MEMORY):
            return not self.total_memory_bytes
        return reason.kind is FitKind.WRONG_ABI and not self.abis


class Phone:
    """One phone that adb can talk to."""

    def __init__(self, adb: str, serial: str) -> None:
        self.serial = serial
        self._adb = [adb, "-s", serial]

    @staticmethod
    def find(serial: str | None = None, choose: str = "choose one with --serial") -> Phone:
        """The phone of that serial, or the only one; `choose` says how to name one.

        Raises MissingError without adb, without a phone or where it refuses, UsageError where there are several.
        """
        adb = shutil.which("adb")
        if adb is None:
            raise MissingError(
                "adb is not installed", "install Android's platform-tools (apt install adb, brew install adb)"
            )
        states = _states(_run([adb, "devices"]))
        if serial is None:
            if len(states) > 1:
                raise UsageError(f"{len(states)} devices: {', '.join(states)}", choose)
            if not states:
                raise MissingError(
                    "adb sees no device", "connect it and turn on USB debugging in its developer options"
                )
            serial = next(iter(states))
        state = states.get(serial)
        if state is None:
            raise MissingError(f"adb sees no device {serial}", f"it sees: {', '.join(states) or 'none'}")
        if state == "unauthorized":
            raise MissingError(f"{serial} does not trust this machine", "unlock it and allow USB debugging")
        if state.startswith("no permissions"):
            raise MissingError(
                f"{serial} has the state {state!r}: this user may not open the USB device",
                "install udev rules for it (apt install android-sdk-platform-tools-common), add this user to the group "
                "plugdev, log in again, run `adb kill-server`, and connect the phone again",
            )
        if state != "device":
            raise MissingError(f"{serial} is {state}", "connect it again")
        return Phone(adb, serial)

    def facts(self) -> PhoneFacts:
        """What the phone states of itself, by one command."""
        asked = "; ".join(f'echo "{key}=$(getprop {name})"' for key, name in _PROPERTIES.items())
        lines = self.shell(f"{asked}; cat /proc/meminfo").splitlines()
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        memory = {
            match[1]: int(match[2]) * 1024
            for line in lines
            if (match := re.match(r"(\w+):\s+(\d+) kB", line)) is not None
        }
        soc, sdk = values.get("soc_model", "").strip(), values.get("sdk", "").strip()
        return PhoneFacts(
            serial=self.serial,
            manufacturer=values.get("manufacturer", "").strip(),
            model=values.get("model", "").strip(),
            soc_model=soc or None,
            android=values.get("android", "").strip(),
            sdk=int(sdk) if sdk.isdigit() else 0,
            abis=tuple(abi for abi in values.get("abis", "").strip().split(",") if abi),
            total_memory_bytes=memory.get("MemTotal", 0),
            available_memory_bytes=memory.get("MemAvailable", 0),
        )

    def shell(self, command: str, seconds: float | None = None) -> str:
        """The output of a command on the phone; `seconds` is its timeout, COMMAND_SECONDS if not given.

        Raises MissingError or ResourceError where it fails, NoAnswerError after the timeout.
        """
        return _run([*self._adb, "shell", command], seconds)

    def try_shell(self, command: str, seconds: float | None = None) -> str | None:
        """The same, None where the command itself fails. Raises MissingError where the phone is gone."""
        try:
            return self.shell(command, seconds)
        except NoAnswerError:
            raise
        except MissingError:
            _run([*self._adb, "get-state"])
            return None

    def copy_to(self, file: Path, target: str) -> None:
        """Copy a file of this machine to a path of the phone."""
        _run([*self._adb, "push", str(file), target], transfer_seconds(file.stat().st_size))

    def free_bytes(self, folder: str) -> int | None:
        """The fourth column of `df -k`; None where the phone's df prints something else."""
        lines = self.shell(f"df -k {shlex.quote(folder)}").splitlines()
        match = re.match(r"\S+\s+\d+\s+\d+\s+(\d+)\s", lines[-1]) if lines else None
        return int(match[1]) * 1024 if match else None

    def hashes(self, folder: str) -> dict[str, str]:
        """sha256 of each file in a folder; no entry where there is no such folder."""
        quoted = shlex.quote(folder)
        size = self.shell(f"du -sk {quoted} 2>/dev/null; true").split()
        kilobytes = int(size[0]) if size and size[0].isdigit() else 0
        command = f"cd {quoted} 2>/dev/null && sha256sum * 2>/dev/null; true"
        lines = self.shell(command, transfer_seconds(kilobytes * 1024)).splitlines()
        pairs = [line.split(None, 1) for line in lines]
        return {pair[1].lstrip("*"): pair[0] for pair in pairs if len(pair) == 2 and len(pair[0]) == 64}

    def install(self, apk: Path) -> None:
        """Install an app, over an older one where there is one; its data stays."""
        try:
            _run([*self._adb, "install", "-r", str(apk)], transfer_seconds(apk.stat().st_size))
        except ResourceError as error:
            raise ResourceError(f"no space for {apk.name} on {self.serial}", "free some space on it") from error
        except NoAnswerError:
            raise
        except MissingError as error:
            hints = [hint for code, hint in _INSTALL_HINTS.items() if code in error.message]
            raise MissingError(
                f"{apk.name} was not installed on {self.serial}: {error.message.removeprefix('adb failed: ')}",
                hints[0] if hints else error.hint,
            ) from error

    def has_app(self, app: str = APP) -> bool:
        """Whether the app is installed."""
        return bool((self.try_shell(f"pm path {app}") or "").strip())

    def app_version(self, app: str = APP) -> str | None:
        """The installed app's version; None where it is not installed."""
        if not self.has_app(app):
            return None
        match = re.search(r"versionName=(\S+)", self.try_shell(f"dumpsys package {app}") or "")
        return match[1] if match else ""

    def start(self, activity: str, extras: dict[str, str], app: str = APP) -> None:
        """Start an activity of the app with text extras. Raises MissingError where it cannot be started."""
        words = ["am", "start", "-n", f"{app}/{activity}"]
        for key, value in extras.items():
            words += ["--es", key, value]
        output = self.shell(" ".join(shlex.quote(word) for word in words))
        if "Error" in output:  # the exit code of am is 0 all the same before Android 12
            reason = next(line.strip() for line in output.splitlines() if "Error" in line)
            raise MissingError(
                f"{activity.removeprefix('.')} of {app} did not start: {reason}",
                "install the app: mlp-export push BUNDLE --install APK",
            )


def _states(listing: str) -> dict[str, str]:
    """Serial -> state of what `adb devices` prints below its heading. A state may have several words."""
    lines = listing.splitlines()
    start = next((at for at, line in enumerate(lines) if line.startswith("List of devices")), len(lines))
    # adb puts a tab between them: serials of phones on the network may hold spaces.
    pairs = [line.split("\t" if "\t" in line else None, 1) for line in lines[start + 1 :]]
    return {pair[0].strip(): pair[1].strip() for pair in pairs if len(pair) == 2}


def _run(command: list[str], seconds: float | None = None) -> str:
    """The stdout of an adb command that may take `seconds`, COMMAND_SECONDS if not given."""
    code, stdout, stderr = capture(command, COMMAND_SECONDS if seconds is None else seconds, "adb")
    if code:
        lines = (stderr.strip() or stdout.strip()).splitlines()
        reason = lines[-1] if lines else f"exit code {code}"
        full = next((line.strip() for line in lines if _FULL.search(line)), None)
        if full is not None:
            raise ResourceError(f"the device is full: {full}", "free some space on it and run the command again")
        if _GONE.search(reason):
            raise MissingError(
                f"adb failed: {reason}", "connect the device again, and run the command again: it goes on"
            )
        raise MissingError(f"adb failed: {reason}", "see that the device is connected, unlocked and has space")
    return stdout
