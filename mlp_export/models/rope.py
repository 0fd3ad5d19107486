"""Rotary position embeddings: frequencies, and the two layouts of a head's pairs.

Interleaved, which everything here computes in: values 2 i and 2 i + 1 of a head are a pair. Rotate-half, which most
checkpoints and graphs without a cheap shuffle have: values i and i + head_dim / 2. Attention scores are sums over the
pairs of a head, so the same permutation of q and k leaves them as they are.
"""

from __future__ import annotations

import math

import torch

from mlp_export.models.config import Rope


def rope_frequencies(rope: Rope, head_dim: int) -> torch.Tensor:
    """Radians a position, float32 [head_dim / 2], slowest last; Llama 3's scaling as in transformers' `rope_type:
    llama3`.
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    frequencies = 1.0 / rope.theta**exponents
    scaling = rope.scaling
    if scaling is None:
        return frequencies
    wavelengths = 2 * math.pi / frequencies
    original = scaling.original_max_positions
    # 1 keeps a frequency, 0 divides it by the factor; between the two wavelengths it goes from one to the other.
    share = (original / wavelengths - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    share = share.clamp(0, 1)
    return frequencies * (share + (1 - share) / scaling.factor)


def interleave_rows(rows: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Rows [heads * head_dim, ...] from the rotate-half layout to the interleaved one."""
    return rows.reshape(-1, 2, head_dim // 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def rotate_half_rows(rows: torch.Tensor, head_dim: int) -> torch.Tensor:
    """The inverse of `interleave_rows`."""
    return rows.reshape(-1, head_dim // 2, 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)
