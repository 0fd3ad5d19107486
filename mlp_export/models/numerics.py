"""What is rounded while a decoder computes, exactly as an artifact rounds it.

`DynamicNumerics`: activations of linears to int8, asymmetric, a scale and zero point a token (torchao's
`Int8DynamicActivationIntxWeightConfig`); keys after RoPE and values to int8, symmetric, per-token per-head scales.
Delegates with static scales round every result on the way. Weights are rounded, or not, by their source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torchao.quantization.quant_primitives import (
    MappingType,
    choose_qparams_affine,
    dequantize_affine,
    quantize_affine,
)

SMALLEST_KV_SCALE = 1e-12  # keeps the scale of an all-zero row positive


class Numerics(Protocol):
    """What is rounded while the decoder computes; weights are rounded, or not, by their source.

    Each method returns its values as an artifact has them. Names say where in the model a value stands.
    """

    def linear_input(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows [n, features] that a linear takes."""
        ...

    def cached(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        """Keys after RoPE or values [n, heads, head_dim]: "layers.3.k", "layers.3.v"."""
        ...

    def point(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """Any other result: "layers.3.gate", "cos", "head"."""
        ...


@dataclass(frozen=True)
class DynamicNumerics:
    """Scales are found in the values: a scale a token for linears, a scale a token and head for the cache."""

    activations: Literal["int8", "float"]
    kv_cache: Literal["int8", "fp32"]

    @staticmethod
    def from_manifest(quantization: Mapping[str, Any]) -> DynamicNumerics:
        """What an artifact with this entry in its manifest rounds."""
        return DynamicNumerics(
            "int8" if quantization["activations"] == INT8_ACTIVATIONS else "float", quantization["kv_cache"]
        )

    def linear_input(self, rows: torch.Tensor) -> torch.Tensor:
        return fake_quantize_tokens(rows) if self.activations == "int8" else rows

    def cached(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        return fake_quantize_kv(rows) if self.kv_cache == "int8" else rows

    def point(self, name: str, values: torch.Tensor) -> torch.Tensor:
        return values


INT8_ACTIVATIONS = "int8-dynamic-per-token"  # as the manifest spells them
FLOAT = DynamicNumerics("float", "fp32")


@dataclass(frozen=True)
class EmbeddingNoise:
    """`numerics`, with each embedded value multiplied by 1 + noise * N(0, 1): how far rounding carries a difference
    that small.
    """

    numerics: Numerics
    noise: float
    generator: torch.Generator

    def linear_input(self, rows: torch.Tensor) -> torch.Tensor:
        return self.numerics.linear_input(rows)

    def cached(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        return self.numerics.cached(name, rows)

    def point(self, name: str, values: torch.Tensor) -> torch.Tensor:
        if name == "embed":
            values = values * (1 + self.noise * torch.randn(values.shape, generator=self.generator))
        return self.numerics.point(name, values)


def fake_quantize_tokens(rows: torch.Tensor) -> torch.Tensor:
    """Activations [n, features] to int8 and back: asymmetric, a scale and zero point a row."""
    block = (1, rows.shape[1])
    scale, zero_point = choose_qparams_affine(
        rows, MappingType.ASYMMETRIC, block, torch.int8, -128, 127, zero_point_dtype=torch.int8
    )
    codes = quantize_affine(rows, block, scale, zero_point, torch.int8, -128, 127)
    return dequantize_affine(codes, block, scale, zero_point, torch.int8, -128, 127)


def fake_quantize_kv(rows: torch.Tensor) -> torch.Tensor:
    """Keys or values [n, heads, head_dim] to int8 and back: symmetric, a scale a token and head."""
    scales = kv_scales(rows)
    return (rows / scales).round() * scales


def kv_scales(rows: torch.Tensor) -> torch.Tensor:
    """Per-token per-head scales [n, heads, 1] of keys or values [n, heads, head_dim]."""
    return rows.abs().amax(-1, keepdim=True).clamp_min(127 * SMALLEST_KV_SCALE) * (1 / 127)
