"""Integer codes and scales, exactly as the checkpoint's training saw them.

One weight type for all backends: symmetric int8 or int4 codes with a scale a group of columns or a row (output
channel). The arithmetic is torchao's (`choose_qparams_affine`, `quantize_affine`), put together as its QAT fake-
quantizer (`IntxFakeQuantizer`, scale precision float32) does it: the scale is computed in the checkpoint's dtype,
kept as float32, and the division and rounding happen in float32. Its PTQ path rounds in bf16 instead, which flips 1
to 2 codes in 100 of a bf16 checkpoint. tests/test_quantization.py holds both against the fake-quantizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torchao.quantization.quant_primitives import MappingType, choose_qparams_affine, quantize_affine

from mlp_export.checkpoint import Checkpoint, Kind
from mlp_export.config import ModelConfig
from mlp_export.errors import InputError, UsageError

_BLOCK_VALUES = 1 << 21
GROUP_SIZE = 32  # of MobileLLM-Pro's CPU checkpoint, and the smallest XNNPACK takes


@dataclass(frozen=True)
class Scheme:
    """How linears, head and embedding are rounded. Activations and KV cache are a backend's business."""

    bits: Literal[4, 8]
    group_size: int | None  # columns that share a scale; None: a scale an output channel
    learned: bool = False  # scales come from the checkpoint's training
    half_scales: bool = False  # scales are kept in float16, rounded to it after the codes were chosen

    @property
    def name(self) -> str:
        """As the manifest spells it: "int4-g32", "int8-per-channel"."""
        return f"int{self.bits}-" + ("per-channel" if self.group_size is None else f"g{self.group_size}")

    @staticmethod
    def from_manifest(quantization: Mapping[str, Any]) -> Scheme:
        """The scheme that `manifest()` described. Raises InputError for one that this release does not know."""
        name, learned = quantization["scheme"], quantization["scales"] == "learned"
        for scheme in (Scheme(4, GROUP_SIZE), Scheme(8, None), Scheme(4, None), Scheme(4, None, learned=True)):
            if (scheme.name, scheme.learned) == (name, learned):
                return replace(scheme, half_scales=quantization.get("scale_type") == "fp16")
        raise InputError(f"no quantization scheme {name!r}", "use the release of mlp-export that wrote the bundle")

    def manifest(self) -> dict[str, str]:
        """What the manifest says of it."""
        said = {"scheme": self.name, "scales": "learned" if self.learned else "weights"}
        return {**said, "scale_type": "fp16"} if self.half_scales else said

    def scales_per_row(self, columns: int) -> int:
        """Scales that a row of `columns` weights has."""
        return 1 if self.group_size is None else columns // self.group_size


def group_scheme(kind: Kind, config: ModelConfig, weights: Literal["int4", "int8"] | None) -> Scheme:
    """For delegates that have scales a group: what a checkpoint of `kind` was trained for, else `weights` (None: int4).

    Raises UsageError where `weights` contradicts the training, InputError where groups do not divide the model's rows.
    """
    _check_weights(kind, weights)
    if kind == "int4-accelerator":
        return Scheme(4, None, learned=True)
    if weights == "int8":
        return Scheme(8, None)
    for what, columns in (
        ("hidden_size", config.hidden_size),
        ("num_attention_heads x head_dim", config.num_heads * config.head_dim),
        ("the FFN width", config.ffn_size),
    ):
        if columns % GROUP_SIZE:
            raise InputError(
                f"int4 weights in groups of {GROUP_SIZE} do not fit: {what} is {columns}",
                "give --weights int8, which has a scale an output channel",
            )
    return Scheme(4, GROUP_SIZE)


def channel_scheme(kind: Kind, weights: Literal["int4", "int8"] | None) -> Scheme:
    """For delegates that have a scale an output channel: what the checkpoint was trained for, else `weights` (None:
    int8, since int4 without training leaves little of a model).

    Raises UsageError where `weights` contradicts the training, InputError for a checkpoint trained in groups.
    """
    _check_weights(kind, weights)
    if kind == "int4-cpu":
        raise InputError(
            f"this checkpoint was trained for int4 in groups of {GROUP_SIZE}, the NPU has one scale an output channel",
            "give the int4-accelerator checkpoint, or --backend xnnpack",
        )
    if kind == "int4-accelerator":
        return Scheme(4, None, learned=True)
    return Scheme(4, None) if weights == "int4" else Scheme(8, None)


def _check_weights(kind: Kind, weights: Literal["int4", "int8"] | None) -> None:
    if kind != "float" and weights == "int8":
        raise UsageError(
            f"--weights int8 for a checkpoint trained for int4 ({kind})",
            "leave --weights out, or give the checkpoint that was not trained for int4",
        )


@dataclass(frozen=True)
class QuantizedWeight:
    """A weight [out, in] as codes int8 [out, in] in [-2^(bits-1), 2^(bits-1) - 1] and scales [out, in / group_size].

    Scales are float32, or the narrower dtype that the artifact has them in. Weights with float16 scales are float16
    when they are dequantized, as Core ML's formats say.
    """

    codes: torch.Tensor
    scales: torch.Tensor
    bits: Literal[4, 8]
    group_size: int  # columns that share a scale; all of them for a scale an output channel

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


def quantize_weight(weight: torch.Tensor, scheme: Scheme, learned_scale: torch.Tensor | None = None) -> QuantizedWeight:
    """Round `weight` [out, in] (bf16, fp16 or fp32) to `scheme`, with `learned_scale` float32 [out, 1] where it has
    one.

    Group-wise scales are bf16 in every runtime: those of a bf16 checkpoint are so by themselves, others are rounded
    to it before the codes are chosen.
    """
    columns = weight.shape[1]
    group = scheme.group_size or columns
    low, high = -(2 ** (scheme.bits - 1)), 2 ** (scheme.bits - 1) - 1
    if (learned_scale is not None) != scheme.learned:
        raise ValueError("a scheme with learned scales comes with them, and no other does")
    codes = torch.empty(weight.shape, dtype=torch.int8)
    scales = torch.empty(
        weight.shape[0],
        columns // group,
        dtype=torch.float32 if scheme.group_size is None else torch.bfloat16,
    )
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
    if scheme.half_scales:
        half = scales.to(torch.float16)
        lost = (half.isinf() | ((half == 0) & (scales != 0))) & codes.ne(0).any(1, keepdim=True)
        if lost.any():
            worst = float(scales[lost].max())
            raise InputError(
                f"a scale of {worst:.3g} does not fit float16, which Core ML's weights have",
                "--backend xnnpack keeps it in float32",
            )
        scales = half
    return QuantizedWeight(codes, scales, scheme.bits, group)


@dataclass(frozen=True)
class QuantizedModel:
    """A checkpoint seen through a scheme. Weights are read and rounded when asked for; nothing is kept."""

    checkpoint: Checkpoint
    scheme: Scheme

    @property
    def config(self) -> ModelConfig:
        return self.checkpoint.config

    @property
    def tied(self) -> bool:
        """Whether head and embedding have the same codes and scales. Learned ranges differ between the two."""
        return self.config.tied_embeddings and not self.scheme.learned

    def weight_names(self) -> tuple[str, ...]:
        """Names of all quantized weights, in the order of the model; the head is among them, tied or not."""
        return tuple(name for name in self.checkpoint.names() if not name.endswith("norm"))

    def weight(self, name: str) -> QuantizedWeight:
        """Codes and scales of a linear, "embed" or "head"."""
        return quantize_weight(self.checkpoint.tensor(name), self.scheme, self.checkpoint.learned_scale(name))

    # The decoder's WeightSource

    def matrix(self, name: str) -> torch.Tensor:
        """float32 [out, in], as the artifact's kernels see it."""
        return self.weight(name).dequantize()

    def rows(self, name: str, ids: torch.Tensor) -> torch.Tensor:
        """float32 [n, in] of rows `ids`. Rows are rounded by themselves, so only they are."""
        scale = self.checkpoint.learned_scale(name)
        rows = self.checkpoint.tensor(name)[ids]
        return quantize_weight(rows, self.scheme, None if scale is None else scale[ids]).dequantize()

    def norm(self, name: str) -> torch.Tensor:
        """float32 [hidden]"""
        return self.checkpoint.tensor(name).float()
