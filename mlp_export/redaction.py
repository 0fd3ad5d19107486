"""Text that a person may show to others: without passwords, tokens, the home folder's name, and what they typed."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

_SECRET_NAME = re.compile(
    r"(TOKEN|SECRET|PASSW(OR)?D|PASSPHRASE|CREDENTIALS?|(^|_)(AUTH|PASS)|(API|ACCESS|PRIVATE)_?KEY)($|_)", re.I
)
_URL_NAME = re.compile(r"PROXY|URL|ENDPOINT", re.I)
_PATTERNS = (
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), "[removed]"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 [removed]"),
    (
        re.compile(r"(?i)\b((?:api_?key|access_?token|password|secret)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,]+"),
        r"\1[removed]",
    ),
    (re.compile(r"(/home|/Users)/[^/\s'\":]+"), "~"),
)
_SHORTEST_SECRET = 8  # shorter values, such as "false", turn up in any text
_SHORTEST_PART = 4  # of what was typed: shorter texts are removed as whole words alone


def redact(text: str, typed: Collection[str] = ()) -> str:
    """`text` without the values of secret environment variables, what looks like a secret, the home folder, and
    `typed`: texts that are the person's own.
    """
    for value in sorted({value.strip() for value in typed} - {""}, key=len, reverse=True):
        for spelled in _spellings(value):
            whole = (r"(?<!\w)", r"(?!\w)") if len(spelled) < _SHORTEST_PART else ("", "")
            text = re.sub(re.escape(spelled).join(whole), "[text]", text)
    for secret in _secrets():
        text = text.replace(secret, "[removed]")
    home = _home()
    if home is not None:
        text = re.sub(re.escape(home) + r"(?![\w.-])", "~", text)
    text = re.sub(r"\S+", lambda word: _without_query(_without_login(word[0])), text)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact_variable(name: str, value: str) -> str:
    """The value of an environment variable, of a URL without all that stands before its host."""
    if _URL_NAME.search(name) and "@" in value:
        value = f"[removed]@{value.rpartition('@')[2]}"
    return redact(value)


def redact_each(value: Any, typed: Collection[str] = ()) -> Any:
    """`value`, of JSON, with each text in it as `redact` gives it."""
    if isinstance(value, str):
        return redact(value, typed)
    if isinstance(value, dict):
        return {key: redact_each(entry, typed) for key, entry in value.items()}
    if isinstance(value, list):
        return [redact_each(entry, typed) for entry in value]
    return value


def _spellings(value: str) -> list[str]:
    """A text as exceptions show it, and as a tokenizer may have normalized it."""
    texts = {value, unicodedata.normalize("NFC", value)}
    return sorted({spelled for t in texts for spelled in (t, repr(t)[1:-1], ascii(t)[1:-1], json.dumps(t)[1:-1])})


def _without_query(word: str) -> str:
    """A word without the query of a URL in it, which may be signed."""
    return re.sub(r"\?[^'\"]*", "?[removed]", word) if "://" in word else word


def _without_login(word: str) -> str:
    """A word without user and password, up to its last "@": passwords are spelled with "@" and "/" not escaped, too."""
    before, at, host = word.rpartition("@")
    scheme, slashes, _ = before.partition("//")
    if slashes:
        return f"{scheme}//[removed]@{host}"
    colon = before.find(":")
    if colon < 0:  # nothing of the kind, a mail address, a revision
        return word
    begin = max(before.rfind(quote, 0, colon) for quote in "'\"=(") + 1
    return f"{before[:begin]}[removed]{at}{host}"


def _secrets() -> Iterator[str]:
    """What no text may hold of the environment's values."""
    for name, value in os.environ.items():
        found = [value.strip()] if _SECRET_NAME.search(name) else []
        if _URL_NAME.search(name) and "@" in value:
            login = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*:)?//", "", value.strip().rpartition("@")[0])
            _, colon, password = login.partition(":")
            if colon:
                yield login
            found.append(password)
        yield from (secret for secret in found if len(secret) >= _SHORTEST_SECRET)


def _home() -> str | None:
    try:
        home = str(Path.home())
    except RuntimeError:  # no HOME, and a user that the system does not know
        return None
    return home if len(home) > 1 else None
