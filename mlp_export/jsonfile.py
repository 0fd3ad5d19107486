"""JSON files that hold an object."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, NoReturn

from mlp_export.errors import InputError
from mlp_export.paths import check_fetched


def read_json_object(path: Path, *, strict: bool = False) -> dict[str, Any]:
    """The JSON object in `path`. Raises InputError where it cannot be read or holds something else.

    `strict` refuses what readers in other languages take otherwise or not at all: a key twice, NaN and numbers beyond
    the range of a double.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if strict:
            value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite)
        else:
            value = json.loads(text)
        _check_text(text, value)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "check the file and its permissions") from error
    except (ValueError, RecursionError) as error:
        check_fetched(path)
        raise InputError(
            f"{path} is not valid JSON: {error}", "the file is damaged or cut off: fetch it again"
        ) from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds {json_kind(value)}, expected an object", "fetch the file again")
    return value


def json_kind(value: object) -> str:
    """What JSON calls `value`."""
    kinds = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number", type(None): "null"}
    return kinds.get(type(value), "true or false")


def _check_text(text: str, value: object) -> None:
    """Raises ValueError for half of a surrogate pair, which JSON can spell and no text in UTF-8 can hold."""
    if re.search(r"\\u[dD][89a-fA-F]", text) is None:
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"half a surrogate pair, {error.object[error.start]!a}, in a text") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return values


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)
