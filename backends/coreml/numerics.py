"""The decoder in float16: every result rounded, as the Core ML program declares it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mlp_export.backends.base import backends_for_any_chip
from mlp_export.errors import InputError

# What operators inside a named result add to its rounding: an RMS norm is six, each with half a unit in the last place
# at most; sums of products are made in another order.
_ERROR = 2.0**-12
# Results that the program does not have: activations are one operator each, and a linear adds its bias itself.
_INSIDE = ("sigmoid", "square", "slope", "argument", "product")


@dataclass(frozen=True)
class HalfNumerics:
    """See mlp_export.models.numerics. With a generator, results are disturbed by as much as kernels may differ.

    Raises InputError where the model computes what float16 does not hold.
    """

    generator: torch.Generator | None = None

    def linear_input(self, rows: torch.Tensor) -> torch.Tensor:
        return rows

    def cached(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        return self.point(name, rows)

    def point(self, name: str, values: torch.Tensor) -> torch.Tensor:
        if name.rsplit(".", 1)[-1] in _INSIDE:
            return values
        if self.generator is not None:
            values = values * (1 + _ERROR * torch.randn(values.shape, generator=self.generator))
        rounded = values.to(torch.float16).float()
        if not rounded.isfinite().all():
            raise InputError(
                f"the model computes values beyond float16's 65,504 at {name!r}",
                f"{backends_for_any_chip()} keeps them in float32",
            )
        return rounded
