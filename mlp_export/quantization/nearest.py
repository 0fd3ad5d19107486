"""Rounding to the nearest code, exactly as a checkpoint's training saw it.

The arithmetic is torchao's (`choose_qparams_affine`, `quantize_affine`), put together as its QAT fake-
quantizer (`IntxFakeQuantizer`, scale precision float32) does it: the scale is computed in the checkpoint's dtype,
kept as float32, and the division and rounding happen in float32. Its PTQ path rounds in bf16 instead, which flips 1
to 2 codes in 100 of a bf16 checkpoint. tests/test_quantization.py holds both against the fake-quantizer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torchao.quantization.quant_primitives import MappingType, choose_qparams_affine, quantize_affine

from mlp_export.checkpoint import Checkpoint
from mlp_export.quantization.scheme import Scheme
from mlp_export.quantization.store import WeightStore
from mlp_export.quantization.weight import QuantizedWeight, WeightFormat

_BLOCK_VALUES = 1 << 21


def round_checkpoint(
    checkpoint: Checkpoint, scheme: Scheme, folder: Path, on_weight: Callable[[], object] = lambda: None
) -> WeightStore:
    """Round each weight of a checkpoint to `scheme`, into a store in `folder`, which must not exist. `on_weight` is
    called after each.

    Raises InputError for values that are not finite and where Core ML's scales do not fit.
    """
    store = WeightStore.create(folder, scheme)
    for name in checkpoint.weight_names():
        # Learned ranges differ between a tied head and its embedding.
        if name != "head" or scheme.learned or not checkpoint.config.tied_embeddings:
            learned = checkpoint.learned_scale(name) if scheme.learned else None
            store.add(name, quantize_weight(checkpoint.tensor(name), scheme.format(name), learned))
        on_weight()
    return store


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
