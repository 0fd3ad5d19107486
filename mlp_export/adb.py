"""An Android phone behind adb: which one, what it is, commands and files."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlp_export.device_fit import Device
from mlp_export.errors import MissingError, MlpExportError, ResourceError, UsageError

APP = "org.mlpexport.demo"
DEVICE_FOLDER = "/data/local/tmp/mlp-export"
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
    """What a phone says of itself. Numbers that it does not say are 0, the chip is None before Android 12."""

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
        lines = [line.split() for line in _run([adb, "devices"]).splitlines()]
        states = {line[0]: line[1] for line in lines if len(line) == 2}  # not the heading, nor words of adb's server
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
        if state != "device":
            raise MissingError(f"{serial} is {state}", "connect it again")
        return Phone(adb, serial)

    def facts(self) -> PhoneFacts:
        """What the phone says of itself, by one command."""
        asked = "; ".join(f'echo "{key}=$(getprop {name})"' for key, name in _PROPERTIES.items())
        lines = self.shell(f"{asked}; cat /proc/meminfo").splitlines()
        said = dict(line.split("=", 1) for line in lines if "=" in line)
        memory = {
            match[1]: int(match[2]) * 1024
            for line in lines
            if (match := re.match(r"(\w+):\s+(\d+) kB", line)) is not None
        }
        soc, sdk = said.get("soc_model", "").strip(), said.get("sdk", "").strip()
        return PhoneFacts(
            serial=self.serial,
            manufacturer=said.get("manufacturer", "").strip(),
            model=said.get("model", "").strip(),
            soc_model=soc or None,
            android=said.get("android", "").strip(),
            sdk=int(sdk) if sdk.isdigit() else 0,
            abis=tuple(abi for abi in said.get("abis", "").strip().split(",") if abi),
            total_memory_bytes=memory.get("MemTotal", 0),
            available_memory_bytes=memory.get("MemAvailable", 0),
        )

    def shell(self, command: str) -> str:
        """The output of a command on the phone. Raises MissingError or ResourceError where it fails."""
        return _run([*self._adb, "shell", command])

    def try_shell(self, command: str) -> str | None:
        """The same, None where the command itself fails. Raises MissingError where the phone is gone."""
        try:
            return self.shell(command)
        except MissingError:
            _run([*self._adb, "get-state"])
            return None

    def copy_to(self, file: Path, target: str) -> None:
        """Copy a file of this machine to a path of the phone."""
        _run([*self._adb, "push", str(file), target])

    def remove_quietly(self, path: str) -> None:
        """Remove a file or folder, whatever becomes of it: for after a failure."""
        command = [*self._adb, "shell", f"rm -rf {shlex.quote(path)}"]
        subprocess.run(command, capture_output=True, check=False)

    def free_bytes(self, folder: str) -> int | None:
        """The fourth column of `df -k`; None where the phone's df says something else."""
        lines = self.shell(f"df -k {shlex.quote(folder)}").splitlines()
        match = re.match(r"\S+\s+\d+\s+\d+\s+(\d+)\s", lines[-1]) if lines else None
        return int(match[1]) * 1024 if match else None

    def hashes(self, folder: str) -> dict[str, str]:
        """sha256 of each file in a folder; no entry where there is no such folder."""
        lines = self.shell(f"cd {shlex.quote(folder)} 2>/dev/null && sha256sum * 2>/dev/null; true").splitlines()
        pairs = [line.split(None, 1) for line in lines]
        return {pair[1].lstrip("*"): pair[0] for pair in pairs if len(pair) == 2 and len(pair[0]) == 64}

    def install(self, apk: Path) -> None:
        """Install an app, over an older one where there is one; its data stays."""
        try:
            _run([*self._adb, "install", "-r", str(apk)])
        except MlpExportError as error:
            if "INSTALL_FAILED_INSUFFICIENT_STORAGE" in error.message:
                raise ResourceError(f"no space for {apk.name} on {self.serial}", "free some space on it") from error
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
        said = self.shell(" ".join(shlex.quote(word) for word in words))
        if "Error" in said:  # the exit code of am is 0 all the same before Android 12
            told = next(line.strip() for line in said.splitlines() if "Error" in line)
            raise MissingError(
                f"{activity.removeprefix('.')} of {app} did not start: {told}",
                "install the app: mlp-export push BUNDLE --install APK",
            )


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        said = lines[-1] if lines else f"exit code {done.returncode}"
        if "No space left" in said or "ENOSPC" in said:
            raise ResourceError(f"the device is full: {said}", "free some space on it and run the command again")
        if _GONE.search(said):
            raise MissingError(f"adb failed: {said}", "connect the device again, and run the command again: it goes on")
        raise MissingError(f"adb failed: {said}", "see that the device is connected, unlocked and has space")
    return done.stdout
