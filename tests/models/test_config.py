"""config.json -> ModelConfig: what transformers' classes mean by the keys, and that nothing is ignored quietly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_checkpoints import LLAMA3_SCALING, config_json, pro_json
from transformers import Llama4TextConfig, LlamaConfig

from mlp_export.checkpoints.config import read_config
from mlp_export.errors import InputError
from mlp_export.models.config import RopeScaling
from mlp_export.models.families import config_from_json


def test_mobilellm_pro_has_the_published_size() -> None:
    config = config_from_json(pro_json())
    assert config.family == "mobilellm-pro"
    assert config.num_parameters == 1_084_453_120
    assert [i for i, local in enumerate(config.local_layers) if not local] == [0, 4, 8, 12, 16, 20, 24, 28, 29]
    assert config.kv_cache_bytes(8000) == (9 * 8000 + 21 * 512) * 512
    assert (config.window, config.max_positions) == (512, 131072)
    assert config.eos_ids == (200001, 200007, 200008)


def test_mobilellm_pro_without_the_keys_that_could_not_be_seen() -> None:
    """The traps: Llama 4's defaults for missing keys would be NoPE layers and experts; the rest are its defaults."""
    values = pro_json()
    for key in ("no_rope_layers", "moe_layers", "rope_theta", "rms_norm_eps", "use_qk_norm", "tie_word_embeddings"):
        del values[key]
    config = config_from_json(values)
    defaults = Llama4TextConfig()
    assert config.rope_theta == defaults.default_theta
    assert config.norm_eps == defaults.rms_norm_eps
    assert config.qk_norm is defaults.use_qk_norm is True
    assert config.tied_embeddings  # it stores no lm_head


def test_r1_reads_the_ffn_width_of_dense_layers_and_slices_lists() -> None:
    """R1's config with its leftovers: the width of experts, lists of 48 entries, keys of another config class."""
    values = config_json(
        "mobilellm-r1",
        layer_types=["full_attention"] * 48,
        no_rope_layers=[1] * 48,
        intermediate_size=8192,
        hidden_act=None,
        hidden_activation="silu",
        query_pre_attn_scalar=256,
        rope_local_base_freq=10000.0,
        attn_logit_softcapping=None,
        for_llm_compressor=False,
        interleave_moe_layer_step=0,
        num_experts_per_tok=0,
        _attn_implementation_autoset=True,
    )
    config = config_from_json(values)
    assert (config.family, config.ffn_size, config.num_layers, config.window) == ("mobilellm-r1", 96, 5, 0)
    assert config.local_layers == (False,) * 5


def test_chunked_attention_is_full_attention_where_no_chunk_ends_in_the_context() -> None:
    values = config_json("mobilellm-r1", max_position_embeddings=32768, attention_chunk_size=32768, layer_types=None)
    assert config_from_json(values).local_layers == (False,) * 5
    with pytest.raises(InputError, match="`layer_types` is missing"):
        config_from_json(values | {"attention_chunk_size": 8192})
    with pytest.raises(InputError, match="`attention_chunk_size` is 8192"):
        config_from_json(values | {"attention_chunk_size": 8192, "layer_types": ["chunked_attention"] * 5})


@pytest.mark.parametrize("spelling", ["rope_scaling", "rope_parameters", "type"])
def test_llama3_rope_scaling_in_each_spelling(spelling: str) -> None:
    values = config_json("llama", rope_theta=500000.0)
    if spelling == "rope_parameters":
        del values["rope_theta"], values["rope_scaling"]
        values["rope_parameters"] = LLAMA3_SCALING | {"rope_theta": 500000.0}
    elif spelling == "type":
        values["rope_scaling"] = {("type" if k == "rope_type" else k): v for k, v in LLAMA3_SCALING.items()}
    else:
        values["rope_scaling"] = LLAMA3_SCALING
    config = config_from_json(values)
    assert config.rope_theta == 500000.0
    assert config.rope_scaling == RopeScaling(32.0, 1.0, 4.0, 8192)


def test_llama_defaults_are_those_of_transformers() -> None:
    values = config_json("llama", head_dim=None, num_key_value_heads=None, rope_theta=None, rms_norm_eps=None)
    del values["tie_word_embeddings"]
    config, reference = config_from_json(values), LlamaConfig(**values)
    assert config.head_dim == reference.head_dim == 16
    assert config.num_kv_heads == reference.num_key_value_heads
    assert config.norm_eps == reference.rms_norm_eps
    assert reference.rope_parameters is not None
    assert config.rope_theta == reference.rope_parameters["rope_theta"]
    assert config.tied_embeddings is reference.tie_word_embeddings is False


def test_smollm2_config_as_published_is_read() -> None:
    values = config_json("llama", is_llama_config=True, rope_interleaved=False, transformers_version="4.42.3")
    values["transformers.js_config"] = {"dtype": "q4"}
    assert config_from_json(values).family == "llama"


def test_stop_ids_of_generation_config_are_added(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config_json("llama", eos_token_id=301)))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [302, 301], "temperature": 0.6}))
    assert read_config(tmp_path).eos_ids == (301, 302)


REFUSED = [
    ("llama", {"model_type": "mobilemoe"}, "model_type"),
    ("llama", {"model_type": "llama4"}, "model_type"),
    ("llama", {"model_type": None}, "model_type"),
    ("llama", {"architectures": ["LlamaForSequenceClassification"]}, "architectures"),
    ("mobilellm-pro", {"architectures": ["MobileLLMFlashForCausalLM"]}, "architectures"),
    ("mobilellm-pro", {"moe_layers": [1, 3]}, "moe_layers"),
    ("mobilellm-r1", {"moe_layers": None}, "moe_layers"),
    ("mobilellm-r1", {"moe_layers": None, "num_local_experts": 16}, "num_local_experts"),
    ("llama", {"num_local_experts": 8}, "num_local_experts"),
    ("mobilellm-pro", {"no_rope_layers": [1, 1, 1, 0, 1]}, "no_rope_layers"),
    ("mobilellm-pro", {"no_rope_layers": [1, 1]}, "no_rope_layers"),
    ("mobilellm-r1", {"no_rope_layers": None}, "no_rope_layers"),
    ("mobilellm-r1", {"no_rope_layers": []}, "no_rope_layers"),
    ("mobilellm-pro", {"layer_types": ["full_attention", "skip_attention"] * 3}, "layer_types"),
    ("mobilellm-pro", {"layer_types": ["full_attention"] * 3}, "layer_types"),
    ("mobilellm-pro", {"layer_types": ["chunked_attention"] * 5}, "attention_chunk_size"),
    ("mobilellm-pro", {"sliding_window": None}, "sliding_window"),
    ("mobilellm-pro", {"sliding_window": 0}, "sliding_window"),
    ("mobilellm-pro", {"intermediate_size_mlp": None}, "intermediate_size_mlp"),
    ("mobilellm-pro", {"use_qk_norm": "yes"}, "use_qk_norm"),
    ("llama", {"sliding_window": 4096}, "sliding_window"),
    ("llama", {"layer_types": ["sliding_attention"] * 5}, "layer_types"),
    ("llama", {"hidden_act": "gelu"}, "hidden_act"),
    ("mobilellm-pro", {"mlp_bias": True}, "mlp_bias"),
    ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ("llama", {"rope_interleaved": True}, "rope_interleaved"),
    ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_type"),
    ("llama", {"rope_scaling": {"type": "linear", "factor": 4.0}}, "type"),
    ("llama", {"rope_scaling": LLAMA3_SCALING | {"attention_factor": 2.0}}, "attention_factor"),
    ("llama", {"rope_scaling": LLAMA3_SCALING | {"factor": float("nan")}}, "factor"),
    ("llama", {"rope_scaling": LLAMA3_SCALING | {"high_freq_factor": 1.0}}, "high_freq_factor"),
    ("llama", {"rope_scaling": "llama3"}, "rope_scaling"),
    ("llama", {"rope_scaling": LLAMA3_SCALING, "rope_parameters": {"rope_type": "default"}}, "rope_scaling"),
    ("llama", {"rope_parameters": {"rope_theta": 1.0}}, "rope_theta"),
    ("llama", {"rope_parameters": {"full_attention": {"rope_theta": 1.0}}}, "full_attention"),
    ("llama", {"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
    ("llama", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
    ("llama", {"residual_multiplier": 0.22}, "residual_multiplier"),
    ("llama", {"is_encoder_decoder": True}, "is_encoder_decoder"),
    ("llama", {"vocab_size": None}, "vocab_size"),
    ("llama", {"vocab_size": "320"}, "vocab_size"),
    ("llama", {"vocab_size": True}, "vocab_size"),
    ("llama", {"hidden_size": -64}, "hidden_size"),
    ("llama", {"hidden_size": 64.0}, "hidden_size"),
    ("llama", {"num_hidden_layers": 0}, "num_hidden_layers"),
    ("gemma3", {"sliding_window": 2**63}, "sliding_window"),  # tensors hold no such number
    ("llama", {"max_position_embeddings": 2**64}, "max_position_embeddings"),
    ("llama", {"is_causal": False}, "is_causal"),
    ("smollm3", {"is_causal": ""}, "is_causal"),  # transformers asks for its truth
    ("smollm3", {"is_causal": {}}, "is_causal"),
    ("smollm3", {"is_causal": 0}, "is_causal"),
    ("llama", {"num_hidden_layers": 10**9}, "num_hidden_layers"),  # lists of so many layers take all memory
    ("smollm3", {"num_hidden_layers": 1001}, "num_hidden_layers"),
    ("llama", {"num_key_value_heads": 3}, "num_key_value_heads"),
    ("llama", {"head_dim": 33}, "head_dim"),
    ("llama", {"head_dim": None, "hidden_size": 66}, "head_dim"),
    ("llama", {"rms_norm_eps": float("nan")}, "rms_norm_eps"),
    ("llama", {"rms_norm_eps": -1e-5}, "rms_norm_eps"),
    ("llama", {"rope_theta": float("inf")}, "rope_theta"),
    ("llama", {"max_position_embeddings": None}, "max_position_embeddings"),
    ("llama", {"eos_token_id": None}, "eos_token_id"),
    ("llama", {"eos_token_id": [301, "x"]}, "eos_token_id"),
    ("llama", {"eos_token_id": 320}, "eos_token_id"),
    ("llama", {"bos_token_id": [300, 301]}, "bos_token_id"),
    ("llama", {"tie_word_embeddings": 1}, "tie_word_embeddings"),
]


@pytest.mark.parametrize(
    ("family", "changes", "key"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_refusals_name_the_key(family: Any, changes: dict[str, Any], key: str, tmp_path: Path) -> None:
    config_from_json(config_json(family))  # without the changes it is fine
    (tmp_path / "config.json").write_text(json.dumps(config_json(family, **changes)))
    with pytest.raises(InputError) as caught:
        read_config(tmp_path)
    assert f"`{key}` is " in caught.value.message and "expected" in caught.value.message
    assert caught.value.hint and "\n" not in caught.value.message


@pytest.mark.parametrize(
    "changes", [{"attn_temperature_tuning": True}, {"attn_temperature_tuning": 4, "attn_scale": 0.1}]
)
def test_temperature_tuning_does_nothing_where_all_layers_have_rope(changes: dict[str, Any]) -> None:
    assert config_from_json(config_json("mobilellm-pro", **changes)) == config_from_json(config_json("mobilellm-pro"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model_type": "llama"', "[" * 100_000, '"llama"'])
def test_damaged_json(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        read_config(tmp_path)


def test_binary_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(InputError, match="not valid JSON"):
        read_config(tmp_path)


def test_no_config_names_the_subfolders_that_have_one(tmp_path: Path) -> None:
    (tmp_path / "instruct").mkdir()
    (tmp_path / "instruct" / "config.json").write_text("{}")
    with pytest.raises(InputError) as caught:
        read_config(tmp_path)
    assert "instruct" in caught.value.hint
