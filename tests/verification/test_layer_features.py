"""The layer check of every feature a decoder may have: against a stand-in for an artifact that computes in float64,
rounds each result to float32 and has caches of its own. What is right passes with room to spare, faults do not pass.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from mlp_export.models import tensors
from mlp_export.models.config import ModelConfig
from mlp_export.models.eager import EagerOps, attend, decode_each, merged_heads
from mlp_export.models.family import Family
from mlp_export.models.layer import decode
from mlp_export.models.numerics import DynamicNumerics, kv_scales
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.models.weights import WeightSource
from mlp_export.program.layer_taps import TAPS, CachedRows, TappedCall
from mlp_export.verification.layers import LayerCheck, layer_calls

CONTEXT, CHUNK = 48, 12
CONFIG = ModelConfig(
    family="any",
    vocab_size=120,
    hidden_size=48,
    num_layers=4,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    ffn_size=80,
    norm_eps=1e-5,
    rope_theta=1e5,
    rope_scaling=None,
    max_positions=4096,
    window=8,
    local_layers=(True, False, True, True),
    qk_norm=False,
    tied_embeddings=False,
    bos_id=1,
    eos_ids=(2,),
)
FEATURES: dict[str, dict[str, Any]] = {
    "plain": {},
    "QK norm behind RoPE": {"qk_norm": True},
    "weighted QK norm before RoPE": {"qk_norm": True, "qk_norm_weights": True, "qk_norm_before_rope": True},
    "layers without RoPE": {"nope_layers": (1, 3)},
    "two bases": {"local_rope_theta": 100.0},
    "biases": {"biases": ("q", "k", "v")},
    "biases everywhere": {"biases": tensors.LINEARS},
    "gelu": {"activation": "gelu_tanh"},
    "post norms": {"post_norms": True},
    "an attention scale": {"attention_scale": 0.2},
    "an embedding scale": {"embedding_scale": 7.0},
}
GEMMA = {
    key: value
    for name in ("weighted QK norm before RoPE", "two bases", "gelu", "post norms", "an embedding scale")
    for key, value in FEATURES[name].items()
}
FEATURES["as Gemma 3"] = GEMMA


class RandomWeights:
    """Float32 weights of any config."""

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        self.config = config
        generator = torch.Generator().manual_seed(seed)
        norms = {"post_attention_norm": ("a",), "post_ffn_norm": ("b",)}
        family = Family("any", "", "", (), lambda keys: config, tensors=norms)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tensors, "get_family", lambda name: family)
            parameters = tensors.parameters(config)
        self.tensors: dict[str, torch.Tensor] = {}
        for name, parameter in parameters.items():
            values = torch.randn(parameter.shape, generator=generator)
            if "norm" in parameter.role:
                values = 1 + 0.2 * values
            elif parameter.quantized:
                values = values * (0.3 if name == "embed" else parameter.shape[1] ** -0.5)
            self.tensors[name] = values

    def matrix(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    def rows(self, name: str, ids: torch.Tensor) -> torch.Tensor:
        return self.tensors[name][ids]

    def vector(self, name: str) -> torch.Tensor:
        return self.tensors[name]


@dataclass(frozen=True)
class Doubles:
    """Weights in float64; config and weights of a faulty artifact."""

    source: RandomWeights
    config: ModelConfig
    replaced: Callable[[str, torch.Tensor], torch.Tensor]

    def matrix(self, name: str) -> torch.Tensor:
        return self.replaced(name, self.source.matrix(name)).double()

    def rows(self, name: str, ids: torch.Tensor) -> torch.Tensor:
        return self.matrix(name)[ids]

    def vector(self, name: str) -> torch.Tensor:
        return self.replaced(name, self.source.vector(name)).double()


class Recorder:
    """Numerics that round results to float32 and keep them."""

    def __init__(self, numerics: DynamicNumerics) -> None:
        self.numerics = numerics
        self.results: dict[str, torch.Tensor] = {}
        self.cached_rows: dict[str, CachedRows] = {}

    def linear_input(self, rows: torch.Tensor) -> torch.Tensor:
        return self.numerics.linear_input(rows.float()).double()

    def cached(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        rows = rows.float()
        kept = CachedRows(rows)
        if self.numerics.kv_cache == "int8":
            kept = CachedRows((rows / kv_scales(rows)).round().to(torch.int8), kv_scales(rows))
        self.cached_rows[name] = kept
        return kept.dequantize().double()

    def point(self, name: str, values: torch.Tensor) -> torch.Tensor:
        self.results[name] = values.float()
        return self.results[name].double()


class StandIn(EagerOps):
    """One call of an artifact; `caches` hold what came before, by layer and slot."""

    def __init__(self, weights: WeightSource, numerics: Recorder, sequence: TokenSequence, caches: Any) -> None:
        super().__init__(weights, numerics, sequence)
        self.caches = caches

    def attention(
        self, name: str, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layer: int
    ) -> torch.Tensor:
        config, prefix, start = self.config, name.rpartition(".")[0], self.sequence.start
        slots = config.window if config.local_layers[layer] else CONTEXT
        query = self.numerics.point(f"{prefix}.q.scaled", query * config.softmax_scale)
        new = torch.stack([self.numerics.cached(f"{prefix}.{part}", rows) for part, rows in (("k", key), ("v", value))])
        cache = self.caches.setdefault(layer, torch.zeros(2, slots, *key.shape[1:], dtype=torch.float64))
        before = torch.arange(max(start - slots, 0), start)
        keys, values = torch.cat([cache[:, before % slots], new], 1)
        positions = self.sequence.positions()
        distance = positions[:, None] - torch.cat([before, positions])
        for n, position in enumerate(positions.tolist()):
            cache[:, position % slots] = new[:, n]
        return attend(config, layer, query, keys, values, distance, self.numerics)[0]


def same(name: str, values: torch.Tensor) -> torch.Tensor:
    return values


def checked(
    config: ModelConfig,
    *,
    kv_cache: Any = "int8",
    operators: type[StandIn] = StandIn,
    replaced: Callable[[str, torch.Tensor], torch.Tensor] = same,
    seed: int = 0,
    **changes: Any,
) -> LayerCheck:
    """The check of an artifact whose config has `changes`, whose weights are `replaced`, made by `operators`."""
    weights, numerics = RandomWeights(config, seed), DynamicNumerics("int8", kv_cache)
    artifact = Doubles(weights, replace(config, **changes), replaced)
    calls = layer_calls(config, CONTEXT, CHUNK)
    caches: dict[int, torch.Tensor] = {}
    tokens, found = [], []
    for call in calls:
        ids = [(17 * (call.position + n) + 3) % config.vocab_size for n in range(call.count)]
        recorder = Recorder(numerics)
        sequence = TokenSequence(ids, [call.count - 1], 0, call.position)
        logits = decode(operators(artifact, recorder, sequence, caches), artifact.config)[0].float()
        tokens.append(ids)
        found.append(tapped(config, recorder, call.rows(), logits))
    check = LayerCheck(weights, numerics, calls, tokens, found, [one.logits for one in found])
    decode_each(weights, [], visitor=check)
    return check


def tapped(config: ModelConfig, recorder: Recorder, rows: Sequence[int], logits: torch.Tensor) -> TappedCall:
    results = {}
    for layer in range(config.num_layers):
        for tap in TAPS:
            name = f"layers.{layer}.{tap}"
            values = recorder.results[name]
            values = merged_heads(values) if tap == "attended" else values
            results[name] = values[rows[-1:] if layer == config.num_layers - 1 else list(rows)]
    cached_keys, cached_values = (
        [recorder.cached_rows[f"layers.{layer}.{part}"] for layer in range(config.num_layers)] for part in "kv"
    )
    return TappedCall(logits, cached_keys, cached_values, results)


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("kv_cache", ["int8", "fp32"])
def test_what_is_right_passes_with_room(features: str, kv_cache: str) -> None:
    check = checked(replace(CONFIG, **FEATURES[features]), kv_cache=kv_cache)
    ratios = {kind: worst.ratio for kind, worst in check.worst.items()}
    scales = {"k.scales", "v.scales"} if kv_cache == "int8" else set()
    assert set(ratios) == {*TAPS, "k.cached", "v.cached", "head"} | scales
    assert check.passed, check.summary()
    if not check.flips:
        assert max(ratios.values()) < 0.3, ratios


@pytest.mark.parametrize("seed", range(8))
def test_features_drawn_at_random_pass(seed: int) -> None:
    draw = random.Random(seed)
    features: dict[str, Any] = {
        "qk_norm": draw.random() < 0.6,
        "qk_norm_weights": draw.random() < 0.6,
        "qk_norm_before_rope": draw.random() < 0.5,
        "nope_layers": tuple(layer for layer in range(4) if draw.random() < 0.3),
        "local_rope_theta": draw.choice([None, 50.0]),
        "attention_scale": draw.choice([None, 0.4]),
        "biases": tuple(part for part in tensors.LINEARS if draw.random() < 0.4),
        "activation": draw.choice(["silu", "gelu_tanh"]),
        "post_norms": draw.random() < 0.5,
        "embedding_scale": draw.choice([1.0, 5.5]),
        "local_layers": tuple(draw.random() < 0.5 for _ in range(4)),
        "window": draw.choice([3, 8, 11]),
    }
    check = checked(replace(CONFIG, **features), kv_cache=draw.choice(["int8", "fp32"]), seed=seed)
    assert check.passed, (features, check.summary())


# Faults


class ErfGelu(StandIn):
    """4.7e-4 from the tanh form at most, as executorch 1.5.1 lowers it."""

    def activation(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        return self.numerics.point(name, torch.nn.functional.gelu(rows))


class SwappedHalves(StandIn):
    """RoPE of the other layout."""

    def rope(self, name: str, rows: torch.Tensor, layer: int) -> torch.Tensor:
        return super().rope(name, rows.roll(self.config.head_dim // 2, -1), layer)


class NoBias(StandIn):
    """Layer 2 without its bias of k."""

    def linear(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        if name == "layers.2.k":
            return self.numerics.linear_input(rows) @ self.weights.matrix(name).T
        return super().linear(name, rows)


def times(wanted: str, factor: float) -> Callable[[str, torch.Tensor], torch.Tensor]:
    return lambda name, values: values * factor if name == wanted else values


def mirrored(wanted: str) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """Neighbours of a vector changed for each other: a weight that was not permuted with its rows."""
    return lambda name, values: values.unflatten(0, (-1, 2)).flip(-1).flatten() if name == wanted else values


QUERIES, KEYS = {"q.scaled"}, {"k.scales", "k.cached"}
# A factor of all heads is in the scales of the cache, and in no code.
NORMED = {"q.scaled", "k.scales", "v.scales", "activated"}


@pytest.mark.parametrize(
    ("features", "fault", "layer", "kinds"),
    [
        ("plain", {"operators": SwappedHalves}, None, QUERIES | KEYS),
        ("plain", {"rope_theta": 1.01e5}, None, QUERIES | KEYS),
        ("plain", {"norm_eps": 1e-6}, None, NORMED),
        ("plain", {"local_layers": (True, True, True, True)}, 1, {"attended"}),
        ("plain", {"window": 7}, None, {"attended"}),
        ("plain", {"window": 9}, None, {"attended"}),
        ("QK norm behind RoPE", {"qk_norm": False}, None, {"q.scaled", "k.scales"}),
        ("weighted QK norm before RoPE", {"qk_norm_before_rope": False}, None, QUERIES | KEYS),
        ("weighted QK norm before RoPE", {"replaced": mirrored("layers.1.k_norm")}, 1, KEYS),
        ("weighted QK norm before RoPE", {"replaced": times("layers.2.q_norm", 1.001)}, 2, QUERIES),
        ("layers without RoPE", {"nope_layers": (1,)}, 3, QUERIES | KEYS),
        ("two bases", {"local_rope_theta": None}, None, QUERIES | KEYS),
        ("two bases", {"local_rope_theta": 101.0}, None, QUERIES | KEYS),
        ("biases", {"operators": NoBias}, 2, KEYS),
        ("biases", {"replaced": mirrored("layers.1.q_bias")}, 1, QUERIES),
        ("biases everywhere", {"replaced": times("layers.3.down_bias", 1.001)}, 3, {"ffn_sum"}),
        ("biases everywhere", {"replaced": times("layers.1.up_bias", 1.001)}, 1, {"activated"}),
        ("gelu", {"operators": ErfGelu}, None, {"activated"}),
        ("gelu", {"activation": "silu"}, None, {"activated"}),
        ("post norms", {"post_norms": False}, None, {"attention_sum", "ffn_sum"}),
        ("post norms", {"replaced": times("layers.1.post_attention_norm", 1.001)}, 1, {"attention_sum"}),
        ("post norms", {"replaced": times("layers.2.post_ffn_norm", 0.999)}, 2, {"ffn_sum"}),
        ("an attention scale", {"attention_scale": None}, None, QUERIES),
        ("an attention scale", {"attention_scale": 0.2002}, None, QUERIES),
        ("an embedding scale", {"embedding_scale": 1.0}, None, NORMED),
        ("as Gemma 3", {"operators": ErfGelu}, None, {"activated"}),
        ("as Gemma 3", {"replaced": times("norm", 1.001)}, None, {"head"}),
    ],
)
def test_a_fault_is_refused_where_it_is(
    features: str, fault: dict[str, Any], layer: int | None, kinds: set[str]
) -> None:
    """And nothing else is. `layer` is None of a fault that is in several."""
    check = checked(replace(CONFIG, **FEATURES[features]), **fault)
    beyond = {kind: worst for kind, worst in check.worst.items() if worst.ratio > 1}
    assert not check.passed and set(beyond) == kinds, check.summary()
    assert max(worst.ratio for worst in beyond.values()) > 3
    assert layer is None or all(worst.name.startswith(f"layers.{layer}.") for worst in beyond.values())
    assert all(f"{worst.name} at position {worst.position}: " in check.summary() for worst in beyond.values())
