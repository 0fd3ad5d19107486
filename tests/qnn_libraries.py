"""Whether Qualcomm's compiler and simulator are here, for tests that run on them."""

from __future__ import annotations

import pytest

from mlp_export.backends.qnn import sdk
from mlp_export.errors import MissingError


def libraries() -> bool:
    """Whether they are installed. Those that are, but do not answer, fail the tests and skip none."""
    try:
        sdk.find_sdk()
    except MissingError:
        return False
    return True


simulated = pytest.mark.skipif(not libraries(), reason="Qualcomm's libraries are not installed: make qnn")
