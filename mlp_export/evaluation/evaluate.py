"""`eval`: what an artifact, or a checkpoint before its export, is worth on a text; and what quantization cost.

Perplexity; and against a checkpoint KL divergence and top-1 agreement, with confidence intervals: `token_scores`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from mlp_export.backends.base import open_session
from mlp_export.bundle.bundle import Bundle
from mlp_export.bundle.manifest import shape_of
from mlp_export.checkpoints.checkpoint import Checkpoint
from mlp_export.checkpoints.model_source import ResolvedModel
from mlp_export.checkpoints.resolve import read_resolved
from mlp_export.errors import InputError, UsageError, VerificationError
from mlp_export.evaluation.token_scores import (
    Comparison,
    Estimate,
    TokenScores,
    entries,
    mean_divergence,
    perplexity,
    score_rows,
    share_estimate,
)
from mlp_export.models.eager import decode_rows, head_logits
from mlp_export.models.numerics import FLOAT, DynamicNumerics, Numerics
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.models.weights import FloatWeights, WeightSource
from mlp_export.progress import Progress
from mlp_export.quantization.nearest import round_checkpoint
from mlp_export.quantization.scheme import channel_scheme, group_scheme
from mlp_export.quantization.store import QuantizedModel, store_bytes
from mlp_export.resources import require
from mlp_export.runtime.session import Session, all_cores
from mlp_export.scratch import scratch_folder
from mlp_export.text.shipped import shipped_text
from mlp_export.text.tokenizer import Tokenizer

SEQUENCE_TOKENS = 2048  # of a checkpoint: the context that an export has by default
_QUANTIZATION_ERROR_TOKENS = 512  # of the text that ships, which has about that many
_LOGITS_BYTES = 32_000_000  # of one model; a few copies of them, for two models, are in memory at a time
# What may differ between a checkpoint and the same one quantized: the head of its own, and where texts end.
_NOT_THE_FUNCTION = frozenset({"tied_embeddings", "bos_id", "eos_ids"})


class Predictor(Protocol):
    """What has logits for each token of some sequences."""

    @property
    def vocab_size(self) -> int: ...

    def logits(self, sequence: int, rows: range) -> torch.Tensor:
        """float32 [len(rows), vocabulary]: what is said behind the tokens `rows` of a sequence. Rows are asked for in
        order, each once. Where they are not finite, raises InputError of a checkpoint, VerificationError of a program.
        """
        ...


@dataclass(frozen=True)
class EagerPredictor:
    """The eager decoder, its work done up to the head: `rows` are those of `decode_rows` for each sequence."""

    weights: WeightSource
    numerics: Numerics
    rows: Sequence[torch.Tensor]

    @property
    def vocab_size(self) -> int:
        return self.weights.config.vocab_size

    def logits(self, sequence: int, rows: range) -> torch.Tensor:
        with all_cores():
            (logits,) = head_logits(self.weights, [(self.rows[sequence][rows.start : rows.stop], self.numerics)])
        return logits


@dataclass(frozen=True)
class ArtifactPredictor:
    """A program as an app runs it, a token a call: a call answers for its last token only."""

    session: Session
    sequences: Sequence[Sequence[int]]

    @property
    def vocab_size(self) -> int:
        return self.session.vocab_size

    def logits(self, sequence: int, rows: range) -> torch.Tensor:
        ids = self.sequences[sequence]
        logits = torch.stack([self.session.forward(ids[position : position + 1], position) for position in rows])
        if not bool(logits.isfinite().all()):
            raise VerificationError("the program answered NaN or infinity", "verify the bundle: `mlp-export verify`")
        return logits


@dataclass(frozen=True)
class OpenCheckpoint:
    """A checkpoint to evaluate or to compare with, and what is rounded while it computes."""

    id: str
    kind: str  # "float", or how it is quantized
    weights: WeightSource
    numerics: Numerics
    tokenizer: Tokenizer

    def predictor(self, sequences: Sequence[Sequence[int]], on_layer: Callable[[], object]) -> EagerPredictor:
        """The decoder's work on `sequences`."""
        return decode_sequences(self.weights, self.numerics, sequences, on_layer)


@dataclass(frozen=True)
class EvaluationReport:
    """Of predictions of each token given those before it in its sequence."""

    texts: tuple[Path, ...]  # none: the text that ships
    evaluated: str  # "artifact", "float", or how a checkpoint is quantized
    sequences: int
    tokens: int  # predicted ones
    perplexity: Estimate
    against: str | None = None
    against_kind: str | None = None  # "float", or how it is quantized
    against_perplexity: Estimate | None = None
    kl: Estimate | None = None  # nats a token
    top1_agreement: Estimate | None = None

    def to_json(self) -> dict[str, Any]:
        """The object `eval --json` prints. `text` is "" for the one that ships."""
        return {
            "text": ", ".join(map(str, self.texts)),
            "evaluated": self.evaluated,
            "sequences": self.sequences,
            "tokens": self.tokens,
            **entries("perplexity", self.perplexity),
            "against": self.against,
            "against_kind": self.against_kind,
            **entries("against_perplexity", self.against_perplexity),
            **entries("kl", self.kl),
            **entries("top1_agreement", self.top1_agreement),
        }

    def summary(self) -> dict[str, Any]:
        """What `eval` prints: intervals behind the numbers."""
        lines: dict[str, Any] = {
            "text": ", ".join(map(str, self.texts)) or "the one that ships",
            "evaluated": self.evaluated,
            "tokens": f"{self.tokens:,} in {self.sequences:,} sequence{'s' * (self.sequences != 1)}",
            "perplexity": self.perplexity.text(),
        }
        if self.kl is not None and self.top1_agreement is not None and self.against_perplexity is not None:
            lines |= {
                "against": f"{self.against} ({self.against_kind})",
                "its perplexity": self.against_perplexity.text(),
                "KL to it, nats": self.kl.text(),
                "top-1 agreement": self.top1_agreement.text(),
            }
        return lines


@dataclass(frozen=True)
class QuantizationError:
    """What quantization did to a model that was not trained for it, by the eager decoder on the text that ships."""

    tokens: int
    float_perplexity: Estimate
    quantized_perplexity: Estimate
    kl: Estimate
    top1_agreement: Estimate

    def to_json(self) -> dict[str, Any]:
        """As the manifest has it."""
        return {
            "tokens": self.tokens,
            **entries("float_perplexity", self.float_perplexity),
            **entries("quantized_perplexity", self.quantized_perplexity),
            **entries("kl", self.kl),
            **entries("top1_agreement", self.top1_agreement),
        }

    def summary(self) -> str:
        """A line for the person."""
        return (
            f"quantization error: KL to float {self.kl.text(2)} nats, top-1 agreement {self.top1_agreement.text(2)}, "
            f"perplexity {self.float_perplexity.value:.1f} in float and {self.quantized_perplexity.value:.1f} as "
            f"exported, over {self.tokens} tokens"
        )


def is_checkpoint(name: str) -> bool:
    """Whether `name` means a checkpoint, by folder, alias or hub id; else it is to be a bundle's folder."""
    if os.path.exists(name):
        return os.path.isfile(os.path.join(name, "config.json"))
    # owner/name is a hub id, and build/demo with a slip of the pen is a folder that is not there.
    parent = os.path.dirname(name)
    return not name.startswith((".", "/", "~")) and not (parent and os.path.isdir(parent))


def evaluate(
    bundle: Bundle,
    progress: Progress,
    *,
    texts: Sequence[Path] = (),
    max_tokens: int = 1024,
    sequence_length: int | None = None,
    against: OpenCheckpoint | None = None,
    session: Session | None = None,
) -> EvaluationReport:
    """Evaluate the artifact itself, a token a call, on the beginnings of `texts`, or of the one that ships.

    Texts longer than `sequence_length` (None: the artifact's context) are cut into sequences that each start anew.

    Raises UsageError for numbers of tokens below 2 and a sequence longer than the context; InputError for a text that
    cannot be read or has fewer than 2 tokens, and where `against` is another model; VerificationError where the program
    answers NaN.
    """
    context, tokenizer = bundle.manifest.context, bundle.tokenizer()
    length = _sequence_length(sequence_length, context, context)
    if against is not None:
        check_same_model(bundle.manifest.model.shape, tokenizer, against, str(bundle.path))
    sequences = _read_sequences(tokenizer, texts, bundle.manifest.tokenizer.add_bos, length, max_tokens)
    with progress.stage("load"):
        predictor = ArtifactPredictor(session or open_session(bundle), sequences)
    reference = None
    if against is not None:
        with progress.stage("decode", total=against.weights.config.num_layers) as stage:
            reference = against.predictor(sequences, stage.advance)
    return _report("artifact", predictor, reference, sequences, texts, against, progress)


def evaluate_checkpoint(
    model: OpenCheckpoint,
    progress: Progress,
    *,
    texts: Sequence[Path] = (),
    max_tokens: int = 1024,
    sequence_length: int | None = None,
    against: OpenCheckpoint | None = None,
) -> EvaluationReport:
    """The same of a checkpoint, by the eager decoder. Raises what `evaluate` raises."""
    config = model.weights.config
    length = _sequence_length(sequence_length, min(SEQUENCE_TOKENS, config.max_positions), config.max_positions)
    if against is not None:
        check_same_model(shape_of(config), model.tokenizer, against, model.id)
    sequences = _read_sequences(model.tokenizer, texts, model.tokenizer.adds_bos, length, max_tokens)
    opened = (model,) if against is None else (model, against)
    with progress.stage("decode", total=config.num_layers * len(opened)) as stage:
        predictor, *reference = (one.predictor(sequences, stage.advance) for one in opened)
    return _report(model.kind, predictor, next(iter(reference), None), sequences, texts, against, progress)


@contextmanager
def open_checkpoint(found: ResolvedModel) -> Iterator[OpenCheckpoint]:
    """A checkpoint for `evaluate_checkpoint`, or to compare with.

    A float one is computed in float. A quantized one has its codes, kept in a temporary folder meanwhile, and with
    scales for groups what a program of XNNPACK rounds besides: int8 inputs of linears and an int8 KV cache. One with a
    scale an output channel is for NPUs, whose activations of 16 bits are taken as float. Raises InputError where it is
    no checkpoint, ResourceError where the disk has no space for the codes.
    """
    checkpoint = read_resolved(found)
    tokenizer = Tokenizer.from_folder(found.folder, checkpoint.config.vocab_size)
    if not checkpoint.qat:
        yield OpenCheckpoint(found.id, "float", FloatWeights(checkpoint), FLOAT, tokenizer)
        return
    kind, config, formats = checkpoint.kind, checkpoint.config, checkpoint.formats
    for_npus = kind == "quantized" and all(form.group_size is None for form in formats.values())
    scheme = channel_scheme(kind, config, None, formats) if for_npus else group_scheme(kind, config, None, formats)
    with scratch_folder() as folder:
        require(0, store_bytes(config, scheme), folder)
        model = QuantizedModel(checkpoint, round_checkpoint(checkpoint, scheme, folder / "weights"))
        if scheme.group_size is None:
            yield OpenCheckpoint(found.id, f"{scheme.name}, float activations", model, FLOAT, tokenizer)
        else:
            numerics = DynamicNumerics("int8", "int8")
            yield OpenCheckpoint(found.id, f"{scheme.name}, int8 activations and cache", model, numerics, tokenizer)


def measure_quantization_error(
    model: QuantizedModel, source: Checkpoint, tokenizer: Tokenizer, numerics: Numerics, progress: Progress
) -> QuantizationError:
    """Compare the eager decoder with `model`'s weights under `numerics` to the same with those of the float checkpoint
    `source`, in float.
    """
    length = min(_QUANTIZATION_ERROR_TOKENS, model.config.max_positions)
    sequences = text_sequences(tokenizer, [shipped_text()], tokenizer.adds_bos, length, length)
    with progress.stage("quantization error", total=2 * model.config.num_layers) as stage:
        exact = decode_sequences(FloatWeights(source), FLOAT, sequences, stage.advance)
        scores = score(decode_sequences(model, numerics, sequences, stage.advance), sequences, exact)
    compared = scores.comparison
    assert compared is not None
    return QuantizationError(
        scores.tokens,
        perplexity(compared.reference_loss),
        perplexity(scores.loss),
        mean_divergence(compared.kl),
        share_estimate(compared.agrees),
    )


def decode_sequences(
    weights: WeightSource,
    numerics: Numerics,
    sequences: Sequence[Sequence[int]],
    on_layer: Callable[[], object] = lambda: None,
) -> EagerPredictor:
    """The eager decoder on `sequences`, up to the head. Memory: a few rows for each token, a layer's weights."""
    runs = [(TokenSequence(ids, range(len(ids) - 1)), numerics) for ids in sequences]
    with all_cores():
        return EagerPredictor(weights, numerics, decode_rows(weights, runs, on_layer))


def score(
    predictor: Predictor,
    sequences: Sequence[Sequence[int]],
    reference: Predictor | None = None,
    advance: Callable[[int], object] = lambda tokens: None,
) -> TokenScores:
    """What `predictor` says of each token of `sequences`, and how far that is from what `reference` says.

    Sequences have 2 tokens or more. `advance` is called with the number of predictions made. Logits of some rows of one
    sequence are in memory at a time.
    """
    step = max(1, _LOGITS_BYTES // (4 * predictor.vocab_size))
    columns: list[list[torch.Tensor]] = [[] for _ in range(1 if reference is None else 4)]
    for number, ids in enumerate(sequences):
        found = []
        for first in range(0, len(ids) - 1, step):
            rows = range(first, min(first + step, len(ids) - 1))
            expected = None if reference is None else reference.logits(number, rows)
            following = torch.tensor(ids[rows.start + 1 : rows.stop + 1])
            found.append(score_rows(predictor.logits(number, rows), following, expected))
            advance(len(rows))
        for column, parts in zip(columns, zip(*found, strict=True), strict=True):
            column.append(torch.cat(parts))
    loss, *compared = columns
    return TokenScores(loss, Comparison(*compared) if compared else None)


def text_sequences(
    tokenizer: Tokenizer, texts: Sequence[str], bos: bool, length: int, max_tokens: int
) -> list[list[int]]:
    """Sequences of up to `length` ids out of `texts`, in turn, `max_tokens` ids in all; each has 2 or more and starts
    with BOS where `bos` says so.
    """
    prefix = tokenizer.encode("", bos=True, special=False) if bos else []
    step = max(1, length - len(prefix))
    cut = []
    for text in texts:
        ids = tokenizer.encode(text, bos=False, special=False)
        parts = [[*prefix, *ids[first : first + step]] for first in range(0, len(ids), step)] or [prefix]
        cut.append(parts)
    taken, left = [], max_tokens
    for part in itertools.chain.from_iterable(itertools.zip_longest(*cut, fillvalue=[])):
        if left >= 2 and len(part) >= 2:
            taken.append(part[:left])
            left -= len(taken[-1])
    return taken


def check_same_model(shape: Mapping[str, Any], tokenizer: Tokenizer, reference: OpenCheckpoint, name: str) -> None:
    """Raises InputError, with what differs, where logits of `name` and of `reference` are not about the same tokens, or
    come from decoders of different shapes.
    """
    other = shape_of(reference.weights.config)
    differences = [
        f"{key} is {shape.get(key)} and {other.get(key)}"
        for key in sorted({*shape, *other} - _NOT_THE_FUNCTION)
        if shape.get(key) != other.get(key)
    ]
    if not differences:
        differences = _tokenizer_differences(tokenizer, reference.tokenizer)
    if differences:
        raise InputError(
            f"{name} and {reference.id} are not the same model: {'; '.join(differences[:3])}"
            + (f"; {len(differences) - 3} more differences" if len(differences) > 3 else ""),
            "give --against the checkpoint that it was made from",
        )


def _tokenizer_differences(one: Tokenizer, other: Tokenizer) -> list[str]:
    sizes = one.vocab_size, other.vocab_size
    found = [f"the tokenizers have {sizes[0]:,} and {sizes[1]:,} ids"] if sizes[0] != sizes[1] else []
    for number in range(min(sizes)):
        spelled = one.token(number), other.token(number)
        if spelled[0] != spelled[1]:
            return [*found, f"token {number} is {spelled[0]!r} and {spelled[1]!r}"]
    words = shipped_text()
    if one.encode(words, bos=False, special=False) != other.encode(words, bos=False, special=False):
        found.append("the tokenizers cut the same text into other tokens")
    return found


def _report(
    evaluated: str,
    predictor: Predictor,
    reference: Predictor | None,
    sequences: list[list[int]],
    texts: Sequence[Path],
    against: OpenCheckpoint | None,
    progress: Progress,
) -> EvaluationReport:
    with progress.stage("evaluate", total=sum(map(len, sequences)) - len(sequences)) as stage:
        scores = score(predictor, sequences, reference, stage.advance)
    compared = scores.comparison
    return EvaluationReport(
        tuple(texts),
        evaluated,
        len(sequences),
        scores.tokens,
        perplexity(scores.loss),
        against=None if against is None else against.id,
        against_kind=None if against is None else against.kind,
        against_perplexity=None if compared is None else perplexity(compared.reference_loss),
        kl=None if compared is None else mean_divergence(compared.kl),
        top1_agreement=None if compared is None else share_estimate(compared.agrees),
    )


def _sequence_length(asked: int | None, default: int, most: int) -> int:
    if asked is None:
        return default
    if not 2 <= asked <= most:
        raise UsageError(f"sequences of {asked:,} tokens", f"give --sequence-length from 2 to {most:,}")
    return asked


def _read_sequences(
    tokenizer: Tokenizer, texts: Sequence[Path], bos: bool, length: int, max_tokens: int
) -> list[list[int]]:
    if max_tokens < 2:
        raise UsageError(f"a perplexity over {max_tokens} tokens", "give --max-tokens 2 or more")
    read = [read_text(path) for path in texts]
    for path, words in zip(texts, read, strict=True):
        count = len(tokenizer.encode(words, bos=bos, special=False))
        if count < 2:
            raise InputError(f"{path} has {count} tokens, expected 2 or more", "give a longer text")
    return text_sequences(tokenizer, read or [shipped_text()], bos, length, max_tokens)


def read_text(path: Path) -> str:
    """A UTF-8 file. Raises InputError where it cannot be read, or is something else."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "give a text file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start})", "convert it to UTF-8") from error
