"""Codes and scales read back out of a finished `.pte`, whatever the exporter meant to write."""

from __future__ import annotations

from pathlib import Path

import torch

from mlp_export.backends.embedding import read_embedding
from mlp_export.backends.layout import unpack_linear
from mlp_export.backends.pte import mapped, read_layout
from mlp_export.errors import InputError
from mlp_export.quantization import QuantizedWeight


def read_weight(path: Path, name: str, like: QuantizedWeight) -> QuantizedWeight:
    """Codes and scales of weight `name`, laid out as `like` (whose values are not used).

    Raises InputError where the file has no such weight, or one of another size.
    """
    if name == "embed":
        return read_embedding(path, like)
    with mapped(path) as data:
        layout = read_layout(data, str(path))
        if name not in layout.named_data:
            raise InputError(f"{path} holds no weight {name!r}")
        codes = _bytes(data, *layout.named_span(name))
        scale_dtype = torch.float32 if like.group_size == like.codes.shape[1] else torch.bfloat16
        scales = _bytes(data, *layout.named_span(f"{name}.scales"))
        return _weight(unpack_linear(_rows(codes, like), like.bits), scales.view(scale_dtype), like)


def _bytes(data: object, start: int, size: int) -> torch.Tensor:
    return torch.frombuffer(bytearray(data[start : start + size]), dtype=torch.uint8)  # type: ignore[index]


def _rows(packed: torch.Tensor, like: QuantizedWeight) -> torch.Tensor:
    if packed.numel() * 8 // like.bits != like.codes.numel():
        raise InputError(
            f"a weight of {packed.numel()} bytes where {like.codes.numel() * like.bits // 8} were expected"
        )
    return packed.view(like.codes.shape[0], -1)


def _weight(codes: torch.Tensor, scales: torch.Tensor, like: QuantizedWeight) -> QuantizedWeight:
    return QuantizedWeight(codes, scales.view(like.scales.shape), like.bits, like.group_size)
