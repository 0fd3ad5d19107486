"""`doctor --device`: what a phone is, which bundles it could run, and which of those on it do."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol

from mlp_export.backends.base import AndroidRuntime, Delegate, delegates, flag
from mlp_export.bundle.manifest import MANIFEST, Manifest
from mlp_export.devices.adb import APP, APP_BUNDLES, DEVICE_FOLDER, MIN_SDK, Phone, PhoneFacts
from mlp_export.devices.device_fit import DeviceFit, is_soc
from mlp_export.errors import InputError, UsageError
from mlp_export.resources import human_bytes


class Facts(Protocol):
    """What a phone states of itself, as far as bundles go."""

    def fit(self, manifest: Manifest) -> DeviceFit:
        """What speaks against a bundle, of what is known."""

    def system_issue(self) -> str | None:
        """Why the app cannot be installed on the phone's system; None where it can."""


@dataclass(frozen=True)
class BackendOnDevice:
    """Whether bundles of a backend run on a phone, and how to export them; or why not."""

    runs: bool
    said: str


@dataclass(frozen=True)
class BundleOnDevice:
    """A bundle on a phone. `said` are all reasons and warnings."""

    path: str
    model: str
    runs: bool
    said: list[str]


@dataclass(frozen=True)
class DeviceDoctorReport:
    """What was found on a phone. `ok`: bundles of at least one backend run on it."""

    ok: bool
    phone: PhoneFacts
    free_bytes: int | None  # where bundles go
    app_version: str | None  # None: not installed
    backends: dict[str, BackendOnDevice]
    bundles: list[BundleOnDevice]

    def to_json(self) -> dict[str, Any]:
        """The object `doctor --device --json` prints."""
        return asdict(self)

    def summary(self) -> dict[str, Any]:
        """The same for reading."""
        phone = self.phone
        bundles = {
            f"bundle {PurePosixPath(bundle.path).name}{' in the app' * bundle.path.startswith(APP_BUNDLES)}": [
                f"{bundle.model}: {'runs' if bundle.runs else 'does not run'}",
                *bundle.said,
            ]
            for bundle in self.bundles
        }
        return {
            "phone": f"{phone.manufacturer} {phone.model} ({phone.serial})",
            "Android": f"{phone.android} (API {phone.sdk})",
            "chip": phone.soc_model or "not stated by the phone",
            "ABIs": ", ".join(phone.abis),
            "memory": f"{human_bytes(phone.total_memory_bytes)}, {human_bytes(phone.available_memory_bytes)} free",
            "disk": "unknown" if self.free_bytes is None else f"{human_bytes(self.free_bytes)} free",
            "app": "not installed: mlp-export push BUNDLE --install APK"
            if self.app_version is None
            else f"{APP} {self.app_version}",
            **{name: found.said for name, found in self.backends.items()},
            **bundles,
        }


def device_doctor(
    serial: str | None = None, device_folder: str = DEVICE_FOLDER, *, backend: str | None = None
) -> DeviceDoctorReport:
    """Look at a phone; with `backend` only at what concerns it. Bundles are those that push copied, and the app's own.

    Raises MissingError without adb, without a phone or where it refuses, UsageError where there are several, and for a
    backend that is not for Android.
    """
    for_android = {name: d.android for name, d in delegates().items() if d.android is not None}
    if backend is not None and backend not in for_android:
        raise UsageError(
            f"the {backend} backend is not for Android, which --device looks at",
            f"choose one of: {', '.join(for_android)}",
        )
    phone = Phone.find(serial)
    facts = phone.facts()
    backends = {
        name: _backend(delegates()[name], android, facts)
        for name, android in for_android.items()
        if backend in (None, name)
    }
    bundles = [found for root in (device_folder, APP_BUNDLES) for found in _bundles(phone, facts, root, backend)]
    folder = device_folder if phone.try_shell(f"ls {shlex.quote(device_folder)}") is not None else "/data"
    return DeviceDoctorReport(
        ok=any(found.runs for found in backends.values()),
        phone=facts,
        free_bytes=phone.free_bytes(folder),
        app_version=phone.app_version(),
        backends=backends,
        bundles=bundles,
    )


def _backend(delegate: Delegate, android: AndroidRuntime, facts: PhoneFacts) -> BackendOnDevice:
    if facts.system_issue() is not None:
        return BackendOnDevice(False, f"no: the app needs Android 9 (API {MIN_SDK})")
    if facts.abis and not set(android.abis) & set(facts.abis):
        return BackendOnDevice(False, f"no: the runtime exists for {' or '.join(android.abis)}")
    declared = delegate.options.declared()
    chips = [(flag(name), found.choices) for name, found in declared.items() if found.repeatable]
    if not chips:
        return BackendOnDevice(True, f"yes: --backend {delegate.name}")
    option, socs = chips[0]
    if facts.soc_model is None:
        return BackendOnDevice(False, f"unknown: the phone does not state its chip; there are {', '.join(socs)}")
    fitting = [soc for soc in socs if is_soc(facts.soc_model, soc)]
    if not fitting:
        return BackendOnDevice(False, f"no: its chip is {facts.soc_model}, there are {', '.join(socs)}")
    return BackendOnDevice(True, f"yes: --backend {delegate.name} {option} {fitting[0]}")


def _bundles(phone: Phone, facts: PhoneFacts, folder: str, backend: str | None) -> list[BundleOnDevice]:
    listed = phone.try_shell(f"ls -1 {shlex.quote(folder)}") or ""
    found = []
    for name in sorted(line.strip() for line in listed.splitlines()):
        path = f"{folder}/{name}"
        text = phone.try_shell(f"cat {shlex.quote(f'{path}/{MANIFEST}')} 2>/dev/null")
        if name.endswith(".partial"):
            issue = (
                "an import that the app has not finished: the app removes it when it starts"
                if folder == APP_BUNDLES
                else "a push that broke off: push it again, or remove it"
            )
            found.append(BundleOnDevice(path, "", False, [issue]))
        elif text is not None:
            found += bundle_on_device(path, text, facts, backend)
    return found


def bundle_on_device(path: str, text: str | bytes, facts: Facts, backend: str | None) -> list[BundleOnDevice]:
    """The bundle of that manifest; none where it is of another backend than the one that was asked for."""
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise InputError(f"{MANIFEST} holds no object", "push it again")
        manifest = Manifest.from_json(values)
    except (ValueError, InputError) as error:
        return [BundleOnDevice(path, "", False, [str(error)])]
    if backend not in (None, manifest.backend.name):
        return []
    fit, system_issue = facts.fit(manifest), facts.system_issue()
    sentences = [reason.sentence() for reason in (*fit.reasons, *fit.warnings)]
    if system_issue is not None:
        sentences.insert(0, f"the phone has {system_issue}")
    return [BundleOnDevice(path, manifest.model.id, fit.runs and system_issue is None, sentences)]
