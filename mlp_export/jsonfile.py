"""JSON files that hold an object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlp_export.errors import InputError


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises InputError where it cannot be read or holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "check the file and its permissions") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not valid JSON: {error}", "the file is damaged or cut off: fetch it again"
        ) from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a JSON {type(value).__name__}, expected an object", "fetch the file again")
    return value
