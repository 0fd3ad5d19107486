"""Folders for unfinished work, of which killed processes leave none for good.

Each is held by a lock (flock, which dies with the process), and the next process that makes one in the same place
removes those that nobody holds.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mlp_export.errors import MissingError, MlpExportError, ResourceError
from mlp_export.resources import DISK_FAILED, DISK_FULL, NOT_WRITABLE, temporary_folder

_TEMPORARY = "mlp-export"


@contextmanager
def scratch_folder(parent: Path | None = None, stem: str = _TEMPORARY) -> Iterator[Path]:
    """A new folder STEM.tmp-PID-RANDOM in `parent`, TMPDIR if not given, that is removed at the end.

    Raises MissingError where there is no folder for temporary files, or it cannot be written any more, ResourceError
    where its disk is full: also for such an OSError of the body.
    """
    parent = parent or temporary_folder()
    try:
        with held_folder(parent, stem) as folder:
            yield folder
    except OSError as error:
        # A write that fails on a full disk does not name its file.
        if error.filename is not None and not Path(os.fsdecode(error.filename)).is_relative_to(parent):
            raise
        raise _storage_error(error, parent) or error from error


def temporary_file() -> BinaryIO:
    """An open file without a name in TMPDIR. Raises MissingError or ResourceError where there can be none."""
    parent = temporary_folder()
    try:
        return tempfile.TemporaryFile(dir=parent)
    except OSError as error:
        raise _storage_error(error, parent) or error from error


@contextmanager
def held_folder(parent: Path, stem: str) -> Iterator[Path]:
    """The same with errors as they are. Raises OSError where `parent` fails."""
    for lock, leftover, _ in abandoned(parent, stem):
        with _closing(lock):
            shutil.rmtree(leftover, ignore_errors=True)
    folder, lock = make_locked_folder(parent, stem)
    with _closing(lock):
        try:
            yield folder
        finally:
            remove_folder(folder)


@contextmanager
def library_temporaries() -> Iterator[None]:
    """For the body, `tempfile` makes its files in a scratch folder: those of libraries, which have plain names."""
    with scratch_folder() as folder:
        before, tempfile.tempdir = tempfile.tempdir, str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before


def make_locked_folder(parent: Path, stem: str, mode: int = 0o700) -> tuple[Path, int]:
    """A new folder STEM.tmp-PID-RANDOM in `parent`, and the descriptor that holds its lock."""
    while True:
        folder = parent / f"{stem}.tmp-{os.getpid()}-{secrets.token_hex(4)}"
        folder.mkdir(mode)
        lock = try_lock(folder)
        # A process that cleans up may have taken the folder between the two lines above: then make another.
        if lock is not None and folder.exists():
            return folder, lock
        if lock is not None:
            os.close(lock)


def abandoned(parent: Path, stem: str) -> Iterator[tuple[int, Path, str]]:
    """The lock, the path and the kind ("tmp" or "old") of this user's folders STEM.KIND-PID-RANDOM in `parent` that no
    process holds.
    """
    for folder in parent.glob(f"{glob.escape(stem)}.*-*"):
        match = re.fullmatch(r"\.(tmp|old)-\d+-[0-9a-f]{8}", folder.name[len(stem) :])
        if match is None or folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.geteuid():
            continue
        lock = try_lock(folder)
        if lock is not None:
            yield lock, folder, match[1]


def try_lock(folder: Path) -> int | None:
    """A descriptor that holds the lock of `folder`, None where another process has it or the folder is gone."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def remove_folder(folder: Path) -> None:
    """Remove `folder` as far as that can be done; a second Ctrl-C on the way is raised when it is gone."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _storage_error(error: OSError, parent: Path) -> MlpExportError | None:
    if error.errno in DISK_FULL:
        return ResourceError(
            f"no space left for temporary files at {parent}: {error.strerror}",
            "free some space there, or set TMPDIR to a folder on another disk; nothing was left behind",
        )
    if error.errno in (errno.ENOENT, *NOT_WRITABLE, *DISK_FAILED):
        return MissingError(
            f"temporary files cannot be written at {parent}: {error.strerror}",
            "see whether that folder is still there, or set TMPDIR to another one",
        )
    return None


@contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)
