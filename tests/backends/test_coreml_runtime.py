"""A small model's program for Core ML on whatever runs it here, against stored logits.

The interpreter wrote them (`python tests/backends/test_coreml_runtime.py` writes them anew). On Linux it has to give
them again; on a Mac, where ExecuTorch's wheel has Apple's runtime, that has to come close.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from artifacts import QUIET
from small_checkpoints import write_checkpoint

from mlp_export.backends.base import open_session
from mlp_export.bundle.bundle import Bundle
from mlp_export.pipeline import ExportOptions, export

STORED = Path(__file__).parents[1] / "data" / "coreml_logits.json"
ON_A_MAC = sys.platform == "darwin"
# Sums in another order flip roundings of float16 on Linux; on a Mac the processor rounds as it likes.
MOST = 0.02 if ON_A_MAC else 2e-3
TOKENS = [(7 * n) % 290 + 1 for n in range(80)]
# (tokens, position): one token, a cut chunk, whole chunks across the window of 40, single tokens behind them
CALLS = [(1, 0), (7, 1), (32, 8), (32, 40), (1, 72), (1, 73)]


def export_small(folder: Path) -> Bundle:
    checkpoint = write_checkpoint(folder / "model", kind="int4-accelerator", sliding_window=40)
    return export(ExportOptions("coreml", str(checkpoint), folder / "b", context=128, verify=ON_A_MAC), QUIET).bundle


def answers(bundle: Bundle) -> list[torch.Tensor]:
    session = open_session(bundle)
    return [session.forward(TOKENS[at : at + count], at) for count, at in CALLS]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[torch.Tensor]:
    return answers(export_small(tmp_path_factory.mktemp("runtime")))


@pytest.mark.parametrize("call", range(len(CALLS)))
def test_logits_are_the_stored_ones(found: list[torch.Tensor], call: int) -> None:
    stored = torch.tensor(json.loads(STORED.read_text())["logits"][call])
    assert (found[call] - stored).norm() / stored.norm() < MOST
    assert found[call].argmax() == stored.argmax()


def test_calls_are_told_apart(found: list[torch.Tensor]) -> None:
    """The negative control: each call's logits are far from the others' stored ones."""
    stored = [torch.tensor(logits) for logits in json.loads(STORED.read_text())["logits"]]
    for call, logits in enumerate(found):
        others = [other for n, other in enumerate(stored) if n != call]
        assert min((logits - other).norm() / other.norm() for other in others) > 10 * MOST


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        logits = [[round(value, 4) for value in answer.tolist()] for answer in answers(export_small(Path(folder)))]
    STORED.write_text(json.dumps({"calls": CALLS, "logits": logits}) + "\n")
