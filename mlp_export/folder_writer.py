"""A folder that is whole or absent: built in a hidden sibling and renamed into place when it is complete, so that a
killed process or a full disk leaves nothing at the target that looks whole.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from mlp_export.errors import MissingError, MlpExportError, ResourceError, UsageError
from mlp_export.paths import check_utf8, resolved
from mlp_export.resources import (
    DISK_FAILED,
    DISK_FULL,
    NOT_WRITABLE,
    existing_parent,
    is_mount_point,
    make_folder,
    names_file_in,
    temporary_folder,
)
from mlp_export.scratch import abandoned, held_folder

_SCRATCH = ".scratch"


@dataclass(frozen=True)
class OutputKind:
    """What is written: how errors call it, and how a folder or file shows that it is one and so may be replaced."""

    name: str
    holds: Callable[[Path], bool]


class FolderWriter:
    """Builds a folder beside its target and puts it there in one step.

        with FolderWriter(Path("out"), kind) as writer:
            ...                            # write into writer.folder
            writer.move_into_place()

    Leaving the block without `move_into_place`, for whatever reason, removes everything. Inside it, OSErrors of a full
    disk become ResourceError, those of missing permission MissingError.

    The folder is held by a lock (flock, which dies with the process): a later run for the same target removes the
    folders of killed runs and leaves those of running ones alone.
    """

    def __init__(self, target: Path, kind: OutputKind, overwrite: bool = False) -> None:
        """Raises UsageError where `target` exists and may not be replaced: before any work."""
        self.target = resolved(target)
        self.kind = kind
        self.overwrite = overwrite
        self.folder: Path
        check_folder_target(target, kind, overwrite)

    def __enter__(self) -> Self:
        try:
            make_folder(self.target.parent)
            _clean_up(self.target)
            self._held = held_folder(self.target.parent, f".{self.target.name}", mode=0o777)
            self.folder = self._held.__enter__()
        except OSError as error:
            raise _storage_error(error, self.target, self.kind) or error from error
        return self

    @property
    def scratch(self) -> Path:
        """A folder for files that are needed until the folder is in place, on the same disk."""
        return self.folder / _SCRATCH

    def files(self) -> list[Path]:
        """What is in the folder, but for the scratch folder."""
        return [path for path in sorted(self.folder.iterdir()) if path.name != _SCRATCH]

    def move_into_place(self) -> None:
        """Make the folder durable and move it to the target. Raises UsageError where something got there meanwhile."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        for path in self.files():
            _fsync(path)
        _fsync(self.folder)
        check_folder_target(self.target, self.kind, self.overwrite)
        old = _replace(self.folder, self.target, self.kind)
        _fsync(self.target.parent)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)  # the new folder is in place; the next run removes what is left

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held.__exit__(None, None, None)
        if isinstance(error, OSError) and (told := _storage_error(error, self.target, self.kind)) is not None:
            raise told from error


@contextmanager
def write_file(target: Path, kind: OutputKind, overwrite: bool = False) -> Iterator[Path]:
    """A path beside `target` to write a file to, which is moved there at the end.

    Raises what `check_file_target` raises, and for a full disk and missing permission what `FolderWriter` raises.
    """
    check_file_target(target, kind, overwrite)
    try:
        make_folder(target.parent)
        with held_folder(target.parent, f".{target.name}") as folder:
            unfinished = folder / target.name
            yield unfinished
            _fsync(unfinished)
            unfinished.rename(target)
            _fsync(target.parent)
    except OSError as error:
        raise _storage_error(error, target, kind) or error from error


def check_file_target(target: Path, kind: OutputKind, overwrite: bool) -> None:
    """Raises UsageError where a file of `kind` cannot be put at `target`, MissingError where it may not be.

    A file that holds something else is never replaced, nor a device or a pipe.
    """
    check_utf8(resolved(target), UsageError)
    try:
        if target.is_dir():
            raise UsageError(
                f"{target} is a folder, expected the name of a {kind.name}", f"give --out {target / 'NAME'}"
            )
        if target.exists() or target.is_symlink():
            if not overwrite:
                raise UsageError(f"{target} exists already", "give another --out")
            if not (target.is_file() and (target.stat().st_size == 0 or kind.holds(target))):
                raise UsageError(f"{target} is something else, not a {kind.name}", "give another --out")
        _check_parent(target)
    except OSError as error:
        raise _storage_error(error, target, kind) or error from error


def check_folder_target(target: Path, kind: OutputKind, overwrite: bool) -> None:
    """Raises UsageError where a folder of `kind` cannot be put at `target`, MissingError where it may not be.

    A folder that holds something else is never replaced.
    """
    check_utf8(resolved(target), UsageError)
    try:
        if target.is_dir():
            _check_folder(target, kind, overwrite)
        elif target.exists() or target.is_symlink():
            raise UsageError(f"{target} is a file, expected a folder", "give another --out")
        _check_parent(target)
    except OSError as error:
        raise _storage_error(error, target, kind) or error from error


def _check_parent(target: Path) -> None:
    """Raises OSError where nothing can be made beside `target`."""
    parent = existing_parent(resolved(target).parent)
    if not parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(parent))
    if not os.access(parent, os.W_OK | os.X_OK):
        read_only = os.statvfs(parent).f_flag & os.ST_RDONLY
        number = errno.EROFS if read_only else errno.EACCES
        raise OSError(number, os.strerror(number), str(parent))


def _check_folder(target: Path, kind: OutputKind, overwrite: bool) -> None:
    # The folder comes into place by a rename, in one step: nothing can be renamed to a mount point.
    if is_mount_point(target):
        raise UsageError(
            f"{target} is a mount point, expected a folder that can be replaced", f"give --out {target / 'NAME'}"
        )
    if not any(target.iterdir()):
        return
    if not kind.holds(target):
        raise UsageError(f"{target} is a folder of other things, not a {kind.name}", "give another --out")
    if not overwrite:
        raise UsageError(f"{target} exists already", "give --overwrite to replace it, or another --out")


def _clean_up(target: Path) -> None:
    """Remove what killed runs left beside `target`, and put back an old folder that one had moved away."""
    for lock, leftover, kind in abandoned(target.parent, f".{target.name}"):
        try:
            if kind == "old" and not target.exists():
                leftover.rename(target)
            else:
                shutil.rmtree(leftover)
        finally:
            os.close(lock)


def _replace(new: Path, target: Path, kind: OutputKind) -> Path | None:
    """Move `new` to `target`. Returns where a folder that was replaced is now."""
    if not (target.is_dir() and kind.holds(target)):
        new.rename(target)
        return None
    if _exchange(new, target):
        return new
    # Not one step: a crash in between leaves the old folder under its other name, and the next run puts it back.
    old = new.with_name(new.name.replace(".tmp-", ".old-"))
    target.rename(old)
    new.rename(target)
    return old


def _exchange(left: Path, right: Path) -> bool:
    """Swap two names in one step (renameat2(2) with RENAME_EXCHANGE); False where the system cannot."""
    if sys.platform != "linux":
        return False
    current_folder, exchange = -100, 2
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    done = renameat2(current_folder, os.fsencode(left), current_folder, os.fsencode(right), exchange)
    return bool(done == 0)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _storage_error(error: OSError, target: Path, kind: OutputKind) -> MlpExportError | None:
    """What a person is told of a full disk, missing permission or a target that cannot be; None for anything else."""
    where = error.filename or target
    if error.errno in DISK_FULL:
        return _no_space(error, target, kind)
    if error.errno in NOT_WRITABLE:
        return MissingError(f"cannot write {where}: {error.strerror}", "give an --out in a folder you may write to")
    # EBUSY and EXDEV: something was mounted there meanwhile, or a container's layers (overlayfs) lie across it.
    numbers = (errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP)
    if error.errno in (*numbers, errno.EBUSY, errno.EXDEV):
        return UsageError(f"cannot make the {kind.name} {target}: {error.strerror}", "give another --out")
    vanished = error.errno == errno.ENOENT and _is_of(error.filename, target)
    if vanished or error.errno in DISK_FAILED:
        return MissingError(
            f"cannot write the {kind.name} {target}: {error.strerror} ({where})",
            "see whether that folder and its disk are still there, or give another --out",
        )
    return None


def _is_of(name: str | bytes | None, target: Path) -> bool:
    """Whether file `name` is in the unfinished folder of `target`."""
    return name is not None and os.fsdecode(name).startswith(f"{target.parent / f'.{target.name}.'}")


def _no_space(error: OSError, target: Path, kind: OutputKind) -> ResourceError:
    """Which disk is full: that of the file that was written, where the error names it. A copy names its source, too."""
    temporary = temporary_folder()
    same = os.stat(temporary).st_dev == os.stat(existing_parent(target)).st_dev
    name = error.filename2 or error.filename
    if name is not None and not _is_of(name, target) and names_file_in(error, temporary):
        return ResourceError(
            f"no space left for temporary files at {temporary}: {error.strerror}",
            "free some space there, or set TMPDIR to a folder on another disk; nothing was left behind",
        )
    if name is None and not same:  # native code wrote it: it may have been either
        return ResourceError(
            f"no space left while writing the {kind.name} {target}, "
            f"or temporary files at {temporary}: {error.strerror}",
            "free some space on both disks, or give another --out and TMPDIR; nothing was left behind",
        )
    return ResourceError(
        f"no space left while writing the {kind.name} {target}: {error.strerror}",
        "free some space or give an --out on a larger disk; nothing was left behind",
    )
