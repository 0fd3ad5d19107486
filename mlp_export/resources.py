"""Memory and disk of this machine, asked before a long job and not after it was killed."""

from __future__ import annotations

import errno
import itertools
import os
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from mlp_export.errors import MissingError, ResourceError

# Numbers of OSErrors: of a full disk, of one that may not be written to, and of one that fails or is gone.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
DISK_FAILED = (errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT)
_TEMPORARY_BYTES = 32_000_000  # logs of native code, and tables of the program that are read back


def human_bytes(count: int) -> str:
    """`count` in decimal units, as disks and downloads are given: 612,000,000 is `612 MB`."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if abs(size) < 999.5:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


@dataclass(frozen=True)
class AvailableMemory:
    """Bytes a process can still take, and what sets that bound."""

    bytes: int
    bound: str  # "" for the machine's own memory, else what limits this process


def available_ram_bytes() -> int:
    """Memory this process can take without others being swapped out or a limit ending it."""
    return available_memory().bytes


def available_memory(system: Path = Path("/")) -> AvailableMemory:
    """The least of what the machine, its control groups (containers, systemd) and `ulimit -v` leave.

    `system` is the folder that holds /proc and /sys.
    """
    found = [AvailableMemory(_machine_memory(), "")]
    found += [AvailableMemory(max(0, limit - used), str(file)) for file, limit, used in _group_limits(system)]
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        found.append(AvailableMemory(max(0, limit - psutil.Process().memory_info().vms), "ulimit -v"))
    return min(found, key=lambda memory: memory.bytes)


def _machine_memory() -> int:
    """Raises MissingError where the system does not tell it: a chroot, or a sandbox without /proc."""
    try:
        return psutil.virtual_memory().available
    except OSError as error:
        raise MissingError(
            f"the memory of this machine cannot be told: {error.strerror} ({error.filename})",
            "mount /proc there (mount -t proc proc /proc)",
        ) from error


def _group_limits(system: Path) -> Iterator[tuple[Path, int, int]]:
    """Limit file, limit and used bytes of each control group that this process is in, and of those above it.

    Page cache that the kernel gives back (inactive_file) does not count as used. Files: the kernel's documents
    admin-guide/cgroup-v2 and cgroup-v1/memory.
    """
    try:
        lines = (system / "proc/self/cgroup").read_text().splitlines()
    except (OSError, UnicodeDecodeError):  # no Linux, or no /proc
        return
    mount = system / "sys/fs/cgroup"
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers == "":
            root, names = mount, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root, names = mount / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # In a container the path may be that of the host, of which only the root is mounted.
        folder = root / group.strip("/")
        for place in (folder, *folder.parents):
            limit, used = _number(place / names[0]), _number(place / names[1])
            if limit is not None and used is not None:
                yield place / names[0], limit, used - _statistic(place / "memory.stat", names[2])
            if place == root:
                break


def _number(file: Path) -> int | None:
    """The number in a file of the kernel; None where it says "max", or is not there."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _statistic(file: Path, name: str) -> int:
    try:
        rows = dict(line.split(maxsplit=1) for line in file.read_text().splitlines())
        return int(rows.get(name, 0))
    except (OSError, ValueError):
        return 0


def free_disk_bytes(folder: Path) -> int:
    """Free space where `folder` is or will be."""
    return shutil.disk_usage(existing_parent(folder)).free


def existing_parent(path: Path) -> Path:
    """`path` itself where it exists, else the nearest folder above it that does."""
    # Path.exists raises for a name that is too long, or a folder that may not be entered.
    return next(parent for parent in (path.absolute(), *path.absolute().parents) if os.path.exists(parent))


def make_folder(path: Path) -> None:
    """Make `path`, and the folders above it that are not there. Raises OSError.

    `Path.mkdir(parents=True)` calls itself for each of them: RecursionError for a path that the system would take.
    """
    with suppress(FileNotFoundError):
        path.mkdir(exist_ok=True)  # says what is wrong with the whole path before any folder is made
        return
    missing = itertools.takewhile(lambda folder: not os.path.exists(folder), path.parents)
    for folder in (*reversed(list(missing)), path):
        folder.mkdir(exist_ok=True)


def temporary_folder() -> Path:
    """The folder for temporary files. Raises MissingError where there is none that can be written."""
    try:
        return Path(tempfile.gettempdir()).absolute()
    except FileNotFoundError as error:
        raise MissingError(
            f"no folder for temporary files can be written: {error.strerror}",
            "set TMPDIR to a folder you may write to, on a disk with space",
        ) from error


def names_file_in(error: OSError, folder: Path) -> bool:
    """Whether `error` is about `folder` or a file in it; one of a copy is about the file that was written."""
    name = error.filename if error.filename2 is None else error.filename2
    return isinstance(name, str | bytes) and Path(os.fsdecode(name)).is_relative_to(folder)


def require(peak_ram_bytes: int, disk_bytes: int, folder: Path) -> None:
    """Raises ResourceError, naming need and have, where memory, temporary space or `folder`'s disk is too small."""
    ram = available_ram_bytes()
    if ram < peak_ram_bytes:
        memory = available_memory()
        bound = f" (the limit in {memory.bound})" if memory.bound and memory.bytes < peak_ram_bytes else ""
        raise ResourceError(
            f"this needs {human_bytes(peak_ram_bytes)} of memory, {human_bytes(ram)} are available{bound}",
            "raise that limit, or choose a smaller --context"
            if bound
            else "close other programs, choose a smaller --context, or use a machine with more memory",
        )
    disk = free_disk_bytes(folder)
    if disk < disk_bytes:
        raise ResourceError(
            f"this needs {human_bytes(disk_bytes)} of disk, {human_bytes(disk)} are free at {folder}",
            "free some space, or give an --out on a larger disk",
        )
    require_temporary(_TEMPORARY_BYTES)


def require_temporary(needed: int = _TEMPORARY_BYTES) -> None:
    """Raises ResourceError, naming need and have, where TMPDIR's disk is too small."""
    temporary = temporary_folder()
    free = shutil.disk_usage(temporary).free
    if free < needed:
        raise ResourceError(
            f"this needs {human_bytes(needed)} for temporary files, {human_bytes(free)} are free at {temporary}",
            "free some space there, or set TMPDIR to a folder on another disk",
        )


def mount_points(table: Path = Path("/proc/self/mountinfo")) -> frozenset[str]:
    """Paths that something is mounted on; empty where the system has no such table (proc(5), field 5)."""
    try:
        lines = table.read_bytes().splitlines()
    except OSError:
        return frozenset()
    fields = (line.split(b" ") for line in lines)
    return frozenset(os.fsdecode(_unescape(entry[4])) for entry in fields if len(entry) > 4)


def is_mount_point(path: Path) -> bool:
    """Whether something is mounted on `path`; os.path.ismount does not see a bind mount of the same disk."""
    real = os.path.realpath(path)
    return os.path.ismount(real) or real in mount_points()


def _unescape(name: bytes) -> bytes:
    """A name of the mount table, which has blanks and backslashes in octal."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), name)
