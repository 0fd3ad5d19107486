"""`eval`: perplexity on a text, of an artifact or of the eager decoder, and what rounding did to a checkpoint."""

from __future__ import annotations

import importlib.resources
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mlp_export.bundle import Bundle
from mlp_export.decoder import FLOAT, FloatWeights, Numerics, TokenSequence, WeightSource, decode
from mlp_export.errors import InputError, UsageError, VerificationError
from mlp_export.progress import Progress
from mlp_export.quantization.store import QuantizedModel
from mlp_export.session import Session, open_session
from mlp_export.tokenizer import Tokenizer

ROUNDING_TOKENS = 512  # of the text that ships, which has about that many


@dataclass(frozen=True)
class EvaluationReport:
    """Perplexity: exp of the mean negative log likelihood of each token given those before it, in nats."""

    text: str  # the file, "" for the one that ships
    tokens: int  # predicted ones
    perplexity: float

    def to_json(self) -> dict[str, Any]:
        """The object `eval --json` prints."""
        return asdict(self)


@dataclass(frozen=True)
class Rounding:
    """What quantization did to a model that was not trained for it: perplexities on the text that ships."""

    tokens: int
    float_perplexity: float
    quantized_perplexity: float

    def summary(self) -> str:
        """A line for the person."""
        return (
            f"rounding without training: perplexity {self.float_perplexity:.1f} in float, "
            f"{self.quantized_perplexity:.1f} as exported, over {self.tokens} tokens"
        )


def shipped_text() -> str:
    """A short English text, written for this project."""
    return importlib.resources.files("mlp_export").joinpath("data/text.txt").read_text(encoding="utf-8")


def evaluate(
    bundle: Bundle,
    progress: Progress,
    *,
    text: Path | None = None,
    max_tokens: int = 1024,
    session: Session | None = None,
) -> EvaluationReport:
    """Perplexity of the artifact itself, a token a call, on the beginning of a text that fits its context.

    Raises UsageError for max_tokens below 2, InputError for a text that cannot be read or has fewer than 2 tokens,
    VerificationError where the program answers NaN.
    """
    if max_tokens < 2:
        raise UsageError(f"a perplexity over {max_tokens} tokens", "give --max-tokens 2 or more")
    words = shipped_text() if text is None else read_text(text)
    ids = bundle.tokenizer().encode(words, bos=bundle.manifest.tokenizer.add_bos, special=False)
    ids = ids[: min(max_tokens, bundle.manifest.context)]
    if len(ids) < 2:
        raise InputError(f"{text or 'the text'} has {len(ids)} tokens, expected 2 or more", "give a longer text")
    with progress.stage("load"):
        session = session or open_session(bundle)
    loss = 0.0
    with progress.stage("evaluate", total=len(ids) - 1) as stage:
        for position in range(len(ids) - 1):
            logits = session.forward(ids[position : position + 1], position)
            loss -= float(logits.log_softmax(-1)[ids[position + 1]])
            stage.advance()
    if not math.isfinite(loss):
        raise VerificationError("the program answered NaN or infinity", "verify the bundle: `mlp-export verify`")
    return EvaluationReport(str(text or ""), len(ids) - 1, math.exp(loss / (len(ids) - 1)))


def measure_rounding(
    model: QuantizedModel, tokenizer: Tokenizer, bos: bool, numerics: Numerics, progress: Progress
) -> Rounding:
    """Perplexity of the eager decoder with the checkpoint's own weights, and with `model`'s under `numerics`."""
    ids = tokenizer.encode(shipped_text(), bos=bos, special=False)[: min(ROUNDING_TOKENS, model.config.max_positions)]
    with progress.stage("what rounding does", total=2 * model.config.num_layers) as stage:
        before = eager_perplexity(FloatWeights(model.checkpoint), ids, FLOAT, stage.advance)
        after = eager_perplexity(model, ids, numerics, stage.advance)
    return Rounding(len(ids) - 1, before, after)


def eager_perplexity(
    weights: WeightSource, ids: Sequence[int], numerics: Numerics, on_layer: Any = lambda: None
) -> float:
    """Perplexity of `mlp_export.decoder` on `ids`."""
    (logits,) = decode(weights, [TokenSequence(ids, range(len(ids) - 1))], numerics, on_layer)
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:])).exp())


def read_text(path: Path) -> str:
    """A UTF-8 file. Raises InputError where it cannot be read, or is something else."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "give a text file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start})", "convert it to UTF-8") from error
