"""Distillation: its loss against the decoder's, gradients against differences, results as the artifact has them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_checkpoints import write_checkpoint

from mlp_export.checkpoints.checkpoint import read_checkpoint
from mlp_export.errors import InputError, UsageError
from mlp_export.models.eager import decode
from mlp_export.models.numerics import FLOAT, DynamicNumerics
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.models.weights import FloatWeights
from mlp_export.progress import Progress
from mlp_export.quantization import distillation
from mlp_export.quantization.compressed_tensors import write_checkpoint as write_quantized
from mlp_export.quantization.distillation import distill, learning_rate_factor
from mlp_export.quantization.nearest import round_checkpoint
from mlp_export.quantization.scheme import Scheme
from mlp_export.quantization.store import QuantizedModel

ARTIFACT = DynamicNumerics("int8", "int8")
QUIET = Progress()


def text(sequences: int, length: int = 48, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 300, (sequences, length), generator=torch.Generator().manual_seed(seed))


def rounded(
    folder: Path,
    scheme: Scheme = Scheme(4, 32),  # noqa: B008 - frozen
    *,
    tied: bool = True,
    family: str | None = None,
    **changes: Any,
) -> QuantizedModel:
    family = family or ("mobilellm-pro" if tied else "llama")
    opened = read_checkpoint(write_checkpoint(folder / "model", family, tied=tied, num_hidden_layers=2, **changes))
    return QuantizedModel(opened, round_checkpoint(opened, scheme, folder / "nearest"))


def divergence(model: QuantizedModel, ids: torch.Tensor, numerics: DynamicNumerics = ARTIFACT) -> float:
    sequences = [TokenSequence(row.tolist(), range(ids.shape[1])) for row in ids]
    wanted = torch.cat(decode(FloatWeights(model.checkpoint), sequences, FLOAT)).double().log_softmax(-1)
    found = torch.cat(decode(model, sequences, numerics)).double().log_softmax(-1)
    return float((wanted.exp() * (wanted - found)).sum(-1).mean())


@pytest.mark.parametrize("tied", [True, False])
def test_nearer_to_float_with_the_same_codes(tmp_path: Path, tied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random text teaches little of other random text, so most of the gain is on what was seen."""
    monkeypatch.setattr(distillation, "LEARNING_RATE", 3e-3)  # a model this small takes larger steps
    model, seen, held_out = rounded(tmp_path, tied=tied), text(24, 96), text(4, seed=9)
    store, norms = distill(model, seen, ARTIFACT, 24, tmp_path / "distilled", QUIET)
    tuned = QuantizedModel(model.checkpoint, store, norms)
    for ids, gain in ((seen[:4], 0.85), (held_out, 0.98)):
        assert divergence(tuned, ids) < gain * divergence(model, ids)
    assert divergence(replace(tuned, norms={}), held_out) != divergence(tuned, held_out)  # norms count
    assert ("head" in store) != tied and store.scheme == model.scheme
    for name in model.weight_names():
        old, new = model.weight(name), store.weight(name)
        assert torch.equal(old.codes, new.codes) and new.scales.dtype == torch.bfloat16
        assert float(new.scales.min()) > 0
    assert not torch.equal(store.weight("embed").scales, model.weight("embed").scales)
    assert set(norms) == {name for name in model.checkpoint.names() if name.endswith("norm")}
    for norm in norms.values():
        assert norm.dtype == torch.float32 and torch.equal(norm, norm.to(torch.bfloat16).float())


def test_scales_of_channels_are_what_checkpoints_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "LEARNING_RATE", 0.02)  # beyond half a step of bf16
    model = rounded(tmp_path, Scheme(4, None))
    shutil.copytree(model.store.folder, tmp_path / "distilled")  # as a killed run may leave one
    store, _ = distill(model, text(2), FLOAT, 3, tmp_path / "distilled", QUIET)
    scales = store.weight("layers.0.up").scales
    assert scales.dtype == torch.float32 and torch.equal(scales, scales.to(torch.bfloat16).float())
    assert not torch.equal(scales, model.weight("layers.0.up").scales)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("gemma3", {"hidden_size": 96, "layer_types": ["sliding_attention", "full_attention"]}),
        ("qwen2.5", {}),
        ("smollm3", {"no_rope_layers": [1, 0]}),
    ],
)
def test_tuned_norms_of_a_family_are_what_its_files_hold(
    tmp_path: Path, family: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distillation, "LEARNING_RATE", 3e-3)
    model, seen = rounded(tmp_path, family=family, **changes), text(8)
    store, norms = distill(model, seen, ARTIFACT, 16, tmp_path / "distilled", QUIET)
    tuned = QuantizedModel(model.checkpoint, store, norms)
    assert divergence(tuned, seen) < 0.95 * divergence(model, seen)
    assert set(norms) == {name for name in model.checkpoint.names() if name.endswith("norm")}
    assert all(not torch.equal(norm, model.vector(name)) for name, norm in norms.items())
    write_quantized(tuned, tmp_path / "written", {})
    files = load_file(tmp_path / "written" / "model.safetensors")
    written = read_checkpoint(tmp_path / "written")
    for name in written.vector_names():
        assert files[written.key(name)].dtype == torch.bfloat16
        # In float32 a norm near 1, divided by the embedding's scale and multiplied again, may be another.
        torch.testing.assert_close(written.tensor(name).float(), tuned.vector(name), rtol=3e-7, atol=0)


@pytest.mark.parametrize("numerics", [ARTIFACT, FLOAT], ids=["artifact", "float"])
def test_loss_is_the_decoders_divergence(tmp_path: Path, numerics: DynamicNumerics) -> None:
    model, ids = rounded(tmp_path), text(1)
    tuned = distillation._Tuned(model, torch.device("cpu"))
    (wanted,) = decode(FloatWeights(model.checkpoint), [TokenSequence(ids[0].tolist(), range(48))], FLOAT)
    loss = distillation._loss(tuned, ids[0], numerics, wanted)
    assert float(loss.detach()) == pytest.approx(divergence(model, ids, numerics), rel=1e-4)


@pytest.mark.parametrize("name", ["embed", "layers.0.q", "layers.1.down", "layers.1.ffn_norm", "norm"])
def test_gradients_are_the_losses_slopes(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Along a random direction, without rounding; the head in several blocks."""
    monkeypatch.setattr(distillation, "_HEAD_ROWS", 100)
    model, ids = rounded(tmp_path), text(1)[0]
    tuned = distillation._Tuned(model, torch.device("cpu"))
    (wanted,) = decode(FloatWeights(model.checkpoint), [TokenSequence(ids.tolist(), range(48))], FLOAT)
    distillation._loss(tuned, ids, FLOAT, wanted).backward()
    factors = tuned.factors[name]
    assert factors.grad is not None
    direction = factors.grad / factors.grad.norm()
    losses = []
    for step in (-0.02, 0.02):
        with torch.no_grad():
            factors += step * direction
            losses.append(float(distillation._loss(tuned, ids, FLOAT, wanted)))
            factors -= step * direction
    assert (losses[1] - losses[0]) / 0.04 == pytest.approx(float(factors.grad.norm()), rel=0.03)


def test_rounded_values_pass_gradients_straight_through() -> None:
    passing = distillation._StraightThrough(ARTIFACT)
    rows = torch.randn(5, 32, requires_grad=True)
    found = passing.linear_input(rows)
    assert torch.equal(found, ARTIFACT.linear_input(rows.detach())) and not torch.equal(found, rows)
    weights = torch.randn(5, 32)
    (found * weights).sum().backward()
    assert rows.grad is not None and torch.equal(rows.grad, weights)


def test_learning_rate_warms_up_and_falls() -> None:
    factors = [learning_rate_factor(step, 40) for step in range(40)]
    assert factors[:2] == pytest.approx([0.2, 0.4], abs=0.01) and max(factors) == factors[4] > 0.95
    assert factors[20] == pytest.approx(0.5) and factors[39] < 0.01
    assert factors[4:] == sorted(factors[4:], reverse=True)


def test_without_a_learning_rate_nothing_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: what distillation gains comes from its steps."""
    monkeypatch.setattr(distillation, "LEARNING_RATE", 0.0)
    model = rounded(tmp_path)
    store, norms = distill(model, text(2), ARTIFACT, 2, tmp_path / "distilled", QUIET)
    assert all(store.weight(name).equals(model.weight(name)) for name in model.weight_names())
    assert all(torch.equal(norm, model.vector(name)) for name, norm in norms.items())


def test_what_cannot_be_distilled(tmp_path: Path) -> None:
    model = rounded(tmp_path)
    with pytest.raises(UsageError, match="distillation of 0 steps"):
        distill(model, text(2), ARTIFACT, 0, tmp_path / "distilled", QUIET)
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match=r"cannot read .*mine"):
        distill(model, text(2), ARTIFACT, 1, tmp_path / "mine", QUIET)
    # A norm this large is finite, and what it makes is not.
    broken = read_checkpoint(write_checkpoint(tmp_path / "broken", num_hidden_layers=2, rms_norm_eps=1e-30))
    model = QuantizedModel(broken, round_checkpoint(broken, Scheme(4, 32), tmp_path / "broken-nearest"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QuantizedModel, "vector", lambda self, name: torch.full((64,), 3e38))
        with pytest.raises(InputError, match=r"loss of step 1 is (nan|inf)"):
            distill(model, text(2), FLOAT, 2, tmp_path / "distilled", QUIET)
    assert not (tmp_path / "distilled").exists()
