"""The cache's folder, and paths that the libraries below can take: those in Rust take UTF-8 text and nothing else."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

from platformdirs import user_cache_path

from mlp_export.errors import InputError, MissingError, MlpExportError

_LFS = b"version https://git-lfs.github.com/spec/"


def cache_folder() -> Path:
    """Where mlp-export keeps what it can fetch or make again: `$XDG_CACHE_HOME/mlp-export`, or as the system has it.

    Raises MissingError where this user has no home folder, or one whose name libraries cannot take.
    """
    try:
        folder = user_cache_path("mlp-export", appauthor=False)
    except RuntimeError as error:
        raise no_home("XDG_CACHE_HOME") from error
    check_utf8(folder, MissingError)
    return folder


def no_home(variable: str) -> MissingError:
    """The error for a user without a home folder, with the `variable` that would do instead."""
    return MissingError(
        "this user has no home folder for a cache: HOME is not set and the system does not know the user id",
        f"set {variable} to a folder that you may write to",
    )


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


def resolved(path: Path) -> Path:
    """`path` without links. `Path.resolve` raises RuntimeError for a loop of them, and Python 3.13's does not."""
    return Path(os.path.realpath(path))


def check_reachable(path: Path) -> None:
    """Raises InputError where the system does not say whether anything is at `path`: its name is too long, or a folder
    on the way may not be searched.
    """
    try:
        path.stat()
    except ValueError as error:  # a NUL character
        raise InputError(f"cannot look at {path}: {error}", "check the path") from error
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise InputError(
                f"cannot look at {path}: {error.strerror}", "check the path and its permissions"
            ) from error


def check_fetched(path: Path) -> None:
    """Raises InputError where the file at `path` is what Git LFS leaves in place of one that it did not fetch.

    For those who cannot read a file, to say why (github.com/git-lfs/git-lfs, docs/spec.md).
    """
    with contextlib.suppress(OSError), path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise InputError(
                f"{path} is a pointer of Git LFS: the file itself was not fetched",
                "run `git lfs install` and `git lfs pull` in that repository, or download the file",
            )


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
