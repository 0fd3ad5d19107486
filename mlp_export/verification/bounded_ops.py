"""The decoder's operators over float32 rows that know how far a kernel's own may be from them.

What is uncertain is the order of float32 sums and the roundings of products; each operator adds its own and carries
along what its inputs bring, to first order:

* A sum of n products may differ by eps (4 + sqrt n) sum |a b|. The worst case is n eps / 2; roundings are as good as
  independent, so they grow with sqrt n (Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis",
  2019). Terms of one sign are the worst of those: there the standard deviation is eps sqrt(n) / 6 of the sum.
* What a linear takes may be rounded to another int8 code where, before rounding, it lies that close to the middle
  between two codes. Each such value adds its step times its weights' magnitudes to the limit of its row, and is
  counted. Rows without one, which are most, have the float limit alone.
* A norm's root is a sum over the row: an error of it is a factor of the whole row, and moves no code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mlp_export.models.eager import GELU_TANH, EagerOps
from mlp_export.models.numerics import Numerics
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.models.weights import WeightSource

EPS = 2.0**-23
FEW = 8  # roundings of a few operators one behind another
# Roundings, in eps: each is half of one, and both sides have them.
_NORM = 2  # two products
_CODE = 4  # the range of a row, the step, its reciprocal, the product
_SMALLEST_STEP = EPS  # torchao rounds no finer than that; XNNPACK does
_LARGEST_SLOPE = {"silu": 1.1, "gelu_tanh": 1.13}


def summed(count: int) -> float:
    """How far a float32 sum of `count` products may differ from another order's, as a part of the sum of magnitudes."""
    return EPS * (4 + math.sqrt(count))


@dataclass(frozen=True)
class Bounded:
    """Rows float32 [n, ...]; a kernel's are (values + e) (1 + f) with |e| <= limit and |f| <= factor."""

    values: torch.Tensor
    limit: torch.Tensor  # like `values`
    factor: torch.Tensor  # [n, ..., 1]

    @staticmethod
    def of(values: torch.Tensor, limit: torch.Tensor) -> Bounded:
        """Rows without a common factor."""
        return Bounded(values, limit, torch.zeros(*values.shape[:-1], 1))

    @staticmethod
    def exact(values: torch.Tensor) -> Bounded:
        """Rows that a kernel has bit for bit."""
        return Bounded.of(values, torch.zeros_like(values))

    @property
    def total(self) -> torch.Tensor:
        """How far each value may be off, like `values`."""
        return self.limit + self.factor * self.values.abs()

    def __getitem__(self, rows: torch.Tensor) -> Bounded:
        return Bounded(self.values[rows], self.limit[rows], self.factor[rows])


class BoundedOps:
    """`Ops` but for what looks at a cache. Values are those of `EagerOps`.

    Every result is given to `found`, which returns what to go on with: the same, or what an artifact has there.
    """

    def __init__(
        self,
        weights: WeightSource,
        numerics: Numerics,
        positions: torch.Tensor,
        found: Callable[[str, Bounded], Bounded],
    ) -> None:
        """`numerics` round what linears take to int8, row by row. The rows stand at `positions` int64 [n]."""
        self.weights, self.config, self.numerics = weights, weights.config, numerics
        self.positions, self.found = positions, found
        self.flips = 0  # values that linears took and that may have another code
        self._eager = EagerOps(weights, numerics, TokenSequence((), ()))
        self._taken: tuple[Bounded, LinearInput] | None = None

    def rms_norm(self, name: str, rows: Bounded, weight: str | None, eps: float) -> Bounded:
        values = self._eager.rms_norm(name, rows.values, weight, eps)
        root = (rows.values.pow(2).mean(-1, keepdim=True) + eps).sqrt()
        off = rows.limit / root
        factor = off.pow(2).mean(-1, keepdim=True).sqrt() + summed(rows.values.shape[-1])
        factor = factor + rows.factor * eps / root.pow(2)  # but for epsilon, the root has the rows' factor, too
        if weight is not None:
            off = off * self.weights.vector(weight).abs()
        return self.found(name, Bounded(values, off + _NORM * EPS * values.abs(), factor))

    def linear(self, name: str, rows: Bounded) -> Bounded:
        product = self.linear_input(rows).times(self.weights.matrix(name))
        if name.rpartition(".")[2] in self.config.biases:
            bias = self.weights.vector(f"{name}_bias")
            limit = product.total + 2 * EPS * (product.values.abs() + bias.abs())
            product = Bounded.of(product.values + bias, limit)
        return self.found(name, product)

    def linear_input(self, rows: Bounded) -> LinearInput:
        """The int8 codes of rows, which are counted once for all linears that take them."""
        if self._taken is None or self._taken[0] is not rows:
            self._taken = rows, LinearInput.of(rows, self.numerics)
            self.flips += self._taken[1].flips
        return self._taken[1]

    def heads(self, name: str, rows: Bounded, count: int) -> Bounded:
        shape = (count, self.config.head_dim)
        return Bounded(rows.values.unflatten(-1, shape), rows.limit.unflatten(-1, shape), rows.factor.unsqueeze(-1))

    def rope(self, name: str, rows: Bounded, layer: int) -> Bounded:
        values = self._eager.rope_at(name, rows.values, layer, self.positions)
        # Either of a pair takes at most all of both; sine and cosine are off by some eps of one.
        pairs = (rows.limit + FEW * EPS * rows.values.abs()).unflatten(-1, (-1, 2))
        limit = pairs.sum(-1, keepdim=True).expand(*pairs.shape).flatten(-2)
        return self.found(name, Bounded(values, limit, rows.factor))

    def activation(self, name: str, rows: Bounded) -> Bounded:
        values = self._eager.activation(name, rows.values)
        roundings = values.abs()
        if self.config.activation == "gelu_tanh":  # roundings of the sigmoid's argument grow with it
            linear, cubic = GELU_TANH
            argument = rows.values * (linear + cubic * rows.values.pow(2))
            roundings = roundings * (1 + argument.abs() * torch.sigmoid(-argument))
        limit = _LARGEST_SLOPE[self.config.activation] * rows.total + FEW * EPS * roundings
        return self.found(name, Bounded.of(values, limit))

    def multiply(self, name: str, a: Bounded, b: Bounded) -> Bounded:
        values = self._eager.multiply(name, a.values, b.values)
        carried = a.total * (b.values.abs() + b.total) + a.values.abs() * b.total
        return self.found(name, Bounded.of(values, carried + FEW * EPS * values.abs()))

    def residual_add(self, name: str, hidden: Bounded, rows: Bounded) -> Bounded:
        values = self._eager.residual_add(name, hidden.values, rows.values)
        limit = hidden.total + rows.total + 2 * EPS * (hidden.values.abs() + rows.values.abs())
        return self.found(name, Bounded.of(values, limit))


@dataclass(frozen=True)
class LinearInput:
    """Rows float32 [n, in] as linears take them: rounded to int8, with a step and a zero point a row."""

    quantized: torch.Tensor
    steps: torch.Tensor  # [n, 1] between two codes
    offsets: torch.Tensor  # [n, 1] |zero point| times the step: kernels add it and take it off again
    moves: torch.Tensor  # [n, in] how many codes further a value may be
    factor: torch.Tensor  # [n, 1] how far a whole row may be off, as a part of itself

    @staticmethod
    def of(rows: Bounded, numerics: Numerics) -> LinearInput:
        values, limit = rows.values, rows.limit
        low, high = values.amin(-1, keepdim=True).clamp_max(0), values.amax(-1, keepdim=True).clamp_min(0)
        steps = (high - low) / 255
        divisor = torch.where(steps > 0, steps, 1.0)
        off = limit / divisor
        # The row's step follows its extremes, and a value's code the step.
        extremes = sum((limit * (values == extreme)).amax(-1, keepdim=True) for extreme in (low, high))
        step_off = extremes / (255 * divisor)
        codes, zero_points = values / divisor, -128 - low / divisor
        moves = _moves(codes, off + (_CODE * EPS + step_off) * codes.abs())
        # Where the zero point may be another one, so may be the codes at either end, which are clamped.
        ends = ((values - low) < 1.5 * steps) | ((high - values) < 1.5 * steps)
        other_zero_points = _moves(zero_points, 255 * (_CODE * EPS + step_off))
        moves = torch.maximum(moves, other_zero_points * ends)
        moves = moves.clamp_min((steps < _SMALLEST_STEP) & (values != 0))
        return LinearInput(
            numerics.linear_input(values),
            steps.clamp_min(_SMALLEST_STEP),
            zero_points.abs() * steps,
            moves,
            rows.factor + step_off,
        )

    @property
    def flips(self) -> int:
        """How many values may have another code."""
        return int((self.moves > 0).sum())

    def times(self, weight: torch.Tensor) -> Bounded:
        """These rows times `weight` [out, in]."""
        values = self.quantized @ weight.T
        magnitudes, order = weight.abs(), summed(weight.shape[1])
        per_element = order * self.quantized.abs() + self.moves * self.steps
        limit = per_element @ magnitudes.T + order * self.offsets * magnitudes.sum(-1)
        return Bounded(values, limit + FEW * EPS * values.abs(), self.factor)


def _moves(codes: torch.Tensor, off: torch.Tensor) -> torch.Tensor:
    """How many middles between two codes lie within `off` of each value, which is in units of the step."""
    to_middle = ((codes - codes.floor()) - 0.5).abs()
    return ((off - to_middle).floor() + 1).clamp_min(0)
