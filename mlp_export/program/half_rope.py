"""RoPE by halves: a graph that turns the first half of a head against the second has no pairs to pick apart.

Pairs that are neighbours in the checkpoint have to be half a head apart there, so the rows of q and k are permuted.
Keys and queries are permuted alike, which leaves their products as they are.
"""

from __future__ import annotations

import torch

from mlp_export.models.quantized_weight import QuantizedWeight
from mlp_export.models.tensors import ROTATED, parameters
from mlp_export.quantization.store import QuantizedModel


def uses_rope(name: str) -> bool:
    """Whether RoPE turns what the linear `name` gives."""
    return name.rsplit(".", 1)[-1] in ROTATED


def rotate_half_permutation(rows: int, head_dim: int) -> torch.Tensor:
    """Rows int64 of a linear that is turned in the order that the graph has: the even ones of a head before the odd."""
    halves = torch.cat([torch.arange(0, head_dim, 2), torch.arange(1, head_dim, 2)])
    return torch.arange(rows).view(-1, head_dim)[:, halves].reshape(-1)


def graph_weight(model: QuantizedModel, name: str) -> QuantizedWeight:
    """A linear's codes and scales in the order of rows that such a graph has."""
    weight = model.weight(name)
    if not uses_rope(name):
        return weight
    rows = rotate_half_permutation(weight.codes.shape[0], model.config.head_dim)
    return QuantizedWeight(weight.codes[rows], weight.scales[rows], weight.bits, weight.group_size)


def graph_vector(model: QuantizedModel, name: str) -> torch.Tensor:
    """A norm or a bias float32 [n] in the same order: what belongs to q and k goes where their rows go."""
    values = model.vector(name)
    if not parameters(model.config)[name].rotated:
        return values
    return values[rotate_half_permutation(len(values), model.config.head_dim)]
