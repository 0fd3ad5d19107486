"""Errors of the disk under the caches, in words for the person."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants

from mlp_export.errors import MissingError, ResourceError


@contextmanager
def storage_errors(cache: Path | None) -> Iterator[None]:
    """Turns a full disk or a cache that cannot be written into an error for the person."""
    try:
        yield
    except OSError as error:
        where = error.filename or cache or constants.HF_HUB_CACHE
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_space(f"no space left at {where}") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise MissingError(
                f"cannot write the cache: {error.strerror} ({where})",
                "fix its permissions, or set HF_HOME and XDG_CACHE_HOME to a folder of yours",
            ) from error
        raise


def no_space(message: str) -> ResourceError:
    """The error for too little room where downloads go."""
    return ResourceError(
        message,
        "free some space, or set HF_HOME and XDG_CACHE_HOME to a folder on a larger disk; a finished part is kept",
    )
