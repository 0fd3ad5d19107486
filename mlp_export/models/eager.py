"""The decoder in PyTorch: the definition of right for every backend.

One pass over whole sequences, layer by layer: a layer's weights are asked for when it is computed and dropped behind
it, so that a model far larger than the memory at hand has a reference. There is no KV cache to be wrong: every key
and value of a sequence is there, and a mask says which a query sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from mlp_export.errors import InputError
from mlp_export.models.config import ModelConfig
from mlp_export.models.layer import decode_layer, final_norm
from mlp_export.models.numerics import Numerics
from mlp_export.models.rope import rope_frequencies
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.models.weights import LayerWeights, WeightSource

# Scores of 20 heads over 131,072 keys are 10 MB a query: queries are attended in blocks.
_SCORES_BYTES = 256_000_000
# What to do where numbers of a checkpoint leave the range of their type.
OUT_OF_RANGE = "its weights are damaged, or too large: see whether it answers in transformers, and fetch it again"
_HEAD_ROWS = 16384  # of 202,048, each 5 kB: the head is computed in blocks
# gelu_tanh(x) = x sigmoid(x (a + b x^2)): 0.5 (1 + tanh(y)) is sigmoid(2 y), with y = sqrt(2 / pi) (x + 0.044715 x^3).
GELU_TANH = (1.5957691216057308, 0.0713548162726009)


class WeightVisitor(Protocol):
    """Whoever wants the weights that a decoding reads anyway."""

    def layer(self, weights: WeightSource, layer: int) -> None:
        """Each layer with its weights, in the order of the model. They are dropped behind the call."""
        ...

    def head(self, ids: torch.Tensor, rows: torch.Tensor) -> None:
        """Rows `ids` [n] of the head, float32 [n, hidden], block by block."""
        ...


def decode(
    weights: WeightSource,
    sequences: Sequence[TokenSequence],
    numerics: Numerics,
    on_layer: Callable[[], object] = lambda: None,
) -> list[torch.Tensor]:
    """Logits float32 [len(logit_indices), vocabulary] of each sequence. `on_layer` is called after each layer."""
    return decode_each(weights, [(sequence, numerics) for sequence in sequences], on_layer)


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
    with torch.no_grad():
        hidden = [EagerOps(weights, numerics, sequence).embedding("embed") for sequence, numerics in runs]
        for layer in range(config.num_layers):
            kept = LayerWeights(weights)
            hidden = [
                decode_layer(EagerOps(kept, numerics, sequence), config, layer, rows)
                for rows, (sequence, numerics) in zip(hidden, runs, strict=True)
            ]
            if visitor is not None:
                visitor.layer(kept, layer)
            del kept
            on_layer()
        operators = [EagerOps(weights, numerics, sequence) for sequence, numerics in runs]
        return [
            final_norm(ops, config, ops.last_row("last", rows)) for rows, ops in zip(hidden, operators, strict=True)
        ]


def head_logits(
    weights: WeightSource, runs: Sequence[tuple[torch.Tensor, Numerics]], visitor: WeightVisitor | None = None
) -> list[torch.Tensor]:
    """Logits float32 [n, vocabulary] of rows [n, hidden] that `decode_rows` returned, or of some of them.

    Raises InputError where they are not finite: nothing can be compared with them.
    """
    vocabulary = weights.config.vocab_size
    with torch.no_grad():
        logits = [torch.empty(len(rows), vocabulary) for rows, _ in runs]
        for ids in torch.arange(vocabulary).split(_HEAD_ROWS):
            head = weights.rows("head", ids)
            for (rows, numerics), out in zip(runs, logits, strict=True):
                out[:, ids] = numerics.linear_input(rows) @ head.T
            if visitor is not None:
                visitor.head(ids, head)
        found = [numerics.point("head", rows) for rows, (_, numerics) in zip(logits, runs, strict=True)]
    if not all(bool(rows.isfinite().all()) for rows in found):
        raise InputError("the model answers NaN or infinity", OUT_OF_RANGE)
    return found


def rms_norm(rows: torch.Tensor, weight: torch.Tensor | None, eps: float) -> torch.Tensor:
    """x / sqrt(mean(x^2) + eps) over the last dimension, times `weight` where there is one."""
    unit = rows * torch.rsqrt(rows.pow(2).mean(-1, keepdim=True) + eps)
    return unit if weight is None else unit * weight


class EagerOps:
    """`Ops` over the float32 rows of one sequence; every result passes through `numerics` under its name."""

    def __init__(self, weights: WeightSource, numerics: Numerics, sequence: TokenSequence) -> None:
        self.weights, self.config, self.numerics, self.sequence = weights, weights.config, numerics, sequence

    def embedding(self, name: str) -> torch.Tensor:
        return self.numerics.point(name, self.weights.rows(name, torch.tensor(self.sequence.tokens)))

    def rms_norm(self, name: str, rows: torch.Tensor, weight: str | None, eps: float) -> torch.Tensor:
        return self.numerics.point(name, rms_norm(rows, None if weight is None else self.weights.vector(weight), eps))

    def linear(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        values = self.numerics.linear_input(rows) @ self.weights.matrix(name).T
        if name.rpartition(".")[2] in self.config.biases:
            values = self.numerics.point(f"{name}.product", values) + self.weights.vector(f"{name}_bias")
        return self.numerics.point(name, values)

    def heads(self, name: str, rows: torch.Tensor, count: int) -> torch.Tensor:
        return rows.unflatten(-1, (count, self.config.head_dim))

    def rope(self, name: str, rows: torch.Tensor, layer: int) -> torch.Tensor:
        return self.rope_at(name, rows, layer, self.sequence.positions())

    def rope_at(self, name: str, rows: torch.Tensor, layer: int, positions: torch.Tensor) -> torch.Tensor:
        """`rope` of rows at any positions [n]. Interleaved pairs: (x, y) to (x cos - y sin, y cos + x sin)."""
        point, part = self.numerics.point, name.rpartition(".")[0]
        cos, sin = self._rotation(layer, positions)
        swapped = torch.stack([rows[..., 1::2], rows[..., 0::2]], dim=-1).flatten(-2)
        along = point(f"{part}.cos", rows * cos.repeat_interleave(2, -1))
        across = point(f"{part}.sin", swapped * torch.stack([-sin, sin], dim=-1).flatten(-2))
        return point(name, along + across)

    def _rotation(self, layer: int, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines [n, 1, head_dim / 2] of positions [n]."""
        rope = self.config.rope(layer)
        if rope is None:
            raise ValueError(f"layer {layer} has no position embeddings")
        angles = positions.float().view(-1, 1, 1) * rope_frequencies(rope, self.config.head_dim)
        cos, sin = rope_names(self.config, layer)
        return self.numerics.point(cos, angles.cos()), self.numerics.point(sin, angles.sin())

    def attention(
        self, name: str, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layer: int
    ) -> torch.Tensor:
        prefix = name.rpartition(".")[0]
        query = self.numerics.point(f"{prefix}.q.scaled", query * self.config.softmax_scale)
        key, value = self.numerics.cached(f"{prefix}.k", key), self.numerics.cached(f"{prefix}.v", value)
        return attention(self.config, layer, query, key, value, self.sequence, self.numerics)

    def activation(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        """SiLU, x sigmoid(x), or the tanh form of GELU."""
        point, prefix = self.numerics.point, name.rpartition(".")[0]
        argument = rows
        if self.config.activation == "gelu_tanh":
            linear, cubic = GELU_TANH
            slope = point(f"{name}.slope", point(f"{name}.square", rows * rows) * cubic + linear)
            argument = point(f"{name}.argument", rows * slope)
        return point(name, rows * point(f"{prefix}.sigmoid", torch.sigmoid(argument)))

    def multiply(self, name: str, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.numerics.point(name, a * b)

    def residual_add(self, name: str, hidden: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return self.numerics.point(name, hidden + rows)

    def last_row(self, name: str, hidden: torch.Tensor) -> torch.Tensor:
        return hidden[list(self.sequence.logit_indices)]


def rope_names(config: ModelConfig, layer: int) -> tuple[str, str]:
    """What the cosines and sines are called that turn layer `layer`: those of further bases have a number."""
    rope = config.rope(layer)
    number = 0 if rope is None else config.ropes.index(rope)
    return ("cos", "sin") if number == 0 else (f"cos.{number}", f"sin.{number}")


def attention(
    config: ModelConfig,
    layer: int,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    sequence: TokenSequence,
    numerics: Numerics,
) -> torch.Tensor:
    """Scaled queries [n, heads, head_dim], keys and values [n, kv_heads, head_dim] of `sequence`, as they are cached:
    [n, heads * head_dim].
    """
    rows, prefix, is_local = len(query), sequence.prefix, config.local_layers[layer]
    positions = key_positions = sequence.positions()
    gap = _unwritten(config, layer, sequence)
    if len(gap):
        zeros = torch.zeros(len(gap), config.num_kv_heads, config.head_dim)
        key, value = torch.cat([zeros, key]), torch.cat([zeros, value])
        key_positions = torch.cat([gap, positions])
    attended = []
    step = max(1, _SCORES_BYTES // (4 * config.num_heads * len(key_positions)))
    for first in range(0, rows, step):
        part = slice(first, first + step)
        distance = positions[part, None] - key_positions
        if is_local and sequence.start > prefix:
            behind = positions[part] >= sequence.start
            seen = positions[part][behind, None] - sequence.seen_at(config.window)
            distance[behind, len(gap) : len(gap) + prefix] = seen
        attended.append(attend(config, layer, query[part], key, value, distance, numerics)[0])
    return torch.cat(attended)


def attend(
    config: ModelConfig,
    layer: int,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    distance: torch.Tensor,
    numerics: Numerics,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scaled queries [n, heads, head_dim] over keys and values [T, kv_heads, head_dim], which are `distance` [n, T]
    positions before them: [n, heads * head_dim], with scores and shares [kv_heads, group, n, T].
    """
    name = f"layers.{layer}"
    keys, values = key.transpose(0, 1), value.transpose(0, 1)
    queries = grouped_heads(config, query)
    visible = distance >= 0
    if config.local_layers[layer]:
        visible &= distance < config.window
    scores = queries @ keys.unsqueeze(1).transpose(-1, -2)
    # What is not seen stands for nothing: zeros widen no range.
    scores = numerics.point(f"{name}.scores", scores.masked_fill_(~visible, 0.0))
    masked = numerics.point(f"{name}.masked", scores).masked_fill(~visible, float("-inf"))
    shares = numerics.point(f"{name}.shares", torch.softmax(masked, -1))
    attended = numerics.point(f"{name}.attended", shares @ values.unsqueeze(1))
    return merged_heads(attended), scores, shares


def grouped_heads(config: ModelConfig, query: torch.Tensor) -> torch.Tensor:
    """[n, heads, head_dim] as [kv_heads, group, n, head_dim]: those that share keys stand together."""
    return query.unflatten(1, (config.num_kv_heads, -1)).permute(1, 2, 0, 3)


def merged_heads(attended: torch.Tensor) -> torch.Tensor:
    """[kv_heads, group, n, head_dim] as [n, heads * head_dim]."""
    return attended.permute(2, 0, 1, 3).reshape(attended.shape[2], -1)


def _unwritten(config: ModelConfig, layer: int, sequence: TokenSequence) -> torch.Tensor:
    """Positions int64 [m] that the layer's cache holds zeros for when the tokens behind the gap come."""
    start, window = sequence.start, config.window
    if not config.local_layers[layer]:
        return torch.arange(sequence.prefix, start)
    taken = sequence.seen_at(window) if sequence.prefix < start else torch.arange(start)
    recent = torch.arange(max(start - window, 0), start)
    return recent[~torch.isin(recent, taken)]
