"""One weight as integer codes and scales: the type that every quantizer makes and every backend takes."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

import torch

from mlp_export.errors import InputError

Bits = Literal[4, 8]


@dataclass(frozen=True)
class WeightFormat:
    """Symmetric codes of `bits` with a scale each `group_size` columns; None: a scale an output channel (row)."""

    bits: Bits
    group_size: int | None

    @property
    def name(self) -> str:
        """As the manifest spells it: "int4-g32", "int8-per-channel"."""
        return f"int{self.bits}-" + ("per-channel" if self.group_size is None else f"g{self.group_size}")

    @staticmethod
    def from_name(name: str) -> WeightFormat | None:
        """The format of that name; None for a name that is none."""
        match = re.fullmatch(r"int([48])-(?:g([1-9]\d*)|per-channel)", name)
        return match and WeightFormat(4 if match[1] == "4" else 8, int(match[2]) if match[2] else None)

    @property
    def low(self) -> int:
        """The least code."""
        return -(2 ** (self.bits - 1))

    @property
    def high(self) -> int:
        """The greatest code."""
        return 2 ** (self.bits - 1) - 1

    @property
    def scale_dtype(self) -> torch.dtype:
        """What scales are kept in: XNNPACK has those of groups in bf16, those of channels in float32."""
        return torch.float32 if self.group_size is None else torch.bfloat16

    def scales_per_row(self, columns: int) -> int:
        """Scales that a row of `columns` weights has."""
        return 1 if self.group_size is None else columns // self.group_size


@dataclass(frozen=True)
class QuantizedWeight:
    """A weight [out, in] as codes int8 [out, in] in [-2^(bits-1), 2^(bits-1) - 1] and scales [out, in / group_size].

    Scales are float32, or the narrower dtype that the artifact has them in. Weights with float16 scales are float16
    when they are dequantized, as Core ML's formats say.
    """

    codes: torch.Tensor
    scales: torch.Tensor
    bits: Bits
    group_size: int  # columns that share a scale; all of them for a scale an output channel

    @property
    def format(self) -> WeightFormat:
        """A group as wide as the row is a scale an output channel."""
        return WeightFormat(self.bits, None if self.group_size == self.codes.shape[1] else self.group_size)

    def dequantize(self) -> torch.Tensor:
        """float32 [out, in]"""
        return _scaled(self.codes, self.scales, self.group_size)

    def dequantize_rows(self, ids: torch.Tensor) -> torch.Tensor:
        """float32 [n, in] of rows `ids` [n]."""
        return _scaled(self.codes[ids], self.scales[ids], self.group_size)

    def equals(self, other: QuantizedWeight) -> bool:
        """Whether codes and scales are the same numbers, bit for bit once in float32."""
        return torch.equal(self.codes, other.codes) and torch.equal(self.scales.float(), other.scales.float())


def _scaled(codes: torch.Tensor, scales: torch.Tensor, group_size: int) -> torch.Tensor:
    values = codes.to(torch.float32)
    values.view(values.shape[0], -1, group_size).mul_(scales.to(torch.float32).unsqueeze(-1))
    return values.to(torch.float16).float() if scales.dtype == torch.float16 else values


def with_half_scales(weight: QuantizedWeight) -> QuantizedWeight:
    """The same codes with scales in float16. Raises InputError where one does not fit it."""
    half = weight.scales.to(torch.float16)
    used = weight.codes.view(*weight.scales.shape, -1).ne(0).any(-1)
    lost = (half.isinf() | ((half == 0) & (weight.scales != 0))) & used
    if lost.any():
        worst = float(weight.scales[lost].max())
        raise InputError(
            f"a scale of {worst:.3g} does not fit float16, which Core ML's weights have",
            "export for the CPU, which keeps it in float32",
        )
    return replace(weight, scales=half)
