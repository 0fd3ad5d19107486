"""Xcode's command-line tools: devicectl for iPhones and iPads, simctl for Simulators.

They could not be run where this was written. What is relied on: the JSON that devicectl writes with `--json-output`,
exit codes, and that the words of a launch behind `--` reach the app.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Sequence
from typing import Any

from mlp_export.devices.device_command import COMMAND_SECONDS, capture
from mlp_export.errors import MissingError, ResourceError
from mlp_export.scratch import scratch_folder

_FULL = re.compile(
    r"No space left|ENOSPC|out of space|not enough (space|storage)|[Ii]nsufficient (disk )?(space|storage)"
)
# What devicectl says -> what to do.
_HINTS = (
    (r"could not be, unlocked|is locked|passcode protected|preflight checks", "unlock the device"),
    (r"[Dd]eveloper [Mm]ode", "turn on Settings > Privacy & Security > Developer Mode on the device"),
    (
        r"explicitly trusted|[Cc]ertificate is not trusted",
        "trust the developer on the device: Settings > General > VPN & Device Management",
    ),
    (
        r"[Pp]rovisioning|not been signed|code signature",
        "sign the app for this device: open it in Xcode, and run it once",
    ),
    (
        r"ContainerLookupErrorDomain",
        "install a development build of the app, of Xcode or with --install: files of others cannot be reached",
    ),
    (r"disk image|device support", "open Xcode, and wait until it has prepared the device"),
)
# On stderr before whatever a command says, be it well or not.
_NOISE = re.compile(r"^(Failed to load provisioning paramter list|`devicectl manage create` may support).*\n?", re.M)
_GONE = re.compile(
    r"connection .*(could not be established|interrupted|invalidated|lost|closed)|disconnected"
    r"|unable to locate a device|CoreDeviceError error (1|4000)\b|ControlChannelConnectionError|timed out"
)


class DevicectlError(MissingError):
    """devicectl failed."""


class DeviceRefusedError(DevicectlError):
    """The device went away, was not there, or takes no commands: nothing is known of what was asked for."""


class SimctlError(MissingError):
    """simctl failed."""


def devicectl(*words: str, app: Sequence[str] = (), seconds: float | None = None) -> dict[str, Any]:
    """The `result` of a devicectl command; `app` are the words that must come last.

    Raises MissingError where it fails or is not there, ResourceError where the device is full, NoAnswerError after
    `seconds`.
    """
    seconds = COMMAND_SECONDS if seconds is None else seconds
    with scratch_folder() as scratch:
        output = scratch / "result.json"
        options = ["--timeout", str(math.ceil(seconds)), "--json-output", str(output)]
        command = [_xcrun(), "devicectl", *words, *options, *app]
        code, stdout, stderr = capture(command, seconds, "devicectl")
        try:
            values = json.loads(output.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            values = None
    result = values.get("result") if isinstance(values, dict) else None
    if code:
        raise _devicectl_error(stderr.strip() or stdout.strip() or f"exit code {code}")
    if not isinstance(result, dict):
        raise DevicectlError(
            f"devicectl {' '.join(words[:3])} gave no result",
            "this mlp-export is for Xcode 16 or later: xcodebuild -version",
        )
    return result


def simctl(*words: str, seconds: float | None = None) -> str:
    """The stdout of a simctl command.

    Raises MissingError where it fails or is not there, NoAnswerError after `seconds`.
    """
    command = [_xcrun(), "simctl", *words]
    code, stdout, stderr = capture(command, COMMAND_SECONDS if seconds is None else seconds, "simctl")
    if code:
        lines = (stderr.strip() or stdout.strip() or f"exit code {code}").splitlines()
        raise SimctlError(f"simctl {words[0]} failed: {lines[-1].strip()}", "see that the Simulator is booted")
    return stdout


def _devicectl_error(text: str) -> MissingError | ResourceError:
    text = _NOISE.sub("", text).strip() or "it printed no error"
    errors = [line.strip().removeprefix("ERROR: ") for line in text.splitlines() if line.startswith("ERROR: ")]
    said = "; ".join(errors) or text.splitlines()[-1].strip()
    if _FULL.search(text):
        return ResourceError(f"the device is full: {said}", "free some space on it, and run the command again")
    hint = next((hint for pattern, hint in _HINTS if re.search(pattern, text)), None)
    if hint is None and _GONE.search(text):
        hint = "connect the device again, and run the command again"
    if hint is not None:
        return DeviceRefusedError(f"devicectl failed: {said}", hint)
    return DevicectlError(f"devicectl failed: {said}", "see that the device is connected and unlocked")


def _xcrun() -> str:
    xcrun = shutil.which("xcrun")
    if xcrun is None:
        raise MissingError(
            "xcrun is not there: iPhones and Simulators are reached from a Mac with Xcode 16 or later",
            "run this there; or copy the bundle's folder without it, by Finder, AirDrop or Files, and import it in the "
            "app: docs/guides/iphone.md",
        )
    return xcrun
