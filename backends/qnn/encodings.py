"""Static scales: what every result of the decoder is rounded to on the HTP, and how they are found.

QNN's `SCALE_OFFSET` encoding: value = scale * (code + offset), offset = -zero point. Activations are 16 bits, unsigned,
with a zero point; keys and values are 8 bits, signed and symmetric, so that a cache of zero bytes holds zeros. Hidden
rows and what is added to them by norms are in float16: a model's first token has values there that are a thousand times
those of others, and one scale for both leaves little of the others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from mlp_export.backends.base import backends_for_any_chip
from mlp_export.errors import InputError
from mlp_export.models.config import ModelConfig
from mlp_export.models.eager import GELU_TANH, decode
from mlp_export.models.tensors import LINEARS, parameters
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.quantization.scheme import Scheme

ENCODINGS = "encodings.json"  # in a bundle: static scales, by the names of the decoder's results
_SMALLEST_RANGE = 1e-6  # of a result that is always zero
# Other texts go further than the one that was looked at. SmolLM2-135M, ranges from one half of a text, the other half
# against float: the worst of 256 positions 2.6 dB without, 11.5 with 1.1, 15.4 with 1.25, 11.5 with 1.5.
_HEADROOM = 1.25
_MASK_MARGIN = 24.0  # 131,072 slots times e^-24 are less than half a code of a share


@dataclass(frozen=True)
class Encoding:
    """value = scale * (code - zero_point), with codes of `bits` bits: unsigned, or signed where `signed`."""

    scale: float
    zero_point: int
    bits: int = 16
    signed: bool = False

    @staticmethod
    def of_range(low: float, high: float) -> Encoding:
        """16 bits over [low, high], widened to hold zero exactly."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = _float32(max(high - low, _SMALLEST_RANGE) / 65535)
        return Encoding(scale, round(-low / scale))

    @staticmethod
    def symmetric(largest: float) -> Encoding:
        """8 bits, signed, over [-largest, largest]."""
        return Encoding(_float32(max(largest, _SMALLEST_RANGE) / 127), 0, 8, signed=True)

    @property
    def least_code(self) -> int:
        return -(2 ** (self.bits - 1)) if self.signed else 0

    @property
    def most_code(self) -> int:
        return self.least_code + 2**self.bits - 1

    def codes(self, values: torch.Tensor) -> torch.Tensor:
        """float32, whole numbers in the range of the codes."""
        return self.rounded(values / self.scale)

    def rounded(self, scaled: torch.Tensor) -> torch.Tensor:
        """The codes of values that are divided by the scale already."""
        return scaled.round().add_(self.zero_point).clamp_(self.least_code, self.most_code)

    def values(self, codes: torch.Tensor) -> torch.Tensor:
        """The inverse of `codes`."""
        return (codes - self.zero_point) * self.scale


def is_half(name: str) -> bool:
    """Whether the result `name` is in float16: hidden rows, and those of norms that are added to them."""
    return _kind(name) in _HALF_ERRORS


def _kind(name: str) -> str:
    """Which result of a layer it is: "gate" of "layers.3.gate", "cos" of "cos.1"."""
    return name.split(".")[0] if name.startswith(("cos", "sin")) else name.rpartition(".")[2]


def _float32(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float32))


# How far results of the HTP (its simulator, QAIRT 2.49) are from exact ones, in codes, root mean square: what
# tests/backends/test_qnn.py measures operator by operator. Conversions to 8 bits round up from 0.494 on.
_ERRORS = {
    "shares": 2.5,
    "sigmoid": 1.8,
    "normed": 0.8,
    "scores": 0.9,
    "attended": 0.9,
    "cache": 0.006,
    "slope": 0.8,
}
_LINEAR_ERRORS = {4: 4.2, 8: 0.5}  # by the bits of the weights
_ERROR = 0.4  # of the others
# Sums in float16, and norms computed in it: relative.
_NORM_ERROR = 5e-4
_NORMS = ("norm", "attention_norm", "ffn_norm")  # of hidden rows, rounded behind
_HALF_ERRORS = {
    "embed": 2e-4,
    "attention_sum": 2e-4,
    "ffn_sum": 2e-4,
    "post_attention_norm": _NORM_ERROR,
    "post_ffn_norm": _NORM_ERROR,
}


_SHARE = Encoding(_float32(1 / 65535), 0)  # softmax and sigmoid
_UNIT = Encoding(_float32(1 / 32767), 32767)  # cosines and sines
# GELU's argument ends where a sigmoid in 16 bits is 0 or 1, and the square in it where the argument does so whatever
# follows: what is beyond takes the last code, and steps stay as fine as small values want them.
_FURTHEST = {"square": 36.0, "slope": GELU_TANH[0] + 36.0 * GELU_TANH[1], "argument": 16.0}


@dataclass
class RangeObserver:
    """The decoder in float, with the range of each result recorded (see mlp_export.models.numerics)."""

    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)

    def linear_input(self, rows: torch.Tensor) -> torch.Tensor:
        return rows

    def cached(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        return self.point(f"{name}.cache", rows)

    def point(self, name: str, values: torch.Tensor) -> torch.Tensor:
        low, high = (float(bound) for bound in values.aminmax())
        if not math.isfinite(low + high):
            raise InputError(
                f"the model computes NaN or infinity at {name!r}",
                f"the checkpoint may be damaged: run it with {backends_for_any_chip()} to see whether it answers",
            )
        before = self.ranges.get(name, (low, high))
        self.ranges[name] = (min(low, before[0]), max(high, before[1]))
        return values


@dataclass(frozen=True)
class Encodings:
    """An encoding for each named result of the decoder (see mlp_export.models.eager)."""

    points: Mapping[str, Encoding]  # without those in float16, and products that a bias is added to before rounding
    mask: Encoding  # 0 where a key is seen; its least value where it is not

    @property
    def hidden(self) -> float:
        """What is added to the score of a key that is not seen."""
        return float(self.mask.values(torch.tensor(float(self.mask.least_code))))

    @staticmethod
    def of(ranges: Mapping[str, tuple[float, float]]) -> Encodings:
        """From the ranges that an observer recorded; 16 bits have room for more, the 8 of the caches have not."""
        scores = {name: bounds for name, bounds in ranges.items() if name.endswith(".scores")}
        hidden = -(_HEADROOM * max(high - low for low, high in scores.values()) + _MASK_MARGIN)
        points: dict[str, Encoding] = {}
        for name, (least, most) in ranges.items():
            low, high = _HEADROOM * least, _HEADROOM * most
            kind = _kind(name)
            if is_half(name) or kind == "product":
                continue
            if kind == "cache":
                points[name] = Encoding.symmetric(max(-least, most))
            elif kind in ("shares", "sigmoid"):
                points[name] = _SHARE
            elif name.startswith(("cos", "sin")):
                points[name] = _UNIT
            elif kind == "masked":
                points[name] = Encoding.of_range(low + hidden, high)
            else:
                furthest = _FURTHEST.get(kind, math.inf)
                points[name] = Encoding.of_range(max(low, -furthest), min(high, furthest))
        return Encodings(points, Encoding.of_range(hidden, 0.0))

    def to_json(self) -> dict[str, Any]:
        """{"mask": [scale, zero point], "points": {name: [scale, zero point]}}; bits follow from the names."""
        points = {name: [e.scale, e.zero_point] for name, e in self.points.items()}
        return {"mask": [self.mask.scale, self.mask.zero_point], "points": points}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Encodings:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""

        def encoding(name: str, pair: Any) -> Encoding:
            scale, zero_point = float(pair[0]), int(pair[1])
            if not (math.isfinite(scale) and scale > 0):
                raise ValueError(f"a scale of {scale} at {name}")
            cache = name.endswith(".cache")
            return Encoding(scale, zero_point, 8 if cache else 16, signed=cache)

        points = {name: encoding(name, pair) for name, pair in values["points"].items()}
        return Encodings(points, encoding("mask", values["mask"]))


def read_encodings(path: Path, config: ModelConfig | None = None) -> Encodings:
    """Raises InputError where the file is missing or is not what `lower` writes."""
    try:
        encodings = Encodings.from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "export the model again") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {error}", "export the model again") from error
    missing = [] if config is None else [name for name in point_names(config) if name not in encodings.points]
    if missing:
        raise InputError(f"{path} has no encoding of {missing[0]}", "export the model again")
    return encodings


@dataclass(frozen=True)
class Jitter:
    """Random errors as large as the HTP's."""

    scheme: Scheme  # of the weights
    generator: torch.Generator

    def codes(self, name: str, codes: torch.Tensor) -> torch.Tensor:
        """`codes` float32 before they are rounded."""
        kind = _kind(name)
        if kind in _NORMS:
            return self._relative(codes, _NORM_ERROR)
        is_linear = kind in (*LINEARS, "head")
        error = _LINEAR_ERRORS[self.scheme.format(name).bits] if is_linear else _ERRORS.get(kind, _ERROR)
        return codes + error * torch.randn(codes.shape, generator=self.generator)

    def half(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """Values of half precision before they are rounded."""
        return self._relative(values, _HALF_ERRORS[_kind(name)])

    def _relative(self, values: torch.Tensor, error: float) -> torch.Tensor:
        return values * (1 + error * torch.randn(values.shape, generator=self.generator))


@dataclass(frozen=True)
class StaticNumerics:
    """The decoder as the HTP rounds it (see mlp_export.models.numerics)."""

    encodings: Encodings
    jitter: Jitter | None = None

    def linear_input(self, rows: torch.Tensor) -> torch.Tensor:
        return rows

    def cached(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        return self.point(f"{name}.cache", rows)

    def point(self, name: str, values: torch.Tensor) -> torch.Tensor:
        if is_half(name):
            values = values if self.jitter is None else self.jitter.half(name, values)
            return values.to(torch.float16).float()
        if _kind(name) == "product":
            return values
        encoding = self.encodings.points[name]
        codes = values / encoding.scale
        if self.jitter is not None:
            codes = self.jitter.codes(name, codes)
        return encoding.values(encoding.rounded(codes))


def point_names(config: ModelConfig) -> set[str]:
    """Every result of the decoder that has an encoding: those of a model with the same features and the least sizes."""
    least = replace(config, vocab_size=1, hidden_size=1, num_heads=1, num_kv_heads=1, head_dim=2, ffn_size=1)
    observer = RangeObserver()
    decode(_Zeros(least), [TokenSequence([0], [0])], observer)
    return set(Encodings.of(observer.ranges).points)


@dataclass(frozen=True)
class _Zeros:
    """Weights (see mlp_export.models.weights) that are all 0."""

    config: ModelConfig

    def matrix(self, name: str) -> torch.Tensor:
        return torch.zeros(parameters(self.config)[name].shape)

    def rows(self, name: str, ids: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(ids), self.config.hidden_size)

    def vector(self, name: str) -> torch.Tensor:
        return self.matrix(name)
