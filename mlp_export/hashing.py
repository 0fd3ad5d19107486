"""Hashes of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mlp_export.errors import InputError


def file_sha256(path: Path) -> str:
    """The file's sha256 in hexadecimal. Raises InputError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "check the file and its permissions") from error
