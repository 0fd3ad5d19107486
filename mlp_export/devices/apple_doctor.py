"""`doctor --device` on a Mac: its iPhones, iPads and booted Simulators, beside an Android phone where there is one."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from mlp_export.backends.base import IosRuntime, delegates
from mlp_export.bundle.manifest import MANIFEST
from mlp_export.devices.adb import APP
from mlp_export.devices.apple_device import (
    DOCUMENTS,
    MIN_IOS,
    AppleDevice,
    AppleFacts,
    ApplePhone,
    Simulator,
    booted_simulators,
    listed_phones,
)
from mlp_export.devices.device_doctor import (
    BackendOnDevice,
    BundleOnDevice,
    DeviceDoctorReport,
    bundle_on_device,
    device_doctor,
)
from mlp_export.errors import MissingError


@dataclass(frozen=True)
class AppleDeviceReport:
    """What was found on one device. `issue`: why it could not be looked at; "" where it could."""

    device: AppleFacts
    issue: str
    app: str  # its identifier
    app_version: str | None  # None: not installed, or not looked at
    backends: dict[str, BackendOnDevice]
    bundles: list[BundleOnDevice]

    @property
    def ok(self) -> bool:
        """Bundles of at least one backend run on it."""
        return not self.issue and any(found.runs for found in self.backends.values())

    def summary(self) -> list[str]:
        """The same for reading, a fact a line."""
        lines = [f"{self.device.model or 'unknown model'}, iOS {self.device.ios or 'unknown'}, {self.device.id}"]
        if self.issue:
            return [*lines, self.issue]
        missing = "not installed: mlp-export push BUNDLE --device ios --install APP"
        lines.append(f"app: {missing if self.app_version is None else f'{self.app} {self.app_version}'}")
        lines += [f"{name}: {found.said}" for name, found in self.backends.items()]
        for bundle in self.bundles:
            name = PurePosixPath(bundle.path).name
            lines.append(f"bundle {name}: {bundle.model or 'damaged'}: {'runs' if bundle.runs else 'does not run'}")
            lines += [f"bundle {name}: {sentence}" for sentence in bundle.said]
        return lines


@dataclass(frozen=True)
class ConnectedReport:
    """All phones that were found. The keys of an Android phone are those of `DeviceDoctorReport`."""

    android: DeviceDoctorReport | None
    apple: list[AppleDeviceReport]

    @property
    def ok(self) -> bool:
        """Bundles of at least one backend run on one of them."""
        return (self.android is not None and self.android.ok) or any(report.ok for report in self.apple)

    def to_json(self) -> dict[str, Any]:
        """The object `doctor --device --json` prints."""
        android = {} if self.android is None else self.android.to_json()
        return {**android, "ok": self.ok, "apple": [asdict(report) for report in self.apple]}

    def summary(self) -> dict[str, Any]:
        """The same for reading."""
        android = {} if self.android is None else self.android.summary()
        names = [report.device.name or "unnamed" for report in self.apple]
        titles = [  # Simulators of several systems have one name
            name if names.count(name) == 1 else f"{name} ({report.device.id})"
            for name, report in zip(names, self.apple, strict=True)
        ]
        return {**android, **{title: report.summary() for title, report in zip(titles, self.apple, strict=True)}}


def connected_doctor(backend: str | None = None, app: str = APP) -> ConnectedReport:
    """Look at the Android phone that adb sees, and at all devices that Xcode knows; with `backend` only for that one.
    `app` is the identifier of the app on the latter.

    Raises what `device_doctor` raises where Xcode knows no device; what Xcode says, without adb and for a backend of
    Apple's devices alone.
    """
    if backend is not None and delegates()[backend].ios is None:
        return ConnectedReport(device_doctor(backend=backend), [])
    only_apple = backend is not None and delegates()[backend].android is None
    alone = only_apple or (shutil.which("adb") is None and shutil.which("xcrun") is not None)
    apple = _apple(backend, app, required=alone)
    if alone:
        return ConnectedReport(None, apple)
    try:
        return ConnectedReport(device_doctor(backend=backend), apple)
    except MissingError:
        if not apple:
            raise
        return ConnectedReport(None, apple)


def _apple(backend: str | None, app: str, required: bool) -> list[AppleDeviceReport]:
    """The devices that Xcode knows. Raises MissingError where they are required, and there are none, or no Xcode."""
    try:
        phones, simulators = listed_phones(), booted_simulators()
    except MissingError:
        if required:
            raise
        return []
    found = [
        AppleDeviceReport(phone.facts, f"{phone.issue}: {phone.hint}", app, None, {}, [])
        if phone.issue
        else _look(ApplePhone(phone.facts, app), backend)
        for phone in phones
    ]
    found += [_look(Simulator(facts, app), backend) for facts in simulators]
    if required and not found:
        raise MissingError(
            "Xcode sees no iPhone and no booted Simulator", "connect one, unlock it, and choose Trust on it"
        )
    return found


def _look(device: AppleDevice, backend: str | None) -> AppleDeviceReport:
    backends = {
        name: _backend(name, found.ios, device.facts)
        for name, found in delegates().items()
        if found.ios is not None and backend in (None, name)
    }
    try:
        version = device.app_version()
        bundles = [] if version is None else _bundles(device, backend)
    except MissingError as error:
        return AppleDeviceReport(device.facts, f"{error.message}: {error.hint}", device.app, None, backends, [])
    return AppleDeviceReport(device.facts, "", device.app, version, backends, bundles)


def _backend(name: str, ios: IosRuntime, facts: AppleFacts) -> BackendOnDevice:
    if facts.system_issue() is not None:
        return BackendOnDevice(False, f"no: the app needs iOS {MIN_IOS}")
    unit = f" --compute-unit {ios.simulator_target}" if ios.simulator_target and facts.is_simulator else ""
    return BackendOnDevice(True, f"yes: --backend {name}{unit}")


def _bundles(device: AppleDevice, backend: str | None) -> list[BundleOnDevice]:
    """The bundles in the app's Documents, of that backend."""
    found = []
    for listed in sorted(device.sizes(DOCUMENTS)):
        folder = PurePosixPath(listed).parent
        if PurePosixPath(listed).name != MANIFEST or len(folder.parts) > 1 or folder.name.endswith(".partial"):
            continue
        data = device.read(f"{DOCUMENTS}/{listed}")
        if data is not None:
            found += bundle_on_device(str(PurePosixPath(DOCUMENTS, folder)), data, device.facts, backend)
    return found
