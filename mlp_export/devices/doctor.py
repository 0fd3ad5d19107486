"""`doctor`: what this machine has, what each backend needs of it, and the command that installs what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlp_export.backends.base import Requirement, delegates, get_backend
from mlp_export.resources import available_ram_bytes, free_disk_bytes
from mlp_export.runtime.native_runner import find_compiler
from mlp_export.versions import dependencies, installed_version

_PYTHONS = ((3, 11), (3, 13))  # ExecuTorch's wheels


@dataclass(frozen=True)
class DoctorReport:
    """What was found. `ok`: nothing is missing for the backend that was asked for; of all, for one of them."""

    ok: bool
    system: str
    cores: int
    available_ram_bytes: int
    free_disk_bytes: int
    packages: dict[str, str]  # mlp-export and what it needs -> version, "" where it is not installed
    untested: list[str]  # a sentence about each package whose version is not the tested one
    adb: str  # its path, "" where there is none
    compiler: str  # the C++ compiler, with which `bench` measures in a bare process; "" where there is none
    requirements: dict[str, list[Requirement]]  # "python" and a backend each

    def to_json(self) -> dict[str, Any]:
        """The object `doctor --json` prints."""
        return asdict(self)


def doctor(backend: str | None = None, folder: Path = Path()) -> DoctorReport:
    """Look at this machine for `backend`, or for all. `folder` is on the disk that bundles are to go to.

    Raises UsageError for an unknown backend.
    """
    python = [_python()]
    names = [backend] if backend else list(delegates())
    backends = {name: list(get_backend(name).compiler.requirements()) for name in names}
    needed = dependencies()
    return DoctorReport(
        ok=_complete(python) and any(_complete(group) for group in backends.values()),
        system=f"{platform.system()} {platform.machine()}",
        cores=os.cpu_count() or 1,
        available_ram_bytes=available_ram_bytes(),
        free_disk_bytes=free_disk_bytes(folder),
        packages={
            "mlp-export": installed_version("mlp-export"),
            **{package.name: package.installed for package in needed},
        },
        untested=[package.issue for package in needed if package.issue],
        adb=shutil.which("adb") or "",
        compiler=find_compiler(),
        requirements={"python": python, **backends},
    )


def _complete(group: list[Requirement]) -> bool:
    return all(requirement.ok for requirement in group)


def _python() -> Requirement:
    oldest, newest = (".".join(map(str, pair)) for pair in _PYTHONS)
    ok = _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]
    return Requirement("python", platform.python_version(), f"{oldest} to {newest}", f"uv python install {newest}", ok)
