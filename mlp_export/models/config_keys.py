"""Typed access to the keys of a `config.json`. Each key is read, known to change nothing, or refused by name.

A key that is quietly ignored is a model that is quietly wrong, so a family reads what changes its model; what nobody
read is refused by `refuse_unread`, unless it is bookkeeping (training, generation defaults, library versions), known by
the family to mean nothing, or has the neutral value null, false or empty.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from mlp_export.errors import InputError
from mlp_export.models.config import RopeScaling

# Keys that say nothing about what a decoder computes for a prompt. How weights are stored (`quantization_config`) is
# read where checkpoints are.
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
# Keys that other models of the field carry, with what to say about them.
_UNSUPPORTED = {
    "final_logit_softcapping": "soft caps are not supported",
    "attn_logit_softcapping": "soft caps are not supported",
    "num_local_experts": "mixture of experts is not supported",
    "num_experts": "mixture of experts is not supported",
    "mlp_bias": "biases are not supported in this family",
    "attention_bias": "biases are not supported in this family",
    "use_qk_norm": "a norm of queries and keys is not supported in this family",
    "use_bidirectional_attention": "it makes an embedding model, whose tokens see those behind them",
}
_MOST = 2**63 - 1  # tensors hold sizes and positions as int64
_MOST_LAYERS = 1000  # more than any model has; the names of their weights fit into memory
_ROPE_KEYS = frozenset(
    """
    rope_theta rope_type type factor low_freq_factor high_freq_factor original_max_position_embeddings
    partial_rotary_factor
    """.split()
)


class Keys:
    """The keys of a JSON object, with errors that name the key, what was found and what was expected."""

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self.values = values
        self.source = source
        self._known: set[str] = set()

    def get(self, key: str) -> Any:
        """The value of a key, None where it is missing."""
        self._known.add(key)
        return self.values.get(key)

    def know(self, *keys: str) -> None:
        """Say of keys that they change nothing in this model."""
        self._known.update(keys)

    def error(self, key: str, expected: str, hint: str = "") -> InputError:
        """The error for the value that a key has."""
        found = _shorten(json.dumps(self.values[key])) if key in self.values else "missing"
        hint = hint or "this model is not of a supported kind, or its config.json is damaged: fetch it again"
        return InputError(f"{self.source}: `{key}` is {found}, expected {expected}", hint)

    def refuse_unread(self) -> None:
        """Raises InputError for a key that nobody read and that is not known to change nothing."""
        self.know("is_causal")
        if self.values.get("is_causal", True) is not True:  # transformers asks for its truth, and null is none
            raise self.error("is_causal", f"true or missing: {_UNSUPPORTED['use_bidirectional_attention']}")
        for key, value in self.values.items():
            neutral = value is None or value is False or value == [] or value == {}
            if key in self._known or key in _BOOKKEEPING or key.startswith("_") or neutral:
                continue
            if key in _UNSUPPORTED:
                raise self.error(key, f"null or missing: {_UNSUPPORTED[key]}")
            hint = "if it is bookkeeping and does not change what the model computes, remove it from config.json"
            raise self.error(key, "no such key: it may change the model in a way that is not supported", hint)

    def string(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str):
            raise self.error(key, "a string")
        return value

    def boolean(self, key: str, default: bool) -> bool:
        self.know(key)
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "true or false")
        return value

    def positive_int(self, key: str, default: int | None = None) -> int:
        self.know(key)
        value = self.values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise self.error(key, "a whole number above 0")
        if value > _MOST:
            raise self.error(key, f"a whole number up to {_MOST}")
        return value

    def num_layers(self) -> int:
        """`num_hidden_layers`, of which lists are made before any weight is looked at."""
        layers = self.positive_int("num_hidden_layers")
        if layers > _MOST_LAYERS:
            raise self.error("num_hidden_layers", f"a whole number from 1 to {_MOST_LAYERS}")
        return layers

    def positive_float(self, key: str, default: float | None = None) -> float:
        self.know(key)
        value = self.values.get(key, default)
        number = _number(value)
        if not math.isfinite(number) or number <= 0:
            raise self.error(key, "a finite number above 0")
        return number

    def token_ids(self, key: str) -> tuple[int, ...]:
        """An id, a list of ids or null, as a tuple without repeats."""
        value = self.get(key)
        ids = [] if value is None else value if isinstance(value, list) else [value]
        if any(not isinstance(i, int) or isinstance(i, bool) or i < 0 for i in ids):
            raise self.error(key, "a token id or a list of token ids")
        return tuple(dict.fromkeys(ids))

    def per_layer(self, key: str, layers: int, expected: str) -> list[Any]:
        """The first `layers` entries of a list: configs list more entries than the model has layers."""
        value = self.get(key)
        if not isinstance(value, list) or len(value) < layers:
            raise self.error(key, expected)
        return value[:layers]

    def local_layers(self, layers: int) -> tuple[bool, ...] | None:
        """Which layers attend within the window only, by `layer_types`; None where it is missing."""
        if self.get("layer_types") is None:
            return None
        expected = "full_attention or sliding_attention for each layer"
        types = self.per_layer("layer_types", layers, expected)
        if any(kind not in ("full_attention", "sliding_attention") for kind in types):
            raise self.error("layer_types", expected)
        return tuple(kind == "sliding_attention" for kind in types)

    def refuse_window(self) -> None:
        """Raises InputError for local layers in a family that has none."""
        if any(self.local_layers(self.num_layers()) or ()):
            raise self.error("layer_types", "full_attention for each layer of a model of this family")
        if self.get("sliding_window") is not None:
            raise self.error("sliding_window", "null: models of this family have no local layers")

    def refuse_switched_window(self) -> None:
        """The same where `sliding_window` means nothing unless `use_sliding_window` is true, as in Qwen's configs."""
        if self.boolean("use_sliding_window", False):
            raise self.error("use_sliding_window", "false: local layers of this family are not supported")
        if any(self.local_layers(self.num_layers()) or ()):
            raise self.error("layer_types", "full_attention for each layer of a model of this family")
        self.know("sliding_window", "max_window_layers")

    def rope(self, default_theta: float) -> tuple[float, RopeScaling | None]:
        """Base frequency and scaling, from `rope_theta` + `rope_scaling` or from `rope_parameters` (transformers 5)."""
        if self.get("partial_rotary_factor") not in (None, 1, 1.0):
            raise self.error("partial_rotary_factor", "1: RoPE over part of a head is not supported")
        objects = [key for key in ("rope_parameters", "rope_scaling") if self.get(key) is not None]
        theta = self.positive_float("rope_theta", default_theta)
        if not objects:
            return theta, None
        for key in objects:
            if not isinstance(self.values[key], dict):
                raise self.error(key, "an object or null")
        if len(objects) == 2 and self.values["rope_parameters"] != self.values["rope_scaling"]:
            raise self.error("rope_scaling", "the same as rope_parameters, or only one of the two")
        inner = Keys(self.values[objects[0]], f"{self.source}: {objects[0]}")
        inner_theta, scaling = inner.rope_object(theta)
        if "rope_theta" in self.values and inner_theta != theta:
            raise inner.error("rope_theta", f"{theta:g}, the rope_theta beside it")
        return inner_theta, scaling

    def rope_object(self, default_theta: float) -> tuple[float, RopeScaling | None]:
        """The same of an object that holds nothing else."""
        for key in self.values:
            if key not in _ROPE_KEYS:
                raise self.error(key, "no such key: only the scaling of Llama 3 is supported")
        if self.get("partial_rotary_factor") not in (None, 1, 1.0):
            raise self.error("partial_rotary_factor", "1: RoPE over part of a head is not supported")
        theta = self.positive_float("rope_theta", default_theta)
        kind_key = "type" if "type" in self.values and "rope_type" not in self.values else "rope_type"
        kind = self.values.get(kind_key, "default")
        if kind == "default":
            return theta, None
        if kind != "llama3":
            raise self.error(kind_key, "default or llama3")
        scaling = RopeScaling(
            factor=self.positive_float("factor"),
            low_freq_factor=self.positive_float("low_freq_factor"),
            high_freq_factor=self.positive_float("high_freq_factor"),
            original_max_positions=self.positive_int("original_max_position_embeddings"),
        )
        if scaling.factor < 1:
            raise self.error("factor", "a number of at least 1")
        if scaling.high_freq_factor <= scaling.low_freq_factor:
            raise self.error("high_freq_factor", f"a number above low_freq_factor ({scaling.low_freq_factor:g})")
        return theta, scaling


def _number(value: object) -> float:
    """A number of JSON; NaN for anything else, and for whole numbers beyond a double."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
