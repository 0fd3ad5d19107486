"""`quantize`: a float checkpoint to a quantized one whose answers stay close, by GPTQ on a calibration text.

The result is an ordinary checkpoint folder: export and verify take its codes bit for bit, other tools load it. GPTQ is
not reproducible on another machine (another BLAS or number of threads turns codes), so codes are made once, and what is
handed on is that folder. `quantized_checkpoint` keeps it in a cache for exports that name the float checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from mlp_export.checkpoints.checkpoint import Checkpoint, Kind
from mlp_export.checkpoints.resolve import locate, read_resolved
from mlp_export.checkpoints.storage import make_cache, storage_error
from mlp_export.errors import InputError, MissingError, ResourceError, UsageError
from mlp_export.folder_writer import check_file_target, check_folder_target
from mlp_export.hashing import file_sha256
from mlp_export.models.config import ModelConfig
from mlp_export.models.numerics import FLOAT, DynamicNumerics
from mlp_export.models.tensors import weight_shapes
from mlp_export.paths import cache_folder
from mlp_export.progress import Progress, StageRecord
from mlp_export.quantization.calibrated import quantize_with_gptq
from mlp_export.quantization.calibration_text import (
    CalibrationSequences,
    CalibrationTexts,
    calibration_sequences,
    check_tokens,
    read_texts,
)
from mlp_export.quantization.compressed_tensors import KIND, write_checkpoint
from mlp_export.quantization.distillation import distill
from mlp_export.quantization.gguf import GGUF, check_architecture, check_vocabulary, write_gguf
from mlp_export.quantization.scheme import GROUP_SIZE, Scheme, SchemeRule, Weights, group_scheme, with_head
from mlp_export.quantization.store import QuantizedModel
from mlp_export.resources import human_bytes, names_file_in, require
from mlp_export.text.chat import read_chat_template
from mlp_export.text.tokenizer import Tokenizer

CALIBRATION_TOKENS = 12_288
SEQUENCE_TOKENS = 512
_CACHE = "quantized"
_REMOVED = ".removed"
# Measured: 1.12 GB for the demo (this says 1.26), 2.89 GB for MobileLLM-Pro's shape (2.94). For imports, for a layer,
# for the largest matrix as stored, as codes, and as it is written and read back.
_BASE_RAM, _RAM_PER_HEAD_WEIGHT = 1_000_000_000, 7
# Of distillation, measured 2.05 GB for the demo (this says 2.1): float32 numbers for each logit, bytes for each scale.
_DISTILL_LOGITS, _DISTILL_RAM_PER_SCALE = 8, 16
_PACKAGES = ("mlp-export", "torch", "torchao")


@dataclass(frozen=True)
class QuantizeOptions:
    """What the person asked for."""

    model: str
    out: Path  # a folder, or a file with `format` "gguf"
    scheme: SchemeRule = group_scheme  # for CPUs; `channel_scheme` for NPUs
    weights: Weights | None = None  # None: int4
    head: Literal["int4", "int8"] | None = None  # None: as `weights` has it
    calibration: tuple[Path, ...] = ()  # texts; none: those that ship
    calibration_tokens: int = CALIBRATION_TOKENS
    sequential: bool = False  # whether each layer sees what the quantized layers before it make
    distill: int = 0  # steps that tune scales and norms
    format: Literal["safetensors", "gguf"] = "safetensors"
    accept_license: tuple[str, ...] = ()  # licenses that the person accepts, as `models` names them
    overwrite: bool = False


@dataclass(frozen=True)
class Recipe:
    """All that decides which codes come out, as far as a person chooses it. Its key names the result in the cache."""

    scheme: dict[str, Any]
    source_sha256: str  # see `source_sha256`
    vocab_size: int  # the tokenizer, which is no part of the hash, decides how many rows are in use
    calibration_sha256: str
    calibration_tokens: int
    sequential: bool = False
    distill_steps: int = 0

    @property
    def key(self) -> str:
        """The same for the same recipe and the same release."""
        said = json.dumps([asdict(self), version("mlp-export")], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def record(self, source: str) -> dict[str, str]:
        """What the checkpoint's header and the bundle's manifest say of how the codes were made from `source`."""
        return {
            "quantizer": "gptq",
            "source": source,
            "source_sha256": self.source_sha256,
            "calibration_sha256": self.calibration_sha256,
            "calibration_tokens": str(self.calibration_tokens),
            "sequential": str(self.sequential).lower(),
            "distill_steps": str(self.distill_steps),
            "seed": "none: nothing is drawn at random",
            "key": self.key,
            "versions": ", ".join(f"{package} {version(package)}" for package in _PACKAGES),
            "machine": platform.machine(),
        }


@dataclass(frozen=True)
class QuantizeReport:
    """What `quantize` made."""

    out: Path
    model: str
    scheme: Scheme
    record: dict[str, str]
    bytes: int  # of the files in `out`, or of the file
    stages: list[StageRecord]

    def to_json(self) -> dict[str, Any]:
        """The object `quantize --json` prints."""
        return {
            "out": str(self.out),
            "model": self.model,
            **self.scheme.manifest(),
            **self.record,
            "bytes": self.bytes,
            "seconds": sum(stage.seconds for stage in self.stages),
            "peak_rss_bytes": max(stage.peak_rss_bytes for stage in self.stages),
        }


def quantize(options: QuantizeOptions, progress: Progress | None = None) -> QuantizeReport:
    """Make a quantized checkpoint of a float one. `progress` shows its stages on stderr; None: nothing is shown.

    A killed run goes on where it was when it is started again with the same options. Raises UsageError, InputError or
    ResourceError before any work where that is possible; whatever is raised, nothing is left at `options.out`.
    """
    progress = progress or Progress()
    if options.weights == "int8":
        raise UsageError("--weights int8 with quantize", "rounding to 8 bits loses next to nothing: export does it")
    if options.format == "gguf" and options.head == "int8":
        raise _no_gguf()
    if os.path.exists(options.out) and not options.overwrite:
        raise UsageError(f"{options.out} exists already", "give --overwrite to replace it, or another --out")
    if options.format == "gguf":
        check_file_target(options.out, GGUF, options.overwrite)
    else:
        check_folder_target(options.out, KIND, options.overwrite)
    texts = read_texts(options.calibration)
    located = locate(options.model)
    if not located.is_here:  # what its config.json decides, before a download
        description = located.describe()
        _check_model(options, located.id, description.config, description.trained_for or "float")
    make_cache(cache_folder() / _CACHE)
    found = located.fetch(progress.note, quiet=progress.quiet, accepted=options.accept_license)
    checkpoint = read_resolved(found, progress.note)
    scheme, costs = _check_model(options, found.id, checkpoint.config, checkpoint.kind)
    if options.format == "gguf":
        check_vocabulary(checkpoint.config, found.folder)
    progress.note(
        f"needs {human_bytes(costs.peak_ram_bytes)} of memory and {human_bytes(costs.disk_bytes)} of disk in "
        f"{cache_folder()}; makes {human_bytes(costs.file_bytes)}"
    )
    tokenizer = Tokenizer.from_folder(found.folder, checkpoint.config.vocab_size)
    sequences = calibration(checkpoint, tokenizer, texts, options.calibration_tokens, progress)
    recipe = _recipe(checkpoint, scheme, sequences, sequential=options.sequential, distill_steps=options.distill)
    record = recipe.record(found.id)
    with _working_folder(recipe) as work:
        model = _quantized(checkpoint, scheme, sequences, recipe, work, progress)
        with progress.stage("write the checkpoint"):
            if options.format == "gguf":
                write_gguf(model, options.out, overwrite=options.overwrite)
            else:
                write_checkpoint(model, options.out, record, overwrite=options.overwrite)
        _remove(work)
    return QuantizeReport(options.out, found.id, scheme, record, _bytes(options.out), list(progress.stages))


def _check_model(options: QuantizeOptions, id: str, config: ModelConfig, kind: Kind) -> tuple[Scheme, QuantizeCosts]:
    """How a model of that shape is quantized, and what it takes. Raises what `quantize` does of it."""
    if kind != "float":
        raise InputError(
            f"{id} is quantized already ({kind}), expected a float checkpoint",
            "export it as it is: its codes are taken bit for bit",
        )
    scheme = with_head(options.scheme("float", config, options.weights or "int4"), "float", config, options.head)
    if options.format == "gguf":
        check_architecture(config)
        if scheme.group_size != GROUP_SIZE:
            raise _no_gguf()
    check_tokens(options.calibration_tokens, _sequence_length(config))
    costs = quantize_costs(config, options.distill)
    require(costs.peak_ram_bytes, costs.disk_bytes, cache_folder())
    require(0, costs.file_bytes, options.out)
    return scheme, costs


def _bytes(out: Path) -> int:
    try:
        return sum(file.stat().st_size for file in ([out] if out.is_file() else out.iterdir()))
    except OSError as error:  # it was moved away, or its disk is gone
        raise MissingError(f"cannot read what was written: {error.strerror} ({out})", "see where it is") from error


def _no_gguf() -> UsageError:
    return UsageError("--format gguf with weights that are not all int4 in groups", "Q4_0 has nothing else")


def quantized_checkpoint(
    checkpoint: Checkpoint, source: str, scheme: Scheme, sequences: CalibrationSequences, progress: Progress
) -> Path:
    """The folder of `checkpoint` quantized to `scheme`, made where the cache does not hold it. `source` is its name.

    Where it is to be made, raises MissingError for a cache that cannot be written, ResourceError for too little room.
    """
    recipe = _recipe(checkpoint, scheme, sequences)
    folder = _cached(recipe.key)
    if folder.is_dir():
        progress.note(f"int4 weights by GPTQ, made before: {folder}")
        work = _unfinished(recipe)
        if work.is_dir() or work.with_suffix(_REMOVED).is_dir():  # of a run killed when `folder` was there
            with suppress(MissingError, ResourceError), _working_folder(recipe) as work:
                _remove(work)
        return folder
    with _working_folder(recipe) as work:
        if not folder.is_dir():  # made by another process while this one waited
            require(0, quantize_costs(checkpoint.config).disk_bytes, cache_folder())
            model = _quantized(checkpoint, scheme, sequences, recipe, work, progress)
            with progress.stage("write the quantized checkpoint"):
                write_checkpoint(model, folder, recipe.record(source))
        _remove(work)
    return folder


def find_quantized(record: Mapping[str, str], checkpoint: Checkpoint) -> Path:
    """The folder in this machine's cache that `record` tells of, for a bundle whose float checkpoint was named.

    Raises InputError where it was made from another checkpoint, or is not here.
    """
    if record["source_sha256"] != source_sha256(checkpoint):
        raise InputError(
            f"{checkpoint.path} is not the checkpoint that the bundle's codes were made from: their hashes differ",
            f"give {record['source']} as it was then, or the quantized checkpoint",
        )
    folder = _cached(record["key"])
    if not folder.is_dir():
        raise InputError(
            f"the quantized checkpoint that the bundle's codes come from is not on this machine ({folder})",
            "give its folder with --model; GPTQ would not give the same codes again",
        )
    return folder


def calibration(
    checkpoint: Checkpoint, tokenizer: Tokenizer, texts: CalibrationTexts, tokens: int, progress: Progress
) -> CalibrationSequences:
    """Token sequences of the person's texts, or of those that ship; what is told of them goes to `progress`."""
    length = _sequence_length(checkpoint.config)
    found = calibration_sequences(tokenizer, read_chat_template(checkpoint.path), texts, tokens, length)
    for note in found.notes:
        progress.note(f"calibration text: {note}")
    return found


def _sequence_length(config: ModelConfig) -> int:
    return min(SEQUENCE_TOKENS, config.max_positions)


def _recipe(
    checkpoint: Checkpoint,
    scheme: Scheme,
    sequences: CalibrationSequences,
    *,
    sequential: bool = False,
    distill_steps: int = 0,
) -> Recipe:
    return Recipe(
        _in_checkpoint(scheme).manifest(),
        source_sha256(checkpoint),
        checkpoint.config.vocab_size,
        sequences.sha256,
        sequences.ids.numel(),
        sequential,
        distill_steps,
    )


def _in_checkpoint(scheme: Scheme) -> Scheme:
    """Checkpoints hold bf16 scales; those of Core ML are made half by the export, which loses nothing."""
    return replace(scheme, half_scales=False)


def source_sha256(checkpoint: Checkpoint) -> str:
    """sha256 over the names and sha256 of config.json and the weights' files."""
    files = [checkpoint.path / "config.json", *sorted(checkpoint.path.glob("*.safetensors"))]
    lines = [f"{file_sha256(file)}  {file.name}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class QuantizeCosts:
    """Bytes, before any weight is read."""

    peak_ram_bytes: int
    disk_bytes: int  # in the cache, while it works
    file_bytes: int


def quantize_costs(config: ModelConfig, distill_steps: int = 0) -> QuantizeCosts:
    """What quantizing a model of that shape takes."""
    weights = sum(rows * columns for rows, columns in weight_shapes(config).values())
    embedding = config.vocab_size * config.hidden_size
    ram = _BASE_RAM + 2 * 4 * CALIBRATION_TOKENS * config.hidden_size + _RAM_PER_HEAD_WEIGHT * embedding
    if distill_steps:
        ram += 4 * _DISTILL_LOGITS * SEQUENCE_TOKENS * config.vocab_size
        ram += _DISTILL_RAM_PER_SCALE * weights // GROUP_SIZE
    return QuantizeCosts(ram, weights + weights // 8, weights * 5 // 8 + 2 * embedding)


def _cached(key: str) -> Path:
    return cache_folder() / _CACHE / key


@contextmanager
def _working_folder(recipe: Recipe) -> Iterator[Path]:
    """A folder for the codes of a run that is not finished, which a killed run leaves to the next one of its recipe."""
    cache = cache_folder() / _CACHE
    make_cache(cache)
    try:
        with FileLock(cache / f"{recipe.key}.lock"):
            work = _unfinished(recipe)
            _remove(work.with_suffix(_REMOVED))
            yield work
    except OSError as error:
        # The body has files elsewhere, too. Those of weights are written without naming them.
        if error.filename is not None and not names_file_in(error, cache):
            raise
        raise storage_error(error, cache) or error from error


def _unfinished(recipe: Recipe) -> Path:
    return cache_folder() / _CACHE / f".{recipe.key}.unfinished"


def _remove(work: Path) -> None:
    """Remove a working folder, whose name is free in one step: the next run goes on with a whole one, or with none."""
    if work.is_dir():
        removed = work.rename(work.with_suffix(_REMOVED))
        shutil.rmtree(removed, ignore_errors=True)


def _quantized(
    checkpoint: Checkpoint,
    scheme: Scheme,
    sequences: CalibrationSequences,
    recipe: Recipe,
    work: Path,
    progress: Progress,
) -> QuantizedModel:
    """The quantized model, with its weights in `work`."""
    # As the delegates' kernels take them: XNNPACK rounds what a linear takes and what is cached, NPUs' 16 bits are
    # nearly float.
    numerics = FLOAT if scheme.group_size is None else DynamicNumerics("int8", "int8")
    store = quantize_with_gptq(
        checkpoint,
        _in_checkpoint(scheme),
        sequences.ids,
        numerics,
        work / "gptq",
        progress,
        sequential=recipe.sequential,
    )
    model = QuantizedModel(checkpoint, store)
    if not recipe.distill_steps:
        return model
    tuned, norms = distill(model, sequences.ids, numerics, recipe.distill_steps, work / "distilled", progress)
    return QuantizedModel(checkpoint, tuned, norms)
