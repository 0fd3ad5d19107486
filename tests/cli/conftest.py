"""What tests of several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes `inspect` raise."""

    def set_error(error: BaseException) -> None:
        def fail(path: Path) -> None:
            raise error

        monkeypatch.setattr("mlp_export.evaluation.inspect_artifact.inspect_artifact", fail)

    return set_error
