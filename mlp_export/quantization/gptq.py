"""GPTQ of one weight: int4 codes that keep a linear's results on a calibration text, in the format of plain rounding.

The codes Q of a weight W [out, in] are to make tr((Q - W) H (Q - W)') small, the squared error of the results, where H
is made of the second moments E[x x'] of the inputs. Three steps (all per row, so rows are done in blocks):

1. A scale for each group, out of a grid of clippings, that makes the error of plain rounding small, each column
   weighted with its E[x^2]. Scales are bf16 numbers before codes are chosen: artifacts and checkpoints hold those.
2. GPTQ (Frantar et al. 2022, arXiv:2210.17323) for these scales: columns are rounded one by one, the most active first,
   and those that follow take up the error. The scales are fixed, so the order of columns leaves the format alone. We
   solve it in the equal form of Babai's nearest plane (Chen et al. 2025, arXiv:2507.18553), which needs a Cholesky
   factor of H and no inverse.
3. One sweep of refinement: each group's scale, then each code, moves to its optimum with all others fixed.

H is E[x x'] shrunk to its diagonal: with as few tokens as a calibration text has, GPTQ otherwise fits the text.
Shrinkage and damping also bound the condition of H scaled to a unit diagonal by 2 in / SHRINKAGE, on which the accuracy
of a Cholesky factor depends: float32 is enough.

torchao's `choose_qparams_affine` and `quantize_affine` round the weights that stay int8 (`nearest.py`). Its GPTQ
(prototype.gptq, 0.18) takes neither symmetric int4 groups nor per-channel scales on a CPU, and its
`_choose_qparams_and_quantize_scale_only_hqq` casts scales to bf16 behind the rounding: int4 is our own arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torchao.quantization.quant_primitives import MappingType, choose_qparams_affine

from mlp_export.models.quantized_weight import QuantizedWeight, WeightFormat
from mlp_export.quantization.nearest import quantize_weight

# Chosen on held-out text: see docs/architecture.md.
SHRINKAGE = 0.35  # of the moments to their diagonal
DAMPING = 0.01  # of the diagonal's mean, added to it: linears
TIED_DAMPING = 0.3  # the same for a head that is the embedding, whose lookup wants all columns alike; not shrunk
GROUP_CLIPPINGS = (0.6, 1.1)  # of max |w| / 7.5: the ends of the grid of scales
CHANNEL_CLIPPINGS = (0.3, 1.05)
CLIPPING_STEPS = 11
SMALLEST_SCALE = torch.finfo(torch.float32).eps  # torchao's; XNNPACK refuses scales that are zero or subnormal

_LARGEST_STEP = 3.0  # a refined scale stays within this factor of the one before
_BLOCK_VALUES = 1 << 22  # of a block of rows: float32, and a few copies of it
_BLOCK_COLUMNS = 64  # rounded between two products with all columns before
_CACHE_VALUES = 1 << 17  # of a block in the search, which goes over it again and again


@dataclass(frozen=True)
class Objective:
    """What the codes of one or more weights with the same inputs are chosen by. One factorization serves them all."""

    hessian: torch.Tensor  # float32 [in, in], positive definite
    importance: torch.Tensor  # float32 [in], positive: weights of the columns in the search for scales

    @staticmethod
    def of_linear(moments: torch.Tensor) -> Objective:
        """For the inputs' second moments, float32 [in, in], which are overwritten.

        Inputs that are always zero get the damping alone: their weights are rounded to the nearest code.
        """
        diagonal = moments.diagonal().clone()
        hessian = moments.mul_(1 - SHRINKAGE)
        hessian.diagonal().add_(SHRINKAGE * diagonal)
        return _damped(hessian, diagonal, DAMPING)

    @staticmethod
    def of_tied_head(moments: torch.Tensor) -> Objective:
        """For a head that is the embedding too: `moments` are those of the head's inputs, and overwritten."""
        return _damped(moments, moments.diagonal().clone(), TIED_DAMPING)

    @staticmethod
    def of_lookup(columns: int) -> Objective:
        """For an embedding: all columns alike."""
        return Objective(torch.eye(columns), torch.ones(columns))

    @cached_property
    def order(self) -> torch.Tensor:
        """Columns int64 [in], the most active last."""
        return torch.argsort(self.hessian.diagonal(), stable=True)

    @cached_property
    def factor(self) -> torch.Tensor:
        """float32 [in, in], lower triangular, unit diagonal: L with H = L D L' for columns in `order`, D diagonal.

        With E the errors of the rounded columns, W - E L below column j is what column j is rounded from.
        """
        lower = torch.linalg.cholesky(self.hessian[self.order][:, self.order])
        return lower.div_(lower.diagonal().clone())


def _damped(hessian: torch.Tensor, diagonal: torch.Tensor, damping: float) -> Objective:
    mean = diagonal.mean()
    if mean == 0:
        return Objective.of_lookup(len(diagonal))
    hessian.diagonal().add_(damping * mean)
    return Objective(hessian, diagonal.clamp_min(1e-6 * mean))


def quantize_by(objective: Objective, weight: torch.Tensor, form: WeightFormat) -> QuantizedWeight:
    """Codes and scales of `weight` [out, in] (bf16, fp16 or fp32) in `form`: int8 rounded to nearest, int4 by GPTQ.

    All scales are bf16 numbers, positive and normal.
    """
    if form.bits == 8:
        return round_to_nearest(weight, form)
    rows, columns = weight.shape
    codes = torch.empty(weight.shape, dtype=torch.int8)
    scales = torch.empty(rows, form.scales_per_row(columns), dtype=form.scale_dtype)
    step = max(1, _BLOCK_VALUES // columns)
    for first in range(0, rows, step):
        part = slice(first, first + step)
        block = _Columns.of(weight[part], objective.importance, form)
        block.round_in_order(objective)
        block.refine(objective)
        codes[part], scales[part] = block.codes.T, block.scales.T
    return QuantizedWeight(codes, scales, form.bits, form.group_size or columns)


def round_to_nearest(weight: torch.Tensor, form: WeightFormat) -> QuantizedWeight:
    """`quantize_weight` with scales that are bf16 numbers, whatever the format and the weight's dtype."""
    if form.group_size is not None:
        return quantize_weight(weight, form)
    scale, _ = choose_qparams_affine(
        weight.float(),
        MappingType.SYMMETRIC,
        (1, weight.shape[1]),
        target_dtype=torch.int8,
        quant_min=form.low,
        quant_max=form.high,
        scale_dtype=torch.float32,
    )
    return quantize_weight(weight, form, storable(scale).view(-1, 1))


def storable(scales: torch.Tensor) -> torch.Tensor:
    """The nearest scales that artifacts and checkpoints hold: float32 that are bf16 numbers, positive and normal."""
    return scales.clamp_min(SMALLEST_SCALE).to(torch.bfloat16).float()


def search_scales(weight: torch.Tensor, importance: torch.Tensor, form: WeightFormat) -> torch.Tensor:
    """Scales [groups, 1, out] of `weight` [groups, columns of a group, out]; `importance` [groups, columns, 1].

    For each clipping of the grid, its scale and the least-squares scale of its codes are tried.
    """
    grid = torch.linspace(*(CHANNEL_CLIPPINGS if form.group_size is None else GROUP_CLIPPINGS), CLIPPING_STEPS)
    top = weight.abs().amax(1, keepdim=True) / ((form.high - form.low) / 2)
    scales, least = storable(top), torch.full_like(top, torch.inf)
    weighted = weight * importance

    def attempt(scale: torch.Tensor) -> torch.Tensor:
        """Keep `scale` where it is the best so far; return the least-squares scale of its codes."""
        nonlocal scales, least
        codes = (weight / scale).round_().clamp_(form.low, form.high)
        along = (weighted * codes).sum(1, keepdim=True)
        square = codes.square_().mul_(importance).sum(1, keepdim=True)
        error = scale * (scale * square - 2 * along)  # but for sum(importance * w^2), which all have
        better = error < least
        scales, least = torch.where(better, scale, scales), torch.where(better, error, least)
        return storable(along / square.clamp_min(1e-30))

    for clipping in grid:
        attempt(attempt(storable(top * clipping)))
    return scales


class _Columns:
    """A block of rows while it is quantized, transposed, so that a column stands together in memory."""

    def __init__(self, weight: torch.Tensor, scales: torch.Tensor, form: WeightFormat) -> None:
        self.weight = weight  # float32 [in, rows]
        self.scales = scales  # float32 [groups, rows]
        self.form = form
        self.group = len(weight) // len(scales)
        self.codes = torch.empty_like(weight)
        self.errors = torch.empty_like(weight)  # Q - W

    @staticmethod
    def of(rows: torch.Tensor, importance: torch.Tensor, form: WeightFormat) -> _Columns:
        """The block with its scales and no codes yet."""
        weight = rows.float().T.contiguous()
        groups = form.scales_per_row(len(weight))
        grouped, importance = weight.view(groups, -1, weight.shape[1]), importance.view(groups, -1, 1)
        scales = torch.empty(groups, 1, weight.shape[1])
        step = max(1, _CACHE_VALUES // weight.shape[1] // grouped.shape[1])
        for first in range(0, groups, step):
            part = slice(first, first + step)
            scales[part] = search_scales(grouped[part], importance[part], form)
        return _Columns(weight, scales.squeeze(1), form)

    def round_in_order(self, objective: Objective) -> None:
        """Codes by GPTQ."""
        low, high = self.form.low, self.form.high
        order, factor = objective.order, objective.factor
        columns, rows = self.weight.shape
        errors = torch.empty_like(self.weight)  # in the order of rounding, as `factor` has it
        for last in range(columns, 0, -_BLOCK_COLUMNS):
            first = max(0, last - _BLOCK_COLUMNS)
            block = order[first:last]
            weight, scales = self.weight[block], self.scales[block // self.group]
            targets = torch.addmm(weight, factor[last:, first:last].T, errors[last:], alpha=-1)
            codes = torch.empty(last - first, rows)
            for j in range(last - first - 1, -1, -1):
                torch.div(targets[j], scales[j], out=codes[j])
                codes[j].round_().clamp_(low, high)
                error = torch.mul(codes[j], scales[j], out=errors[first + j]).sub_(weight[j])
                if j:
                    targets[:j].addr_(factor[first + j, first : first + j], error, alpha=-1)
            self.codes[block], self.errors[block] = codes, errors[first:last]

    def refine(self, objective: Objective) -> None:
        """A sweep over the groups: the scale and then the codes, each to its optimum. The error never grows."""
        for index in range(len(self.scales)):
            part = slice(index * self.group, (index + 1) * self.group)
            slopes = objective.hessian[part] @ self.errors  # half the gradient of the error
            square = objective.hessian[part, part]
            self._move_scale(index, part, slopes, square)
            self._move_codes(index, part, slopes, square)

    def _move_scale(self, index: int, part: slice, slopes: torch.Tensor, square: torch.Tensor) -> None:
        codes, scale = self.codes[part], self.scales[index]
        slope, curvature = (codes * slopes).sum(0), (codes * (square @ codes)).sum(0)
        wanted = scale - slope / curvature.clamp_min(1e-30)
        wanted = storable(wanted.clamp(scale / _LARGEST_STEP, scale * _LARGEST_STEP))
        step = wanted - scale
        # Rounded to bf16, a step may be too long.
        step = torch.where(step * (2 * slope + step * curvature) < 0, step, 0)
        self.scales[index] += step
        change = codes * step
        self.errors[part] += change
        slopes.addmm_(square, change)

    def _move_codes(self, index: int, part: slice, slopes: torch.Tensor, square: torch.Tensor) -> None:
        low, high = self.form.low, self.form.high
        codes, errors, scale = self.codes[part], self.errors[part], self.scales[index]
        diagonal = square.diagonal().tolist()
        changes = torch.empty(min(_BLOCK_COLUMNS, self.group), slopes.shape[1])
        for first in range(0, self.group, _BLOCK_COLUMNS):
            last = min(first + _BLOCK_COLUMNS, self.group)
            near = slopes[first:last]
            for j in range(last - first):
                old, change = codes[first + j], changes[j]
                torch.div(near[j], scale, out=change).div_(-diagonal[first + j])
                change.add_(old).round_().clamp_(low, high).sub_(old)
                old += change
                change *= scale
                if j + 1 < last - first:
                    near[j + 1 :].addr_(square[first + j + 1 : last, first + j], change)
            changed = changes[: last - first]
            errors[first:last] += changed
            slopes[last:].addmm_(square[last:, first:last], changed)
