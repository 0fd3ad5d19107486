"""Whether a bundle runs on a phone, and why not.

Apps share the rules through tests/vectors/device_fit.json (Android) and device_fit_ios.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mlp_export.backends.base import Delegate, delegates
from mlp_export.bundle.manifest import Manifest
from mlp_export.bundle.runtime_version import at_least

ANDROID, IOS = "Android", "iOS"
_ANY_ABI = ("arm64-v8a",)  # of backends that this release does not know


class FitKind(StrEnum):
    """Why not, or what to know of."""

    OTHER_SYSTEM = "OTHER_SYSTEM"  # a bundle for iOS on Android, or the other way around
    OLD_SYSTEM = "OLD_SYSTEM"  # iOS is older than the Core ML program needs
    WRONG_SOC = "WRONG_SOC"
    UNKNOWN_SOC = "UNKNOWN_SOC"  # a warning: the phone does not say what it is
    WRONG_ABI = "WRONG_ABI"
    OLD_RUNTIME = "OLD_RUNTIME"
    MISSING_BACKEND = "MISSING_BACKEND"
    MISSING_LIBRARY = "MISSING_LIBRARY"
    TOO_LITTLE_MEMORY = "TOO_LITTLE_MEMORY"  # the phone never has enough
    LITTLE_FREE_MEMORY = "LITTLE_FREE_MEMORY"  # a warning: not now
    SIMULATOR = "SIMULATOR"  # a warning: a Core ML program for units that Apple's Simulator lacks
    NOT_VERIFIED = "NOT_VERIFIED"  # a warning: the export did not verify it, or it did not pass


@dataclass(frozen=True)
class Device:
    """What decides whether a bundle runs on an Android phone."""

    soc_model: str | None  # ro.soc.model, "SM8650"; None where the phone does not say it
    abis: Sequence[str]
    sdk: int
    total_memory_bytes: int
    available_memory_bytes: int
    runtimes: dict[str, str] | None = None  # of an app: runtime -> version; None where no app was asked
    backends: Sequence[str] | None = None  # delegates that it has; None where no app was asked
    missing_libraries: Sequence[str] = ()  # that the bundle's backend needs and the app lacks


@dataclass(frozen=True)
class IosDevice:
    """What decides whether a bundle runs on an iPhone or iPad."""

    system_version: str | None  # of iOS, "18.5"; None where nobody said it
    is_simulator: bool
    total_memory_bytes: int | None  # None where nobody said it: a Mac is not told by the phone
    available_memory_bytes: int | None  # that the system lets the app still take; 0: the Simulator does not say
    runtimes: dict[str, str] | None = None  # of the app: runtime -> version; None where no app was asked
    backends: Sequence[str] | None = None  # delegates that it has; None where no app was asked


@dataclass(frozen=True)
class Reason:
    """One fact: what was found, what was expected. "" where there is nothing to name."""

    kind: FitKind
    found: str
    expected: str

    def sentence(self) -> str:
        """The fact as a person reads it."""
        return _SENTENCES[self.kind].format(found=_read(self.found), expected=_read(self.expected))


@dataclass(frozen=True)
class DeviceFit:
    """All that speaks against running a bundle on a device (`reasons`), and what to know of (`warnings`)."""

    reasons: list[Reason]
    warnings: list[Reason]

    @property
    def runs(self) -> bool:
        """Nothing speaks against it."""
        return not self.reasons


def device_fit(manifest: Manifest, device: Device) -> DeviceFit:
    """Compare a manifest with an Android phone. What is not known (None) is not held against it."""
    backend = manifest.backend
    delegate = delegates().get(backend.name)
    if _is_only_for(IOS, delegate) or "ios" in backend.min_runtime:
        return DeviceFit([Reason(FitKind.OTHER_SYSTEM, ANDROID, IOS)], [])
    reasons = _missing_backend(manifest, device.backends)
    warnings: list[Reason] = []
    reasons += [Reason(FitKind.MISSING_LIBRARY, "", library) for library in device.missing_libraries]
    abis = delegate.android.abis if delegate is not None and delegate.android is not None else _ANY_ABI
    if not set(abis) & set(device.abis):
        reasons.append(Reason(FitKind.WRONG_ABI, ", ".join(device.abis), " or ".join(abis)))
    if backend.target is not None:
        target, soc = backend.target.upper(), (device.soc_model or "").strip()
        if not soc or soc.lower() == "unknown":
            warnings.append(Reason(FitKind.UNKNOWN_SOC, "", target))
        elif not is_soc(soc, target):
            reasons.append(Reason(FitKind.WRONG_SOC, soc, target))
    reasons += _old_runtimes(manifest, device.runtimes)
    needed = manifest.device_ram_bytes
    if not _has_memory(needed, device.total_memory_bytes):
        reasons.append(Reason(FitKind.TOO_LITTLE_MEMORY, str(device.total_memory_bytes), str(needed)))
    elif needed > device.available_memory_bytes:
        warnings.append(Reason(FitKind.LITTLE_FREE_MEMORY, str(device.available_memory_bytes), str(needed)))
    return DeviceFit(reasons, warnings + _not_verified(manifest))


def ios_device_fit(manifest: Manifest, device: IosDevice) -> DeviceFit:
    """Compare a manifest with an iPhone or iPad. What is not known (None) is not held against it."""
    backend = manifest.backend
    delegate = delegates().get(backend.name)
    if _is_only_for(ANDROID, delegate) or "qairt" in backend.min_runtime:
        return DeviceFit([Reason(FitKind.OTHER_SYSTEM, IOS, ANDROID)], [])
    reasons = _missing_backend(manifest, device.backends)
    warnings: list[Reason] = []
    oldest = backend.min_runtime.get("ios")
    system = device.system_version
    if oldest is not None and system is not None and not at_least(system, oldest):
        reasons.append(Reason(FitKind.OLD_SYSTEM, f"iOS {system}", f"iOS {oldest}"))
    reasons += _old_runtimes(manifest, device.runtimes)
    target, has = backend.target, None if delegate is None or delegate.ios is None else delegate.ios.simulator_target
    if device.is_simulator and has is not None and target is not None and target != has:
        warnings.append(Reason(FitKind.SIMULATOR, target, has))
    needed, total, available = manifest.device_ram_bytes, device.total_memory_bytes, device.available_memory_bytes
    if total is not None and not _has_memory(needed, total):
        reasons.append(Reason(FitKind.TOO_LITTLE_MEMORY, str(total), str(needed)))
    elif available and needed > available:  # 0: os_proc_available_memory() has no answer in the Simulator
        warnings.append(Reason(FitKind.LITTLE_FREE_MEMORY, str(available), str(needed)))
    return DeviceFit(reasons, warnings + _not_verified(manifest))


def _is_only_for(system: str, delegate: Delegate | None) -> bool:
    """Whether a delegate's runtime exists for one of the two systems alone."""
    if delegate is None:
        return False
    other = delegate.android if system == IOS else delegate.ios
    return other is None


def _missing_backend(manifest: Manifest, backends: Sequence[str] | None) -> list[Reason]:
    name = manifest.backend.name
    if backends is None or name in backends:
        return []
    return [Reason(FitKind.MISSING_BACKEND, ", ".join(sorted(backends)), name)]


def _old_runtimes(manifest: Manifest, runtimes: dict[str, str] | None) -> list[Reason]:
    """The app's runtimes that are too old; one whose version is unknown is not."""
    return [
        Reason(FitKind.OLD_RUNTIME, f"{runtime} {found}", f"{runtime} {oldest}")
        for runtime, oldest in sorted(manifest.backend.min_runtime.items())
        if runtime != "ios" and (found := (runtimes or {}).get(runtime)) is not None and not at_least(found, oldest)
    ]


def _has_memory(needed: int, total: int) -> bool:
    return needed <= total // 4 * 3  # the system and its services keep the rest


def _not_verified(manifest: Manifest) -> list[Reason]:
    if manifest.verification is not None and manifest.verification.get("passed") is True:
        return []
    return [Reason(FitKind.NOT_VERIFIED, "none" if manifest.verification is None else "failed", "passed")]


def is_soc(found: str, target: str) -> bool:
    """Whether ro.soc.model `found` is chip `target`: variants add letters or a dash ("SM8650-AC", "SM8650P")."""
    rest = found.upper().removeprefix(target.upper())
    return len(rest) < len(found) and not rest[:1].isdigit()


def _read(value: str) -> str:
    """Bytes as GB; other values as they are."""
    return f"{int(value) / 1e9:.1f} GB" if value.isascii() and value.isdigit() else value or "none"


_SENTENCES = {
    FitKind.OTHER_SYSTEM: "the bundle is for {expected}",
    FitKind.OLD_SYSTEM: "the bundle needs {expected}, the phone has {found}",
    FitKind.WRONG_SOC: "the bundle is compiled for {expected}, the phone's chip is {found}",
    FitKind.UNKNOWN_SOC: "the bundle is compiled for {expected}, the phone does not say which chip it has",
    FitKind.WRONG_ABI: "the runtime exists for {expected}, the phone has {found}",
    FitKind.OLD_RUNTIME: "the bundle needs {expected}, the app has {found}",
    FitKind.MISSING_BACKEND: "the bundle needs the backend {expected}, the app has {found}",
    FitKind.MISSING_LIBRARY: "the app lacks {expected}",
    FitKind.TOO_LITTLE_MEMORY: "the bundle needs {expected} of memory, the phone has {found} in all",
    FitKind.LITTLE_FREE_MEMORY: "the bundle needs {expected} of memory, {found} are free now",
    FitKind.SIMULATOR: "the bundle's compute unit is {found}, Apple's Simulator has {expected}",
    FitKind.NOT_VERIFIED: "the bundle was not verified when it was exported ({found})",
}
