"""What an artifact shows of its layers, whatever its backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

# What a layer shows: queries after RoPE and QK norm, times the softmax scale, [n, heads, head_dim]; what o takes
# [n, heads * head_dim]; hidden rows behind the attention [n, hidden]; what down takes [n, ffn]; hidden rows behind it.
TAPS = ("q.scaled", "attended", "attention_sum", "activated", "ffn_sum")


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
    # float32, at the rows that were asked for: "layers.3.q.scaled" and so on for each of TAPS, of the last layer at the
    # last token alone. A float16 program shows each result by the decoder's name for it, cached rows among them.
    results: Mapping[str, torch.Tensor]


class TappedSession(Protocol):
    """A loaded program that shows what its layers compute. Its caches start as zeros."""

    most_rows: int  # tokens one call takes

    def forward(self, tokens: Sequence[int], position: int, rows: Sequence[int]) -> TappedCall:
        """`tokens`, which stand at `position`, `position` + 1, ..., with the results of `rows` among them; the last row
        is one.
        """
        ...
