"""Each family against transformers' own class, on random weights with its features drawn at random.

The gate of a new family: the reference in float, 1e-5 of the logits' norm over 700 tokens, past the window. What int4
or int8 would hide shows here.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from small_checkpoints import FAMILY_FEATURES, FAMILY_KEYS, config_json, write_checkpoint
from transformers import AutoModelForCausalLM

from mlp_export.checkpoints.checkpoint import read_checkpoint
from mlp_export.checkpoints.config import read_config
from mlp_export.errors import InputError
from mlp_export.models.eager import decode
from mlp_export.models.families import config_from_json, families
from mlp_export.models.numerics import FLOAT
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.models.weights import FloatWeights

TOKENS = torch.randint(300, (700,), generator=torch.Generator().manual_seed(4)).tolist()


def drawn(family: str, seed: int) -> dict[str, Any]:
    """Keys of a config with sizes and the family's features at random."""
    draw = random.Random(f"{family} {seed}")
    heads, group = draw.choice([2, 4]), draw.choice([1, 2])
    keys: dict[str, Any] = {
        "num_hidden_layers": draw.choice([3, 5, 6]),
        "num_attention_heads": heads,
        "num_key_value_heads": heads // group,
        "head_dim": 64 // heads,
        "hidden_size": 64,
        "intermediate_size": draw.choice([32, 96]),
        "rms_norm_eps": draw.choice([1e-6, 1e-5]),
        "rope_theta": draw.choice([1e4, 5e5]),
        "tie_word_embeddings": draw.random() < 0.5,
    }
    keys |= {key: draw.choice(values) for key, values in FAMILY_FEATURES[family].items()}
    if "layer_types" in keys:  # transformers counts them
        keys["layer_types"] = keys["layer_types"][: keys["num_hidden_layers"]]
    return {key: value for key, value in keys.items() if value is not None}


def ours(folder: Path) -> torch.Tensor:
    weights = FloatWeights(read_checkpoint(folder))
    return decode(weights, [TokenSequence(TOKENS, range(len(TOKENS)))], FLOAT)[0]


def theirs(folder: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        return model(torch.tensor([TOKENS])).logits[0]


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest of all positions of |difference| / |expected|."""
    return float(((found - expected).norm(dim=-1) / expected.norm(dim=-1)).max())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("family", FAMILY_KEYS)
def test_the_reference_is_transformers_own_class(tmp_path: Path, family: Any, seed: int) -> None:
    folder = write_checkpoint(tmp_path, family, dtype=torch.float32, **drawn(family, seed))
    expected = theirs(folder)
    assert len(expected) == 700 and expected.std() > 0.1
    assert relative(ours(folder), expected) < 1e-5


WRONG: list[tuple[Any, dict[str, Any]]] = [
    ("gemma3", {"sliding_window": 7}),
    ("gemma3", {"rope_local_base_freq": 1.1e4}),
    ("gemma3", {"query_pre_attn_scalar": 25}),
    ("gemma3", {"layer_types": ["full_attention"] * 5}),
    ("smollm3", {"no_rope_layers": [1, 1, 1, 1, 1]}),
    ("qwen2.5", {"rope_theta": 1.01e4}),
]


@pytest.mark.parametrize(("family", "changes"), WRONG)
def test_one_feature_off_shows(tmp_path: Path, family: Any, changes: dict[str, Any]) -> None:
    """Negative controls: the same weights, read with one key of the config changed."""
    folder = write_checkpoint(tmp_path, family, dtype=torch.float32)
    expected = theirs(folder)
    assert relative(ours(folder), expected) < 1e-5
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | changes))
    assert relative(ours(folder), expected) > 1e-4


def test_gemmas_hidden_rows_are_carried_divided_by_the_embeddings_scale(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(write_checkpoint(tmp_path, "gemma3", dtype=torch.float32))
    assert checkpoint.config.embedding_scale == 8.0
    stored = checkpoint.as_stored("layers.1.post_ffn_norm", checkpoint.tensor("layers.1.post_ffn_norm"))
    assert stored.abs().max() < 1  # the files hold w - 1
    torch.testing.assert_close(checkpoint.tensor("layers.1.post_ffn_norm"), (1 + stored) / 8)
    assert checkpoint.config.hidden_eps == pytest.approx(1e-5 / 64)


@pytest.mark.parametrize("family", FAMILY_KEYS)
@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"a_new_key": 3}, "a_new_key"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_hidden_layers": "5"}, "num_hidden_layers"),
        ({"rms_norm_eps": "1e-5"}, "rms_norm_eps"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"num_experts": 8}, "num_experts"),
        ({"num_local_experts": 8}, "num_local_experts"),
        ({"use_qk_norm": True}, "use_qk_norm"),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
    ],
)
def test_one_key_off_is_refused_by_name(family: Any, changes: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError, match=f"`{key}`"):
        config_from_json(config_json(family, **changes))


@pytest.mark.parametrize(
    ("family", "changes", "told"),
    [
        ("gemma3", {"model_type": "gemma3", "text_config": {}}, "vision model"),
        ("gemma3", {"model_type": "gemma3n_text"}, "per-layer embeddings"),
        ("gemma3", {"model_type": "gemma4_text"}, "per-layer inputs"),
        ("gemma3", {"model_type": "gemma2"}, "soft caps"),
        ("llama", {"model_type": "qwen3_moe"}, "mixtures of experts"),
        ("llama", {"model_type": "mixtral"}, "mixtures of experts"),
        ("llama", {"model_type": "phi3"}, "fused"),
        ("llama", {"model_type": "gpt2"}, "supported: "),
    ],
)
def test_other_architectures_are_refused_by_name(family: Any, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        config_from_json(config_json(family) | changes)
    assert "`model_type`" in caught.value.message and told in caught.value.hint
    assert "gemma3_text" in caught.value.hint and "qwen2" in caught.value.hint


def test_a_pattern_that_does_not_divide_the_layers() -> None:
    keys = config_json("gemma3", layer_types=None, sliding_window_pattern=4, num_hidden_layers=7)
    assert config_from_json(keys).local_layers == (True, True, True, False, True, True, True)
    del keys["sliding_window_pattern"]
    assert config_from_json(keys).local_layers == (True, True, True, True, True, False, True)
    with pytest.raises(InputError, match="layer_types"):
        config_from_json(config_json("gemma3", layer_types=["full_attention"] * 4))


def test_both_spellings_of_gemmas_base_frequencies() -> None:
    old = config_json("gemma3", rope_theta=2e6, rope_local_base_freq=3e4)
    new = config_json("gemma3", rope_theta=None, rope_local_base_freq=None)
    new["rope_parameters"] = {
        "full_attention": {"rope_type": "default", "rope_theta": 2e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 3e4},
    }
    assert config_from_json(old) == config_from_json(new)
    new["rope_parameters"]["full_attention"] = {"rope_type": "linear", "factor": 8.0, "rope_theta": 2e6}
    with pytest.raises(InputError, match="rope_type"):
        config_from_json(new)


def test_two_families_that_match_are_told_apart_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlp_export.models import families as module

    llama = next(family for family in families() if family.name == "llama")
    monkeypatch.setattr(module, "families", lambda: (llama, llama))
    with pytest.raises(InputError, match="both match"):
        config_from_json(config_json("llama"))


@pytest.mark.parametrize("key", ["model.layers.0.self_attn.q_proj.bias", "model.layers.1.self_attn.k_norm.weight"])
def test_tensors_that_the_config_does_not_tell_of(tmp_path: Path, key: str) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_checkpoint(tmp_path, "llama")
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, key: torch.zeros(32)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="not a part of this model"):
        read_checkpoint(folder)


def test_biases_and_norms_that_are_missing(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for family, key in (
        ("qwen2.5", "model.layers.0.self_attn.v_proj.bias"),
        ("gemma3", "model.layers.2.post_feedforward_layernorm.weight"),
    ):
        folder = write_checkpoint(tmp_path / family, family)
        tensors = load_file(folder / "model.safetensors")
        del tensors[key]
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(InputError, match="missing from the checkpoint"):
            read_checkpoint(folder)


def test_a_family_without_a_start_token(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "qwen2.5", tokenizer=False, bos_token_id=None)
    assert read_config(folder).bos_id == 301  # the first stop id, which nothing puts


def test_published_sizes() -> None:
    """Gemma 3 270M's shape has 268,098,176 parameters, as its gguf has."""
    keys = config_json("gemma3", vocab_size=262144, hidden_size=640, num_hidden_layers=18, intermediate_size=2048)
    keys |= {"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "layer_types": None}
    config = config_from_json({key: value for key, value in keys.items() if key != "layer_types"})
    assert config.num_parameters == 268_098_176
    assert [layer for layer, is_local in enumerate(config.local_layers) if not is_local] == [5, 11, 17]
    assert math.isclose(config.embedding_scale, math.sqrt(640))
