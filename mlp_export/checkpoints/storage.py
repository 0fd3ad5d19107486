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

from mlp_export.errors import MissingError, ResourceError
from mlp_export.paths import cache_folder
from mlp_export.resources import DISK_FAILED, DISK_FULL, NOT_WRITABLE

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
        if isinstance(error, (ConnectionError, TimeoutError, socket.gaierror, ssl.SSLError)):
            raise MissingError(
                f"the network failed: {error.strerror or error}",
                "check the network and a proxy, and try again: a finished part is kept",
            ) from error
        where = error.filename or cache or constants.HF_HUB_CACHE
        if error.errno in DISK_FULL:
            raise no_space(f"no space left at {where}") from error
        if error.errno in (*NOT_WRITABLE, *_NO_FOLDER):
            raise MissingError(
                f"cannot write the cache: {error.strerror} ({where})",
                "fix its permissions, or set HF_HOME and XDG_CACHE_HOME to a folder of yours",
            ) from error
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise MissingError(f"{error.strerror} ({where})", "raise the limit of open files: ulimit -n") from error
        vanished = error.errno == errno.ENOENT and Path(os.fsdecode(where)).is_relative_to(cache or cache_folder())
        if vanished or error.errno in DISK_FAILED:
            raise MissingError(
                f"the cache failed: {error.strerror} ({where})",
                "see whether that folder and its disk are still there, and run the command again",
            ) from error
        raise


def make_cache(folder: Path) -> None:
    """Makes a folder of the cache. Raises MissingError where it cannot be made or written: before any work."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def no_space(message: str) -> ResourceError:
    """The error for too little room where downloads go."""
    return ResourceError(
        message,
        "free some space, or set HF_HOME and XDG_CACHE_HOME to a folder on a larger disk; a finished part is kept",
    )
