"""The eager decoder against transformers' own Llama 4 and Llama, on random checkpoints of the siblings' shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_checkpoints import write_checkpoint
from transformers import AutoModelForCausalLM
from transformers.masking_utils import create_sliding_window_causal_mask
from transformers.models.llama4 import modeling_llama4

from mlp_export.checkpoints.checkpoint import read_checkpoint
from mlp_export.models.eager import decode
from mlp_export.models.numerics import FLOAT, DynamicNumerics, fake_quantize_kv, fake_quantize_tokens
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.models.weights import FloatWeights

TOKENS = torch.randint(300, (40,), generator=torch.Generator().manual_seed(1)).tolist()
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def ours(folder: Path, **sequence: Any) -> torch.Tensor:
    weights = FloatWeights(read_checkpoint(folder))
    return decode(weights, [TokenSequence(TOKENS, range(len(TOKENS)), **sequence)], FLOAT)[0]


def theirs(folder: Path, tokens: list[int] = TOKENS) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("qk_norm", [True, False])
def test_r1_is_transformers_llama4(tmp_path: Path, tied: bool, qk_norm: bool) -> None:
    folder = write_checkpoint(tmp_path, "mobilellm-r1", tied=tied, use_qk_norm=qk_norm)
    torch.testing.assert_close(ours(folder), theirs(folder), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scaling", [None, LLAMA3])
def test_llama_is_transformers_llama(tmp_path: Path, scaling: dict[str, Any] | None) -> None:
    """Rotate-half files come out right in the interleaved layout, with and without Llama 3's scaling."""
    folder = write_checkpoint(tmp_path, "llama", rope_scaling=scaling)
    torch.testing.assert_close(ours(folder), theirs(folder), rtol=1e-4, atol=1e-4)


def test_llama3_scaling_changes_the_answer(tmp_path: Path) -> None:
    """Negative control of the test above: at 40 tokens the scaled frequencies do matter."""
    plain = write_checkpoint(tmp_path / "a", "llama")
    scaled = write_checkpoint(tmp_path / "b", "llama", rope_scaling=LLAMA3)
    assert (ours(plain) - ours(scaled)).abs().max() > 1e-2


def local_global_reference(folder: Path, monkeypatch: pytest.MonkeyPatch, window: int) -> torch.Tensor:
    """MobileLLM-Pro as transformers' Llama 4 with its chunked layers under transformers' own sliding-window mask."""
    monkeypatch.setattr(modeling_llama4, "create_chunked_causal_mask", create_sliding_window_causal_mask)
    values = json.loads((folder / "config.json").read_text())
    types = ["chunked_attention" if i % 4 else "full_attention" for i in range(5)]  # none more than layers here
    config = modeling_llama4.Llama4TextConfig(**{**values, "layer_types": types})
    config.sliding_window = window
    config._attn_implementation = "eager"
    model = modeling_llama4.Llama4ForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32)
    with torch.no_grad():
        return model(torch.tensor([TOKENS])).logits[0]


@pytest.mark.parametrize("qk_norm", [True, False])
def test_local_and_global_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qk_norm: bool) -> None:
    folder = write_checkpoint(tmp_path, "mobilellm-pro", use_qk_norm=qk_norm)
    right = ours(folder)
    torch.testing.assert_close(right, local_global_reference(folder, monkeypatch, 8), rtol=1e-4, atol=1e-4)
    assert (right - local_global_reference(folder, monkeypatch, 7)).abs().max() > 1e-2  # a window off by one shows
    narrower = write_checkpoint(tmp_path / "narrower", "mobilellm-pro", use_qk_norm=qk_norm, sliding_window=7)
    torch.testing.assert_close(ours(narrower), local_global_reference(folder, monkeypatch, 7), rtol=1e-4, atol=1e-4)


def test_the_window_counts_the_query_itself(tmp_path: Path) -> None:
    """All layers local, one layer: query i sees keys i - 7 to i, so token 8 is the first that token 0 cannot reach."""
    folder = write_checkpoint(
        tmp_path, "mobilellm-pro", num_hidden_layers=1, layer_types=["sliding_attention"], no_rope_layers=[1]
    )
    weights = FloatWeights(read_checkpoint(folder))
    changed = [(TOKENS[0] + 1) % 300, *TOKENS[1:]]
    first, second = decode(weights, [TokenSequence(TOKENS, range(12)), TokenSequence(changed, range(12))], FLOAT)
    differs = (first - second).abs().amax(-1) > 0
    assert differs.tolist() == [True] * 8 + [False] * 4


def test_a_passage_over_a_gap_is_one_with_zero_keys_and_values(tmp_path: Path) -> None:
    """Global layers only: zero keys score 0 and zero values add nothing, by hand on one layer."""
    folder = write_checkpoint(tmp_path, "mobilellm-r1", num_hidden_layers=1)
    weights = FloatWeights(read_checkpoint(folder))
    without, over = decode(
        weights, [TokenSequence(TOKENS[:3], [2]), TokenSequence(TOKENS[:3], [2], prefix=2, start=2)], FLOAT
    )
    torch.testing.assert_close(without, over)
    gap = decode(weights, [TokenSequence(TOKENS[:3], [2], prefix=2, start=500)], FLOAT)[0]
    assert (gap - without).abs().max() > 1e-3
    far = decode(weights, [TokenSequence(TOKENS[:1], [0], start=500)], FLOAT)[0]
    # RoPE turns a lone query and key alike: only the zeros make a difference to position 0.
    assert (far - decode(weights, [TokenSequence(TOKENS[:1], [0])], FLOAT)[0]).abs().max() > 1e-3


def test_several_passages_at_once_are_as_one_each(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "mobilellm-pro")
    weights = FloatWeights(read_checkpoint(folder))
    numerics = DynamicNumerics("int8", "int8")
    sequences = [TokenSequence(TOKENS, [39]), TokenSequence(TOKENS[:5], [0, 4], start=20)]
    together = decode(weights, sequences, numerics)
    for sequence, logits in zip(sequences, together, strict=True):
        torch.testing.assert_close(logits, decode(weights, [sequence], numerics)[0], rtol=0, atol=0)


def test_activations_round_as_torchaos_fake_quantizer() -> None:
    from torchao.quantization.qat import IntxFakeQuantizeConfig, IntxFakeQuantizer

    rows = torch.randn(50, 96, generator=torch.Generator().manual_seed(2)) * torch.logspace(-3, 3, 50).view(-1, 1)
    rows[7] = 0
    reference = IntxFakeQuantizer(IntxFakeQuantizeConfig(torch.int8, "per_token", is_symmetric=False))
    torch.testing.assert_close(fake_quantize_tokens(rows), reference(rows), rtol=0, atol=0)


def test_kv_rounding_keeps_zeros_and_the_largest_value() -> None:
    rows = torch.randn(5, 2, 32, generator=torch.Generator().manual_seed(3))
    rows[2] = 0
    rounded = fake_quantize_kv(rows)
    assert torch.equal(rounded[2], torch.zeros(2, 32))
    largest = rows.abs().argmax(-1, keepdim=True)
    torch.testing.assert_close(rounded.gather(-1, largest), rows.gather(-1, largest))
    step = rows.abs().amax(-1, keepdim=True) / 127
    assert ((rounded - rows).abs() <= step / 2 * 1.0001).all()
