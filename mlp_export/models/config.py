"""The shape of a model: frozen, validated, read from the checkpoint, never guessed.

`read_config(folder)` reads `config.json` (and the stop ids of `generation_config.json`) as transformers'
`Llama4TextConfig` and `LlamaConfig` mean them. The rule for keys, because a key that is quietly ignored is a model that
is quietly wrong:

* a key that changes what the model computes is read, or refused by name where it asks for something this project does
  not do;
* bookkeeping (training, generation defaults, library versions) is ignored, as are keys that the family's own modelling
  code never reads;
* any other key is refused by name, unless its value is the neutral null, false or empty: a later release of the family
  must not be exported as if it were this one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlp_export.checkpoints.formats.recognize import quantization_config
from mlp_export.errors import InputError
from mlp_export.jsonfile import read_json_object as read_json_object
from mlp_export.text.special_tokens import token_ids


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3.1's frequency scaling (`rope_type: llama3`)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int


@dataclass(frozen=True)
class ModelConfig:
    """A decoder of MobileLLM-Pro's architecture. Sizes are element counts; `window` counts the query's own key."""

    family: str  # "mobilellm-pro", "mobilellm-r1" or "llama"
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_size: int
    norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None
    max_positions: int
    window: int  # keys a local layer sees; 0 where no layer is local
    local_layers: tuple[bool, ...]  # one entry a layer
    qk_norm: bool
    tied_embeddings: bool
    bos_id: int  # the first stop id where the model has no start token: nothing puts it then
    eos_ids: tuple[int, ...]

    def cache_slots(self, layer: int, context: int) -> int:
        """Key/value slots layer `layer` keeps: the window in a local layer, the context in a global one."""
        return self.window if self.local_layers[layer] else context

    def kv_cache_bytes(self, context: int, bytes_per_value: int = 1) -> int:
        """Bytes of key and value codes for `context` tokens; scales are not counted, as in the published figures."""
        slots = sum(self.cache_slots(i, context) for i in range(self.num_layers))
        return slots * 2 * self.num_kv_heads * self.head_dim * bytes_per_value

    @property
    def num_parameters(self) -> int:
        attention = self.hidden_size * self.head_dim * (2 * self.num_heads + 2 * self.num_kv_heads)
        layer = attention + 3 * self.hidden_size * self.ffn_size + 2 * self.hidden_size
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tied_embeddings else 2)
        return embeddings + self.num_layers * layer + self.hidden_size

    @classmethod
    def from_json(cls, config: Mapping[str, Any], source: str = "config.json") -> ModelConfig:
        """The shape that the keys of a `config.json` describe; `source` names the file in errors.

        Raises InputError, naming the key, where one is missing, has the wrong type or value, or asks for what is not
        supported.
        """
        keys = _Keys(config, source)
        model_type = keys.string("model_type")
        if model_type == "llama4_text":
            p1 = keys.architecture("Llama4ForCausalLM", "MobileLLMP1ForCausalLM") == "MobileLLMP1ForCausalLM"
            keys.refuse_unknown(_SHAPE_KEYS | _LLAMA4_KEYS)
            return _llama4(keys, p1)
        if model_type == "llama":
            keys.architecture("LlamaForCausalLM")
            keys.refuse_unknown(_SHAPE_KEYS | _LLAMA_KEYS)
            return _llama(keys)
        hint = (
            "supported: MobileLLM-Pro, MobileLLM-R1 and R1.5 (llama4_text) and models of the Llama architecture (llama)"
        )
        raise keys.error("model_type", "llama4_text or llama", hint)


def read_config(folder: Path) -> ModelConfig:
    """The ModelConfig of a checkpoint folder: `config.json`, with what other files say of its start and stop ids.

    Stop ids are those of config.json, of generation_config.json and the `eos_token` of the tokenizer's files, together.

    Raises InputError where a file is missing, is not JSON, or is refused by `ModelConfig.from_json`.
    """
    path = folder / "config.json"
    if not path.is_file():
        hint = "give the folder that holds config.json, *.safetensors and tokenizer.json"
        subfolders = sorted(p.parent.name for p in folder.glob("*/config.json")) if folder.is_dir() else []
        if subfolders:
            hint = (
                f"it has checkpoints in subfolders: give one of {', '.join(str(folder / name) for name in subfolders)}"
            )
        raise InputError(f"no config.json in {folder}", hint)
    values = dict(read_json_object(path))
    quantization_config(values, folder)  # a format that cannot be read is named before anything else is asked
    generation = folder / "generation_config.json"
    if generation.is_file():
        keys = _Keys(read_json_object(generation), str(generation))
        extra = keys.token_ids("eos_token_id")
        own = _Keys(values, str(path)).token_ids("eos_token_id")
        values["eos_token_id"] = [*own, *(i for i in extra if i not in own)]
        if values.get("bos_token_id") is None:
            values["bos_token_id"] = keys.values.get("bos_token_id")
    spelled = token_ids(folder, "bos_token", "eos_token")
    if values.get("bos_token_id") is None:
        values["bos_token_id"] = spelled.get("bos_token")
    own = _Keys(values, str(path)).token_ids("eos_token_id")
    eos, size = spelled.get("eos_token"), values.get("vocab_size")
    # A token beyond the embedding's rows can never be answered.
    if eos is not None and eos not in own and isinstance(size, int) and eos < size:
        values["eos_token_id"] = [*own, eos]
    return ModelConfig.from_json(values, str(path))


# Keys that say nothing about what a decoder computes for a prompt: training, generation defaults, loading, provenance.
# How weights are stored (`quantization_config`) is read by `checkpoint_formats`.
_BOOKKEEPING = frozenset(
    """
    architectures attention_dropout auto_map bad_words_ids begin_suppress_tokens cache_implementation
    chunk_size_feed_forward compression_config decoder_start_token_id diversity_penalty do_sample dtype early_stopping
    encoder_no_repeat_ngram_size exponential_decay_length_penalty finetuning_task for_llm_compressor forced_bos_token_id
    forced_eos_token_id id2label initializer_range is_decoder is_llama_config label2id length_penalty max_length
    max_new_tokens min_length model_type no_repeat_ngram_size num_beam_groups num_beams num_return_sequences
    output_attentions output_hidden_states output_router_logits output_scores pad_token_id prefix pretraining_tp
    problem_type quantization_config remove_invalid_values repetition_penalty return_dict return_dict_in_generate
    router_aux_loss_coef router_jitter_noise sep_token_id suppress_tokens task_specific_params temperature
    tf_legacy_loss tokenizer_class top_k top_p torch_dtype torchscript transformers.js_config transformers_version
    typical_p unsloth_fixed unsloth_version use_bfloat16 use_cache
    """.split()
)
_SHAPE_KEYS = frozenset(
    """
    attention_bias bos_token_id eos_token_id head_dim hidden_act hidden_activation hidden_size intermediate_size
    layer_types max_position_embeddings num_attention_heads num_hidden_layers num_key_value_heads partial_rotary_factor
    rms_norm_eps rope_parameters rope_scaling rope_theta sliding_window tie_word_embeddings vocab_size
    """.split()
)
# From `attn_scale` on, read by nothing here: temperature tuning belongs to NoPE layers and the expert counts to MoE
# layers, which are refused; the query scalar and the local base frequency are left over from another family's config
# class, and Llama 4 never reads them.
_LLAMA4_KEYS = frozenset(
    """
    attention_chunk_size intermediate_size_mlp moe_layers no_rope_layer_interval no_rope_layers use_qk_norm
    attn_scale attn_temperature_tuning floor_scale interleave_moe_layer_step num_experts_per_tok num_local_experts
    query_pre_attn_scalar rope_local_base_freq
    """.split()
)
_LLAMA_KEYS = frozenset(["mlp_bias"])
# Keys that other models of the field carry, with what to say about them.
_UNSUPPORTED = {
    "final_logit_softcapping": "soft caps are not supported",
    "attn_logit_softcapping": "soft caps are not supported",
    "num_local_experts": "mixture of experts is not supported",
    "num_experts": "mixture of experts is not supported",
    "mlp_bias": "biases are not supported",
}
_ROPE_KEYS = frozenset(
    """
    rope_theta rope_type type factor low_freq_factor high_freq_factor original_max_position_embeddings
    partial_rotary_factor
    """.split()
)


def _llama4(keys: _Keys, p1: bool) -> ModelConfig:
    """MobileLLM-Pro (`p1`) and R1: transformers' Llama 4 text model with dense layers and RoPE in each of them.

    A missing `no_rope_layers` or `moe_layers` asks Llama 4 for NoPE layers and for experts. MobileLLM-Pro's own class
    has neither (a checkpoint that did hold experts fails on its tensors), so there they mean RoPE everywhere and dense.
    """
    layers = keys.positive_int("num_hidden_layers")
    rope_layers = keys.values.get("no_rope_layers")
    if rope_layers:  # an empty list is as good as none in Llama4TextConfig
        flags = keys.per_layer("no_rope_layers", layers, "an entry for each layer, all 1 (RoPE in every layer)")
        if any(flag not in (1, True) for flag in flags):
            raise keys.error("no_rope_layers", "1 for each layer: layers without RoPE are not supported")
    elif not p1 and keys.positive_int("no_rope_layer_interval", 4) <= layers:
        raise keys.error(
            "no_rope_layers", "1 for each layer: where it is missing, Llama 4 leaves RoPE out of every 4th layer"
        )
    if keys.values.get("moe_layers") is None:
        if not p1 and keys.values.get("num_local_experts") not in (None, 0, 1):
            raise keys.error("num_local_experts", "a dense model: mixture of experts is not supported")
        if not p1:
            raise keys.error(
                "moe_layers", "an empty list: where it is missing, Llama 4 makes layers mixtures of experts"
            )
    elif keys.values["moe_layers"] != []:
        raise keys.error("moe_layers", "an empty list: mixture of experts is not supported")
    return _shape(
        keys,
        family="mobilellm-pro" if p1 else "mobilellm-r1",
        ffn_size=keys.positive_int("intermediate_size_mlp"),  # intermediate_size is the width of an expert
        norm_eps=1e-5,
        theta=500000.0,
        qk_norm=keys.boolean("use_qk_norm", True),
        # MobileLLM-Pro stores no lm_head; the class defaults of the others are untied.
        tied=keys.boolean("tie_word_embeddings", p1),
        local_layers=keys.local_layers(layers),
    )


def _llama(keys: _Keys) -> ModelConfig:
    if keys.boolean("mlp_bias", False):
        raise keys.error("mlp_bias", "false: biases are not supported")
    layers = keys.positive_int("num_hidden_layers")
    types = keys.values.get("layer_types")
    if (
        types is not None
        and keys.per_layer("layer_types", layers, "full_attention for each layer") != ["full_attention"] * layers
    ):
        raise keys.error("layer_types", "full_attention for each layer of a Llama model")
    if keys.values.get("sliding_window") is not None:
        raise keys.error("sliding_window", "null: Llama models have no local layers")
    return _shape(
        keys,
        family="llama",
        ffn_size=keys.positive_int("intermediate_size"),
        norm_eps=1e-6,
        theta=10000.0,
        qk_norm=False,
        tied=keys.boolean("tie_word_embeddings", False),
        local_layers=(False,) * layers,
    )


def _shape(
    keys: _Keys,
    *,
    family: str,
    ffn_size: int,
    norm_eps: float,
    theta: float,
    qk_norm: bool,
    tied: bool,
    local_layers: tuple[bool, ...],
) -> ModelConfig:
    """What all families spell alike; the numbers are the class defaults for keys that may be missing."""
    for key in ("hidden_act", "hidden_activation"):
        if keys.values.get(key) not in (None, "silu", "swish"):
            raise keys.error(key, "silu")
    if keys.boolean("attention_bias", False):
        raise keys.error("attention_bias", "false: biases are not supported")
    hidden = keys.positive_int("hidden_size")
    heads = keys.positive_int("num_attention_heads")
    kv_heads = heads if keys.values.get("num_key_value_heads") is None else keys.positive_int("num_key_value_heads")
    if heads % kv_heads:
        raise keys.error("num_key_value_heads", f"a divisor of num_attention_heads ({heads})")
    if keys.values.get("head_dim") is not None:
        head_dim = keys.positive_int("head_dim")
    elif hidden % heads:
        raise keys.error(
            "head_dim", f"a value, since hidden_size ({hidden}) is no multiple of num_attention_heads ({heads})"
        )
    else:
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
    rope_theta, rope_scaling = keys.rope(theta)
    return ModelConfig(
        family=family,
        vocab_size=vocab_size,
        hidden_size=hidden,
        num_layers=len(local_layers),
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        ffn_size=ffn_size,
        norm_eps=keys.positive_float("rms_norm_eps", norm_eps),
        rope_theta=rope_theta,
        rope_scaling=rope_scaling,
        max_positions=keys.positive_int("max_position_embeddings"),
        window=keys.positive_int("sliding_window") if any(local_layers) else 0,
        local_layers=local_layers,
        qk_norm=qk_norm,
        tied_embeddings=tied,
        bos_id=(*bos_ids, *eos_ids)[0],
        eos_ids=eos_ids,
    )


class _Keys:
    """Typed access to the keys of a JSON object, with errors that name the key, what was found and what expected."""

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self.values = values
        self.source = source

    def error(self, key: str, expected: str, hint: str = "") -> InputError:
        found = _shorten(json.dumps(self.values[key])) if key in self.values else "missing"
        hint = hint or "this model is not of a supported kind, or its config.json is damaged: fetch it again"
        return InputError(f"{self.source}: `{key}` is {found}, expected {expected}", hint)

    def architecture(self, *allowed: str) -> str:
        """The class name in `architectures`, which must be among `allowed`; where it is missing, the first of them."""
        names = self.values.get("architectures") or [allowed[0]]
        if not isinstance(names, list) or len(names) != 1 or names[0] not in allowed:
            raise self.error("architectures", " or ".join(f'["{name}"]' for name in allowed))
        return str(names[0])

    def refuse_unknown(self, known: frozenset[str]) -> None:
        for key, value in self.values.items():
            neutral = value is None or value is False or value == [] or value == {}
            if key in known or key in _BOOKKEEPING or key.startswith("_") or neutral:
                continue
            if key in _UNSUPPORTED:
                raise self.error(key, f"null or missing: {_UNSUPPORTED[key]}")
            hint = "if it is bookkeeping and does not change what the model computes, remove it from config.json"
            raise self.error(key, "no such key: it may change the model in a way that is not supported", hint)

    def string(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self.error(key, "a string")
        return value

    def boolean(self, key: str, default: bool) -> bool:
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "true or false")
        return value

    def positive_int(self, key: str, default: int | None = None) -> int:
        value = self.values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise self.error(key, "a whole number above 0")
        return value

    def positive_float(self, key: str, default: float | None = None) -> float:
        value = self.values.get(key, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value) or value <= 0:
            raise self.error(key, "a finite number above 0")
        return float(value)

    def token_ids(self, key: str) -> tuple[int, ...]:
        """An id, a list of ids or null, as a tuple without repeats."""
        value = self.values.get(key)
        ids = [] if value is None else value if isinstance(value, list) else [value]
        if any(not isinstance(i, int) or isinstance(i, bool) or i < 0 for i in ids):
            raise self.error(key, "a token id or a list of token ids")
        return tuple(dict.fromkeys(ids))

    def per_layer(self, key: str, layers: int, expected: str) -> list[Any]:
        """The first `layers` entries of a list: configs of the family list more entries than the model has layers."""
        value = self.values.get(key)
        if not isinstance(value, list) or len(value) < layers:
            raise self.error(key, expected)
        return value[:layers]

    def local_layers(self, layers: int) -> tuple[bool, ...]:
        """Which layers attend within `sliding_window` only.

        Llama 4's default for layers with RoPE is `chunked_attention`; where no chunk ends before
        `max_position_embeddings` that is the same as `full_attention`, elsewhere it is refused.
        """
        expected = "full_attention or sliding_attention for each layer"
        if self.values.get("layer_types") is None:
            types = ["chunked_attention"] * layers
        else:
            types = self.per_layer("layer_types", layers, expected)
        if any(kind not in ("full_attention", "sliding_attention", "chunked_attention") for kind in types):
            raise self.error("layer_types", expected)
        if "chunked_attention" in types:
            chunk = self.positive_int("attention_chunk_size", 8192)
            if chunk < self.positive_int("max_position_embeddings"):
                if self.values.get("layer_types") is None:
                    raise self.error("layer_types", f"{expected}: where it is missing, Llama 4 attends in chunks")
                raise self.error(
                    "attention_chunk_size", "at least max_position_embeddings: attention in chunks is not supported"
                )
        return tuple(kind == "sliding_attention" for kind in types)

    def rope(self, default_theta: float) -> tuple[float, RopeScaling | None]:
        """Base frequency and scaling, from `rope_theta` + `rope_scaling` or from `rope_parameters` (transformers 5)."""
        if self.values.get("partial_rotary_factor") not in (None, 1, 1.0):
            raise self.error("partial_rotary_factor", "1: RoPE over part of a head is not supported")
        objects = [key for key in ("rope_parameters", "rope_scaling") if self.values.get(key) is not None]
        theta = self.positive_float("rope_theta", default_theta)
        if not objects:
            return theta, None
        for key in objects:
            if not isinstance(self.values[key], dict):
                raise self.error(key, "an object or null")
        if len(objects) == 2 and self.values["rope_parameters"] != self.values["rope_scaling"]:
            raise self.error("rope_scaling", "the same as rope_parameters, or only one of the two")
        values: dict[str, Any] = self.values[objects[0]]
        inner = _Keys(values, f"{self.source}: {objects[0]}")
        for key in values:
            if key not in _ROPE_KEYS:
                raise inner.error(key, "no such key: only the scaling of Llama 3 is supported")
        if values.get("partial_rotary_factor") not in (None, 1, 1.0):
            raise inner.error("partial_rotary_factor", "1: RoPE over part of a head is not supported")
        inner_theta = inner.positive_float("rope_theta", theta)
        if "rope_theta" in self.values and inner_theta != theta:
            raise inner.error("rope_theta", f"{theta:g}, the rope_theta beside it")
        kind_key = "type" if "type" in values and "rope_type" not in values else "rope_type"
        kind = values.get(kind_key, "default")
        if kind == "default":
            return inner_theta, None
        if kind != "llama3":
            raise inner.error(kind_key, "default or llama3")
        scaling = RopeScaling(
            factor=inner.positive_float("factor"),
            low_freq_factor=inner.positive_float("low_freq_factor"),
            high_freq_factor=inner.positive_float("high_freq_factor"),
            original_max_positions=inner.positive_int("original_max_position_embeddings"),
        )
        if scaling.factor < 1:
            raise inner.error("factor", "a number of at least 1")
        if scaling.high_freq_factor <= scaling.low_freq_factor:
            raise inner.error("high_freq_factor", f"a number above low_freq_factor ({scaling.low_freq_factor:g})")
        return inner_theta, scaling


def _shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
