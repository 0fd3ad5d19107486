"""iPhones and a Simulator behind a fake xcrun: containers are folders here, and it fails when told to."""

from __future__ import annotations

import json
import os
import plistlib
import sys
from pathlib import Path
from typing import Any

import pytest

APP = "org.mlpexport.demo"
IPHONE = "00008140-0011AA"

# What runs as `xcrun`. Its state is state.json beside the containers; each call is a line of log.json.
_XCRUN = r"""
import json, plistlib, shutil, sys, time
from pathlib import Path

root = Path(ROOT)
state = json.loads((root / "state.json").read_text())
tool, *words = sys.argv[1:]
with (root / "log.json").open("a") as log:
    log.write(json.dumps([tool, *words]) + "\n")
line = " ".join([tool, *words])


def fail(text, code=1):
    print(text, file=sys.stderr)
    raise SystemExit(code)


if tool == "devicectl":
    print(
        "Failed to load provisioning paramter list due to error: Error Domain=com.apple.dt.CoreDeviceError Code=1002 "
        '"No provider was found." UserInfo={NSLocalizedDescription=No provider was found.}.\n'
        "`devicectl manage create` may support a reduced set of arguments.",
        file=sys.stderr,
    )
for part, text in state["fails"].items():
    if part in line:
        fail(text)
if state["hang"] and state["hang"] in line:
    time.sleep(20)


def option(name, default=None):
    return words[words.index(name) + 1] if name in words else default


def app_folder(device):
    return root / device / "app.app"


def installed(device):
    return (app_folder(device) / "Info.plist").exists()


def is_app(device, identifier):
    # whether the app of that identifier is the one that is installed
    if not installed(device):
        return False
    return plistlib.loads((app_folder(device) / "Info.plist").read_bytes())["CFBundleIdentifier"] == identifier


def install(device, source):
    shutil.copytree(source, app_folder(device), dirs_exist_ok=True)
    (root / device / "data" / "Documents").mkdir(parents=True, exist_ok=True)


def launch(device, arguments):
    (root / device / "started").write_text(json.dumps(arguments))
    (root / device / "running").touch()


def devicectl():
    if words[:2] == ["list", "devices"]:
        return {"devices": state["phones"]}
    device = option("--device")
    if device not in [phone["hardwareProperties"]["udid"] for phone in state["phones"]]:
        fail("ERROR: CoreDeviceService was unable to locate a device matching the requested device identifier.")
    container = root / device / "data"
    what = words[1:3]
    if what == ["install", "app"]:
        install(device, words[-1])
        return {"installedApplications": []}
    if what == ["info", "apps"]:
        if not is_app(device, option("--bundle-id")):
            return {"apps": []}
        info = plistlib.loads((app_folder(device) / "Info.plist").read_bytes())
        url = "file://" + str(app_folder(device)) + "/"
        identifier, version = info["CFBundleIdentifier"], info["CFBundleShortVersionString"]
        app = {"bundleIdentifier": identifier, "version": version, "url": url}
        return {"apps": [app if state.get("url", True) else {**app, "url": None}]}
    if what == ["info", "processes"]:
        processes = [{"executable": "file:///usr/libexec/lockdownd", "processIdentifier": 60}]
        if (root / device / "running").exists():
            name = (root / device / "running").read_text() or "MlpDemo"
            processes.append({"executable": f"file:///private{app_folder(device)}/{name}", "processIdentifier": 4711})
        return {"runningProcesses": processes}
    if what == ["process", "launch"]:
        at = words.index("--") - 1
        if not is_app(device, words[at]) or "--json-output" not in words[:at]:
            fail("ERROR: The application failed to launch. (com.apple.dt.CoreDeviceError error 10002.)")
        launch(device, words[at + 2 :])
        return {"process": {"processIdentifier": 4711}}
    if not is_app(device, option("--domain-identifier")):
        fail("ERROR: The requested container could not be found. (ContainerLookupErrorDomain error -1.)")
    if what == ["info", "files"]:
        if option("--username") != "mobile" or "--recurse" not in words:
            fail("Error: Unknown option")
        base = container / option("--subdirectory")
        files = [
            {
                "name": path.name,
                "relativePath": str(path.relative_to(base)),
                "metadata": {"size": path.stat().st_size},
                "resources": {"isDirectory": path.is_dir()},
            }
            for path in sorted(base.rglob("*"))
        ]
        return {"files": files}
    if option("--user") != "mobile":
        fail("Error: Unknown option")
    if what == ["copy", "to"]:
        target = container / option("--destination")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(option("--source"), target)
        if state["damage"] == target.name:
            target.write_bytes(target.read_bytes()[:-1])
        return {"files": []}
    if what == ["copy", "from"]:
        source = container / option("--source")
        if not source.is_file():
            fail("ERROR: Failed to retrieve the file node. (com.apple.dt.CoreDeviceError error 7000.)")
        shutil.copyfile(source, option("--destination"))
        return {"files": []}
    fail("Error: Unexpected argument")


def simctl():
    if words == ["list", "devices", "booted", "--json"]:
        return json.dumps({"devices": state["simulators"]})
    if words[0] == "install":
        install(words[1], words[2])
    elif words[0] == "get_app_container":
        if not is_app(words[1], words[2]):
            fail("An error was encountered processing the command\nNo such file or directory", 2)
        return str(app_folder(words[1]) if words[3] == "app" else root / words[1] / "data")
    elif words[0] == "launch":
        assert words[1] == "--terminate-running-process" and is_app(words[2], words[3])
        launch(words[2], words[4:])
        return f"{words[3]}: 4711"
    elif words[0] == "spawn":
        alive = "4711" if (root / words[1] / "running").exists() else "-"
        name = plistlib.loads((app_folder(words[1]) / "Info.plist").read_bytes())["CFBundleIdentifier"]
        label = f"UIKitApplication:{name}[1234][rb-legacy]"
        return f"PID\tStatus\tLabel\n60\t0\tcom.apple.other\n{alive}\t0\t{label}\n"
    return ""


if tool == "simctl":
    print(simctl())
else:
    result = devicectl()
    if state["json"]:
        Path(option("--json-output")).write_text(json.dumps({"info": {"outcome": "success"}, "result": result}))
"""


def iphone(udid: str = IPHONE, name: str = "Anna's iPhone", ios: str = "18.5", **changes: Any) -> dict[str, Any]:
    """A device as `devicectl list devices` has it; `changes` by the name of the key, whatever its group."""
    values: dict[str, dict[str, Any]] = {
        "hardwareProperties": {
            "udid": udid,
            "platform": "iOS",
            "deviceType": "iPhone",
            "marketingName": "iPhone 16 Pro",
            "productType": "iPhone17,1",
            "reality": "physical",
        },
        "deviceProperties": {"name": name, "osVersionNumber": ios, "developerModeStatus": "enabled"},
        "connectionProperties": {"pairingState": "paired", "tunnelState": "disconnected", "transportType": "wired"},
    }
    for key, value in changes.items():
        group = next(group for group in values.values() if key in group)
        group[key] = value
    return {"identifier": f"CORE-{udid}", **values}


class FakeXcode:
    """A Mac's Xcode with one iPhone, as far as push, bench and doctor see it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        (root / "bin").mkdir(parents=True)
        script = f"#!{sys.executable}\nROOT = {str(root)!r}\n{_XCRUN}"
        (root / "bin" / "xcrun").write_text(script, encoding="utf-8")
        (root / "bin" / "xcrun").chmod(0o755)
        monkeypatch.setenv("PATH", f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}")
        self._state: dict[str, Any] = {
            "fails": {},
            "hang": "",
            "damage": "",
            "json": True,
            "url": True,
            "simulators": {},
        }
        self.set(phones=[iphone()])

    def set(self, **values: Any) -> None:
        self._state |= values
        (self.root / "state.json").write_text(json.dumps(self._state), encoding="utf-8")

    def boot(self, udid: str = "SIM-1", name: str = "iPhone 16", runtime: str = "iOS-18-5") -> None:
        """A booted Simulator, beside others."""
        key = f"com.apple.CoreSimulator.SimRuntime.{runtime}"
        listed = self._state["simulators"].get(key, [])
        self.set(
            simulators=self._state["simulators"] | {key: [*listed, {"udid": udid, "name": name, "state": "Booted"}]}
        )

    def app(self, version: str = "1.0", identifier: str = APP) -> Path:
        """An app as Xcode builds it."""
        app = self.root / "MlpDemo.app"
        app.mkdir(exist_ok=True)
        values = {"CFBundleIdentifier": identifier, "CFBundleShortVersionString": version}
        (app / "Info.plist").write_bytes(plistlib.dumps(values))
        return app

    def install(self, device: str = IPHONE, identifier: str = APP) -> None:
        target = self.root / device / "app.app"
        target.mkdir(parents=True)
        (target / "Info.plist").write_bytes((self.app(identifier=identifier) / "Info.plist").read_bytes())
        self.documents(device).mkdir(parents=True)

    def documents(self, device: str = IPHONE) -> Path:
        return self.root / device / "data" / "Documents"

    def started(self, device: str = IPHONE) -> list[str] | None:
        """The app's launch arguments; None where nobody started it."""
        path = self.root / device / "started"
        words: list[str] | None = json.loads(path.read_text()) if path.exists() else None
        return words

    def calls(self) -> list[list[str]]:
        """The words of each call."""
        log = self.root / "log.json"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def copied(self) -> list[str]:
        """Names of the files that went to a device, in order."""
        return [Path(c[c.index("--destination") + 1]).name for c in self.calls() if c[1:4] == ["device", "copy", "to"]]
