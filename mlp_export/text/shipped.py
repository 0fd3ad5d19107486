"""The short text that ships: what evaluation, verification and static scales use where nobody gives another."""

from __future__ import annotations

import importlib.resources


def shipped_text() -> str:
    """A short English text, written for this project."""
    return importlib.resources.files("mlp_export").joinpath("data/text.txt").read_text(encoding="utf-8")
