"""What libraries below break on when they are imported: variables of the environment, folders, limits of memory."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys

from mlp_export.errors import MissingError, ResourceError, UsageError
from mlp_export.resources import human_bytes, temporary_folder

_WHOLE_NUMBERS = ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT")  # huggingface_hub/constants.py
_LIMITS = (("ulimit -v", resource.RLIMIT_AS), ("ulimit -d", resource.RLIMIT_DATA))
_ENOUGH_BYTES = 8_000_000_000  # of addresses, to load libraries: torch built for CUDA takes 4 GB


def forget_impossible_sizes() -> None:
    """Unset COLUMNS and LINES where no terminal has such a size: rich makes a number, and a line, of any digits."""
    for name in ("COLUMNS", "LINES"):
        value = os.environ.get(name)
        if value is not None and re.fullmatch("[1-9][0-9]{0,3}", value) is None:
            del os.environ[name]


def check_environment() -> None:
    """Raises UsageError for a variable whose value huggingface_hub or torch cannot be imported with, MissingError where
    the current folder was removed (MKL ends the process then) or no temporary file can be made, ResourceError where
    libraries do not load within this process's limits.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise MissingError(
            f"the current folder cannot be found: {error.strerror}", "change to a folder that exists"
        ) from error
    temporary_folder()
    _check_limits()
    for name in _WHOLE_NUMBERS:
        value = os.environ.get(name)
        if value and not _is_int(value):
            raise UsageError(f"{name} is {value!r}, expected a whole number of seconds", "correct it, or unset it")
    if value := os.environ.get("TORCH_LOGS"):  # whose words only torch knows
        try:
            import torch  # noqa: F401
        except ValueError as error:
            said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
            raise UsageError(f"TORCH_LOGS is {value!r}: {said}", "correct it, or unset it") from error


def _check_limits() -> None:
    """Loads the libraries in another process where a limit is low: some end the process that they do not fit into."""
    limits = [(name, resource.getrlimit(limit)[0]) for name, limit in _LIMITS]
    low = [(name, size) for name, size in limits if size != resource.RLIM_INFINITY and size < _ENOUGH_BYTES]
    if not low:
        return
    load = [sys.executable, "-c", "import torch, executorch.exir, executorch.runtime"]
    if subprocess.run(load, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        told = " and ".join(f"{human_bytes(size)} ({name})" for name, size in low)
        raise ResourceError(
            f"torch and ExecuTorch do not load within the limits of this process: {told}",
            "raise them: " + "; ".join(f"{name} unlimited" for name, _ in low),
        )


def _is_int(value: str) -> bool:
    try:
        int(value)
    except ValueError:
        return False
    return True
