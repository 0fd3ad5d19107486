"""Paths that the libraries below can take: those written in Rust take UTF-8 text and nothing else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mlp_export.errors import InputError, MlpExportError


def check_utf8(path: Path, error: type[MlpExportError] = InputError) -> None:
    """Raises `error` where the bytes of `path` are not its text in UTF-8.

    That is a name in another encoding, or a name beyond ASCII in a locale that reads names otherwise than as UTF-8.
    """
    name = os.fsencode(path)
    try:
        if name == str(path).encode():
            return
    except UnicodeEncodeError:  # bytes that are no text
        pass
    shown = name.decode(errors="backslashreplace")
    if _is_utf8(name):
        raise error(
            f"{shown} is read as {sys.getfilesystemencoding()} in this locale, expected UTF-8",
            "set LC_ALL=C.UTF-8, or another locale of UTF-8",
        )
    raise error(
        f"the path {shown} is not valid UTF-8, and the libraries that read and write there take no other",
        "rename that folder, or use another",
    )


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
