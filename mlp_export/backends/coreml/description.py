"""What a `.pte` for Core ML says of itself."""

from __future__ import annotations

from pathlib import Path


def describe(path: Path) -> dict[str, str]:
    return {}
