"""Rounding to the nearest code, exactly as a checkpoint's training saw it; codes that it stores as they are.

The arithmetic is torchao's (`choose_qparams_affine`, `quantize_affine`), put together as its QAT fake-
quantizer (`IntxFakeQuantizer`, scale precision float32) does it: the scale is computed in the checkpoint's dtype,
kept as float32, and the division and rounding happen in float32. Its PTQ path rounds in bf16 instead, which flips 1
to 2 codes in 100 of a bf16 checkpoint. tests/quantization/test_quantization.py holds both against the fake-quantizer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torchao.quantization.quant_primitives import MappingType, choose_qparams_affine, quantize_affine

from mlp_export.checkpoints.checkpoint import Checkpoint
from mlp_export.checkpoints.formats.recognize import FLOAT_MODEL
from mlp_export.checkpoints.safetensors_folder import list_names
from mlp_export.errors import InputError
from mlp_export.models.quantized_weight import QuantizedWeight, WeightFormat
from mlp_export.quantization.scheme import Scheme
from mlp_export.quantization.store import WeightStore

_BLOCK_VALUES = 1 << 21


def round_checkpoint(
    checkpoint: Checkpoint,
    scheme: Scheme,
    folder: Path,
    on_weight: Callable[[], object] = lambda: None,
    *,
    allow_lossy: bool = False,
) -> WeightStore:
    """Round each weight of a checkpoint to `scheme`, into a store in `folder`, which must not exist. `on_weight` is
    called after each. Weights that the checkpoint holds as codes are taken as they are.

    Raises InputError for values that are not finite, where Core ML's scales do not fit, and unless `allow_lossy` for
    stored codes and scales that no kernel holds exactly.
    """
    if not allow_lossy:
        check_exact(checkpoint)
    store = WeightStore.create(folder, scheme)
    for name in checkpoint.weight_names():
        if name != "head" or not scheme.ties(checkpoint.config):
            stored = checkpoint.quantized(name)
            if stored is not None:
                store.add(name, with_format(stored, scheme.format(name)))
            else:
                learned = checkpoint.learned_scale(name) if scheme.learned else None
                store.add(name, quantize_weight(checkpoint.tensor(name), scheme.format(name), learned))
        on_weight()
    return store


def with_format(weight: QuantizedWeight, form: WeightFormat) -> QuantizedWeight:
    """The same codes and scales in a format that holds them: more bits, or smaller groups, which repeat a scale.

    Raises InputError for a format that does not hold them.
    """
    columns = weight.codes.shape[1]
    group = form.group_size or columns
    if form.bits < weight.bits or weight.group_size % group:
        raise InputError(
            f"the checkpoint has codes of {weight.format.name}, expected {form.name}",
            "give the checkpoint that the bundle was made from",
        )
    scales = weight.scales.repeat_interleave(weight.group_size // group, dim=1)
    return QuantizedWeight(weight.codes, scales.to(form.scale_dtype), form.bits, group)


def check_exact(checkpoint: Checkpoint) -> None:
    """Raises InputError where kernels do not hold the codes and scales that a quantized checkpoint stores, with the
    number of them.
    """
    found = checkpoint.deviation
    if found.negative:
        raise InputError(
            f"{checkpoint.path}: {100 * found.negative / found.scales:.1f} % of the {found.scales:,} scales are "
            "negative beside the lowest code, which no XNNPACK kernel takes",
            f"{FLOAT_MODEL}; --allow-lossy takes the nearest positive scales and says what that costs",
        )
    if found.rounded:
        raise InputError(
            f"{checkpoint.path}: {100 * found.rounded / found.scales:.1f} % of the {found.scales:,} scales are no bf16 "
            f"numbers, which XNNPACK's groups have; rounding changes one by {found.worst:.1e} at most",
            "--allow-lossy rounds them and says what that costs; a checkpoint with bf16 scales is exact",
        )


def storage_notes(checkpoint: Checkpoint, scheme: Scheme) -> list[str]:
    """Lines for the person: what a quantized checkpoint leaves as floats, and so was rounded here."""
    if checkpoint.kind != "quantized":
        return []
    names: dict[str, list[str]] = {}
    for name in checkpoint.weight_names():
        if name not in checkpoint.formats:
            names.setdefault(scheme.format(name).name, []).append(name)
    taken = "taken from the checkpoint" + (" as they are" if checkpoint.deviation.exact else "")
    lines = [f"codes and scales of {len(checkpoint.formats)} weights are {taken}"]
    return lines + [
        f"the checkpoint stores {list_names(found)} as floats: rounded to {form}" for form, found in names.items()
    ]


@dataclass(frozen=True)
class Loss:
    """What was lost of a quantized checkpoint's own weights, over those that are stored as codes."""

    relative_error: float  # root mean square of the differences by that of the weights
    negative_scales: int  # that were replaced by positive ones, with other codes
    rounded_scales: int  # that were rounded to bf16
    scales: int  # of all

    def summary(self) -> str:
        """A line for the person."""
        return (
            f"the checkpoint's codes are not kept exactly: relative error of the weights {self.relative_error:.2e}; of "
            f"{self.scales:,} scales {self.negative_scales:,} were negative and {self.rounded_scales:,} no bf16 numbers"
        )


def measure_loss(checkpoint: Checkpoint, store: WeightStore) -> Loss | None:
    """How far the weights of `store` are from those that a quantized checkpoint stores; None where they are equal."""
    found = checkpoint.deviation
    if found.exact:
        return None
    squares, total = 0.0, 0.0
    for name in checkpoint.formats:
        original = checkpoint.stored(name)
        if original is None or (name == "head" and name not in store):  # a tied matrix counts once
            continue
        weight = store.weight(name)
        for rows in torch.arange(len(original.codes)).split(max(1, _BLOCK_VALUES // original.codes.shape[1])):
            block = original.dequantize_rows(rows)
            squares += float((weight.dequantize_rows(rows) - block).double().square().sum())
            total += float(block.double().square().sum())
    return Loss(math.sqrt(squares / total), found.negative, found.rounded, found.scales)


def quantize_weight(
    weight: torch.Tensor, form: WeightFormat, learned_scale: torch.Tensor | None = None
) -> QuantizedWeight:
    """Round `weight` [out, in] (bf16, fp16 or fp32) to `form`, with `learned_scale` float32 [out, 1] where it has one.

    Group-wise scales are bf16 in every runtime: those of a bf16 checkpoint are so by themselves, others are rounded
    to it before the codes are chosen.
    """
    columns = weight.shape[1]
    group = form.group_size or columns
    low, high = form.low, form.high
    codes = torch.empty(weight.shape, dtype=torch.int8)
    scales = torch.empty(weight.shape[0], columns // group, dtype=form.scale_dtype)
    # Rows are rounded by themselves: in blocks, the float32 copies that this takes stay small.
    step = max(1, _BLOCK_VALUES // columns)
    for first in range(0, weight.shape[0], step):
        block = weight[first : first + step]
        if learned_scale is None:
            scale, _ = choose_qparams_affine(
                block,
                MappingType.SYMMETRIC,
                (1, group),
                target_dtype=torch.int8,
                quant_min=low,
                quant_max=high,
                scale_dtype=torch.float32,
            )
            scale = scale.view(len(block), -1)
        else:
            scale = learned_scale[first : first + step]
        scales[first : first + step] = scale
        scale = scales[first : first + step].float()
        zero_point = torch.zeros(scale.shape, dtype=torch.int8)
        codes[first : first + step] = quantize_affine(block, (1, group), scale, zero_point, torch.int8, low, high)
    return QuantizedWeight(codes, scales, form.bits, group)
