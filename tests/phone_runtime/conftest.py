"""Tests on other machines' runtimes: `make test-phone` fetches what they need, sets PHONE_TOOLS and runs them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

TOOLS = os.environ.get("PHONE_TOOLS", "")
collect_ignore_glob = [] if TOOLS else ["test_*.py"]


@pytest.fixture(scope="session")
def needs() -> Callable[..., Path]:
    """`needs(*names)`: the folder of tools, or the end of the test where one of `names` (android_demo/tools/fetch.py)
    is missing: a failure where CI is set, else a skip.
    """
    folder = Path(TOOLS).resolve()
    missing = json.loads((folder / "missing.json").read_text())

    def check(*names: str) -> Path:
        why = "; ".join(missing[name] for name in names if name in missing)
        if why and os.environ.get("CI"):
            pytest.fail(why, pytrace=False)
        if why:
            pytest.skip(why)
        return folder

    return check
