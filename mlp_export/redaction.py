"""Text that a person may show to others: without passwords, tokens, the home folder's name, and what they typed."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|AUTH|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY", re.I)
_PATTERNS = (
    (re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://)[^\s/@'\"]*@"), r"\1[removed]@"),  # user and password of a URL
    (re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://[^\s?'\"]*)\?[^\s'\"]*"), r"\1?[removed]"),  # a signed URL's query
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), "[removed]"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 [removed]"),
    (
        re.compile(r"(?i)\b((?:api_?key|access_?token|password|secret)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,]+"),
        r"\1[removed]",
    ),
    (re.compile(r"(/home|/Users)/[^/\s'\":]+"), "~"),
)
_SHORTEST = 4  # of a secret: shorter values would turn up in any text


def redact(text: str, typed: Collection[str] = ()) -> str:
    """`text` without the values of secret environment variables, what looks like a secret, the home folder, and
    `typed`: texts that are the person's own.
    """
    for value in sorted((value for value in typed if value.strip()), key=len, reverse=True):
        for spelled in (value, repr(value)[1:-1]):
            text = text.replace(spelled, "[text]")
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST:
            text = text.replace(value, "[removed]")
    home = _home()
    if home is not None:
        text = re.sub(re.escape(home) + r"(?![\w.-])", "~", text)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact_each(value: Any, typed: Collection[str] = ()) -> Any:
    """`value`, of JSON, with each text in it as `redact` gives it."""
    if isinstance(value, str):
        return redact(value, typed)
    if isinstance(value, dict):
        return {key: redact_each(entry, typed) for key, entry in value.items()}
    if isinstance(value, list):
        return [redact_each(entry, typed) for entry in value]
    return value


def _home() -> str | None:
    try:
        home = str(Path.home())
    except RuntimeError:  # no HOME, and a user that the system does not know
        return None
    return home if len(home) > 1 else None
