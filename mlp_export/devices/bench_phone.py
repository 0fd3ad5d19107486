"""What `bench --device` asks of a phone: an Android phone behind adb, an iPhone or a Simulator behind Xcode's tools."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Protocol

from mlp_export.bundle.manifest import MANIFEST, Manifest
from mlp_export.devices.adb import APP, APP_BUNDLES, DEVICE_FOLDER, Phone
from mlp_export.devices.apple_device import DOCUMENTS, find_apple_device
from mlp_export.devices.apple_push import check_apple_fit
from mlp_export.devices.push import check_fit

_ANDROID_RESULTS = f"/sdcard/Android/data/{APP}/files/bench"
_APPLE_RESULTS = f"{DOCUMENTS}/bench"
_OWN = "delete it in the app, which takes it before the one that push copies, and push BUNDLE if you have not"


@dataclass(frozen=True)
class FoundManifest:
    """The text of a manifest on a phone, and how the bundle around it is replaced."""

    folder: str
    text: str
    to_replace: str


class BenchPhone(Protocol):
    """A phone whose app measures. Methods with `seconds` raise NoAnswerError after them."""

    name: str  # a serial or UDID
    app: str  # the app's identifier
    tool: str  # that reaches it
    poll_seconds: float
    push: str  # commands for hints
    push_app: str
    see_log: str
    guide: str

    def check(self, manifest: Manifest) -> None:
        """Raises MissingError or ResourceError where the phone cannot run the bundle."""

    def has_app(self) -> bool:
        """Whether the app is installed."""

    def manifest(self, name: str) -> FoundManifest | None:
        """That of the bundle which the app takes by this name."""

    def start(self, plan: str) -> None:
        """Start the app on a plan."""

    def result_path(self, plan_id: str) -> str:
        """Where the app writes its result."""

    def read(self, path: str, seconds: float) -> str | None:
        """The text of a result; None or "" where it is not there yet."""

    def is_running(self, seconds: float) -> bool:
        """Whether the app lives."""

    def see_result(self, path: str) -> str:
        """A command that shows the result."""


class AndroidBenchPhone:
    """A phone behind adb."""

    tool, poll_seconds, guide, app = "adb", 2.0, "docs/guides/android.md", APP
    push, push_app = "mlp-export push BUNDLE", "mlp-export push BUNDLE --install APK"

    def __init__(self, serial: str | None) -> None:
        self._phone = Phone.find(serial, "name one of them: --device SERIAL")
        self.name = self._phone.serial
        self.see_log = f"see adb -s {self.name} logcat -d -t 200"

    def check(self, manifest: Manifest) -> None:
        check_fit(manifest, self._phone.facts())

    def has_app(self) -> bool:
        return self._phone.has_app()

    def manifest(self, name: str) -> FoundManifest | None:
        for root in (APP_BUNDLES, DEVICE_FOLDER):  # the app takes its own first
            folder = f"{root}/{name}"
            text = self._phone.try_shell(f"cat {shlex.quote(f'{folder}/{MANIFEST}')} 2>/dev/null")
            if text is not None:
                return FoundManifest(folder, text, _OWN if root == APP_BUNDLES else f"{self.push} replaces it")
        return None

    def start(self, plan: str) -> None:
        self._phone.start(".BenchActivity", {"bench": plan})

    def result_path(self, plan_id: str) -> str:
        return f"{_ANDROID_RESULTS}/{plan_id}.json"

    def read(self, path: str, seconds: float) -> str | None:
        return self._phone.try_shell(f"cat {shlex.quote(path)} 2>/dev/null", seconds)

    def is_running(self, seconds: float) -> bool:
        return bool((self._phone.try_shell(f"pidof {APP}", seconds) or "").strip())

    def see_result(self, path: str) -> str:
        return f"adb -s {self.name} shell cat {path}"


class AppleBenchPhone:
    """An iPhone, iPad or booted Simulator. The app must stay in the foreground: iOS suspends others."""

    tool, poll_seconds, guide = "xcrun", 5.0, "docs/guides/iphone.md"

    def __init__(self, device: str, app: str = APP) -> None:
        self._phone = find_apple_device(device, app)
        self.app = app
        self.name = self._phone.id
        self.push = f"mlp-export push BUNDLE --device {device}"
        self.push_app = f"{self.push} --install APP"
        self.see_log = "see Console.app, or the device's Settings > Privacy & Security > Analytics Data"

    def check(self, manifest: Manifest) -> None:
        check_apple_fit(manifest, self._phone.facts)

    def has_app(self) -> bool:
        return self._phone.app_version() is not None

    def manifest(self, name: str) -> FoundManifest | None:
        data = self._phone.read(f"{DOCUMENTS}/{name}/{MANIFEST}")
        if data is None:
            return None
        return FoundManifest(f"{DOCUMENTS}/{name}", data.decode(errors="replace"), f"{self.push} replaces it")

    def start(self, plan: str) -> None:
        self._phone.start(["--bench", plan])

    def result_path(self, plan_id: str) -> str:
        return f"{_APPLE_RESULTS}/{plan_id}.json"

    def read(self, path: str, seconds: float) -> str | None:
        data = self._phone.read(path, seconds)
        return None if data is None else data.decode(errors="replace")

    def is_running(self, seconds: float) -> bool:
        return self._phone.is_running(seconds)

    def see_result(self, path: str) -> str:
        return f"see {path} of the app, in Files or Finder"
