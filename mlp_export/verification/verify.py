"""`verify`: a bundle verified against the model it came from.

Nothing here knows a backend: the artifact is a Session, its weights are read back through the backend's
`read_weight`, and what it should answer comes from `models.decoder` with the same codes, over the same positions.

How close is close enough? Activations are rounded to int8 at each linear, so a difference of one unit in the last
place somewhere flips roundings and ends, after thirty layers, as a difference of a tenth of the logits' norm. The
same happens to the reference itself: decoded again with 1e-6 of noise on its embeddings, it differs from itself by
the same amount, and by the same amount in each run (within 10 %, over 40 positions). That measured floor, times
`_TOLERANCE`, is the limit, and is recorded.

A rounding floor could hide a small mistake, such as a window of 511 keys. What a key must not change is therefore
tested exactly: the same call twice, with another key in a slot that the query must not see, has to give the same
bits, and with another key in the farthest slot that it must see, other ones.
"""

from __future__ import annotations

import itertools
import logging
import platform
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from mlp_export.backends.base import Backend, get_backend, open_session
from mlp_export.bundle.bundle import Bundle
from mlp_export.bundle.manifest import shape_of
from mlp_export.checkpoints.checkpoint import read_checkpoint
from mlp_export.checkpoints.resolve import read_resolved, resolve
from mlp_export.errors import InputError
from mlp_export.evaluation.inspect_artifact import inspect_artifact
from mlp_export.models.config import ModelConfig
from mlp_export.models.eager import decode_each
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.progress import Progress
from mlp_export.quantization.nearest import round_checkpoint
from mlp_export.quantization.quantize import find_quantized
from mlp_export.quantization.scheme import Scheme
from mlp_export.quantization.store import QuantizedModel
from mlp_export.runtime.generate import generate
from mlp_export.runtime.host_runtime import VerificationBudget
from mlp_export.runtime.native_output import capture_native_output
from mlp_export.runtime.session import Session
from mlp_export.runtime.stock_runner import PartialCharacterError, generate_with_stock_runner
from mlp_export.text.chat import Message
from mlp_export.text.shipped import shipped_text
from mlp_export.text.tokenizer import Tokenizer
from mlp_export.verification.layer_watch import LayerWatch, watch_layers

_log = logging.getLogger(__name__)
# Times the noise floor; two draws of it differ by at most 1.13 over 40 positions (see docs/architecture.md).
_TOLERANCE = 1.5
_BUDGET = VerificationBudget()
# Differences of summation order alone, where no rounding flipped: tiny models have a noise floor of nothing.
_FLOOR = 1e-4
_HEAD = 16  # tokens before the gap: models attend to the first ones of a text, and are out of their depth without
_MOST_NOISE_DRAWS = 8
_NOISE_WORK = 5e10  # parameters times tokens that the draws may cost: large models need few, their flips are many
_LOGITS = "logits of the last token with the reference's, in"
_LAYERS = "what each layer of the program computes with the reference's layer on the same input"
_QUESTION = "What is the capital of France?"
_SENTENCE = "The river rises in the hills to the north and is joined by two streams before it comes to the town. "


# Bit for bit; the same ids, numbers or text; within a limit that the detail names.
Level = Literal["bits", "equal", "limit"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and what was found."""

    name: str
    passed: bool
    detail: str
    level: Level
    compared: str  # what with what, and what was not


@dataclass(frozen=True)
class VerificationReport:
    """What was verified. Numbers of the comparison with the model are None where there was no model to compare with."""

    passed: bool
    tokens: int  # positions whose logits were compared
    top1_agreement: float | None
    max_abs_error: float | None
    mean_kl: float | None  # of the reference's distribution from the artifact's, nats
    relative_error: float | None  # root mean square over positions of |difference| / |reference|, logits centred
    noise_floor: float | None  # the same of the reference against itself under 1e-6 of noise, the largest of the draws
    weights_bit_equal: bool | None
    ran_on: str  # what ran the program here, in place of a phone
    checks: list[Check]

    def to_json(self) -> dict[str, Any]:
        """The object `verify --json` prints, and the manifest keeps."""
        return asdict(self)


def verify_bundle(
    path: Path, model: str | None = None, progress: Progress | None = None, *, accept_license: Collection[str] = ()
) -> VerificationReport:
    """Verify the bundle in folder `path` against checkpoint `model`, a hub id, folder or alias; without it: hashes,
    structure and a smoke run. `progress` shows its stages on stderr; None: nothing is shown. `accept_license` is as in
    ExportOptions.

    A bundle that does not do what its model does gives a report whose `passed` is False. Raises InputError where the
    folder is no bundle or the checkpoint is not of the manifest's shape.
    """
    progress = progress or Progress(quiet=True)
    with progress.stage("hashes"):
        bundle = Bundle.open(path)
    found = f"{len(bundle.manifest.files)} files have the manifest's sizes and sha256"
    files = Check("files", True, found, "bits", "sizes and sha256 of all files with the manifest's")
    with tempfile.TemporaryDirectory(prefix="mlp-export-") as scratch:
        quantized = None if model is None else _model_of(bundle, model, Path(scratch), progress, accept_license)
        report = verify(bundle, quantized, progress)
    return replace(report, checks=[files, *report.checks])


def _model_of(
    bundle: Bundle, model: str, scratch: Path, progress: Progress, accept_license: Collection[str]
) -> QuantizedModel:
    found = resolve(model, announce=progress.note, quiet=progress.quiet, accepted=accept_license)
    checkpoint = read_resolved(found, progress.note)
    shape, expected = bundle.manifest.model.shape, shape_of(checkpoint.config)
    for key in {**expected, **shape}:  # a key that one lacks: a feature that its model does not have
        if shape.get(key) != expected.get(key):
            raise InputError(
                f"{model} has {key} {expected.get(key)}, the bundle's model {shape.get(key)}",
                f"give the model it came from: {bundle.manifest.model.id}",
            )
    scheme, record = Scheme.from_manifest(bundle.manifest.quantization), bundle.manifest.quantization.get("quantizer")
    if record is not None and checkpoint.kind == "float":
        checkpoint = read_checkpoint(find_quantized(record, checkpoint))
    with progress.stage("quantize", total=len(checkpoint.weight_names())) as stage:
        lossy = "loss" in bundle.manifest.quantization
        store = round_checkpoint(checkpoint, scheme, scratch / "weights", stage.advance, allow_lossy=lossy)
    return QuantizedModel(checkpoint, store)


def verify(bundle: Bundle, model: QuantizedModel | None, progress: Progress) -> VerificationReport:
    """Verify `bundle`, whose files have been checked, against `model`; without it, its structure and a smoke run."""
    backend = get_backend(bundle.manifest.backend.name)
    if backend.runtime.notes.note:
        progress.note(backend.runtime.notes.note)
    checks = [_structure(bundle, model)]
    comparison = None
    bits = None
    if model is not None:
        weights = _weights(bundle, model, backend, progress)
        bits = weights.passed
        comparison = _compare(bundle, model, backend, progress)
        checks += [weights, *comparison.checks]
    checks += _in_the_runtime(bundle, progress)
    for check in checks:
        _log.info("%s %s: %s", "passed" if check.passed else "FAILED", check.name, check.detail)
    return VerificationReport(
        passed=all(check.passed for check in checks),
        tokens=comparison.tokens if comparison else 0,
        top1_agreement=comparison.top1_agreement if comparison else None,
        max_abs_error=comparison.max_abs_error if comparison else None,
        mean_kl=comparison.mean_kl if comparison else None,
        relative_error=comparison.relative_error if comparison else None,
        noise_floor=comparison.noise_floor if comparison else None,
        weights_bit_equal=bits,
        ran_on=_ran_on(backend),
        checks=checks,
    )


def _ran_on(backend: Backend) -> str:
    here = f"ExecuTorch {version('executorch')}, {platform.system()} {platform.machine()}"
    note = backend.runtime.notes.note
    return f"{here}: {note}" if note else here


def _structure(bundle: Bundle, model: QuantizedModel | None) -> Check:
    """What the file itself says against what the manifest, and the model's config, say."""
    manifest, found = bundle.manifest, inspect_artifact(bundle.pte)
    expected = {
        "backend": (manifest.backend.name, found.backend),
        "context": (manifest.context, found.context),
        "prefill chunk": (manifest.prefill_chunk, found.prefill_chunk),
        "KV cache bytes": (manifest.kv_cache_bytes, found.kv_cache_bytes),
        "KV scale bytes": (manifest.kv_scale_bytes, found.kv_scale_bytes),
        "vocabulary": (manifest.model.shape["vocab_size"], found.vocab_size),
        "BOS id": (manifest.tokenizer.bos_id, found.bos_id),
        "stop ids": (list(manifest.tokenizer.eos_ids), found.eos_ids),
        "delegate calls": (1, sum(found.delegates.values())),
        "tied weights stored once": (manifest.tied_weights_stored_once, found.tied_weights_stored_once),
    }
    for said in {"soc", "compute_unit"} & set(found.compiled_for):
        expected["target"] = (manifest.backend.target, found.compiled_for[said])
    if model is not None:
        value_bytes = {"int8": 1, "fp16": 2, "fp32": 4}[manifest.quantization["kv_cache"]]
        by_formula = model.config.kv_cache_bytes(manifest.context, value_bytes)
        expected["KV cache bytes by the model's shape"] = (by_formula, found.kv_cache_bytes)
        expected["tied"] = (
            model.tied and get_backend(manifest.backend.name).compiler.traits.shares_tied_weights,
            found.tied_weights_stored_once,
        )
        expected["model's stop ids"] = (list(model.config.eos_ids), found.eos_ids)
    wrong = [f"{name} is {there}, expected {said}" for name, (said, there) in expected.items() if said != there]
    wrong += found.compatibility_issues
    detail = "; ".join(wrong) or ", ".join(expected) + " are as the manifest says"
    return Check("structure", not wrong, detail, "equal", "what the .pte says of itself with the manifest")


def _weights(bundle: Bundle, model: QuantizedModel, backend: Backend, progress: Progress) -> Check:
    """What the finished file shows of each weight, bit for bit: codes, and scales where they can be read back."""
    names = model.weight_names()
    unequal: list[str] = []
    codes = scales = 0
    hidden: dict[str, int] = {}  # where they are compared -> scales that the file does not show
    with progress.stage("weights, bit for bit", total=len(names)) as stage, backend.open_artifact(bundle.pte) as reader:
        for name in names:
            expected = model.weight(name)
            found = reader.weight(name, expected)
            unequal += [f"{part} of {name}" for part in found.differences(expected)]
            codes += found.codes.numel()
            if found.scales is None:
                hidden[found.hidden_scales] = hidden.get(found.hidden_scales, 0) + expected.scales.numel()
            else:
                scales += found.scales.numel()
            stage.advance()
    compared = _compared_weights(len(names), scales, hidden)
    if unequal:
        return Check("weights", False, f"{', '.join(unequal[:5])} differ", "bits", compared)
    equal = f"{codes:,} codes and {scales:,} scales are equal" if scales else f"{codes:,} codes are equal"
    unread = [f"{count:,} scales are not shown by the file: {where}" for where, count in hidden.items()]
    return Check("weights", True, "; ".join([equal, *unread]), "bits", compared)


def _compared_weights(count: int, scales: int, hidden: Mapping[str, int]) -> str:
    """In words: what was read back of `count` weights, and which scales were not, `hidden`, and why."""
    read = f"of {count} weights, read back out of the .pte, with the checkpoint's"
    if not hidden:
        return f"codes and scales {read}"
    total = scales + sum(hidden.values())
    unread = "; ".join(f"{number:,} scales ({where})" for where, number in hidden.items())
    return f"all codes and {scales:,} of {total:,} scales {read}; not in the file: {unread}"


@dataclass(frozen=True)
class _Comparison:
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


def _compare(bundle: Bundle, model: QuantizedModel, backend: Backend, progress: Progress) -> _Comparison:
    manifest, config = bundle.manifest, model.config
    plans = call_plans(
        config, manifest.context, manifest.prefill_chunk, backend.runtime.verification_budget(manifest.model.parameters)
    )
    words = bundle.tokenizer().encode(shipped_text(), bos=manifest.tokenizer.add_bos, special=False)
    right = [_sequence(plan, words) for plan in plans]
    work = config.num_parameters * sum(len(sequence.tokens) for sequence in right)
    draws = max(1, min(_MOST_NOISE_DRAWS, int(_NOISE_WORK / work)))
    ways = [backend.compiler.numerics(bundle.path, manifest.quantization, draw) for draw in (None, *range(draws))]
    checks: list[Check] = []
    watch: LayerWatch | None = None
    with progress.stage("the layers' results"):
        try:
            watch = watch_layers(backend.runtime, bundle.pte, model, ways[0], manifest.context, words)
        except InputError as error:
            checks.append(Check("layers", False, str(error), "limit", _LAYERS))
    runs = [(sequence, numerics) for numerics in ways for sequence in right]
    with progress.stage("reference", total=config.num_layers) as stage:
        logits = decode_each(model, [*runs, *(watch.runs if watch else ())], stage.advance, watch)
    if watch is not None:
        checks.append(Check("layers", watch.passed, watch.summary(), "limit", _LAYERS))
    comparisons = []
    with progress.stage("artifact", total=sum(len(plan) for plan in plans)) as stage:
        for n, (plan, sequence) in enumerate(zip(plans, right, strict=True)):
            session = open_session(bundle)  # its caches are zeros
            found, at = [], 0
            for call in plan:
                found.append(session.forward(sequence.tokens[at : at + call.count], call.position))
                at += call.count
                stage.advance()
            del session
            noisy = [logits[n + len(right) * draw] for draw in range(1, draws + 1)]
            reasons = [call.reason for call in plan]
            comparisons.append(compare_logits(logits[n], torch.stack(found), noisy, reasons))
    checks += [check for comparison in comparisons for check in comparison.checks()]
    return _Comparison(
        tokens=sum(len(c.errors) for c in comparisons),
        top1_agreement=float(torch.cat([c.top1 for c in comparisons]).float().mean()),
        max_abs_error=max(float((c.found - c.reference).abs().max()) for c in comparisons),
        mean_kl=float(torch.cat([c.kl for c in comparisons]).mean()),
        relative_error=rms(torch.cat([c.errors for c in comparisons])),
        noise_floor=max(rms(torch.cat(draw)) for draw in zip(*(c.noise for c in comparisons), strict=True)),
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


def slot_checks(session: Session, window: int) -> list[Check]:
    """Whether a query sees the slots of the caches that it must see and no other, told by bits that change or do not.

    Position p and position p + window share a slot of a ring, but none of a global cache. So a token that is fed at
    p + window stands, for a query before it, where the key of p is due in local layers, and nowhere in global ones.
    """
    one, other, query = 1, 2, 3  # any ids

    def tells(position: int, at: int) -> bool:
        """Whether a query at `at` answers otherwise when another token was fed at `position` just before."""
        answers = []
        for token in (one, other):
            session.forward([token], position)
            answers.append(session.forward([query], at))
        return not torch.equal(*answers)

    stale = min(5, session.context - 1)
    seen = tells(stale, stale)
    told = f"a query at {stale} {'sees' if seen else 'does not see'} what its own slot held before"
    compared = "logits of one call after two different tokens in a slot that it must not see"
    checks = [Check("stale slot", not seen, told, "bits", compared)]
    if window and window + 1 < session.context:
        later = window + 1  # where the key of position 1 is due
        farthest, next_one = tells(later, window), tells(later, window + 1)
        told = f"of {window} keys the farthest is {'seen' if farthest else 'not seen'}, "
        told += f"the next {'too' if next_one else 'not'}"
        compared = "logits of calls after two different tokens in the farthest slot of the window, and in the next"
        checks.append(Check("window", farthest and not next_one, told, "bits", compared))
    return checks


def _centred(logits: torch.Tensor) -> torch.Tensor:
    """Adding a constant to all logits changes no probability."""
    return logits - logits.mean(-1, keepdim=True)


def _relative(logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    reference = _centred(reference)
    return (_centred(logits) - reference).norm(dim=-1) / reference.norm(dim=-1)


def rms(values: torch.Tensor) -> float:
    """Root mean square."""
    return float(values.pow(2).mean().sqrt())


@dataclass(frozen=True)
class _Prompt:
    text: str
    bos: bool  # whether the tokenizer puts BOS before it
    ids: list[int]
    most_new_tokens: int

    def new_tokens(self, context: int) -> int:
        """Tokens of the answer to compare: the runner may not answer from the last slot."""
        return min(self.most_new_tokens, context - len(self.ids))


def _in_the_runtime(bundle: Bundle, progress: Progress) -> list[Check]:
    """Which slots count; and the bundle's files through ExecuTorch's own runner: the ids, the greedy text."""
    tokenizer, manifest = bundle.tokenizer(), bundle.manifest
    budget = get_backend(manifest.backend.name).runtime.verification_budget(manifest.model.parameters)
    prompts = _prompts(bundle, tokenizer, budget)
    checks = [_runners_ids(bundle, prompts)]
    answered = [prompt for prompt in prompts[: budget.prompts] if len(prompt.ids) < manifest.context]
    if not checks[0].passed or not (budget.edges or answered):
        return checks
    with progress.stage("which slots count"):
        session = open_session(bundle)
        if budget.edges:
            checks += slot_checks(session, manifest.model.shape["window"])
    if not answered:
        return checks
    with progress.stage("stock runner"):
        ours = [_own_answer(bundle, session, tokenizer, prompt) for prompt in answered]
        del session  # before the runner comes: each holds the program in memory
        answers = [_as_the_runner(bundle, prompt, answer) for prompt, answer in zip(answered, ours, strict=True)]
        differing = [f"{ours!r} and {stock!r}" for ours, stock in answers if ours != stock]
        same = f"{len(answers)} prompts: the greedy text of TextLLMRunner is that of single steps"
        compared = f"greedy text of up to {budget.answer_tokens} tokens by TextLLMRunner with that of our loop"
        checks.append(Check("stock runner", not differing, "; ".join(differing) or same, "equal", compared))
    return checks


def _runners_ids(bundle: Bundle, prompts: Sequence[_Prompt]) -> Check:
    """Whether the stock runner's tokenizer, on the bundle's file, gives the ids of the reference."""
    compared = "ids of the stock runner's tokenizer with those of Hugging Face's, on tokenizer.json"
    try:
        with capture_native_output():
            from pytorch_tokenizers import CppHFTokenizer

            runners = CppHFTokenizer()
            runners.load(str(bundle.path / "tokenizer.json"))
            unequal = [p.text[:40] for p in prompts if runners.encode(p.text, int(p.bos), 0) != p.ids]
    except RuntimeError as error:
        told = f"the stock runner cannot read tokenizer.json: {error}"
        return Check("tokenizer", False, told, "equal", compared)
    equal = f"the runner's ids for {len(prompts)} prompts are the reference's"
    return Check("tokenizer", not unequal, f"other ids for {unequal}" if unequal else equal, "equal", compared)


def _prompts(bundle: Bundle, tokenizer: Tokenizer, budget: VerificationBudget) -> list[_Prompt]:
    """More than a chunk, a chat where the model has one, a word, a question."""
    manifest = bundle.manifest

    def prompt(text: str, bos: bool) -> _Prompt:
        return _Prompt(text, bos, tokenizer.encode(text, bos=bos, special=True), budget.answer_tokens)

    long = prompt(_SENTENCE, manifest.tokenizer.add_bos)
    while len(long.ids) <= manifest.prefill_chunk:
        long = prompt(long.text + _SENTENCE, long.bos)
    prompts = [long]
    if manifest.chat:
        prompts.append(prompt(manifest.chat.compose([Message("user", _QUESTION)]), False))
    prompts += [prompt("The", long.bos), prompt(_QUESTION, long.bos)]
    return prompts


def _own_answer(bundle: Bundle, session: Session, tokenizer: Tokenizer, prompt: _Prompt) -> str:
    """The greedy continuation by our loop."""
    manifest = bundle.manifest
    return generate(
        session,
        tokenizer,
        prompt.ids,
        max_new_tokens=prompt.new_tokens(manifest.context),
        eos_ids=manifest.tokenizer.eos_ids,
        stop=manifest.chat.stop if manifest.chat else (),
    ).text


def _as_the_runner(bundle: Bundle, prompt: _Prompt, answer: str) -> tuple[str, str]:
    """`answer` and the stock runner's, both as far as the runner's binding can say it."""
    new_tokens = prompt.new_tokens(bundle.manifest.context)
    runtime = get_backend(bundle.manifest.backend.name).runtime
    try:
        found = generate_with_stock_runner(bundle, prompt.text, runtime, max_new_tokens=new_tokens, bos=prompt.bos)
    except PartialCharacterError as error:
        return answer[: len(error.text)], error.text
    return answer, found.text
