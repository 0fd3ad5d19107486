"""A weight that a checkpoint's files hold as integer codes, and what of it this project's kernels hold exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from mlp_export.checkpoints.safetensors_folder import FETCH_AGAIN, Stored, StoredTensors
from mlp_export.errors import InputError
from mlp_export.models.quantized_weight import Bits, QuantizedWeight, WeightFormat

_FACTORS = torch.linspace(0.86, 1.07, 22).tolist()  # of a scale whose sign is turned: what the search tries
_BLOCK_VALUES = 1 << 20


@dataclass(frozen=True)
class PackedWeight:
    """A weight [out, in] in files: `read_codes` gives int8 [out, in], `read_scales` [out, groups] in the file's dtype.

    Rows are in the order of the files.
    """

    source: Stored
    shape: tuple[int, int]
    bits: Bits
    groups: int  # scales a row
    read_codes: Callable[[], torch.Tensor]
    read_scales: Callable[[], torch.Tensor]

    @property
    def format(self) -> WeightFormat:
        return WeightFormat(self.bits, None if self.groups == 1 else self.shape[1] // self.groups)

    def read(self) -> QuantizedWeight:
        """Codes and scales as the files have them. Raises InputError for codes that `bits` bits do not hold."""
        codes, form = self.read_codes(), self.format
        low, high = (int(bound) for bound in torch.aminmax(codes))
        if low < form.low or high > form.high:
            raise InputError(
                f"{self.source.file}: `{self.source.key}` holds codes from {low} to {high}, "
                f"expected {form.low} to {form.high}",
                FETCH_AGAIN,
            )
        return QuantizedWeight(codes, self.read_scales(), self.bits, self.shape[1] // self.groups)


class FormatReader(Protocol):
    """A format's way to store a weight."""

    def take(self, stored: StoredTensors, key: str, shape: tuple[int, int]) -> PackedWeight | None:
        """Moves the tensors of weight `key` ("model.layers.0.mlp.up_proj.weight") out of `stored`; None where it is not
        stored as codes. Raises InputError, naming the tensor, for what is missing, has another shape, or is of a kind
        that cannot be read exactly.
        """
        ...


@dataclass(frozen=True)
class Deviation:
    """How far weights are from what kernels hold, counted in scales."""

    scales: int = 0
    negative: int = 0  # that cannot be made positive without a code beyond the highest
    rounded: int = 0  # group scales that bf16 does not hold
    worst: float = 0.0  # largest relative error of a rounded scale

    def __add__(self, other: Deviation) -> Deviation:
        return Deviation(
            self.scales + other.scales,
            self.negative + other.negative,
            self.rounded + other.rounded,
            max(self.worst, other.worst),
        )

    @property
    def exact(self) -> bool:
        return not self.negative and not self.rounded


def deviation(weights: Iterable[PackedWeight]) -> Deviation:
    """What of `weights` cannot be kept as it is. Reads scales, and codes where a scale is negative.

    Raises InputError for scales that are zero or not finite.
    """
    total = Deviation()
    for weight in weights:
        scales = weight.read_scales().float()
        bad = int((~scales.isfinite() | (scales == 0)).sum())
        if bad:
            raise InputError(
                f"{weight.source.file}: {bad} of the {scales.numel()} scales of `{weight.source.key}` are zero or not "
                "finite",
                FETCH_AGAIN,
            )
        negative = 0
        if bool((scales < 0).any()):
            negative = int(_beyond(weight.read()).sum())
        rounded, worst = 0, 0.0
        if weight.groups > 1:
            error = (scales.to(torch.bfloat16).float() / scales - 1).abs()
            rounded, worst = int((error > 0).sum()), float(error.max())
        total += Deviation(scales.numel(), negative, rounded, worst)
    return total


def representable(weight: QuantizedWeight) -> QuantizedWeight:
    """`weight` as kernels hold it: positive scales, float32 a channel and bf16 a group.

    Exact where `deviation` says so. A negative scale is turned with its codes; where one of these is the lowest, which
    has no opposite, the best of some positive scales is searched. Group scales are rounded to bf16.
    """
    scales = weight.scales.float()
    codes = weight.codes
    if bool((scales < 0).any()):
        codes, scales = _positive(replace(weight, scales=scales))
    dtype = torch.float32 if weight.format.group_size is None else torch.bfloat16
    return replace(weight, codes=codes, scales=scales.to(dtype))


def _beyond(weight: QuantizedWeight) -> torch.Tensor:
    """bool [out, groups]: whether a scale is negative beside a lowest code."""
    lowest = weight.codes.view(*weight.scales.shape, weight.group_size) == weight.format.low
    return (weight.scales.float() < 0) & lowest.any(-1)


def _positive(weight: QuantizedWeight) -> tuple[torch.Tensor, torch.Tensor]:
    form, group = weight.format, weight.group_size
    turned = weight.scales < 0
    beyond = _beyond(weight)
    codes = weight.codes.view(*weight.scales.shape, group).clone()
    exact = turned & ~beyond
    codes[exact] = -codes[exact]
    scales = weight.scales.abs()
    values = codes[beyond].float() * weight.scales[beyond].unsqueeze(-1)  # [n, group]
    best_codes, best_scales = torch.empty_like(codes[beyond]), scales[beyond]
    step = max(1, _BLOCK_VALUES // group)
    for first in range(0, len(values), step):
        part = values[first : first + step]
        base = scales[beyond][first : first + step]
        least = torch.full((len(part),), torch.inf)
        for factor in _FACTORS:
            tried = (base * factor).to(torch.bfloat16).float() if form.group_size is not None else base * factor
            rounded = (part / tried.unsqueeze(-1)).round().clamp(form.low, form.high)
            error = (rounded * tried.unsqueeze(-1) - part).square().sum(-1)
            better = error < least
            least[better] = error[better]
            best_codes[first : first + step][better] = rounded[better].to(torch.int8)
            best_scales[first : first + step][better] = tried[better]
    codes[beyond], scales[beyond] = best_codes, best_scales
    return codes.view(weight.codes.shape), scales
