"""SmolLM3: transformers' `SmolLM3ForCausalLM`, a Llama whose every fourth layer has no position embeddings."""

from __future__ import annotations

from mlp_export.models.config import ModelConfig
from mlp_export.models.config_keys import Keys
from mlp_export.models.family import Family, attention_biases, read_shape


def _read(keys: Keys) -> ModelConfig:
    keys.refuse_switched_window()
    layers = keys.num_layers()
    interval = keys.positive_int("no_rope_layer_interval", 4)
    if keys.get("no_rope_layers") is None:
        nope = tuple(layer for layer in range(layers) if (layer + 1) % interval == 0)
    else:  # in spite of its name, 1 means that the layer has them
        expected = "1 (RoPE) or 0 for each layer"
        flags = keys.per_layer("no_rope_layers", layers, expected)
        if any(flag not in (0, 1) for flag in flags):
            raise keys.error("no_rope_layers", expected)
        nope = tuple(layer for layer, flag in enumerate(flags) if not flag)
    mlp_biases = ("gate", "up", "down") if keys.boolean("mlp_bias", False) else ()
    return read_shape(
        keys,
        family="smollm3",
        norm_eps=1e-6,
        rope_theta=2e6,
        tied=True,
        nope_layers=nope,
        biases=(*attention_biases(keys), *mlp_biases),
    )


FAMILIES = (
    Family(
        name="smollm3",
        title="SmolLM3",
        model_type="smollm3",
        architectures=("SmolLM3ForCausalLM",),
        read=_read,
        models="SmolLM3 3B",
        features=("Llama 3.1 RoPE scaling", "layers without RoPE", "attention biases", "FFN biases"),
        license="Apache-2.0",
    ),
)
