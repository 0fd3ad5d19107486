"""Qwen3 (dense): transformers' `Qwen3ForCausalLM`, whose queries and keys have a weighted norm before RoPE."""

from __future__ import annotations

from mlp_export.models.config import ModelConfig
from mlp_export.models.config_keys import Keys
from mlp_export.models.family import Family, attention_biases, read_shape


def _read(keys: Keys) -> ModelConfig:
    keys.refuse_switched_window()
    return read_shape(
        keys,
        family="qwen3",
        norm_eps=1e-6,
        rope_theta=10000.0,
        tied=False,
        head_dim=128,  # of the class: heads x 128 need not be hidden_size
        biases=attention_biases(keys),
        qk_norm=True,
        qk_norm_weights=True,
        qk_norm_before_rope=True,
    )


FAMILIES = (
    Family(
        name="qwen3",
        title="Qwen3",
        model_type="qwen3",
        architectures=("Qwen3ForCausalLM",),
        read=_read,
        models="Qwen3 0.6B, 1.7B, 4B and 8B, base and instruct",
        features=("Llama 3.1 RoPE scaling", "attention biases", "weighted QK norm before RoPE"),
        license="Apache-2.0",
    ),
)
