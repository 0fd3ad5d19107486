"""What libraries below break on when they are imported: variables of the environment, and a folder that is gone."""

from __future__ import annotations

import os

from mlp_export.errors import MissingError, UsageError

_WHOLE_NUMBERS = ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT")  # huggingface_hub/constants.py


def check_environment() -> None:
    """Raises UsageError for a variable whose value huggingface_hub or torch cannot be imported with, MissingError where
    the current folder was removed: MKL ends the process then.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise MissingError(
            f"the current folder cannot be found: {error.strerror}", "change to a folder that exists"
        ) from error
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


def _is_int(value: str) -> bool:
    try:
        int(value)
    except ValueError:
        return False
    return True
