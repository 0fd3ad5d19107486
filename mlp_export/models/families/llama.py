"""The Llama architecture: Llama 3.x, SmolLM2 and the many models that transformers loads as `LlamaForCausalLM`."""

from __future__ import annotations

from mlp_export.models.config import ModelConfig
from mlp_export.models.config_keys import Keys
from mlp_export.models.family import Family, attention_biases, read_shape


def _read(keys: Keys) -> ModelConfig:
    keys.refuse_window()
    mlp_biases = ("gate", "up", "down") if keys.boolean("mlp_bias", False) else ()
    return read_shape(
        keys,
        family="llama",
        norm_eps=1e-6,
        rope_theta=10000.0,
        tied=False,
        biases=(*attention_biases(keys), *mlp_biases),
    )


FAMILIES = (
    Family(
        name="llama",
        title="Llama",
        model_type="llama",
        architectures=("LlamaForCausalLM",),
        read=_read,
        models="Llama 3.x 1B, 3B and 8B, SmolLM2, and others of LlamaForCausalLM",
        features=("Llama 3.1 RoPE scaling", "attention biases", "FFN biases"),
        real_weights="SmolLM2-135M-Instruct",
    ),
)
