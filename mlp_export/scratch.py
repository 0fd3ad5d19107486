"""Folders for unfinished work, of which killed processes leave none for good.

Each is held by a lock (flock, which dies with the process), and the next process that makes one in the same place
removes those that nobody holds. Where the file system has no locks (NFS without lockd, some of FUSE), nothing is held
and nothing removed.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import re
import secrets
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal

from mlp_export.errors import MissingError, MlpExportError, ResourceError
from mlp_export.resources import (
    DISK_FAILED,
    DISK_FULL,
    NOT_WRITABLE,
    names_file_in,
    require_temporary,
    temporary_folder,
)

_TEMPORARY = "mlp-export"


@contextmanager
def scratch_folder(parent: Path | None = None, stem: str = _TEMPORARY) -> Iterator[Path]:
    """A new folder STEM.tmp-PID-RANDOM in `parent`, TMPDIR if not given, that is removed at the end.

    Raises MissingError where there is no folder for temporary files, or it cannot be written any more, ResourceError
    where its disk is full: also for such an OSError of the body that is about a file in the new folder.
    """
    place = parent or temporary_folder()
    folder = None
    try:
        with held_folder(place, stem) as folder:
            yield folder
    except OSError as error:
        # A write that fails on a full disk does not name its file; of other errors without a name nobody knows.
        unnamed = error.filename is None and error.errno in DISK_FULL
        if folder is not None and not unnamed and not names_file_in(error, folder):
            raise
        raise _storage_error(error, place, chosen=parent is not None) or error from error


def temporary_file() -> BinaryIO:
    """An open file without a name in TMPDIR. Raises MissingError or ResourceError where there can be none."""
    parent = temporary_folder()
    try:
        return tempfile.TemporaryFile(dir=parent)
    except OSError as error:
        raise _storage_error(error, parent, chosen=False) or error from error


@contextmanager
def held_folder(parent: Path, stem: str, mode: int = 0o700) -> Iterator[Path]:
    """The same with errors as they are. Raises OSError where `parent` fails."""
    for lock, leftover, kind in abandoned(parent, stem):
        try:
            if kind == "tmp":  # an old folder is somebody's bundle, which the next export there puts back
                shutil.rmtree(leftover, ignore_errors=True)
        finally:
            os.close(lock)
    folder, held = _unused(parent, stem), None
    try:
        folder.mkdir(mode)
        while (held := _held(folder)) is None:
            folder = _unused(parent, stem)
            folder.mkdir(mode)
        yield folder
    finally:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # a signal, of which one is raised, may have come before
            if held is not None:
                os.close(held)


@contextmanager
def library_temporaries() -> Iterator[None]:
    """For the body, `tempfile` makes its files in a scratch folder: those of libraries, which have plain names.

    Raises ResourceError where a program that a library runs fails and the disk has not the space that an export needs.
    """
    with scratch_folder() as folder:
        before, tempfile.tempdir = tempfile.tempdir, str(folder)
        try:
            try:
                yield
            finally:
                tempfile.tempdir = before
        except subprocess.CalledProcessError:  # flatc fails on a full disk as it does on damage
            check_writable(folder)
            require_temporary()
            raise


def check_writable(folder: Path) -> None:
    """Raises OSError, which names a file in `folder`, where none can be written there: its disk became read-only."""
    probe = folder / "probe"
    probe.write_bytes(b"x")
    probe.unlink()


def abandoned(parent: Path, stem: str) -> Iterator[tuple[int, Path, str]]:
    """The lock, the path and the kind ("tmp" or "old") of this user's folders STEM.KIND-PID-RANDOM in `parent` that no
    process holds; none where the file system has no locks.
    """
    for folder in parent.glob(f"{glob.escape(stem)}.*-*"):
        match = re.fullmatch(r"\.(tmp|old)-\d+-[0-9a-f]{8}", folder.name[len(stem) :])
        try:
            found = os.lstat(folder)
            if match is None or not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            descriptor = _open(folder)
        except OSError:  # another process removed it meanwhile, or it cannot be read
            continue
        if _lock(descriptor) == "taken":
            yield descriptor, folder, match[1]
        else:
            os.close(descriptor)


def _unused(parent: Path, stem: str) -> Path:
    return parent / f"{stem}.tmp-{os.getpid()}-{secrets.token_hex(4)}"


def _held(folder: Path) -> int | None:
    """The descriptor that holds the lock of a new folder, where there are locks; None where a process that cleans up
    took it before.
    """
    with suppress(FileNotFoundError):
        descriptor = _open(folder)
        if _lock(descriptor) != "busy" and folder.exists():
            return descriptor
        os.close(descriptor)
    return None


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def _lock(descriptor: int) -> Literal["taken", "busy", "no locks"]:
    """Lock an open folder, if no other process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "busy"
    except OSError:  # ENOLCK, ENOTSUP, ENOSYS
        return "no locks"
    return "taken"


def _storage_error(error: OSError, parent: Path, *, chosen: bool) -> MlpExportError | None:
    """What a person is told; `chosen`: `parent` is no TMPDIR, so setting that changes nothing."""
    if error.errno in DISK_FULL:
        return ResourceError(
            f"no space left for temporary files at {parent}: {error.strerror}",
            f"free some space there{'' if chosen else ', or set TMPDIR to a folder on another disk'}; "
            "nothing was left behind",
        )
    if error.errno in (errno.ENOENT, *NOT_WRITABLE, *DISK_FAILED):
        return MissingError(
            f"temporary files cannot be written at {parent}: {error.strerror}",
            f"see whether that folder is still there{'' if chosen else ', or set TMPDIR to another one'}",
        )
    return None
