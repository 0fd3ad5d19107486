"""Errors of the disk under the caches, in words for the person."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants

from mlp_export.errors import MissingError, MlpExportError, ResourceError
from mlp_export.paths import cache_folder
from mlp_export.resources import DISK_FAILED, DISK_FULL, NOT_WRITABLE, make_folder

# What variables for the cache may name, and nothing can be made in.
_NO_FOLDER = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)


@contextmanager
def storage_errors(cache: Path | None) -> Iterator[None]:
    """Turns a full disk, a cache that cannot be written or is gone, or a broken connection into an error for the
    person.
    """
    try:
        yield
    except OSError as error:
        raise storage_error(error, cache) or error from error


def storage_error(error: OSError, cache: Path | None) -> MlpExportError | None:
    """What a person is told of a failing `cache` or of the network on the way to it; None for anything else."""
    # A broken pipe is our own output, which nobody reads any more; an error that names a file is of a disk.
    network = isinstance(error, (ConnectionError, TimeoutError, socket.gaierror, ssl.SSLError))
    if network and error.filename is None and not isinstance(error, BrokenPipeError):
        return MissingError(
            f"the network failed: {error.strerror or error}",
            "check the network and a proxy, and try again: a finished part is kept",
        )
    where = error.filename or cache or constants.HF_HUB_CACHE
    if error.errno in DISK_FULL:
        return no_space(f"no space left at {where}")
    if error.errno in (*NOT_WRITABLE, *_NO_FOLDER):
        return MissingError(
            f"cannot write the cache: {error.strerror} ({where})",
            "fix its permissions, or set HF_HOME and XDG_CACHE_HOME to a folder of yours",
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return MissingError(f"{error.strerror} ({where})", "raise the limit of open files: ulimit -n")
    vanished = error.errno == errno.ENOENT and Path(os.fsdecode(where)).is_relative_to(cache or cache_folder())
    if vanished or error.errno in DISK_FAILED:
        return MissingError(
            f"the cache failed: {error.strerror} ({where})",
            "see whether that folder and its disk are still there, and run the command again",
        )
    return None


def make_cache(folder: Path) -> None:
    """Makes a folder of the cache. Raises MissingError where it cannot be made or written: before any work."""
    with storage_errors(folder):
        make_folder(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def no_space(message: str) -> ResourceError:
    """The error for too little room where downloads go."""
    return ResourceError(
        message,
        "free some space, or set HF_HOME and XDG_CACHE_HOME to a folder on a larger disk; a finished part is kept",
    )
