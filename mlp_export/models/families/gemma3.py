"""Gemma 3, text only (270M, 1B): transformers' `Gemma3ForCausalLM`.

Local and global layers have position embeddings of their own base frequency, norms stand before and behind attention
and FFN, files hold a norm's weight minus 1, and the embedding is multiplied by sqrt(hidden_size).
"""

from __future__ import annotations

import math

from mlp_export.models.config import ModelConfig
from mlp_export.models.config_keys import Keys
from mlp_export.models.family import Family, read_shape

_TENSORS = {
    # Behind the attention here; in other families this name is the norm before the FFN.
    "post_attention_norm": ("post_attention_layernorm",),
    "ffn_norm": ("pre_feedforward_layernorm",),
    "post_ffn_norm": ("post_feedforward_layernorm",),
}
_GLOBAL_EVERY = 6  # of the class, where nothing says it: five local layers, then a global one


def _read(keys: Keys) -> ModelConfig:
    for key in ("final_logit_softcapping", "attn_logit_softcapping"):
        if keys.get(key) is not None:
            raise keys.error(key, "null: soft caps are not supported")
    if keys.boolean("use_bidirectional_attention", False):
        raise keys.error("use_bidirectional_attention", "false: it makes an embedding model")
    if keys.boolean("attention_bias", False):
        raise keys.error("attention_bias", "false: biases are not supported in this family")
    layers = keys.num_layers()
    local_layers = keys.local_layers(layers)
    keys.know("sliding_window_pattern")  # transformers reads it where layer_types are missing
    if local_layers is None:
        every = keys.positive_int("sliding_window_pattern", _GLOBAL_EVERY)
        local_layers = tuple((layer + 1) % every != 0 for layer in range(layers))
    theta, local_theta = _bases(keys)
    hidden = keys.positive_int("hidden_size")
    return read_shape(
        keys,
        family="gemma3",
        norm_eps=1e-6,
        rope_theta=theta,
        rope_scaling=None,
        tied=True,
        head_dim=256,
        activations=("gelu_pytorch_tanh",),
        activation="gelu_tanh",
        local_layers=local_layers,
        window=keys.positive_int("sliding_window", 4096) if any(local_layers) else 0,
        local_rope_theta=local_theta if any(local_layers) else None,
        attention_scale=keys.positive_float("query_pre_attn_scalar", 256.0) ** -0.5,
        qk_norm=True,
        qk_norm_weights=True,
        qk_norm_before_rope=True,
        post_norms=True,
        unit_offset_norms=True,
        embedding_scale=math.sqrt(hidden),
    )


def _bases(keys: Keys) -> tuple[float, float]:
    """Base frequencies of global and of local layers: two keys, or `rope_parameters` by the kind of layer."""
    keys.know("sliding_window")
    parameters = keys.get("rope_parameters")
    if keys.get("rope_scaling") is not None:
        raise keys.error("rope_scaling", "null: scaled frequencies are not supported in this family")
    if parameters is None:
        return keys.positive_float("rope_theta", 1e6), keys.positive_float("rope_local_base_freq", 1e4)
    keys.know("rope_theta", "rope_local_base_freq")
    if not isinstance(parameters, dict) or set(parameters) != {"full_attention", "sliding_attention"}:
        raise keys.error("rope_parameters", "an object with full_attention and sliding_attention")
    found = []
    for kind, default in (("full_attention", 1e6), ("sliding_attention", 1e4)):
        if not isinstance(parameters[kind], dict):
            raise keys.error("rope_parameters", f"an object for {kind}")
        theta, scaling = Keys(parameters[kind], f"{keys.source}: rope_parameters.{kind}").rope_object(default)
        if scaling is not None:
            raise keys.error("rope_parameters", "frequencies that are not scaled")
        found.append(theta)
    return found[0], found[1]


FAMILIES = (
    Family(
        name="gemma3",
        title="Gemma 3 (text)",
        model_type="gemma3_text",
        architectures=("Gemma3ForCausalLM",),
        read=_read,
        tensors=_TENSORS,
        models="Gemma 3 270M and 1B, base and instruct",
        features=(
            "sliding window in local layers",
            "RoPE base of their own in local layers",
            "weighted QK norm before RoPE",
            "attention scale",
            "tanh GELU",
            "norms after attention and FFN",
            "norm weights stored minus 1",
            "embedding scale",
        ),
        real_weights="Gemma 3 270M (base)",
        license="Gemma Terms of Use",
    ),
)
