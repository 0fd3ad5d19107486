"""Memory and disk of this machine, asked before a long job and not after it was killed."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil

from mlp_export.errors import ResourceError


def human_bytes(count: int) -> str:
    """`count` in decimal units, as disks and downloads are given: 612,000,000 is `612 MB`."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if abs(size) < 999.5:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def available_ram_bytes() -> int:
    """Memory a process can take without others being swapped out."""
    return psutil.virtual_memory().available


def free_disk_bytes(folder: Path) -> int:
    """Free space where `folder` is or will be."""
    return shutil.disk_usage(existing_parent(folder)).free


def existing_parent(path: Path) -> Path:
    """`path` itself where it exists, else the nearest folder above it that does."""
    return next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())


def require(peak_ram_bytes: int, disk_bytes: int, folder: Path) -> None:
    """Raises ResourceError, naming need and have, where memory or the disk of `folder` does not suffice."""
    ram = available_ram_bytes()
    if ram < peak_ram_bytes:
        raise ResourceError(
            f"this needs {human_bytes(peak_ram_bytes)} of memory, {human_bytes(ram)} are available",
            "close other programs, choose a smaller --context, or use a machine with more memory",
        )
    disk = free_disk_bytes(folder)
    if disk < disk_bytes:
        raise ResourceError(
            f"this needs {human_bytes(disk_bytes)} of disk, {human_bytes(disk)} are free at {folder}",
            "free some space, or give an --out on a larger disk",
        )
