"""`push --device ios`: copies a bundle to an iPhone, an iPad or a booted Simulator, with Xcode's tools."""

from __future__ import annotations

import plistlib
from pathlib import Path

from mlp_export.backends.base import delegates
from mlp_export.bundle.bundle import Bundle
from mlp_export.bundle.manifest import MANIFEST, Manifest
from mlp_export.devices.adb import APP
from mlp_export.devices.apple_device import DOCUMENTS, AppleDevice, AppleFacts, find_apple_device
from mlp_export.devices.device_fit import DeviceFit, FitKind
from mlp_export.devices.push import PushReport, check_program
from mlp_export.devices.xcode import DevicectlError, DeviceRefusedError
from mlp_export.errors import MissingError, UsageError
from mlp_export.paths import check_reachable
from mlp_export.progress import Progress

_FOR_IOS = " or ".join(name for name, delegate in delegates().items() if delegate.ios is not None)
_HINTS = {
    FitKind.OTHER_SYSTEM: f"export for the iPhone with --backend {_FOR_IOS}",
    FitKind.OLD_SYSTEM: "update the device, or choose another one",
}


def apple_push(
    bundle: Bundle,
    progress: Progress,
    device: str,
    *,
    app: str | None = None,
    install: Path | None = None,
    start: bool = False,
) -> PushReport:
    """Copy the bundle into the app's Documents/NAME on `device`, as `find_apple_device` takes it, the manifest last.

    `app` is the app's identifier; without it that of `install`, an app of Xcode which is installed before. With `start`
    the app is started on the bundle. All files are copied each time: devices do not tell hashes. The app compares them
    before the first load.

    Raises InputError for a program that fails on phones, MissingError without Xcode, device or app, where one refuses
    or this one cannot run the bundle, UsageError where several devices are there, ResourceError where it is full.
    """
    check_program(bundle)
    if install is not None:
        check_reachable(install)
        if not install.exists():
            raise UsageError(
                f"{install} is not there, expected an app that Xcode built", "build it: docs/guides/iphone.md"
            )
    phone = find_apple_device(device, app or (APP if install is None else _identifier(install)))
    warnings = [warning.sentence() for warning in check_apple_fit(bundle.manifest, phone.facts).warnings]
    for warning in warnings:
        progress.note(f"warning: {warning}")
    if install is not None:
        with progress.stage("install the app"):
            phone.install(install)
    if phone.app_version() is None:
        raise MissingError(
            f"{phone.app} is not installed on {phone.facts}",
            "install it from Xcode, or with --install APP; name one that is signed as your own with --app-id",
        )
    folder = f"{DOCUMENTS}/{bundle.path.resolve().name}"
    files = [bundle.path / name for name in (*bundle.manifest.files, MANIFEST)]  # a folder with a manifest is whole
    with progress.stage("push", total=len(files)) as stage:
        phone.copy_to(files, folder, stage.advance)
    with progress.stage("check on the device"):
        unchecked = _check_sizes(phone, files, folder)
    if unchecked:
        progress.note(f"warning: {unchecked}")
        warnings.append(unchecked)
    if start:
        phone.start(["--bundle", bundle.path.resolve().name])
    size = sum(file.stat().st_size for file in files)
    return PushReport(phone.id, folder, size, size, warnings, install is not None, start)


def _identifier(app: Path) -> str:
    """CFBundleIdentifier of an app that Xcode built. Raises UsageError where it names none."""
    try:
        return str(plistlib.loads((app / "Info.plist").read_bytes())["CFBundleIdentifier"])
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{app} is no app: its Info.plist names no identifier", "give the .app of Xcode") from error


def check_apple_fit(manifest: Manifest, facts: AppleFacts) -> DeviceFit:
    """The warnings of `AppleFacts.fit`.

    Raises MissingError where the device cannot run the bundle, whatever app it has.
    """
    issue = facts.system_issue()
    if issue is not None:
        raise MissingError(f"{facts} has {issue}", "update the device, or choose another one")
    fit = facts.fit(manifest)
    if not fit.runs:
        raise MissingError(
            f"{facts} cannot run this bundle: {'; '.join(reason.sentence() for reason in fit.reasons)}",
            _HINTS.get(fit.reasons[0].kind, "choose another device"),
        )
    return fit


def _check_sizes(phone: AppleDevice, files: list[Path], folder: str) -> str:
    """A warning where the device does not list its files. Raises MissingError for one of another size."""
    try:
        found = phone.sizes(folder)
    except DeviceRefusedError:
        raise
    except DevicectlError as error:
        return f"sizes on the device were not compared: {error.message}"
    for file in files:
        if found.get(file.name) != file.stat().st_size:
            size = f"{found[file.name]:,} bytes" if file.name in found else "no such file"
            raise MissingError(
                f"{file.name} arrived damaged on {phone.facts}: {size}, expected {file.stat().st_size:,}",
                "try again, with another cable or port",
            )
    return ""
