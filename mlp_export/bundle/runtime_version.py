"""Versions of runtimes, as a manifest's `min_runtime` has them. Apps share the rule: tests/vectors/device_fit.json."""

from __future__ import annotations

import itertools
import re


def at_least(found: str, oldest: str) -> bool:
    """Whether dotted version `found` is `oldest` or later, by their first three numbers.

    Not read: what follows ("+cpu", "-rc1"), the "v" and the build's date in "v2.49.40.260810104044", as manifests once
    had it.
    """
    pairs = itertools.zip_longest(_numbers(found), _numbers(oldest), fillvalue=0)
    return next((ours > theirs for ours, theirs in pairs if ours != theirs), True)


def _numbers(version: str) -> list[int]:
    match = re.match(r"v?(\d+(?:\.\d+){0,2})", version)
    return [int(part) for part in match[1].split(".")] if match else []
