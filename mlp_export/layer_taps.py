"""What an artifact shows of its layers, whatever its backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch


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
    # Results of layers at the rows that were asked for, by the decoder's names: "layers.3.query" [n, heads, head_dim],
    # after RoPE and QK norm, times the softmax scale; "layers.3.attended" [n, heads * head_dim], what o takes;
    # "layers.3.attention_sum" [n, hidden], behind the attention; "layers.3.activated" [n, ffn], what down takes;
    # "layers.3.ffn_sum" [n, hidden]. The last layer's are of the last token alone.
    results: Mapping[str, torch.Tensor]


class TappedSession(Protocol):
    """An artifact that shows its layers' results; its caches start as zeros."""

    most_rows: int  # tokens that a call may have

    def forward(self, tokens: Sequence[int], position: int, rows: Sequence[int]) -> TappedCall:
        """`tokens`, which stand at `position`, `position` + 1, ..., with the results of `rows` among them; the last row
        is one.
        """
        ...
