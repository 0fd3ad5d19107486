"""The model in plain PyTorch: the definition of right for every backend.

One pass over whole sequences, layer by layer: a layer's weights are asked for when it is computed and dropped behind
it, so that a model far larger than the memory at hand has a reference. There is no KV cache to be wrong: every key
and value of a sequence is there, and a mask says which a query sees.

Semantics: transformers' Llama4TextModel (dense, RoPE in every layer) and LlamaModel. RoPE turns interleaved pairs; the
QK norm has no weight and comes after RoPE; query i of a local layer sees keys j with 0 <= i - j < window.

`Numerics` says what is rounded on the way, exactly as an artifact rounds it: activations of linears to int8,
asymmetric, a scale and zero point a token (torchao's `Int8DynamicActivationIntxWeightConfig`); keys after RoPE and
values to int8, symmetric, a scale a token and head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch.nn.functional import silu
from torchao.quantization.quant_primitives import (
    MappingType,
    choose_qparams_affine,
    dequantize_affine,
    quantize_affine,
)

from mlp_export.checkpoint import Checkpoint
from mlp_export.config import ModelConfig

SMALLEST_KV_SCALE = 1e-12  # keeps the scale of an all-zero row positive
# Scores of 20 heads over 131,072 keys are 10 MB a query: queries are attended in blocks.
_SCORES_BYTES = 256_000_000
_HEAD_ROWS = 16384  # of 202,048, each 5 kB: the head is computed in blocks


@dataclass(frozen=True)
class Numerics:
    """What is rounded while the decoder computes; weights are rounded, or not, by their source."""

    activations: Literal["int8", "float"]
    kv_cache: Literal["int8", "fp32"]

    @staticmethod
    def from_manifest(quantization: Mapping[str, Any]) -> Numerics:
        """What an artifact with this entry in its manifest rounds."""
        return Numerics(
            "int8" if quantization["activations"] == INT8_ACTIVATIONS else "float", quantization["kv_cache"]
        )


INT8_ACTIVATIONS = "int8-dynamic-per-token"  # as the manifest spells them
FLOAT = Numerics("float", "fp32")


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
class Passage:
    """Tokens, and the indices of those whose logits are wanted.

    The first `head` tokens stand at positions 0, 1, ..., the others at `start`, `start` + 1, ...: with a gap between
    them it is what a cache answers whose slots in between were never written and hold zeros. So the end of a long
    context can be looked at without filling it. A ring of `window` slots then holds the head's keys and values where
    newer ones are due, and takes them for those (see `seen_at`).

    `noise` multiplies each embedded value by 1 + noise * N(0, 1): how far rounding carries a difference that small.
    """

    tokens: Sequence[int]
    wanted: Sequence[int]
    head: int = 0
    start: int = 0
    noise: float = 0.0

    def positions(self) -> torch.Tensor:
        """int64 [n]"""
        rest = len(self.tokens) - self.head
        return torch.cat([torch.arange(self.head), torch.arange(self.start, self.start + rest)])

    def seen_at(self, window: int) -> torch.Tensor:
        """Positions int64 [head] at which tokens behind the gap see the head's keys in a ring of `window` slots.

        A slot is taken for the newest position before `start` that falls on it. Where the head is longer than the ring,
        its first tokens are overwritten: they are seen nowhere, at a position a window too far back for any query.
        """
        before = max(self.start - window, 0)
        seen = before + (torch.arange(self.head) - before) % window
        seen[: max(self.head - window, 0)] = before - window
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
    scales = rows.abs().amax(-1, keepdim=True).clamp_min(127 * SMALLEST_KV_SCALE) * (1 / 127)
    return (rows / scales).round() * scales


def decode(
    weights: WeightSource,
    passages: Sequence[Passage],
    numerics: Numerics,
    on_layer: Callable[[], object] = lambda: None,
    seed: int = 0,
) -> list[torch.Tensor]:
    """Logits float32 [len(wanted), vocabulary] of each passage. `on_layer` is called after each layer.

    Each weight is asked for once, whatever the number of passages. Memory: a layer's weights, the head, and for
    each token a few rows of the FFN's width.
    """
    config = weights.config
    frequencies = rope_frequencies(config)
    generator = torch.Generator().manual_seed(seed)
    hidden = []
    for passage in passages:
        rows = weights.rows("embed", torch.tensor(passage.tokens))
        if passage.noise:
            rows = rows * (1 + passage.noise * torch.randn(rows.shape, generator=generator))
        hidden.append(rows)
    with torch.no_grad():
        for layer in range(config.num_layers):
            block = _Layer(weights, layer, numerics, frequencies)
            hidden = [block.forward(rows, passage) for rows, passage in zip(hidden, passages, strict=True)]
            del block
            on_layer()
        norm = weights.norm("norm")
        normed = [
            rms_norm(rows[list(passage.wanted)], norm, config.norm_eps)
            for rows, passage in zip(hidden, passages, strict=True)
        ]
        logits = [torch.empty(len(rows), config.vocab_size) for rows in normed]
        for ids in torch.arange(config.vocab_size).split(_HEAD_ROWS):
            head = weights.rows("head", ids)
            for rows, out in zip(normed, logits, strict=True):
                out[:, ids] = _linear(rows, head, numerics)
        return logits


def rms_norm(rows: torch.Tensor, weight: torch.Tensor | None, eps: float) -> torch.Tensor:
    """x / sqrt(mean(x^2) + eps) over the last dimension, times `weight` where there is one."""
    unit = rows * torch.rsqrt(rows.pow(2).mean(-1, keepdim=True) + eps)
    return unit if weight is None else unit * weight


def rotate(rows: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Interleaved RoPE: rows [n, heads, head_dim], cos and sin [n, 1, head_dim / 2]."""
    even, odd = rows[..., 0::2], rows[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


class _Layer:
    """One layer with its weights loaded."""

    def __init__(self, weights: WeightSource, layer: int, numerics: Numerics, frequencies: torch.Tensor) -> None:
        name = f"layers.{layer}"
        self.config = weights.config
        self.numerics = numerics
        self.frequencies = frequencies
        self.is_local = self.config.local_layers[layer]
        self.attention_norm = weights.norm(f"{name}.attention_norm")
        self.ffn_norm = weights.norm(f"{name}.ffn_norm")
        self.q, self.k, self.v, self.o = (weights.matrix(f"{name}.{part}") for part in "qkvo")
        self.gate, self.up, self.down = (weights.matrix(f"{name}.{part}") for part in ("gate", "up", "down"))

    def forward(self, hidden: torch.Tensor, passage: Passage) -> torch.Tensor:
        """[n, hidden_size] to the same, for the tokens of `passage`."""
        config, numerics = self.config, self.numerics
        normed = rms_norm(hidden, self.attention_norm, config.norm_eps)
        hidden = hidden + _linear(self.attention(normed, passage), self.o, numerics)
        normed = rms_norm(hidden, self.ffn_norm, config.norm_eps)
        activated = silu(_linear(normed, self.gate, numerics)) * _linear(normed, self.up, numerics)
        return hidden + _linear(activated, self.down, numerics)

    def attention(self, normed: torch.Tensor, passage: Passage) -> torch.Tensor:
        """[n, hidden_size] to [n, num_heads * head_dim]"""
        config, rows, head = self.config, len(normed), passage.head
        size, kv_heads, groups = config.head_dim, config.num_kv_heads, config.num_heads // config.num_kv_heads
        positions = passage.positions()
        angles = positions.float().view(-1, 1, 1) * self.frequencies
        cos, sin = angles.cos(), angles.sin()
        query = rotate(_linear(normed, self.q, self.numerics).view(rows, config.num_heads, size), cos, sin)
        key = rotate(_linear(normed, self.k, self.numerics).view(rows, kv_heads, size), cos, sin)
        value = _linear(normed, self.v, self.numerics).view(rows, kv_heads, size)
        if config.qk_norm:
            query, key = (rms_norm(x, None, config.norm_eps) for x in (query, key))
        if self.numerics.kv_cache == "int8":
            key, value = fake_quantize_kv(key), fake_quantize_kv(value)
        key_positions = positions
        gap = self.unwritten(passage)
        if len(gap):
            zeros = torch.zeros(len(gap), kv_heads, size)
            key, value = torch.cat([zeros, key]), torch.cat([zeros, value])
            key_positions = torch.cat([gap, positions])
        keys = key.transpose(0, 1)  # [kv_heads, T, head_dim]
        values = value.transpose(0, 1)
        queries = query.view(rows, kv_heads, groups, size).permute(1, 2, 0, 3)  # [kv_heads, groups, n, head_dim]
        attended = torch.empty_like(queries)
        step = max(1, _SCORES_BYTES // (4 * config.num_heads * len(key_positions)))
        for first in range(0, rows, step):
            part = slice(first, first + step)
            distance = positions[part, None] - key_positions
            if self.is_local and passage.start > head:
                behind = positions[part] >= passage.start
                seen = positions[part][behind, None] - passage.seen_at(config.window)
                distance[behind, len(gap) : len(gap) + head] = seen
            visible = distance >= 0
            if self.is_local:
                visible &= distance < config.window
            scores = queries[:, :, part] @ keys.unsqueeze(1).transpose(-1, -2) * size**-0.5
            scores.masked_fill_(~visible, float("-inf"))
            attended[:, :, part] = torch.softmax(scores, -1) @ values.unsqueeze(1)
        return attended.permute(2, 0, 1, 3).reshape(rows, -1)

    def unwritten(self, passage: Passage) -> torch.Tensor:
        """Positions int64 [m] that this layer's cache holds zeros for when the tokens behind the gap come."""
        start, window = passage.start, self.config.window
        if not self.is_local:
            return torch.arange(passage.head, start)
        taken = passage.seen_at(window) if passage.head < start else torch.arange(start)
        recent = torch.arange(max(start - window, 0), start)
        return recent[~torch.isin(recent, taken)]


def _linear(rows: torch.Tensor, weight: torch.Tensor, numerics: Numerics) -> torch.Tensor:
    if numerics.activations == "int8":
        rows = fake_quantize_tokens(rows)
    return rows @ weight.T
