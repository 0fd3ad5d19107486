"""Every family, whatever stands in tests/small_families, exported for each backend and verified in full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from qnn_libraries import simulated
from small_checkpoints import FAMILY_KEYS, write_checkpoint

from mlp_export.models.families import families
from mlp_export.pipeline import ExportOptions, export

# Answers of random weights have near ties, at which the stock runner's chunks and single steps may part.
SEEDS = {"qwen3": 2}
# For a graph of static rows, whose ring has to hold them: three layers, of each kind one.
STATIC: dict[str, dict[str, Any]] = {
    "layer_types": {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": 32},
    "no_rope_layers": {"no_rope_layers": [1, 0, 1]},
}


def static_changes(family: str) -> dict[str, Any]:
    changes: dict[str, Any] = {"num_hidden_layers": 3}
    for key in STATIC.keys() & FAMILY_KEYS[family].keys():
        changes |= STATIC[key]
    return changes


def verified(folder: Path, family: str, backend: str, weights: Any, **changes: Any) -> None:
    checkpoint = write_checkpoint(folder / "model", family, dtype=torch.bfloat16, seed=SEEDS.get(family, 1), **changes)
    options = ExportOptions(
        backend, str(checkpoint), folder / "bundle", context=64, prefill_chunk=32, weights=weights, quantizer="nearest"
    )
    report = export(options).verification
    assert report is not None and report.passed and report.weights_bit_equal
    assert report.relative_error is not None and report.noise_floor is not None
    assert 0 < report.relative_error < 1.5 * report.noise_floor
    names = {check.name for check in report.checks}
    assert {"structure", "weights"} <= names and any(name.startswith("logits") for name in names)


def test_each_family_has_a_small_config() -> None:
    made = {"mobilellm-pro", "mobilellm-r1"}  # by small_checkpoints itself
    assert {family.name for family in families()} == made | FAMILY_KEYS.keys()


@pytest.mark.parametrize("weights", ["int4", "int8"])
@pytest.mark.parametrize("family", FAMILY_KEYS)
def test_xnnpack(tmp_path: Path, family: str, weights: Any) -> None:
    verified(tmp_path, family, "xnnpack", weights)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILY_KEYS)
def test_coreml(tmp_path: Path, family: str) -> None:
    verified(tmp_path, family, "coreml", "int8", **static_changes(family))


@simulated
@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILY_KEYS)
def test_qnn(tmp_path: Path, family: str) -> None:
    verified(tmp_path, family, "qnn", "int8", **static_changes(family))
