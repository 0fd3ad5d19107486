"""What a family of models says of itself: a file in `families/`, read by everything that must know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlp_export.models.config import ModelConfig
from mlp_export.models.config_keys import Keys

# Where transformers' Llama keeps the parameters of a layer; a family names those that it keeps elsewhere.
LLAMA_TENSORS: Mapping[str, tuple[str, ...]] = {
    "attention_norm": ("input_layernorm",),
    "q": ("self_attn.q_proj",),
    "k": ("self_attn.k_proj",),
    "v": ("self_attn.v_proj",),
    "o": ("self_attn.o_proj",),
    "q_norm": ("self_attn.q_norm",),
    "k_norm": ("self_attn.k_norm",),
    "ffn_norm": ("post_attention_layernorm",),
    "gate": ("mlp.gate_proj",),
    "up": ("mlp.up_proj",),
    "down": ("mlp.down_proj",),
}


@dataclass(frozen=True)
class Family:
    """Architecture as data.

    `read` makes the config of the keys that change what a model computes; keys that it does not read are refused.
    """

    name: str  # of the family in manifests and commands
    title: str  # for people
    model_type: str  # of config.json
    architectures: tuple[str, ...]  # of config.json
    read: Callable[[Keys], ModelConfig]
    rotate_half: bool = True  # RoPE's layout in the files: halves of a head; False: interleaved pairs
    tensors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by part of a layer, where not as in Llama
    means_missing_architecture: bool = True  # whether a config of this model_type without architectures is one of it
    models: str = ""  # which released models are of it, for people
    features: tuple[str, ...] = ()  # of ModelConfig.features, those that its configs can have
    real_weights: str = ""  # what it was verified on with real weights; "" where random ones only
    license: str = ""  # of the released weights, by its name in models/license.py where it has one

    def tensor_names(self, part: str) -> tuple[str, ...]:
        """Modules that hold `part` of a layer ("q", "ffn_norm"), the usual one first."""
        return self.tensors.get(part) or LLAMA_TENSORS[part]


def read_shape(
    keys: Keys,
    *,
    family: str,
    ffn_key: str = "intermediate_size",
    norm_eps: float,
    rope_theta: float,
    tied: bool,
    head_dim: int | None = None,
    activations: tuple[str, ...] = ("silu", "swish"),
    local_layers: tuple[bool, ...] | None = None,
    window: int = 0,
    **features: Any,
) -> ModelConfig:
    """The config of sizes that all families spell alike, with the fields `features` of ModelConfig besides.

    Numbers are the defaults of the family's config class for keys that may be missing; `head_dim` None: hidden_size
    divided by the heads. Raises InputError, naming the key.
    """
    for key in ("hidden_act", "hidden_activation"):
        if keys.get(key) not in (None, *activations):
            raise keys.error(key, activations[0])
    layers = keys.num_layers()
    hidden = keys.positive_int("hidden_size")
    heads = keys.positive_int("num_attention_heads")
    kv_heads = heads if keys.get("num_key_value_heads") is None else keys.positive_int("num_key_value_heads")
    if heads % kv_heads:
        raise keys.error("num_key_value_heads", f"a divisor of num_attention_heads ({heads})")
    if keys.get("head_dim") is not None:
        head_dim = keys.positive_int("head_dim")
    elif head_dim is None:
        if hidden % heads:
            raise keys.error(
                "head_dim", f"a value, since hidden_size ({hidden}) is no multiple of num_attention_heads ({heads})"
            )
        head_dim = hidden // heads
    if head_dim % 2:
        raise keys.error("head_dim", "an even number: RoPE turns pairs of values")
    vocab_size = keys.positive_int("vocab_size")
    eos_ids = keys.token_ids("eos_token_id")
    if not eos_ids:
        raise keys.error("eos_token_id", "an id or a list of ids: without one an answer never ends")
    bos_ids = keys.token_ids("bos_token_id")
    if len(bos_ids) > 1:
        raise keys.error("bos_token_id", "one id or null")
    for key, ids in (("eos_token_id", eos_ids), ("bos_token_id", bos_ids)):
        if any(i >= vocab_size for i in ids):
            raise keys.error(key, f"ids below vocab_size ({vocab_size})")
    if "rope_scaling" not in features:
        rope_theta, features["rope_scaling"] = keys.rope(rope_theta)
    return ModelConfig(
        family=family,
        vocab_size=vocab_size,
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        ffn_size=keys.positive_int(ffn_key),
        norm_eps=keys.positive_float("rms_norm_eps", norm_eps),
        rope_theta=rope_theta,
        max_positions=keys.positive_int("max_position_embeddings"),
        window=window,
        local_layers=local_layers or (False,) * layers,
        qk_norm=features.pop("qk_norm", False),
        tied_embeddings=keys.boolean("tie_word_embeddings", tied),
        bos_id=(*bos_ids, *eos_ids)[0],
        eos_ids=eos_ids,
        **features,
    )


def attention_biases(keys: Keys) -> tuple[str, ...]:
    """The linears with a bias where `attention_bias` is true, as Llama's and Qwen3's classes have them."""
    return ("q", "k", "v", "o") if keys.boolean("attention_bias", False) else ()
