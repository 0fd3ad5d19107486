"""Tokens with their positions, as a cache sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


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
