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


@contextmanager
def storage_errors(cache: Path | None) -> Iterator[None]:
    """Turns errors of the network, and of the disk that the caches are on, into one for the person: ResourceError where
    it is full, else MissingError.
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
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise no_space(f"no space left at {where}") from error
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise MissingError(f"{error.strerror} ({where})", "raise the limit of open files: ulimit -n") from error
        # A disk that fails or is gone, a file where a folder should be, a name that is too long: none is known before.
        raise MissingError(
            f"cannot write the cache: {error.strerror or error} ({where})",
            "fix that folder, or set HF_HOME and XDG_CACHE_HOME to a folder that you may write to",
        ) from error


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
