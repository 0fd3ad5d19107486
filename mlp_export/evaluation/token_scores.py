"""What a model's logits say of a text, token by token, and means of it with 95 % confidence intervals.

Three numbers: perplexity; the Kullback-Leibler divergence KL(reference || model) of the next token's distributions, in
nats; and top-1 agreement, the share of tokens whose likeliest next token is the reference's.

**Intervals.** Neighbouring tokens are not independent: a hard sentence is hard for all of its words, and a model that
lost a topic loses it for a paragraph. An interval that counts tokens as independent is too narrow. So predictions are
cut into blocks, which are taken as the independent observations: runs of about `BLOCK` predictions of one sequence, or,
where there are `MANY_SEQUENCES`, whole sequences. With S_b the sum over the n_b predictions of block b, the mean is the
ratio m = sum S_b / sum n_b, its variance B / (B - 1) sum (S_b - m n_b)^2 / (sum n_b)^2 (the linearized ratio estimator,
Cochran, "Sampling Techniques", 3rd edition, chapters 6 and 9A), and the interval Student's t with B - 1 degrees of
freedom. Perplexity's is that of the mean loss, exponentiated. A share's is Wilson's with an effective sample size, as
many tokens as would give that variance if they were independent (Korn and Graubard, Survey Methodology 24, 1998, do so
with Clopper and Pearson's): it stays within 0 and 1 and does not close where all tokens agree. Below `_LEAST_BLOCKS`
blocks there is no interval.

An interval says how far the text at hand can mislead about more text of its kind. It says nothing of other kinds.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mlp_export.errors import InputError
from mlp_export.models.eager import OUT_OF_RANGE

BLOCK = 64  # predictions
MANY_SEQUENCES = 20
_LEAST_BLOCKS = 4


@dataclass(frozen=True)
class Estimate:
    """A mean over tokens, and the ends of its 95 % confidence interval; None where the text is too short for one."""

    value: float
    low: float | None
    high: float | None

    def text(self, digits: int = 3) -> str:
        """ "0.193 (0.180 to 0.206)", to so many significant digits."""
        if self.low is None or self.high is None:
            return f"{self.value:#.{digits}g}"
        return f"{self.value:#.{digits}g} ({self.low:#.{digits}g} to {self.high:#.{digits}g})"


def entries(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    """`name`, `name`_low and `name`_high, as JSON has them: null for what was not estimated."""
    found = (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))


@dataclass(frozen=True)
class Comparison:
    """Of each prediction, against a reference's: a float64 tensor [n] for each sequence."""

    reference_loss: Sequence[torch.Tensor]
    kl: Sequence[torch.Tensor]  # KL(reference || model), nats
    agrees: Sequence[torch.Tensor]  # 1.0 where the likeliest token is the reference's, else 0.0


@dataclass(frozen=True)
class TokenScores:
    """The loss of each prediction, the negative log likelihood in nats of the token that follows: a float64 tensor [n]
    for each sequence.
    """

    loss: Sequence[torch.Tensor]
    comparison: Comparison | None = None

    @property
    def tokens(self) -> int:
        """Predictions."""
        return sum(map(len, self.loss))


def score_rows(
    logits: torch.Tensor, targets: torch.Tensor, reference: torch.Tensor | None = None
) -> tuple[torch.Tensor, ...]:
    """Loss of each row; with a `reference`, its loss, KL and agreement too: float64 [n] each.

    `logits` and `reference` float32 [n, vocabulary], `targets` int64 [n].
    """
    likely = logits.log_softmax(-1)
    loss = -likely.gather(1, targets.unsqueeze(1)).squeeze(1).double()
    if reference is None:
        return (loss,)
    expected = reference.log_softmax(-1)
    expected_loss = -expected.gather(1, targets.unsqueeze(1)).squeeze(1).double()
    kl = (expected.exp() * (expected - likely)).sum(-1, dtype=torch.float64)
    agrees = (logits.argmax(-1) == reference.argmax(-1)).double()
    return loss, expected_loss, kl, agrees


def perplexity(loss: Sequence[torch.Tensor]) -> Estimate:
    """exp of the mean loss. Raises InputError where a double does not hold it."""
    mean = mean_estimate(loss)
    if not max(mean.value, mean.high or mean.value) < math.log(sys.float_info.max):  # NaN is not, either
        raise InputError(f"the model's mean loss is {mean.value:.3g} nats a token, beyond a perplexity", OUT_OF_RANGE)
    low, high = (None if end is None else math.exp(end) for end in (mean.low, mean.high))
    return Estimate(math.exp(mean.value), low, high)


def mean_divergence(kl: Sequence[torch.Tensor]) -> Estimate:
    """Mean KL, whose interval does not reach below 0. Raises InputError where it is not finite."""
    mean = mean_estimate(kl)
    if not math.isfinite(mean.value):
        raise InputError("the model's KL divergence is not finite", OUT_OF_RANGE)
    return Estimate(mean.value, None if mean.low is None else max(mean.low, 0.0), mean.high)


def mean_estimate(values: Sequence[torch.Tensor]) -> Estimate:
    """The mean over all tokens of `values`, a tensor [n] for each sequence."""
    mean, variance, freedom = _ratio(values)
    if freedom < _LEAST_BLOCKS - 1:
        return Estimate(mean, None, None)
    reach = t_quantile(freedom) * math.sqrt(variance)
    return Estimate(mean, mean - reach, mean + reach)


def share_estimate(values: Sequence[torch.Tensor]) -> Estimate:
    """The share of ones among `values` (0.0 and 1.0), a tensor [n] for each sequence."""
    share, variance, freedom = _ratio(values)
    if freedom < _LEAST_BLOCKS - 1:
        return Estimate(share, None, None)
    independent = share * (1 - share)  # variance of one token
    count = float(sum(map(len, values)))
    if variance > 0:
        count = min(count, independent / variance)
    t = t_quantile(freedom)
    middle = (share + t * t / (2 * count)) / (1 + t * t / count)
    reach = t / (1 + t * t / count) * math.sqrt(independent / count + t * t / (4 * count * count))
    return Estimate(share, max(middle - reach, 0.0), min(middle + reach, 1.0))


def _ratio(values: Sequence[torch.Tensor]) -> tuple[float, float, int]:
    """Mean over tokens, its variance by blocks, and degrees of freedom."""
    blocks = [block for sequence in values for block in _blocks(sequence, whole=len(values) >= MANY_SEQUENCES)]
    sums = torch.stack([block.sum(dtype=torch.float64) for block in blocks])
    sizes = torch.tensor([len(block) for block in blocks], dtype=torch.float64)
    mean, count = float(sums.sum() / sizes.sum()), len(blocks)
    if count == 1:
        return mean, math.nan, 0
    squares = float((sums - mean * sizes).square().sum())
    return mean, count / (count - 1) * squares / float(sizes.sum()) ** 2, count - 1


def _blocks(sequence: torch.Tensor, whole: bool) -> Sequence[torch.Tensor]:
    """A sequence in runs of nearly equal length, about `BLOCK` each."""
    return [sequence] if whole else sequence.tensor_split(max(1, round(len(sequence) / BLOCK)))


def t_quantile(freedom: int) -> float:
    """The 97.5 % point of Student's t for 3 degrees of freedom or more (Abramowitz and Stegun, 26.7.5), to 0.2 %."""
    x = 1.959963984540054
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return x + sum(term / freedom**power for power, term in enumerate(terms, 1))
