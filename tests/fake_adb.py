"""A phone behind a fake adb: its files are a folder here, its commands shell scripts, and it fails when told to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# ADB_* variables say what is wrong with the phone.
_ADB = r"""#!/bin/sh
echo "$*" >> "$ADB_LOG"
case "$*" in
*"$ADB_HANG"*) sleep 20;;
esac
if [ "$1" = devices ]; then
    printf '* daemon started successfully\n\nList of devices attached\n'
    printf "$ADB_DEVICES"
    printf '\n'
    exit
fi
[ "$1" = -s ] || exit 9
shift 2
if [ -e "$ADB_GONE" ]; then echo "adb: device offline" >&2; exit 1; fi
case $1 in
get-state) echo device;;
install)
    [ "$2" = -r ] || exit 9
    if [ -n "$ADB_INSTALL_SAYS" ]; then printf "$ADB_INSTALL_SAYS" >&2; exit 1; fi
    if [ "$ADB_INSTALL" != ok ]; then echo "adb: failed to install $3: Failure [$ADB_INSTALL: words]" >&2; exit 1; fi
    echo 1.0 > "$ADB_APP"
    ;;
push)
    case $3 in
    *"$ADB_FAIL") echo "adb: error: failed to copy: $ADB_REASON" >&2; exit 1;;
    esac
    cp "$2" "$3" || exit 1
    case $3 in
    *"$ADB_DAMAGE") printf x >> "$3";;
    esac
    ;;
shell)
    if [ "$ADB_SHELL" = closed ]; then echo 'error: closed' >&2; exit 1; fi
    case $2 in
    "$ADB_REFUSE"*) echo "refused" >&2; exit 1;;
    esac
    command=$(printf '%s' "$2" | sed "s#/proc/meminfo#$ADB_MEMINFO#; s#/sdcard#$ADB_SDCARD#g")
    PATH="$ADB_PROGRAMS:$PATH" sh -c "$command"
    ;;
esac
"""
# What the phone's shell finds.
_AM = """\
if [ ! -e "$ADB_APP" ]; then echo "Error type 3"; echo "Error: Activity class {$3} does not exist."; exit; fi
echo "Starting: Intent { cmp=$3 (has extras) }"
printf '%s\\n' "$@" > "$ADB_STARTED"
touch "$ADB_RUNNING"
[ -z "$ADB_ON_START" ] || sh -c "$ADB_ON_START"
"""
_PROGRAMS = {
    "getprop": 'sed -n "s/^$1=//p" "$ADB_PROPERTIES"',
    "df": """printf 'Filesystem 1K-blocks Used Available Use%% Mounted on\\n%s\\n' "$ADB_DF\"""",
    "pm": '[ -e "$ADB_APP" ] && echo "package:/data/app/base.apk"',
    "dumpsys": 'echo "    versionName=$(cat "$ADB_APP")"',
    "pidof": '[ -e "$ADB_RUNNING" ] && echo 4711',
    "am": _AM,
    "ln": '[ "$ADB_LINKS" = yes ] && PATH=/bin:/usr/bin exec ln "$@"',
}
ONE_DEVICE = r"R58\tdevice\n"
BIG_DISK = "/dev/block/dm-9 107 7 9999999 8% /data"
S24 = {
    "ro.product.manufacturer": "samsung",
    "ro.product.model": "SM-S921B",
    "ro.soc.model": "SM8650",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.product.cpu.abilist": "arm64-v8a",
}


class FakePhone:
    """A device behind a fake adb, the first on PATH."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.folder = root / "device"  # for bundles
        self.log = root / "adb.log"
        self.app = root / "app"  # is there where the app is installed
        self.gone = root / "gone"  # is there where the cable is out
        self.started = root / "started"  # the last `am start`, a word a line
        self.running = root / "running"  # is there while the app's process lives
        self.sdcard = root / "sdcard"
        self.monkeypatch = monkeypatch
        for name, text in {
            "bin/adb": _ADB,
            **{f"programs/{k}": f"#!/bin/sh\n{v}\n" for k, v in _PROGRAMS.items()},
        }.items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
            (root / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}")
        places = {"LOG": "adb.log", "PROGRAMS": "programs", "MEMINFO": "meminfo", "PROPERTIES": "properties"}
        places |= {name.upper(): name for name in ("app", "gone", "started", "running", "sdcard")}
        self.set(**{name: str(root / place) for name, place in places.items()})
        self.set(DEVICES=ONE_DEVICE, DF=BIG_DISK, SHELL="open", INSTALL="ok", INSTALL_SAYS="", ON_START="")
        self.set(HANG="no command", LINKS="yes")
        self.set(FAIL="-", DAMAGE="-", REASON="-", REFUSE="-")
        self.say(**S24)
        self.memory(total=8_000_000, available=4_000_000)

    def set(self, **values: str) -> None:
        for name, value in values.items():
            self.monkeypatch.setenv(f"ADB_{name}", value)

    def say(self, **properties: str) -> None:
        """What getprop answers."""
        text = "".join(f"{name}={value}\n" for name, value in properties.items())
        (self.root / "properties").write_text(text, encoding="utf-8")

    def memory(self, *, total: int, available: int) -> None:
        """Of the phone, in kB."""
        lines = f"MemTotal:       {total} kB\nMemFree:        100 kB\nMemAvailable:   {available} kB\n"
        (self.root / "meminfo").write_text(lines, encoding="utf-8")

    def names(self) -> list[str]:
        """Folders of bundles on the phone."""
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []

    def copied(self) -> list[str]:
        """Names of what adb pushed so far."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [line.rsplit("/", 1)[-1] for line in lines if line.startswith("-s") and line.split()[2] == "push"]
