"""`doctor`: what this machine has, what each backend needs of it, and the command that installs what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mlp_export.backends.base import BACKENDS, Requirement, get_backend
from mlp_export.resources import available_ram_bytes, free_disk_bytes
from mlp_export.runtime.native_runner import find_compiler

_PYTHONS = ((3, 11), (3, 13))  # ExecuTorch's wheels
_PACKAGES = ("mlp-export", "transformers", "huggingface_hub", "tokenizers", "safetensors", "numpy")


@dataclass(frozen=True)
class DoctorReport:
    """What was found. `ok`: nothing is missing for the backend that was asked for; of all, for one of them."""

    ok: bool
    system: str
    cores: int
    available_ram_bytes: int
    free_disk_bytes: int
    packages: dict[str, str]  # other packages -> version, "" where they are not installed
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
    backends = {name: list(get_backend(name).requirements()) for name in ([backend] if backend else BACKENDS)}
    return DoctorReport(
        ok=_complete(python) and any(_complete(group) for group in backends.values()),
        system=f"{platform.system()} {platform.machine()}",
        cores=os.cpu_count() or 1,
        available_ram_bytes=available_ram_bytes(),
        free_disk_bytes=free_disk_bytes(folder),
        packages={package: _version(package) for package in _PACKAGES},
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


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
