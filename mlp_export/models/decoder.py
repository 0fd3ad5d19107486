"""The model in plain PyTorch: the definition of right for every backend.

One pass over whole sequences, layer by layer: a layer's weights are asked for when it is computed and dropped behind
it, so that a model far larger than the memory at hand has a reference. There is no KV cache to be wrong: every key
and value of a sequence is there, and a mask says which a query sees.

Semantics: transformers' Llama4TextModel (dense, RoPE in every layer) and LlamaModel. RoPE turns interleaved pairs; the
QK norm has no weight and comes after RoPE; query i of a local layer sees keys j with 0 <= i - j < window.

`Numerics` says what is rounded on the way, exactly as an artifact rounds it. `DynamicNumerics`: activations of linears
to int8, asymmetric, a scale and zero point a token (torchao's `Int8DynamicActivationIntxWeightConfig`); keys after RoPE
and values to int8, symmetric, a scale a token and head. Delegates with static scales round every result on the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torchao.quantization.quant_primitives import (
    MappingType,
    choose_qparams_affine,
    dequantize_affine,
    quantize_affine,
)

from mlp_export.checkpoints.checkpoint import Checkpoint
from mlp_export.models.config import ModelConfig

SMALLEST_KV_SCALE = 1e-12  # keeps the scale of an all-zero row positive
# Scores of 20 heads over 131,072 keys are 10 MB a query: queries are attended in blocks.
_SCORES_BYTES = 256_000_000
_HEAD_ROWS = 16384  # of 202,048, each 5 kB: the head is computed in blocks


class Numerics(Protocol):
    """What is rounded while the decoder computes; weights are rounded, or not, by their source.

    Each method returns its values as an artifact has them. Names say where in the model a value stands.
    """

    def linear_input(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows [n, features] that a linear takes."""
        ...

    def cached(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        """Keys after RoPE or values [n, heads, head_dim]: "layers.3.k", "layers.3.v"."""
        ...

    def point(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """Any other result: "layers.3.gate", "cos", "head"."""
        ...


@dataclass(frozen=True)
class DynamicNumerics:
    """Scales are found in the values: a scale a token for linears, a scale a token and head for the cache."""

    activations: Literal["int8", "float"]
    kv_cache: Literal["int8", "fp32"]

    @staticmethod
    def from_manifest(quantization: Mapping[str, Any]) -> DynamicNumerics:
        """What an artifact with this entry in its manifest rounds."""
        return DynamicNumerics(
            "int8" if quantization["activations"] == INT8_ACTIVATIONS else "float", quantization["kv_cache"]
        )

    def linear_input(self, rows: torch.Tensor) -> torch.Tensor:
        return fake_quantize_tokens(rows) if self.activations == "int8" else rows

    def cached(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        return fake_quantize_kv(rows) if self.kv_cache == "int8" else rows

    def point(self, name: str, values: torch.Tensor) -> torch.Tensor:
        return values


INT8_ACTIVATIONS = "int8-dynamic-per-token"  # as the manifest spells them
FLOAT = DynamicNumerics("float", "fp32")


@dataclass(frozen=True)
class EmbeddingNoise:
    """`numerics`, with each embedded value multiplied by 1 + noise * N(0, 1): how far rounding carries a difference
    that small.
    """

    numerics: Numerics
    noise: float
    generator: torch.Generator

    def linear_input(self, rows: torch.Tensor) -> torch.Tensor:
        return self.numerics.linear_input(rows)

    def cached(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        return self.numerics.cached(name, rows)

    def point(self, name: str, values: torch.Tensor) -> torch.Tensor:
        if name == "embed":
            values = values * (1 + self.noise * torch.randn(values.shape, generator=self.generator))
        return self.numerics.point(name, values)


class WeightSource(Protocol):
    """Where the decoder's float32 weights come from, one at a time. Names are those of `Checkpoint`."""

    @property
    def config(self) -> ModelConfig: ...

    def matrix(self, name: str) -> torch.Tensor:
        """A linear's weight [out, in] or the embedding [vocabulary, hidden]."""
        ...

    def rows(self, name: str, ids: torch.Tensor) -> torch.Tensor:
        """Rows `ids` [n] of a matrix: [n, in]."""
        ...

    def norm(self, name: str) -> torch.Tensor:
        """A norm's weight [hidden]."""
        ...


@dataclass(frozen=True)
class FloatWeights:
    """A checkpoint's weights as they are, in float32."""

    checkpoint: Checkpoint

    @property
    def config(self) -> ModelConfig:
        return self.checkpoint.config

    def matrix(self, name: str) -> torch.Tensor:
        return self.checkpoint.tensor(name).float()

    def rows(self, name: str, ids: torch.Tensor) -> torch.Tensor:
        return self.checkpoint.tensor(name)[ids].float()

    def norm(self, name: str) -> torch.Tensor:
        return self.checkpoint.tensor(name).float()


@dataclass(frozen=True)
class TokenSequence:
    """Tokens, and the indices of those whose logits are asked for.

    The first `prefix` tokens stand at positions 0, 1, ..., the others at `start`, `start` + 1, ...: with a gap between
    them it is what a cache answers whose slots in between were never written and hold zeros. So the end of a long
    context can be looked at without filling it. A ring of `window` slots then holds the prefix's keys and values where
    newer ones are due, and takes them for those (see `seen_at`).
    """

    tokens: Sequence[int]
    logit_indices: Sequence[int]
    prefix: int = 0
    start: int = 0

    def positions(self) -> torch.Tensor:
        """int64 [n]"""
        rest = len(self.tokens) - self.prefix
        return torch.cat([torch.arange(self.prefix), torch.arange(self.start, self.start + rest)])

    def seen_at(self, window: int) -> torch.Tensor:
        """Positions int64 [prefix] at which tokens behind the gap see the prefix's keys in a ring of `window` slots.

        A slot is taken for the newest position before `start` that falls on it. Where the prefix is longer than the
        ring, its first tokens are overwritten: they are seen nowhere, at a position a window too far back for a query.
        """
        before = max(self.start - window, 0)
        seen = before + (torch.arange(self.prefix) - before) % window
        seen[: max(self.prefix - window, 0)] = before - window
        return seen


def rope_frequencies(config: ModelConfig) -> torch.Tensor:
    """Radians a position, float32 [head_dim / 2], slowest last; Llama 3's scaling as in transformers' `rope_type:
    llama3`.
    """
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    frequencies = 1.0 / config.rope_theta**exponents
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    wavelengths = 2 * math.pi / frequencies
    original = scaling.original_max_positions
    # 1 keeps a frequency, 0 divides it by the factor; between the two wavelengths it goes from one to the other.
    share = (original / wavelengths - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    share = share.clamp(0, 1)
    return frequencies * (share + (1 - share) / scaling.factor)


def fake_quantize_tokens(rows: torch.Tensor) -> torch.Tensor:
    """Activations [n, features] to int8 and back: asymmetric, a scale and zero point a row."""
    block = (1, rows.shape[1])
    scale, zero_point = choose_qparams_affine(
        rows, MappingType.ASYMMETRIC, block, torch.int8, -128, 127, zero_point_dtype=torch.int8
    )
    codes = quantize_affine(rows, block, scale, zero_point, torch.int8, -128, 127)
    return dequantize_affine(codes, block, scale, zero_point, torch.int8, -128, 127)


def fake_quantize_kv(rows: torch.Tensor) -> torch.Tensor:
    """Keys or values [n, heads, head_dim] to int8 and back: symmetric, a scale a token and head."""
    scales = kv_scales(rows)
    return (rows / scales).round() * scales


def kv_scales(rows: torch.Tensor) -> torch.Tensor:
    """Per-token per-head scales [n, heads, 1] of keys or values [n, heads, head_dim]."""
    return rows.abs().amax(-1, keepdim=True).clamp_min(127 * SMALLEST_KV_SCALE) * (1 / 127)


def decode(
    weights: WeightSource,
    sequences: Sequence[TokenSequence],
    numerics: Numerics,
    on_layer: Callable[[], object] = lambda: None,
) -> list[torch.Tensor]:
    """Logits float32 [len(logit_indices), vocabulary] of each sequence. `on_layer` is called after each layer."""
    return decode_each(weights, [(sequence, numerics) for sequence in sequences], on_layer)


class WeightVisitor(Protocol):
    """Whoever wants the weights that a decoding reads anyway."""

    def layer(self, layer: Layer) -> None:
        """Each layer with its weights, in the order of the model. They are dropped behind the call."""
        ...

    def head(self, ids: torch.Tensor, rows: torch.Tensor) -> None:
        """Rows `ids` [n] of the head, float32 [n, hidden], block by block."""
        ...


def decode_each(
    weights: WeightSource,
    runs: Sequence[tuple[TokenSequence, Numerics]],
    on_layer: Callable[[], object] = lambda: None,
    visitor: WeightVisitor | None = None,
) -> list[torch.Tensor]:
    """The same for sequences that are rounded each in its own way.

    Each weight is asked for once, whatever the number of sequences, and shown to `visitor`. Memory: a layer's weights,
    the head, and for each token a few rows of the FFN's width.
    """
    normed = decode_rows(weights, runs, on_layer, visitor)
    return head_logits(weights, [(rows, numerics) for rows, (_, numerics) in zip(normed, runs, strict=True)], visitor)


def decode_rows(
    weights: WeightSource,
    runs: Sequence[tuple[TokenSequence, Numerics]],
    on_layer: Callable[[], object] = lambda: None,
    visitor: WeightVisitor | None = None,
) -> list[torch.Tensor]:
    """The same up to the final norm: float32 [len(logit_indices), hidden] of each sequence, which the head takes."""
    config = weights.config
    frequencies = rope_frequencies(config)
    hidden = [
        numerics.point("embed", weights.rows("embed", torch.tensor(sequence.tokens))) for sequence, numerics in runs
    ]
    with torch.no_grad():
        for layer in range(config.num_layers):
            block = Layer(weights, layer, frequencies)
            hidden = [block.forward(rows, *run) for rows, run in zip(hidden, runs, strict=True)]
            if visitor is not None:
                visitor.layer(block)
            del block
            on_layer()
        norm = weights.norm("norm")
        return [
            numerics.point("norm", rms_norm(rows[list(sequence.logit_indices)], norm, config.norm_eps))
            for rows, (sequence, numerics) in zip(hidden, runs, strict=True)
        ]


def head_logits(
    weights: WeightSource, runs: Sequence[tuple[torch.Tensor, Numerics]], visitor: WeightVisitor | None = None
) -> list[torch.Tensor]:
    """Logits float32 [n, vocabulary] of rows [n, hidden] that `decode_rows` returned, or of some of them."""
    vocabulary = weights.config.vocab_size
    with torch.no_grad():
        logits = [torch.empty(len(rows), vocabulary) for rows, _ in runs]
        for ids in torch.arange(vocabulary).split(_HEAD_ROWS):
            head = weights.rows("head", ids)
            for (rows, numerics), out in zip(runs, logits, strict=True):
                out[:, ids] = numerics.linear_input(rows) @ head.T
            if visitor is not None:
                visitor.head(ids, head)
        return [numerics.point("head", rows) for rows, (_, numerics) in zip(logits, runs, strict=True)]


def rms_norm(rows: torch.Tensor, weight: torch.Tensor | None, eps: float) -> torch.Tensor:
    """x / sqrt(mean(x^2) + eps) over the last dimension, times `weight` where there is one."""
    unit = rows * torch.rsqrt(rows.pow(2).mean(-1, keepdim=True) + eps)
    return unit if weight is None else unit * weight


def rotate(
    rows: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, numerics: Numerics = FLOAT, name: str = ""
) -> torch.Tensor:
    """Interleaved RoPE: rows [n, heads, head_dim], cos and sin [n, 1, head_dim / 2]."""
    swapped = torch.stack([rows[..., 1::2], rows[..., 0::2]], dim=-1).flatten(-2)
    along = numerics.point(f"{name}.cos", rows * cos.repeat_interleave(2, -1))
    across = numerics.point(f"{name}.sin", swapped * torch.stack([-sin, sin], dim=-1).flatten(-2))
    return numerics.point(f"{name}.rotated", along + across)


class Layer:
    """One layer with its weights loaded."""

    def __init__(self, weights: WeightSource, layer: int, frequencies: torch.Tensor) -> None:
        name = self.name = f"layers.{layer}"
        self.number = layer
        self.config = weights.config
        self.frequencies = frequencies
        self.is_local = self.config.local_layers[layer]
        self.attention_norm = weights.norm(f"{name}.attention_norm")
        self.ffn_norm = weights.norm(f"{name}.ffn_norm")
        self.q, self.k, self.v, self.o = (weights.matrix(f"{name}.{part}") for part in "qkvo")
        self.gate, self.up, self.down = (weights.matrix(f"{name}.{part}") for part in ("gate", "up", "down"))

    def forward(self, hidden: torch.Tensor, sequence: TokenSequence, numerics: Numerics) -> torch.Tensor:
        """[n, hidden_size] to the same, for the tokens of `sequence`."""
        normed = self.attention_input(hidden, numerics)
        query, key, value = (self.linear(name, normed, numerics) for name in "qkv")
        query, key, value = self.rotated(query, key, value, sequence.positions(), numerics)
        key, value = numerics.cached(f"{self.name}.k", key), numerics.cached(f"{self.name}.v", value)
        attended = self.attention(query, key, value, sequence, numerics)
        hidden = self.point("attention_sum", hidden + self.linear("o", attended, numerics), numerics)
        normed = self.ffn_input(hidden, numerics)
        gate = self.linear("gate", normed, numerics)
        activated = self.activated(gate, self.linear("up", normed, numerics), numerics)
        return self.point("ffn_sum", hidden + self.linear("down", activated, numerics), numerics)

    def point(self, name: str, values: torch.Tensor, numerics: Numerics) -> torch.Tensor:
        return numerics.point(f"{self.name}.{name}", values)

    def attention_input(self, hidden: torch.Tensor, numerics: Numerics) -> torch.Tensor:
        """What q, k and v take."""
        return self.point("attention_norm", rms_norm(hidden, self.attention_norm, self.config.norm_eps), numerics)

    def ffn_input(self, hidden: torch.Tensor, numerics: Numerics) -> torch.Tensor:
        """What gate and up take."""
        return self.point("ffn_norm", rms_norm(hidden, self.ffn_norm, self.config.norm_eps), numerics)

    def linear(self, name: str, rows: torch.Tensor, numerics: Numerics) -> torch.Tensor:
        """`rows` [n, in] through the linear "q", "down", ...: [n, out]."""
        weight: torch.Tensor = getattr(self, name)
        return self.point(name, numerics.linear_input(rows) @ weight.T, numerics)

    def activated(self, gate: torch.Tensor, up: torch.Tensor, numerics: Numerics) -> torch.Tensor:
        """What down takes."""
        silu = self.point("silu", gate * self.point("sigmoid", torch.sigmoid(gate), numerics), numerics)
        return self.point("activated", silu * up, numerics)

    def rotated(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, positions: torch.Tensor, numerics: Numerics
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Projections [n, heads * head_dim] at `positions` [n] to queries [n, heads, head_dim], scaled for the softmax,
        and keys and values [n, kv_heads, head_dim].
        """
        config, name = self.config, self.name
        angles = positions.float().view(-1, 1, 1) * self.frequencies
        cos, sin = numerics.point("cos", angles.cos()), numerics.point("sin", angles.sin())
        query = rotate(query.unflatten(-1, (-1, config.head_dim)), cos, sin, numerics, f"{name}.q")
        key = rotate(key.unflatten(-1, (-1, config.head_dim)), cos, sin, numerics, f"{name}.k")
        value = value.unflatten(-1, (-1, config.head_dim))
        if config.qk_norm:
            query = numerics.point(f"{name}.q.normed", rms_norm(query, None, config.norm_eps))
            key = numerics.point(f"{name}.k.normed", rms_norm(key, None, config.norm_eps))
        return numerics.point(f"{name}.q.scaled", query * config.head_dim**-0.5), key, value

    def attention(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, sequence: TokenSequence, numerics: Numerics
    ) -> torch.Tensor:
        """Queries [n, heads, head_dim], keys and values [n, kv_heads, head_dim] to [n, heads * head_dim]."""
        config, rows, prefix = self.config, len(query), sequence.prefix
        positions = key_positions = sequence.positions()
        gap = self.unwritten(sequence)
        if len(gap):
            zeros = torch.zeros(len(gap), config.num_kv_heads, config.head_dim)
            key, value = torch.cat([zeros, key]), torch.cat([zeros, value])
            key_positions = torch.cat([gap, positions])
        attended = []
        step = max(1, _SCORES_BYTES // (4 * config.num_heads * len(key_positions)))
        for first in range(0, rows, step):
            part = slice(first, first + step)
            distance = positions[part, None] - key_positions
            if self.is_local and sequence.start > prefix:
                behind = positions[part] >= sequence.start
                seen = positions[part][behind, None] - sequence.seen_at(config.window)
                distance[behind, len(gap) : len(gap) + prefix] = seen
            attended.append(self.attend(query[part], key, value, distance, numerics)[0])
        return torch.cat(attended)

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        distance: torch.Tensor,
        numerics: Numerics,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries [n, heads, head_dim] over keys and values [T, kv_heads, head_dim], which are `distance` [n, T]
        positions before them: [n, heads * head_dim], with scores and shares [kv_heads, group, n, T].
        """
        config, name = self.config, self.name
        keys, values = key.transpose(0, 1), value.transpose(0, 1)
        queries = self.grouped(query)
        visible = distance >= 0
        if self.is_local:
            visible &= distance < config.window
        scores = queries @ keys.unsqueeze(1).transpose(-1, -2)
        # What is not seen stands for nothing: zeros widen no range.
        scores = numerics.point(f"{name}.scores", scores.masked_fill_(~visible, 0.0))
        masked = numerics.point(f"{name}.masked", scores).masked_fill(~visible, float("-inf"))
        shares = numerics.point(f"{name}.shares", torch.softmax(masked, -1))
        attended = numerics.point(f"{name}.attended", shares @ values.unsqueeze(1))
        return self.merged(attended), scores, shares

    def grouped(self, query: torch.Tensor) -> torch.Tensor:
        """[n, heads, head_dim] as [kv_heads, group, n, head_dim]: those that share keys stand together."""
        return query.unflatten(1, (self.config.num_kv_heads, -1)).permute(1, 2, 0, 3)

    def merged(self, attended: torch.Tensor) -> torch.Tensor:
        """[kv_heads, group, n, head_dim] as [n, heads * head_dim]."""
        return attended.permute(2, 0, 1, 3).reshape(attended.shape[2], -1)

    def unwritten(self, sequence: TokenSequence) -> torch.Tensor:
        """Positions int64 [m] that this layer's cache holds zeros for when the tokens behind the gap come."""
        start, window = sequence.start, self.config.window
        if not self.is_local:
            return torch.arange(sequence.prefix, start)
        taken = sequence.seen_at(window) if sequence.prefix < start else torch.arange(start)
        recent = torch.arange(max(start - window, 0), start)
        return recent[~torch.isin(recent, taken)]
