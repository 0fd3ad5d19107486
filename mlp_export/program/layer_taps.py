"""What an artifact shows of its layers, whatever its backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from mlp_export.models.eager import WeightVisitor
from mlp_export.models.numerics import Numerics
from mlp_export.models.token_sequence import TokenSequence

# What a layer shows: queries after RoPE and QK norm, times the softmax scale, [n, heads, head_dim]; what o takes
# [n, heads * head_dim]; hidden rows behind the attention [n, hidden]; what down takes [n, ffn]; hidden rows behind it.
TAPS = ("query", "attended", "attention_sum", "activated", "ffn_sum")


@dataclass(frozen=True)
class CachedRows:
    """Keys or values of one layer as they go to its cache: codes int8 or values [n, kv_heads, head_dim]; scales float32
    [n, kv_heads, 1] where there are codes.
    """

    values: torch.Tensor
    scales: torch.Tensor | None = None

    def dequantize(self) -> torch.Tensor:
        """float32 [n, kv_heads, head_dim]"""
        return self.values.float() if self.scales is None else self.values * self.scales

    def __getitem__(self, rows: Sequence[int]) -> CachedRows:
        index = list(rows)
        return CachedRows(self.values[index], None if self.scales is None else self.scales[index])


@dataclass(frozen=True)
class TappedCall:
    """What one call computed. Keys and values are of all its tokens, layer by layer."""

    logits: torch.Tensor  # [vocabulary] float32
    keys: Sequence[CachedRows]
    values: Sequence[CachedRows]
    # "layers.3.query" and so on for each of TAPS, float32, at the rows that were asked for; of the last layer at the
    # last token alone.
    results: Mapping[str, torch.Tensor]


class LayerWatch(WeightVisitor, Protocol):
    """An artifact's layers compared with the reference's, in the course of a decoding that sees the weights anyway."""

    @property
    def runs(self) -> Sequence[tuple[TokenSequence, Numerics]]:
        """What to decode for it, beside what is decoded anyway."""
        ...

    @property
    def passed(self) -> bool:
        """Whether every layer was within its limits. Behind the decoding."""
        ...

    def summary(self) -> str:
        """What was compared and how close it was, or what was not within its limit."""
        ...
