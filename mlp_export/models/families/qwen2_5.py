"""Qwen2.5: transformers' `Qwen2ForCausalLM`, whose q, k and v have biases that no key tells of."""

from __future__ import annotations

from mlp_export.models.config import ModelConfig
from mlp_export.models.config_keys import Keys
from mlp_export.models.family import Family, read_shape


def _read(keys: Keys) -> ModelConfig:
    keys.refuse_switched_window()
    return read_shape(keys, family="qwen2.5", norm_eps=1e-6, rope_theta=10000.0, tied=False, biases=("q", "k", "v"))


FAMILIES = (
    Family(
        name="qwen2.5",
        title="Qwen2.5",
        model_type="qwen2",
        architectures=("Qwen2ForCausalLM",),
        read=_read,
        models="Qwen2 and Qwen2.5 0.5B, 1.5B, 3B and 7B, base and instruct",
        features=("Llama 3.1 RoPE scaling", "attention biases"),
        license="Apache-2.0; 3B: Qwen Research License",
    ),
)
