"""Codes and scales read back out of a finished `.pte`, whatever the exporter meant to write."""

from __future__ import annotations

from pathlib import Path

import torch

from mlp_export.backends.base import StoredWeight
from mlp_export.backends.embedding import read_embedding
from mlp_export.backends.layout import unpack_linear
from mlp_export.backends.pte import mapped, read_bytes, read_layout
from mlp_export.errors import InputError
from mlp_export.quantization import QuantizedWeight


def read_weight(path: Path, name: str, like: QuantizedWeight) -> StoredWeight:
    """Codes and scales of weight `name`, laid out as `like` (whose values are not used).

    Raises InputError where the file has no such weight, or one of another size.
    """
    if name == "embed":
        return read_embedding(path, like)
    with mapped(path) as data:
        layout = read_layout(data, str(path))
        try:
            codes = read_bytes(data, *layout.named_span(name))
        except KeyError as error:
            raise InputError(f"{path} holds no weight {name!r}", "export it again") from error
        if codes.numel() * 8 // like.bits != like.codes.numel():
            wanted = like.codes.numel() * like.bits // 8
            raise InputError(f"a weight of {codes.numel()} bytes where {wanted} were expected")
        scale_dtype = torch.float32 if like.group_size == like.codes.shape[1] else torch.bfloat16
        scales = read_bytes(data, *layout.named_span(f"{name}.scales")).view(scale_dtype)
    unpacked = unpack_linear(codes.view(like.codes.shape[0], -1), like.bits)
    return StoredWeight(unpacked, scales.view(like.scales.shape))
