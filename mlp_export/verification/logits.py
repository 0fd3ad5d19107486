"""The logits of a program against those of the eager reference, with the same codes, over the same positions.

How close is close enough? Activations are rounded to int8 at each linear, so a difference of one unit in the last
place somewhere flips roundings and ends, after thirty layers, as a difference of a tenth of the logits' norm. The
same happens to the reference itself: decoded again with 1e-6 of noise on its embeddings, it differs from itself by
the same amount, and by the same amount in each run (within 10 %, over 40 positions). That measured floor, times
`_TOLERANCE`, is the limit, and is recorded.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mlp_export.backends.base import Backend, open_session
from mlp_export.bundle.bundle import Bundle
from mlp_export.errors import InputError
from mlp_export.models.config import ModelConfig
from mlp_export.models.eager import decode_each
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.progress import Progress
from mlp_export.quantization.store import QuantizedModel
from mlp_export.runtime.host_runtime import VerificationBudget
from mlp_export.text.shipped import shipped_text
from mlp_export.verification.layer_watch import LayerWatch, watch_layers
from mlp_export.verification.report import Check

# Times the noise floor; two draws of it differ by at most 1.13 over 40 positions (see docs/architecture.md).
_TOLERANCE = 1.5
_BUDGET = VerificationBudget()
# Differences of summation order alone, where no rounding flipped: tiny models have a noise floor of nothing.
_FLOOR = 1e-4
_HEAD = 16  # tokens before the gap: models attend to the first ones of a text, and are out of their depth without
_MOST_NOISE_DRAWS = 8
_LEAST_NOISES = 8  # of a plan: one draw of two calls says little of how far noise goes
_NOISE_WORK = 5e10  # parameters times tokens that the draws may cost: large models need few, their flips are many
_LOGITS = "logits of the last token with the reference's, in"
_LAYERS = "what each layer of the program computes with the reference's layer on the same input"


@dataclass(frozen=True)
class ModelComparison:
    """An artifact beside the reference, over all calls; numbers as in VerificationReport."""

    tokens: int
    top1_agreement: float
    max_abs_error: float
    mean_kl: float
    relative_error: float
    noise_floor: float
    checks: list[Check]


@dataclass(frozen=True)
class Call:
    """One call of a fresh session: `count` tokens at `position`, and why its logits are compared."""

    position: int
    count: int
    reason: str


def call_plans(config: ModelConfig, context: int, chunk: int, budget: VerificationBudget = _BUDGET) -> list[list[Call]]:
    """What to run, a list for each session, so that each edge is met.

    The first token; chunks cut short, whole and after each other; the window's edge: the last query that sees every
    key, the first that does not, and those behind it, step by step; and the last slots of the context, reached step
    by step and as the end of a whole chunk. These are called behind a gap (see `decoder.TokenSequence`).
    """
    if not budget.edges:
        first = min(chunk, context - 1)
        return [[Call(0, first, "chunk"), Call(first, 1, "decode")]]
    window = config.window if budget.crosses_window else 0
    length = min(context, (window or 2 * chunk) + budget.single_steps)
    edge = min(window - 2 if window else length - budget.single_steps, length)
    plan: list[Call] = []

    def call(count: int, reason: str, end: int = length) -> None:
        position = plan[-1].position + plan[-1].count if plan else 0
        count = min(count, chunk, end - position)
        if count > 0:
            plan.append(Call(position, count, reason))

    call(1, "one token")
    call(1, "one token")
    call(chunk // 2 + 1, "mid-chunk")
    call(chunk - 1, "chunk edge")
    while plan[-1].position + plan[-1].count < edge:
        call(chunk, "chunk edge", edge)
    while plan[-1].position + plan[-1].count < length:
        call(1, "window edge" if window else "decode")

    head = min(chunk, _HEAD, context // 4)
    plans = [plan]
    for steps in dict.fromkeys((0, min(budget.single_steps // 2, context // 4))):
        whole = min(chunk, context - steps - head)
        end = [Call(0, head, "head")] if head else []
        end += [Call(context - steps - whole, whole, "last slots")] if whole else []
        end += [Call(position, 1, "last slots") for position in range(context - steps, context)]
        plans.append(end)
    return plans


def compare_with_model(
    bundle: Bundle, model: QuantizedModel, backend: Backend, progress: Progress, scratch: Path | None
) -> ModelComparison:
    """The artifact's logits, and its layers where they are shown, against the reference's: one decoding for both.

    `scratch` is as in `verify`.
    """
    manifest, config = bundle.manifest, model.config
    plans = call_plans(
        config, manifest.context, manifest.prefill_chunk, backend.runtime.verification_budget(manifest.model.parameters)
    )
    words = bundle.tokenizer().encode(shipped_text(), bos=manifest.tokenizer.add_bos, special=False)
    right = [_sequence(plan, words) for plan in plans]
    work = config.num_parameters * sum(len(sequence.tokens) for sequence in right)
    affordable = max(1, min(_MOST_NOISE_DRAWS, int(_NOISE_WORK / work)))
    draws = [max(affordable, math.ceil(_LEAST_NOISES / len(plan))) for plan in plans]
    exact = backend.compiler.numerics(bundle.path, manifest.quantization)
    noisy = [backend.compiler.numerics(bundle.path, manifest.quantization, draw) for draw in range(max(draws))]
    checks: list[Check] = []
    watch: LayerWatch | None = None
    with progress.stage("the layers' results"):
        try:
            watch = watch_layers(backend.runtime, bundle.pte, model, exact, manifest.context, words, scratch)
        except InputError as error:
            checks.append(Check("layers", False, str(error), "limit", _LAYERS))
    runs = [
        (sequence, numerics)
        for sequence, count in zip(right, draws, strict=True)
        for numerics in (exact, *noisy[:count])
    ]
    with progress.stage("reference", total=config.num_layers) as stage:
        logits = iter(decode_each(model, [*runs, *(watch.runs if watch else ())], stage.advance, watch))
    if watch is not None:
        checks.append(Check("layers", watch.passed, watch.summary(), "limit", _LAYERS))
    comparisons = []
    with progress.stage("artifact", total=sum(len(plan) for plan in plans)) as stage:
        for plan, sequence, count in zip(plans, right, draws, strict=True):
            session = open_session(bundle)  # its caches are zeros
            found, at = [], 0
            for call in plan:
                found.append(session.forward(sequence.tokens[at : at + call.count], call.position))
                at += call.count
                stage.advance()
            del session
            reference = next(logits)
            others = list(itertools.islice(logits, count))
            reasons = [call.reason for call in plan]
            comparisons.append(compare_logits(reference, torch.stack(found), others, reasons))
    checks += [check for comparison in comparisons for check in comparison.checks()]
    return ModelComparison(
        tokens=sum(len(c.errors) for c in comparisons),
        top1_agreement=float(torch.cat([c.top1 for c in comparisons]).float().mean()),
        max_abs_error=max(float((c.found - c.reference).abs().max()) for c in comparisons),
        mean_kl=float(torch.cat([c.kl for c in comparisons]).mean()),
        relative_error=rms(torch.cat([c.errors for c in comparisons])),
        # of all calls together, in the draws that all plans have
        noise_floor=max(rms(torch.cat(draw)) for draw in zip(*(c.noise for c in comparisons), strict=False)),
        checks=checks,
    )


def _sequence(plan: Sequence[Call], words: Sequence[int]) -> TokenSequence:
    """The reference's view of a plan's calls, on the tokens `words`, over and over."""
    ends = list(itertools.accumulate(call.count for call in plan))
    tokens = list(itertools.islice(itertools.cycle(words), ends[-1]))
    head, start = 0, plan[0].position
    for end, call, following in zip(ends, plan, plan[1:], strict=False):
        if following.position != call.position + call.count:
            head, start = end, following.position
    return TokenSequence(tokens, [end - 1 for end in ends], head, start)


@dataclass(frozen=True)
class LogitComparison:
    """An artifact's logits beside the reference's: all [n, vocabulary], n calls of one session."""

    reference: torch.Tensor
    found: torch.Tensor
    reasons: Sequence[str]
    errors: torch.Tensor  # [n] |difference| / |reference|, logits centred
    noise: torch.Tensor  # [draws, n] the same of the reference against itself
    top1: torch.Tensor  # bool [n]
    kl: torch.Tensor  # [n] nats

    def checks(self) -> list[Check]:
        """A check for each reason. Few positions scatter more than many: their limit is the largest noise of any
        one.
        """
        floor = max(rms(draw) for draw in self.noise)
        limit, most = (max(_TOLERANCE * noise, _FLOOR) for noise in (floor, float(self.noise.max())))
        calls = f"{len(self.errors)} calls of one session"
        checks = [_within(f"logits of {len(self.errors)} calls", self.errors, limit, f"{_LOGITS} {calls}")]
        for reason in dict.fromkeys(self.reasons):
            those = self.errors[[i for i, r in enumerate(self.reasons) if r == reason]]
            checks.append(_within(f"logits: {reason}", those, most, f"{_LOGITS} {len(those)} of {calls}"))
        return checks


def compare_logits(
    reference: torch.Tensor, found: torch.Tensor, noisy: Sequence[torch.Tensor], reasons: Sequence[str]
) -> LogitComparison:
    """`noisy` are further runs of the reference, each under another draw of noise."""
    log_reference, log_found = reference.log_softmax(-1), found.log_softmax(-1)
    return LogitComparison(
        reference,
        found,
        reasons,
        errors=_relative(found, reference),
        noise=torch.stack([_relative(other, reference) for other in noisy]),
        top1=found.argmax(-1) == reference.argmax(-1),
        kl=(log_reference.exp() * (log_reference - log_found)).sum(-1),
    )


def _within(name: str, errors: torch.Tensor, limit: float, compared: str) -> Check:
    error = rms(errors)  # NaN is not within
    return Check(name, error <= limit, f"relative error {error:.2g}, limit {limit:.2g}", "limit", compared)


def _centred(logits: torch.Tensor) -> torch.Tensor:
    """Adding a constant to all logits changes no probability."""
    return logits - logits.mean(-1, keepdim=True)


def _relative(logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Of logits that are all equal only the rounding is left when they are centred: 0 where there is no difference."""
    centred = _centred(reference)
    difference = (_centred(logits) - centred).norm(dim=-1)
    size = torch.maximum(centred.norm(dim=-1), torch.finfo(torch.float32).eps * reference.norm(dim=-1))
    return torch.where(difference == 0, 0.0, difference / size)


def rms(values: torch.Tensor) -> float:
    """Root mean square."""
    return float(values.pow(2).mean().sqrt())
