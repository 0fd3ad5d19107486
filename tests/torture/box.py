"""A box: all folders that one run may write to, as a list of names with hashes, and what must hold of them.

ROOT/out      the bundle's folder
ROOT/tmp      TMPDIR
ROOT/cache    XDG_CACHE_HOME
ROOT/state    XDG_STATE_HOME
ROOT/phone    the phone behind the stand-in of adb; bundles in ROOT/phone/device
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from mlp_export.hashing import file_sha256

WRITTEN = ("out", "tmp", "cache", "phone/device")
Contents = dict[str, str]  # path in the box -> sha256, "folder" of a folder


@dataclass(frozen=True)
class Box:
    """The folders of one run at a time."""

    root: Path

    def make(self) -> None:
        """Empty folders."""
        shutil.rmtree(self.root, ignore_errors=True)
        for name in ("out", "tmp", "cache", "state", "home", "phone/device"):
            (self.root / name).mkdir(parents=True)

    @property
    def out(self) -> Path:
        """The target of exports and of `quantize`."""
        return self.root / "out" / "b"

    def contents(self, *folders: str) -> Contents:
        """What is in `folders`, by default in all that runs write to, but for lock files, which hold nothing, and the
        four bytes that Python's tempfile tries TMPDIR with, where a signal came between writing and removing them.
        """
        found: Contents = {}
        for folder in folders or WRITTEN:
            for path in sorted((self.root / folder).rglob("*")):
                if path.suffix != ".lock" and not _is_probe(path):
                    found[str(path.relative_to(self.root))] = "folder" if path.is_dir() else file_sha256(path)
        return found

    def unfinished_records(self) -> list[str]:
        """Parts of records of runs, which the next run is to remove; whole records differ from run to run."""
        return sorted(path.name for path in (self.root / "state").rglob(".*"))

    def held_locks(self) -> list[str]:
        """Files and folders of the box that are still locked by somebody."""
        held = []
        for folder in WRITTEN:
            for path in (self.root / folder).rglob("*"):
                if path.suffix != ".lock" and not (path.is_dir() and path.name.startswith(".")):
                    continue
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                        raise
                    held.append(str(path.relative_to(self.root)))
                finally:
                    os.close(descriptor)
        return held


def _is_probe(path: Path) -> bool:
    return path.parent.name == "tmp" and path.is_file() and path.stat().st_size == 4 and path.read_bytes() == b"blat"


def difference(found: Contents, expected: Contents) -> list[str]:
    """A line for each entry that one of them lacks, or that differs."""
    return [
        f"{name}: {_shown(found.get(name))}, expected {_shown(expected.get(name))}"
        for name in sorted({*found, *expected})
        if found.get(name) != expected.get(name)
    ]


def _shown(entry: str | None) -> str:
    return "nothing" if entry is None else entry[:12]


def processes_of_group(group: int) -> list[int]:
    """Processes of a process group that still run."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except ProcessLookupError:
            pass
    return found
