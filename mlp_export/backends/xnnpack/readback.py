"""Codes and scales read back out of a finished `.pte`, whatever the exporter meant to write."""

from __future__ import annotations

from pathlib import Path

import torch
from executorch.exir._serialize._program import _flatbuffer_to_program
from executorch.exir.schema import Tensor

from mlp_export.backends.xnnpack.layout import unpack_embedding, unpack_linear
from mlp_export.backends.xnnpack.pte import PteLayout, mapped, read_layout
from mlp_export.errors import InputError
from mlp_export.program_tables import EMBEDDING_BITS, kernel_calls
from mlp_export.quantization import QuantizedWeight

_FLIP = "aten::flip"
# executorch/exir/scalar_type.py
_SCALE_DTYPES = {5: torch.float16, 6: torch.float32, 15: torch.bfloat16}


def read_weight(path: Path, name: str, like: QuantizedWeight) -> QuantizedWeight:
    """Codes and scales of weight `name`, laid out as `like` (whose values are not used).

    Raises InputError where the file has no such weight, or one of another size.
    """
    with mapped(path) as data:
        layout = read_layout(data, str(path))
        if name == "embed":
            return _read_embedding(data, layout, like)
        if name not in layout.named_data:
            raise InputError(f"{path} holds no weight {name!r}")
        codes = _bytes(data, *layout.named_span(name))
        scale_dtype = torch.float32 if like.group_size == like.codes.shape[1] else torch.bfloat16
        scales = _bytes(data, *layout.named_span(f"{name}.scales"))
        return _weight(unpack_linear(_rows(codes, like), like.bits), scales.view(scale_dtype), like)


def _read_embedding(data: memoryview | object, layout: PteLayout, like: QuantizedWeight) -> QuantizedWeight:
    program = _flatbuffer_to_program(bytes(data[: layout.segment_base]))  # type: ignore[index]
    plan = next(plan for plan in program.execution_plan if plan.name == "forward")
    calls = kernel_calls(plan)
    for operator, arguments in calls:
        if operator in EMBEDDING_BITS:
            codes_value, scales_value = (plan.values[index].val for index in arguments[:2])
            break
    else:
        raise InputError("the program looks up no quantized embedding")
    if not isinstance(codes_value, Tensor) or not isinstance(scales_value, Tensor):
        raise InputError("the program's embedding is not a constant tensor")
    bits = EMBEDDING_BITS[operator]
    rows, groups = like.codes.shape[0], like.scales.numel() // like.codes.shape[0]
    codes = _bytes(
        data,
        layout.segment_base + layout.constants[codes_value.data_buffer_idx],
        rows * like.codes.shape[1] * bits // 8,
    )
    scale_dtype = _SCALE_DTYPES[int(scales_value.scalar_type)]
    scale_bytes = rows * groups * scale_dtype.itemsize
    scales = _bytes(data, layout.segment_base + layout.constants[scales_value.data_buffer_idx], scale_bytes)
    # A program that flips pairs after the lookup reads the head's bytes, whose nibbles stand the other way round.
    flipped = bits == 4 and any(operator == _FLIP for operator, _ in calls)
    unpack = unpack_linear if flipped else unpack_embedding
    return _weight(unpack(_rows(codes, like), bits), scales.view(scale_dtype), like)


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
