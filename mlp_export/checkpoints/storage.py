"""Errors of the disk under the caches, in words for the person."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants

from mlp_export.errors import MissingError, ResourceError
from mlp_export.paths import cache_folder
from mlp_export.resources import DISK_FAILED, DISK_FULL, NOT_WRITABLE


@contextmanager
def storage_errors(cache: Path | None) -> Iterator[None]:
    """Turns a full disk, or a cache that cannot be written or is gone, into an error for the person."""
    try:
        yield
    except OSError as error:
        where = error.filename or cache or constants.HF_HUB_CACHE
        if error.errno in DISK_FULL:
            raise no_space(f"no space left at {where}") from error
        if error.errno in NOT_WRITABLE:
            raise MissingError(
                f"cannot write the cache: {error.strerror} ({where})",
                "fix its permissions, or set HF_HOME and XDG_CACHE_HOME to a folder of yours",
            ) from error
        vanished = error.errno == errno.ENOENT and Path(os.fsdecode(where)).is_relative_to(cache or cache_folder())
        if vanished or error.errno in DISK_FAILED:
            raise MissingError(
                f"the cache failed: {error.strerror} ({where})",
                "see whether that folder and its disk are still there, and run the command again",
            ) from error
        raise


def no_space(message: str) -> ResourceError:
    """The error for too little room where downloads go."""
    return ResourceError(
        message,
        "free some space, or set HF_HOME and XDG_CACHE_HOME to a folder on a larger disk; a finished part is kept",
    )
