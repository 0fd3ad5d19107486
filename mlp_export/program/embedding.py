"""The embedding that stays on the CPU, whatever the delegate: its table, the lookup, and the table read back."""

from __future__ import annotations

from dataclasses import dataclass

import executorch.kernels.quantized  # noqa: F401  registers quantized_decomposed's out variants
import torch
from executorch.exir.schema import Tensor

from mlp_export.errors import InputError
from mlp_export.models.quantized_weight import QuantizedWeight
from mlp_export.program.layout import pack_embedding, pack_linear, unpack_embedding, unpack_linear
from mlp_export.program.pte import OpenPte, read_bytes
from mlp_export.program.stored_weight import StoredWeight
from mlp_export.program.tables import EMBEDDING_BITS, dtype, kernel_calls

_FLIP = "aten::flip"


@dataclass(frozen=True)
class EmbeddingTable:
    """The embedding as the program stores it. `swapped`: the bytes are those of XNNPACK's head, so each pair of
    columns comes out swapped.
    """

    packed: torch.Tensor
    scales: torch.Tensor
    bits: int
    swapped: bool

    @staticmethod
    def of(weight: QuantizedWeight, scale_dtype: torch.dtype, share_with_head: bool) -> EmbeddingTable:
        """`scale_dtype` is what the runtime's kernel reads; the scales must survive it exactly."""
        scales = weight.scales.to(scale_dtype)
        if not torch.equal(scales.float(), weight.scales.float()):
            scales = weight.scales.float()
        swapped = share_with_head and weight.bits == 4
        packed = pack_linear(weight.codes, 4) if swapped else pack_embedding(weight.codes, weight.bits)
        return EmbeddingTable(packed, scales, weight.bits, swapped)


class Embedding(torch.nn.Module):
    """Rows of a table: tokens int64 [1, S] to float32 [S, hidden]."""

    codes: torch.Tensor
    scales: torch.Tensor

    def __init__(self, table: EmbeddingTable, hidden_size: int) -> None:
        super().__init__()
        self.bits, self.swapped, self.hidden_size = table.bits, table.swapped, hidden_size
        self.register_buffer("codes", table.packed)
        self.register_buffer("scales", table.scales)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        if self.bits == 4:
            rows = torch.ops.quantized_decomposed.embedding_4bit.dtype(
                self.codes, self.scales, None, -8, 7, tokens, dtype=torch.float32
            )
        else:
            rows = torch.ops.quantized_decomposed.embedding_byte.dtype(
                self.codes, self.scales, None, -128, 127, tokens, dtype=torch.float32
            )
        if self.swapped:
            rows = rows.view(1, -1, self.hidden_size // 2, 2).flip(-1)
        return rows.view(-1, self.hidden_size)


def read_embedding(pte: OpenPte, like: QuantizedWeight) -> StoredWeight:
    """Codes and scales of the table in a finished `.pte`, laid out as `like` (whose values are not used).

    Raises InputError where the program looks up no quantized embedding, or one of another size.
    """
    path, layout, plan = pte.path, pte.layout, pte.forward
    calls = kernel_calls(plan)
    for operator, arguments in calls:
        if operator in EMBEDDING_BITS:
            codes_value, scales_value = (plan.values[index].val for index in arguments[:2])
            break
    else:
        raise InputError(f"{path} looks up no quantized embedding")
    if not isinstance(codes_value, Tensor) or not isinstance(scales_value, Tensor):
        raise InputError(f"the embedding of {path} is not a constant tensor")
    bits = EMBEDDING_BITS[operator]
    if codes_value.sizes[0] * codes_value.sizes[1] * 8 // bits != like.codes.numel():
        raise InputError(f"the embedding of {path} is {codes_value.sizes}, expected that of {like.codes.shape}")
    rows, groups = like.codes.shape[0], like.scales.numel() // like.codes.shape[0]
    scale_dtype = dtype(scales_value)

    def constant(value: Tensor, size: int) -> torch.Tensor:
        return read_bytes(pte.data, layout.segment_base + layout.constants[value.data_buffer_idx], size)

    codes = constant(codes_value, rows * like.codes.shape[1] * bits // 8).view(rows, -1)
    scales = constant(scales_value, rows * groups * scale_dtype.itemsize).view(scale_dtype)
    # A program that flips pairs after the lookup reads the delegate's head, whose nibbles stand the other way round.
    flipped = bits == 4 and any(operator == _FLIP for operator, _ in calls)
    unpack = unpack_linear if flipped else unpack_embedding
    return StoredWeight(unpack(codes, bits), scales.view(like.scales.shape))
