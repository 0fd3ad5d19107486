"""Codes and scales read back out of a finished `.pte`, whatever the exporter meant to write."""

from __future__ import annotations

from pathlib import Path

import torch

from mlp_export.errors import InputError
from mlp_export.models.quantized_weight import QuantizedWeight
from mlp_export.program.embedding import read_embedding
from mlp_export.program.layout import unpack_linear
from mlp_export.program.pte import OpenPte, PteLayout, read_bytes
from mlp_export.program.stored_weight import StoredWeight

# Linears of a layer that are stored as rows of one weight: in which weights (of the last layer others), and where the
# rows begin, counted in the part's own height: from the top, or from the bottom where negative.
_FUSED = {
    "q": (("qkv",), 0),
    "k": (("qkv", "kv"), -2),
    "v": (("qkv", "kv"), -1),
    "gate": (("gate_up",), 0),
    "up": (("gate_up",), -1),
}
_EQUAL_HALVES = ("kv", "gate_up")


def read_weight(pte: OpenPte, name: str, like: QuantizedWeight) -> StoredWeight:
    """Codes and scales of weight `name`, laid out as `like` (whose values are not used).

    Raises InputError where the file has no such weight, or one of another size.
    """
    if name == "embed":
        return read_embedding(pte, like)
    rows, columns = like.codes.shape
    scale_dtype = torch.float32 if like.group_size == columns else torch.bfloat16
    code_bytes, scale_bytes = columns * like.bits // 8, like.scales.shape[1] * scale_dtype.itemsize  # of a row
    layout = pte.layout
    stored, start = _place(layout, name, pte.path)
    codes_at, codes_size = layout.named_span(stored)
    scales_at, scales_size = layout.named_span(f"{stored}.scales")
    height = codes_size // code_bytes
    fits = stored == name and height == rows
    if stored != name:
        equal_halves = stored.rpartition(".")[2] in _EQUAL_HALVES
        fits = height == 2 * rows if equal_halves else height > max(1, -start) * rows
    if not fits or codes_size != height * code_bytes or scales_size != height * scale_bytes:
        raise InputError(
            f"{pte.path}: {stored!r} has {codes_size:,} bytes of codes and {scales_size:,} of scales, which does not "
            f"fit {name!r} of {rows} x {columns} in {like.bits} bits",
            "export it again",
        )
    first = start * rows if start >= 0 else height + start * rows
    codes = read_bytes(pte.data, codes_at + first * code_bytes, rows * code_bytes)
    scales = read_bytes(pte.data, scales_at + first * scale_bytes, rows * scale_bytes).view(scale_dtype)
    unpacked = unpack_linear(codes.view(rows, -1), like.bits)
    return StoredWeight(unpacked, scales.view(like.scales.shape))


def _place(layout: PteLayout, name: str, path: Path) -> tuple[str, int]:
    """The name of the stored weight that holds weight `name`, and where its rows begin as `_FUSED` has it. Files of
    earlier releases store each linear by itself.
    """
    layer, _, part = name.rpartition(".")
    fused, start = _FUSED.get(part, ((), 0))
    for stored, at in ((name, 0), *((f"{layer}.{weight}", start) for weight in fused)):
        try:
            layout.named_segment(stored)
        except KeyError:
            continue
        return stored, at
    raise InputError(f"{path} holds no weight {name!r}", "export it again")
