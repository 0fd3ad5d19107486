"""An iPhone or iPad behind Xcode's devicectl, or a booted Simulator behind simctl: which one, what it is, files."""

from __future__ import annotations

import errno
import json
import plistlib
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from mlp_export.bundle.manifest import Manifest
from mlp_export.bundle.runtime_version import at_least
from mlp_export.devices.adb import APP
from mlp_export.devices.device_fit import DeviceFit, IosDevice, ios_device_fit
from mlp_export.devices.xcode import DevicectlError, DeviceRefusedError, SimctlError, devicectl, simctl
from mlp_export.errors import MissingError, ResourceError, UsageError
from mlp_export.hashing import file_sha256
from mlp_export.scratch import scratch_folder

MIN_IOS = "18"  # of the app
DOCUMENTS = "Documents"  # of the app's container: where it looks for bundles
_T = TypeVar("_T")


@dataclass(frozen=True)
class AppleFacts:
    """What is known of a device. iOS's version is None where Xcode does not know it."""

    id: str  # UDID
    name: str
    model: str
    ios: str | None
    is_simulator: bool

    def fit(self, manifest: Manifest) -> DeviceFit:
        """`ios_device_fit`; neither memory nor the app's runtimes are known on this machine."""
        return ios_device_fit(manifest, IosDevice(self.ios, self.is_simulator, None, None))

    def system_issue(self) -> str | None:
        """Why the app cannot be installed on the device's iOS; None where it can."""
        if self.ios is not None and not at_least(self.ios, MIN_IOS):
            return f"iOS {self.ios}, the app needs iOS {MIN_IOS}"
        return None

    def __str__(self) -> str:
        return f"{self.name} ({self.model})" if self.model else self.name


class AppleDevice(ABC):
    """One device. Paths are those inside the container of `app`: its identifier, which everyone signs as their own."""

    def __init__(self, facts: AppleFacts, app: str = APP) -> None:
        self.facts = facts
        self.app = app

    @property
    def id(self) -> str:
        """The UDID."""
        return self.facts.id

    @abstractmethod
    def app_version(self) -> str | None:
        """The installed app's version; None where it is not installed."""

    @abstractmethod
    def install(self, app: Path) -> None:
        """Install an app, over an older one where there is one; its data stays."""

    @abstractmethod
    def copy_to(self, files: Sequence[Path], folder: str, copied: Callable[[], None]) -> None:
        """Copy files into a folder, the last one last; `copied` is called after each."""

    @abstractmethod
    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of the files below a folder, by their paths from there."""

    @abstractmethod
    def read(self, path: str, seconds: float | None = None) -> bytes | None:
        """A file's bytes; None where there is none."""

    @abstractmethod
    def start(self, arguments: Sequence[str]) -> None:
        """Start the app anew, with launch arguments."""

    @abstractmethod
    def is_running(self, seconds: float | None = None) -> bool:
        """Whether a process of the app lives."""


class ApplePhone(AppleDevice):
    """A real device."""

    @property
    def _domain(self) -> tuple[str, ...]:
        return "--domain-type", "appDataContainer", "--domain-identifier", self.app

    def app_version(self) -> str | None:
        app = self._app()
        return None if app is None else str(app.get("version") or app.get("bundleVersion") or "")

    def install(self, app: Path) -> None:
        self._run("device", "install", "app", app=[str(app)], seconds=_copy_seconds(_folder_bytes(app)))

    def copy_to(self, files: Sequence[Path], folder: str, copied: Callable[[], None]) -> None:
        for file in files:  # one by one: a folder may arrive flattened
            words = ["--source", str(file), "--destination", f"{folder}/{file.name}", "--user", "mobile"]
            seconds = _copy_seconds(file.stat().st_size)
            self._run("device", "copy", "to", *self._domain, *words, seconds=seconds)  # else root owns what arrives
            copied()

    def sizes(self, folder: str) -> dict[str, int]:
        words = ["--subdirectory", folder, "--recurse", "--username", "mobile"]
        result = self._run("device", "info", "files", *self._domain, *words)
        return {
            str(entry.get("relativePath") or entry.get("name")).removeprefix(f"{folder}/"): size
            for entry in result.get("files", [])
            if isinstance(size := entry.get("metadata", {}).get("size"), int)
            and not entry.get("resources", {}).get("isDirectory")
        }

    def read(self, path: str, seconds: float | None = None) -> bytes | None:
        with scratch_folder() as scratch:
            target = scratch / "file"
            words = ["--source", path, "--destination", str(target), "--user", "mobile"]
            try:
                self._run("device", "copy", "from", *self._domain, *words, seconds=seconds)
            except DeviceRefusedError:
                raise
            except DevicectlError:
                return None
            return target.read_bytes() if target.is_file() else None

    def start(self, arguments: Sequence[str]) -> None:
        self._run("device", "process", "launch", "--terminate-existing", app=[self.app, "--", *arguments])

    def is_running(self, seconds: float | None = None) -> bool:
        app = self._app(seconds)
        if app is None:
            return False
        place = _parts(app.get("url"))[-2:]
        if not place:
            return True  # nobody knows
        result = self._run("device", "info", "processes", seconds=seconds)
        # In the app's own folder: those of its extensions lie further down. /var may be written as /private/var.
        return any(_parts(entry.get("executable"))[-3:-1] == place for entry in result.get("runningProcesses", []))

    def _app(self, seconds: float | None = None) -> dict[str, Any] | None:
        result = self._run("device", "info", "apps", "--bundle-id", self.app, seconds=seconds)
        return next((app for app in result.get("apps", []) if app.get("bundleIdentifier") == self.app), None)

    def _run(self, *words: str, app: Sequence[str] = (), seconds: float | None = None) -> dict[str, Any]:
        return devicectl(*words, "--device", self.id, app=app, seconds=seconds)


class Simulator(AppleDevice):
    """A booted Simulator: the app's container is a folder of this machine."""

    def app_version(self) -> str | None:
        app = self._container("app")
        if app is None:
            return None
        try:
            values = plistlib.loads((app / "Info.plist").read_bytes())
        except (OSError, ValueError):
            return ""
        return str(values.get("CFBundleShortVersionString", ""))

    def install(self, app: Path) -> None:
        simctl("install", self.id, str(app), seconds=_copy_seconds(_folder_bytes(app)))

    def copy_to(self, files: Sequence[Path], folder: str, copied: Callable[[], None]) -> None:
        target = self._path(folder)
        partial = target.with_name(f"{target.name}.partial")
        with _disk_errors(target):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for file in files:
                shutil.copyfile(file, partial / file.name)
                if file_sha256(partial / file.name) != file_sha256(file):
                    raise MissingError(f"{file.name} arrived damaged in {partial}", "look at the disk, and try again")
                copied()
            if target.exists():
                shutil.rmtree(target)
            partial.rename(target)

    def sizes(self, folder: str) -> dict[str, int]:
        root = self._path(folder)
        return {str(path.relative_to(root)): path.stat().st_size for path in root.rglob("*") if path.is_file()}

    def read(self, path: str, seconds: float | None = None) -> bytes | None:
        try:
            return self._path(path, seconds).read_bytes()
        except OSError:
            return None

    def start(self, arguments: Sequence[str]) -> None:
        simctl("launch", "--terminate-running-process", self.id, self.app, *arguments)

    def is_running(self, seconds: float | None = None) -> bool:
        # PID, status and label of each job; a dash where it does not run
        lines = simctl("spawn", self.id, "launchctl", "list", seconds=seconds).splitlines()
        return any(re.match(rf"\d+\s.*UIKitApplication:{re.escape(self.app)}\[", line) for line in lines)

    def _path(self, path: str, seconds: float | None = None) -> Path:
        container = self._container("data", seconds)
        if container is None:
            raise MissingError(f"{self.app} is not installed on {self.facts}", "install it: --install APP")
        return container / path

    def _container(self, kind: str, seconds: float | None = None) -> Path | None:
        """A folder of the app; None where it is not installed."""
        try:
            return Path(simctl("get_app_container", self.id, self.app, kind, seconds=seconds).strip())
        except SimctlError:
            return None


@dataclass(frozen=True)
class ListedPhone:
    """A phone that Xcode knows. `issue`: why nothing can be done with it now, and what to do; both "" where it can."""

    facts: AppleFacts
    identifier: str  # of CoreDevice, another one than the UDID
    issue: str
    hint: str


def is_apple(choice: str) -> bool:
    """Whether `choice` of --device names an iPhone or Simulator, and no Android phone."""
    return choice.partition(":")[0] in ("ios", "simulator")


def find_apple_device(choice: str, app: str = APP) -> AppleDevice:
    """The device of `ios`, `ios:ID`, `simulator` or `simulator:ID`; ID is a UDID, identifier or name. `app` is on it.

    Raises MissingError where there is none or it refuses, and off macOS; UsageError where several are there.
    """
    kind, _, wanted = choice.partition(":")
    if kind == "simulator":
        return Simulator(_only(booted_simulators(), wanted, kind, lambda facts: (facts.id, facts.name)), app)
    phones = listed_phones()
    if not wanted and any(not phone.issue for phone in phones):
        phones = [phone for phone in phones if not phone.issue]
    phone = _only(phones, wanted, kind, lambda phone: (phone.facts.id, phone.identifier, phone.facts.name))
    if phone.issue:
        raise MissingError(f"{phone.facts} {phone.issue}", phone.hint)
    return ApplePhone(phone.facts, app)


def listed_phones() -> list[ListedPhone]:
    """Each iPhone and iPad that this Mac knows. Raises MissingError off macOS, or without Xcode."""
    return [_listed(entry) for entry in devicectl("list", "devices").get("devices", []) if _is_phone(entry)]


def booted_simulators() -> list[AppleFacts]:
    """Each booted Simulator of an iPhone or iPad. Raises MissingError off macOS, or without Xcode."""
    try:
        listed: dict[str, Any] = json.loads(simctl("list", "devices", "booted", "--json"))["devices"]
    except (ValueError, KeyError) as error:
        raise MissingError("simctl listed no devices", "see: xcrun simctl list devices booted --json") from error
    return [
        AppleFacts(str(entry["udid"]), str(entry.get("name", "")), "Simulator", version[1].replace("-", "."), True)
        for runtime, entries in listed.items()
        if (version := re.search(r"SimRuntime\.iOS-([\d-]+)$", runtime)) is not None
        for entry in entries
        if entry.get("state") == "Booted"
    ]


def _is_phone(entry: dict[str, Any]) -> bool:
    """Not a watch, a Mac or, of later releases of Xcode, a Simulator."""
    hardware = entry.get("hardwareProperties", {})
    return hardware.get("platform") in ("iOS", "iPadOS") and hardware.get("reality") in (None, "physical")


def _listed(entry: dict[str, Any]) -> ListedPhone:
    hardware, device, connection = (
        entry.get(key, {}) for key in ("hardwareProperties", "deviceProperties", "connectionProperties")
    )
    identifier = str(entry.get("identifier", ""))
    facts = AppleFacts(
        id=str(hardware.get("udid") or identifier),
        name=str(device.get("name", "")),
        model=str(hardware.get("marketingName") or hardware.get("productType") or ""),
        ios=device.get("osVersionNumber"),
        is_simulator=False,
    )
    if connection.get("pairingState") not in (None, "paired"):
        return ListedPhone(facts, identifier, "does not trust this machine", "unlock it, connect it and choose Trust")
    if connection.get("tunnelState") == "unavailable":  # "disconnected" is one that can be reached
        hint = "connect it by a cable, or bring it into the same Wi-Fi, and unlock it"
        return ListedPhone(facts, identifier, "is not connected", hint)
    if device.get("developerModeStatus") == "disabled":
        return ListedPhone(
            facts, identifier, "has its developer mode off", "Settings > Privacy & Security > Developer Mode"
        )
    return ListedPhone(facts, identifier, "", "")


def _only(found: list[_T], wanted: str, kind: str, names: Callable[[_T], Sequence[str]]) -> _T:
    what = "iPhone" if kind == "ios" else "booted Simulator"
    listed = ", ".join(f"{names(entry)[-1]} ({names(entry)[0]})" for entry in found)
    if wanted:
        found = [entry for entry in found if wanted.lower() in [name.lower() for name in names(entry)]]
        if not found:
            raise MissingError(f"Xcode sees no {what} {wanted}", f"it sees: {listed or 'none'}")
    if not found:
        hint = "xcrun simctl boot NAME" if kind == "simulator" else "connect one, unlock it, and choose Trust on it"
        raise MissingError(f"Xcode sees no {what}", hint)
    if len(found) > 1:
        raise UsageError(f"{len(found)} devices: {listed}", f"choose one with --device {kind}:ID")
    return found[0]


def _parts(url: str | None) -> tuple[str, ...]:
    return PurePosixPath((url or "").removeprefix("file://")).parts


def _copy_seconds(size: int) -> float:
    """Two minutes, and 1 MB/s: the device may be on Wi-Fi."""
    return 120 + size / 1e6


def _folder_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


@contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = ResourceError if error.errno == errno.ENOSPC else MissingError
        raise kind(f"{target} cannot be written: {error.strerror}", "see to its disk and permissions") from error
