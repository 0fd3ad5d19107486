"""MobileLLM-Pro and MobileLLM-R1: transformers' Llama 4 text model with dense layers and RoPE in each of them."""

from __future__ import annotations

from mlp_export.models.config import ModelConfig
from mlp_export.models.config_keys import Keys
from mlp_export.models.family import Family, read_shape

_TENSORS = {part: (f"feed_forward.{part}_proj", f"mlp.{part}_proj") for part in ("gate", "up", "down")}


def _pro(keys: Keys) -> ModelConfig:
    # MobileLLM-Pro's own class has neither NoPE layers nor experts: missing keys mean RoPE everywhere and dense layers.
    # A checkpoint that did hold experts fails on its tensors.
    return _llama4(keys, "mobilellm-pro", tied=True)


def _r1(keys: Keys) -> ModelConfig:
    """Llama 4's class takes a missing `no_rope_layers` or `moe_layers` for NoPE layers and for experts."""
    layers = keys.num_layers()
    if not keys.get("no_rope_layers") and keys.positive_int("no_rope_layer_interval", 4) <= layers:
        raise keys.error(
            "no_rope_layers", "1 for each layer: where it is missing, Llama 4 leaves RoPE out of every 4th layer"
        )
    if keys.get("moe_layers") is None:
        if keys.get("num_local_experts") not in (None, 0, 1):
            raise keys.error("num_local_experts", "a dense model: mixture of experts is not supported")
        raise keys.error("moe_layers", "an empty list: where it is missing, Llama 4 makes layers mixtures of experts")
    return _llama4(keys, "mobilellm-r1", tied=False)


def _llama4(keys: Keys, family: str, tied: bool) -> ModelConfig:
    layers = keys.num_layers()
    if keys.get("no_rope_layers"):  # an empty list is as good as none in Llama4TextConfig
        flags = keys.per_layer("no_rope_layers", layers, "an entry for each layer, all 1 (RoPE in every layer)")
        if any(flag not in (1, True) for flag in flags):
            raise keys.error("no_rope_layers", "1 for each layer: layers without RoPE are not supported")
    if keys.get("moe_layers") not in (None, []):
        raise keys.error("moe_layers", "an empty list: mixture of experts is not supported")
    if keys.boolean("attention_bias", False):
        raise keys.error("attention_bias", "false: biases are not supported in this family")
    local_layers = _local_layers(keys, layers)
    # Temperature tuning belongs to NoPE layers, the expert counts to MoE layers, `intermediate_size` is the width of an
    # expert; the query scalar and the local base frequency are left over from another family's config class.
    keys.know("no_rope_layer_interval", "num_local_experts", "intermediate_size", "attention_chunk_size")
    keys.know("attn_scale", "attn_temperature_tuning", "floor_scale", "interleave_moe_layer_step")
    keys.know("num_experts_per_tok", "query_pre_attn_scalar", "rope_local_base_freq", "sliding_window")
    return read_shape(
        keys,
        family=family,
        ffn_key="intermediate_size_mlp",
        norm_eps=1e-5,
        rope_theta=500000.0,
        tied=tied,
        qk_norm=keys.boolean("use_qk_norm", True),
        local_layers=local_layers,
        window=keys.positive_int("sliding_window") if any(local_layers) else 0,
    )


def _local_layers(keys: Keys, layers: int) -> tuple[bool, ...]:
    """Which layers attend within `sliding_window` only.

    Llama 4's default for layers with RoPE is `chunked_attention`; where no chunk ends before `max_position_embeddings`
    that is the same as `full_attention`, elsewhere it is refused.
    """
    expected = "full_attention or sliding_attention for each layer"
    if keys.get("layer_types") is None:
        types = ["chunked_attention"] * layers
    else:
        types = keys.per_layer("layer_types", layers, expected)
    if any(kind not in ("full_attention", "sliding_attention", "chunked_attention") for kind in types):
        raise keys.error("layer_types", expected)
    if "chunked_attention" in types:
        chunk = keys.positive_int("attention_chunk_size", 8192)
        if chunk < keys.positive_int("max_position_embeddings"):
            if keys.get("layer_types") is None:
                raise keys.error("layer_types", f"{expected}: where it is missing, Llama 4 attends in chunks")
            raise keys.error(
                "attention_chunk_size", "at least max_position_embeddings: attention in chunks is not supported"
            )
    return tuple(kind == "sliding_attention" for kind in types)


FAMILIES = (
    Family(
        name="mobilellm-pro",
        title="MobileLLM-Pro",
        model_type="llama4_text",
        architectures=("MobileLLMP1ForCausalLM",),
        read=_pro,
        rotate_half=False,
        tensors=_TENSORS,
        means_missing_architecture=False,
        models="MobileLLM-Pro base and instruct, and the QAT checkpoints of the base model",
        features=("sliding window in local layers", "Llama 3.1 RoPE scaling", "QK norm after RoPE"),
        license="FAIR Noncommercial Research License",
    ),
    Family(
        name="mobilellm-r1",
        title="MobileLLM-R1 and R1.5",
        model_type="llama4_text",
        architectures=("Llama4ForCausalLM",),
        read=_r1,
        rotate_half=False,
        tensors=_TENSORS,
        models="MobileLLM-R1 and R1.5",
        features=("sliding window in local layers", "Llama 3.1 RoPE scaling", "QK norm after RoPE"),
        license="FAIR Noncommercial Research License",
    ),
)
