"""The pipeline: the one place that knows the order of the steps.

resolve -> read -> quantize -> lower -> write the bundle -> verify -> publish
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from mlp_export.backends.base import (
    Backend,
    BackendOptions,
    BuildOptions,
    BuildPlan,
    CalibrationText,
    check_options,
    flag,
    get_backend,
)
from mlp_export.bundle.bundle import Bundle, BundleWriter, check_target
from mlp_export.bundle.manifest import (
    PTE,
    BackendInfo,
    Exporter,
    Manifest,
    ModelInfo,
    Quantization,
    TokenizerInfo,
    Verification,
)
from mlp_export.bundle.tokenizer_config import write_tokenizer_config
from mlp_export.checkpoints.checkpoint import Checkpoint, Kind, check_answers_differ, read_checkpoint
from mlp_export.checkpoints.license_files import write_license_files
from mlp_export.checkpoints.model_source import LocatedModel, ResolvedModel
from mlp_export.checkpoints.resolve import locate, read_resolved
from mlp_export.errors import MissingError, UsageError, VerificationError
from mlp_export.evaluation.evaluate import QuantizationError, measure_quantization_error
from mlp_export.evaluation.token_scores import entries
from mlp_export.loggers import get_logger
from mlp_export.models.config import ModelConfig
from mlp_export.models.families import get_family
from mlp_export.models.quantized_weight import WeightFormat
from mlp_export.progress import Progress, StageRecord
from mlp_export.quantization.calibration_text import CalibrationTexts, read_texts
from mlp_export.quantization.compressed_tensors import read_record
from mlp_export.quantization.nearest import check_exact, measure_loss, round_checkpoint, storage_notes
from mlp_export.quantization.quantize import CALIBRATION_TOKENS, calibration, quantize_costs, quantized_checkpoint
from mlp_export.quantization.scheme import Scheme, Weights, with_head
from mlp_export.quantization.store import QuantizedModel, store_bytes
from mlp_export.resources import human_bytes, require
from mlp_export.text.chat import (
    ChatCarried,
    ChatTemplate,
    chat_carried,
    chat_notes,
    read_chat_template,
    unchosen_templates,
)
from mlp_export.text.chat_derivation import DerivedChat, derive_chat_format
from mlp_export.text.runner_chat import chat_for_runner
from mlp_export.text.runner_tokenizer import RunnerTokenizer, tokenizer_for_runner
from mlp_export.text.shipped import shipped_text
from mlp_export.text.tokenizer import Tokenizer
from mlp_export.verification.report import VerificationReport
from mlp_export.verification.verify import verify

_log = get_logger(__name__)
Quantizer = Literal["gptq", "nearest"]
_RANGE_TOKENS = 2048  # for static scales
_OTHER_FILES_BYTES = 40_000_000  # tokenizer and license


@dataclass(frozen=True)
class ExportOptions:
    """What the person asked for."""

    backend: str
    model: str | None = None  # None: the checkpoint that was trained for the backend
    out: Path | None = None  # None: bundles/MODEL-BACKEND
    context: int = 2048
    prefill_chunk: int | None = None  # None: the backend's own, or the context where that is shorter
    weights: Weights | None = None
    runtime: Literal["1.3", "1.5"] = "1.5"
    backend_options: BackendOptions | None = None  # see `backend_options`; None: all as they are by default
    head: Literal["int4", "int8"] | None = None  # None: as `weights` has it
    quantizer: Quantizer | None = None  # None: GPTQ for int4 that the checkpoint was not trained for, else to nearest
    calibration: tuple[Path, ...] = ()  # texts for GPTQ and for static scales; none: those that ship
    allow_lossy: bool = False  # whether a quantized checkpoint may be taken that no kernel holds exactly
    accept_license: tuple[str, ...] = ()  # licenses that the person accepts, as `models` names them
    sibling: Path | None = None  # see BuildOptions.sibling
    verify: bool = True
    overwrite: bool = False


@dataclass(frozen=True)
class ExportPlan:
    """What `--dry-run` tells. Bytes, on this machine unless named otherwise."""

    model: str
    backend: str
    out: Path
    quantization: str
    context: int
    prefill_chunk: int
    parameters: int
    peak_ram_bytes: int
    disk_bytes: int
    download_bytes: int
    file_bytes: int  # of model.pte
    kv_cache_bytes: int  # codes alone, as published figures count them
    kv_scale_bytes: int
    device_ram_bytes: int
    chat: ChatCarried  # how much of the checkpoint's chat template is carried; None: it has none, or is not here yet
    chat_limits: tuple[str, ...]  # what is not, and why

    def to_json(self) -> dict[str, Any]:
        """The object `--dry-run --json` prints."""
        return {**asdict(self), "out": str(self.out), "chat_limits": list(self.chat_limits)}


@dataclass(frozen=True)
class ExportReport:
    """What an export made."""

    bundle: Bundle
    verification: VerificationReport | None
    quantization_error: QuantizationError | None
    stages: list[StageRecord]

    def to_json(self) -> dict[str, Any]:
        """The object an export with `--json` prints."""
        manifest = self.bundle.manifest
        checked, error = self.verification, self.quantization_error
        return {
            "bundle": str(self.bundle.path),
            "model": manifest.model.id,
            "backend": manifest.backend.name,
            "quantization": manifest.quantization["scheme"],
            "context": manifest.context,
            "prefill_chunk": manifest.prefill_chunk,
            "file_bytes": manifest.files[PTE].bytes,
            "kv_cache_bytes": manifest.kv_cache_bytes,
            "device_ram_bytes": manifest.device_ram_bytes,
            "min_runtime": manifest.backend.min_runtime,
            "chat": manifest.chat_carried,
            "chat_limits": list(manifest.chat_limits),
            "verified": None if checked is None else checked.passed,
            "checks": None if checked is None else len(checked.checks),
            "relative_error": None if checked is None else checked.relative_error,
            "noise_floor": None if checked is None else checked.noise_floor,
            "loss": manifest.quantization.get("loss"),
            **entries("float_perplexity", None if error is None else error.float_perplexity),
            **entries("quantized_perplexity", None if error is None else error.quantized_perplexity),
            **entries("kl", None if error is None else error.kl),
            **entries("top1_agreement", None if error is None else error.top1_agreement),
            "seconds": sum(stage.seconds for stage in self.stages),
            "peak_rss_bytes": max(stage.peak_rss_bytes for stage in self.stages),
        }


@dataclass(frozen=True)
class _ResolvedExport:
    """Options and config put together and checked, before any weight is read."""

    id: str
    config: ModelConfig
    scheme: Scheme
    quantizer: Quantizer
    build: BuildOptions
    costs: BuildPlan
    out: Path

    @property
    def peak_ram_bytes(self) -> int:
        """Of the steps, that which takes most."""
        calibrated = quantize_costs(self.config).peak_ram_bytes if self.quantizer == "gptq" else 0
        return max(self.costs.peak_ram_bytes, calibrated)

    @property
    def disk_bytes(self) -> int:
        """Of the bundle's disk: the program, the codes that it is made of, and the small files."""
        return self.costs.disk_bytes + store_bytes(self.config, self.scheme) + _OTHER_FILES_BYTES


def plan(options: ExportOptions) -> ExportPlan:
    """What the export would need and make. Fetches a config.json at most.

    Raises what `export` would raise before it reads weights, but for too little memory or disk, and a bundle that is
    there already.
    """
    backend = _check_options(options)
    read_texts(options.calibration)
    return _plan(options, backend)


def plan_for_each(options: ExportOptions, each: Sequence[BackendOptions]) -> list[ExportPlan]:
    """The plans of what `export_for_each` would make. Raises what `plan` raises."""
    asked = _for_each(options, each)
    backends = [_check_options(one) for one in asked]
    read_texts(options.calibration)
    return [_plan(one, backend) for one, backend in zip(asked, backends, strict=True)]


def _plan(options: ExportOptions, backend: Backend) -> ExportPlan:
    located = locate(backend.delegate.default_model if options.model is None else options.model)
    found = _read(located, options, Progress()) if located.is_here else None
    resolved = _resolve_export(options, backend, located, found)
    check_target(resolved.out, overwrite=True)
    derived = DerivedChat(None)
    if found is not None:
        tokenizer, _ = _tokenizer(found[0].folder, found[1].config)
        _, derived = _chat(found[0].folder, tokenizer)
    return ExportPlan(
        model=resolved.id,
        backend=options.backend,
        out=resolved.out,
        quantization=resolved.scheme.name,
        context=resolved.build.context,
        prefill_chunk=resolved.build.prefill_chunk,
        parameters=resolved.config.num_parameters,
        peak_ram_bytes=resolved.peak_ram_bytes,
        disk_bytes=resolved.disk_bytes,
        download_bytes=located.download_bytes,
        file_bytes=resolved.costs.file_bytes,
        kv_cache_bytes=resolved.costs.kv_cache_bytes,
        kv_scale_bytes=resolved.costs.kv_scale_bytes,
        device_ram_bytes=resolved.costs.device_ram_bytes,
        chat=chat_carried(derived.chat, derived.limits),
        chat_limits=derived.limits,
    )


def export(options: ExportOptions, progress: Progress | None = None) -> ExportReport:
    """Make, verify and publish a bundle. `progress` shows its stages on stderr; None: nothing is shown.

    Raises UsageError, InputError, MissingError or ResourceError before weights are read wherever that is possible, and
    VerificationError where the artifact is not what the model is. Whatever is raised, nothing is left at the target.
    """
    backend = _check_options(options)
    return _export(options, backend, read_texts(options.calibration), progress or Progress())


def _export(options: ExportOptions, backend: Backend, texts: CalibrationTexts, progress: Progress) -> ExportReport:
    compiler = backend.compiler
    located = locate(backend.delegate.default_model if options.model is None else options.model)
    found = _read(located, options, progress) if located.is_here else None
    resolved = _resolve_export(options, backend, located, found)
    check_target(resolved.out, options.overwrite)
    require(resolved.peak_ram_bytes, resolved.disk_bytes, resolved.out)
    progress.note(
        f"needs {human_bytes(resolved.peak_ram_bytes)} of memory and {human_bytes(resolved.disk_bytes)} of disk; "
        f"makes a file of {human_bytes(resolved.costs.file_bytes)}"
    )
    if found is None:
        found = _read(located, options, progress)
        resolved = _resolve_export(options, backend, located, found)  # the files may say more than the config alone
    _log.info("weights %s by %s, %s", resolved.scheme.name, resolved.quantizer, resolved.build)
    model, checkpoint = found
    scheme, quantizer, costs = resolved.scheme, resolved.quantizer, resolved.costs
    with progress.stage("read the checkpoint"):
        tokenizer, carried = _tokenizer(model.folder, checkpoint.config)
        stop = [text for text in map(tokenizer.token, checkpoint.config.eos_ids) if text is not None]
        template, derived = _chat(model.folder, tokenizer, stop)
        chat = derived.chat
        for line in (*carried.notes, *chat_notes(chat, derived.limits)):
            progress.note(line)
        check_answers_differ(checkpoint)  # reads weights, so behind all that needs none
    source = checkpoint
    if quantizer == "gptq":
        sequences = calibration(checkpoint, tokenizer, texts, CALIBRATION_TOKENS, progress)
        checkpoint = read_checkpoint(quantized_checkpoint(checkpoint, model.id, scheme, sequences, progress))
        scheme = compiler.scheme(checkpoint.kind, checkpoint.config, None, checkpoint.formats)
    with BundleWriter(resolved.out, options.overwrite) as writer:
        with progress.stage("quantize", total=len(checkpoint.weight_names())) as stage:
            store = round_checkpoint(
                checkpoint, scheme, writer.scratch / "weights", stage.advance, allow_lossy=options.allow_lossy
            )
        for line in storage_notes(checkpoint, scheme):
            progress.note(line)
        quantized = QuantizedModel(checkpoint, store)
        text = _range_text(source, texts, tokenizer, progress) if compiler.traits.calibrates else None
        artifact = compiler.lower(quantized, resolved.build, writer.folder / PTE, progress, text)
        _log.info("lowered: %d bytes, by %s", artifact.path.stat().st_size, artifact.compiled_with)
        changes = f"quantized ({scheme.name}) and compiled for {options.backend} by mlp-export"
        write_license_files(writer.folder, model, get_family(checkpoint.config.family).license, changes)
        files = carried.tokenizer.write(writer.folder)
        stops = tuple(stop) if chat is None else chat.stop
        write_tokenizer_config(writer.folder, template, tokenizer, stops, resolved.build.context)
        quantization: dict[str, Any] = {**scheme.manifest(), **artifact.quantization}
        if (record := read_record(checkpoint.path)) is not None:
            quantization["quantizer"] = record
        if (loss := measure_loss(checkpoint, store)) is not None:
            progress.note(loss.summary())
            quantization["loss"] = asdict(loss)
        error = None
        if not source.qat:
            numerics = compiler.numerics(writer.folder, quantization)
            error = measure_quantization_error(quantized, source, tokenizer, numerics, progress)
            progress.note(error.summary())
            quantization["quantization_error"] = error.to_json()
        manifest = Manifest(
            model=ModelInfo.of(checkpoint.config, model.id, model.revision, model.license_name),
            backend=BackendInfo(options.backend, artifact.target, artifact.compiled_with, artifact.min_runtime),
            context=resolved.build.context,
            prefill_chunk=resolved.build.prefill_chunk,
            quantization=cast(Quantization, quantization),
            kv_cache_bytes=costs.kv_cache_bytes,
            kv_scale_bytes=costs.kv_scale_bytes,
            device_ram_bytes=costs.device_ram_bytes,
            tied_weights_stored_once=artifact.tied_weights_stored_once,
            tokenizer=TokenizerInfo(
                files,
                checkpoint.config.bos_id,
                checkpoint.config.eos_ids,
                tokenizer.adds_bos,
                carried.tokenizer.normalization,
                carried.tokenizer.answer_strip,
            ),
            chat=chat,
            chat_limits=derived.limits,
            verification=None,
            files={},
            exporter=Exporter.this(),
        )
        with progress.stage("hash"):
            bundle = writer.write_manifest(manifest)
        report = None
        if options.verify:
            report = verify(bundle, quantized, progress, writer.scratch)
            if not report.passed:
                failed = [f"{check.name} ({check.detail})" for check in report.checks if not check.passed]
                raise VerificationError(
                    f"the artifact is not the model: {'; '.join(failed)}",
                    "nothing was written; please report it with the model's name. --no-verify writes it all the same",
                )
            writer.write_manifest(replace(manifest, verification=cast(Verification, report.to_json())))
        with progress.stage("publish"):
            published = writer.publish()
        _log.info("published %s", published.path)
    return ExportReport(published, report, error, list(progress.stages))


def export_for_each(options: ExportOptions, each: Sequence[BackendOptions], progress: Progress) -> list[ExportReport]:
    """A bundle for each of the backend's options in `each`, in `options.out`-VALUE, where VALUE is that of the
    repeatable option; what is found on the calibration text is found once.

    Raises what `export` raises; bundles that were published before stay.
    """
    asked = _for_each(options, each)
    backends = [_check_options(one) for one in asked]
    texts = read_texts(options.calibration)
    reports: list[ExportReport] = []
    for choice, one, backend in zip(each, asked, backends, strict=True):
        progress.note(f"for {choice.repeated}")
        sibling = reports[0].bundle.path if reports else None
        reports.append(_export(replace(one, sibling=sibling), backend, texts, progress))
    return reports


def _for_each(options: ExportOptions, each: Sequence[BackendOptions]) -> list[ExportOptions]:
    """`options` for each value of the repeatable option, each with an `out` of its own."""

    def out(choice: BackendOptions) -> Path | None:
        return None if options.out is None else Path(f"{options.out}-{choice.repeated}")

    return [replace(options, backend_options=choice, out=out(choice)) for choice in each]


def _chat(folder: Path, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> tuple[ChatTemplate | None, DerivedChat]:
    """The template of a checkpoint's folder, and what of it a bundle carries."""
    template = read_chat_template(folder)
    if template is not None:
        return template, chat_for_runner(derive_chat_format(template, stop), tokenizer)
    names = unchosen_templates(folder)
    return None, DerivedChat(None, (f"of the templates {', '.join(names)} none is named default",) if names else ())


def _tokenizer(folder: Path, config: ModelConfig) -> tuple[Tokenizer, RunnerTokenizer]:
    """A checkpoint's tokenizer, and the same as a bundle carries it."""
    tokenizer = Tokenizer.from_folder(folder, config.vocab_size).with_all_ids(config.vocab_size)
    return tokenizer, tokenizer_for_runner(tokenizer)


def _check_options(options: ExportOptions) -> Backend:
    """What can be said without knowing the model."""
    backend = get_backend(options.backend)
    missing = [requirement for requirement in backend.compiler.requirements() if not requirement.ok]
    if missing:
        first = missing[0]
        raise MissingError(
            f"the {options.backend} backend needs {first.name} {first.wanted}, found {first.found or 'none'}",
            first.install,
        )
    own = _own_options(options, backend)
    check_options(backend.delegate, own)
    for name, declared in own.declared().items():
        if options.verify and not declared.readable and getattr(own, name):
            raise UsageError(
                f"{flag(name)} with verification: the weights of such an artifact cannot be read back",
                "verify an export without it first, then add --no-verify",
            )
    if options.context < 2:
        raise UsageError(f"a context of {options.context}", "give --context 2 or more: a prompt and an answer share it")
    if options.prefill_chunk is not None and not 1 <= options.prefill_chunk <= options.context:
        raise UsageError(
            f"a prefill chunk of {options.prefill_chunk} with a context of {options.context}",
            f"give --prefill-chunk from 1 to {options.context}",
        )
    return backend


def _own_options(options: ExportOptions, backend: Backend) -> BackendOptions:
    return options.backend_options or backend.delegate.options()


def _read(located: LocatedModel, options: ExportOptions, progress: Progress) -> tuple[ResolvedModel, Checkpoint]:
    """The checkpoint on this machine, downloaded where it is not here. Reads headers and learned scales, no weights."""
    model = located.fetch(progress.note, quiet=progress.quiet, accepted=options.accept_license)
    checkpoint = read_resolved(model, progress.note)
    if not options.allow_lossy:
        check_exact(checkpoint)
    return model, checkpoint


def _resolve_export(
    options: ExportOptions, backend: Backend, located: LocatedModel, found: tuple[ResolvedModel, Checkpoint] | None
) -> _ResolvedExport:
    """Options and what is known of the model: its files where they are `found`, else its config."""
    kind: Kind
    formats: Mapping[str, WeightFormat] = {}
    if found is None:
        description = located.describe()
        config, kind = description.config, description.trained_for or "float"
    else:
        config, kind, formats = found[1].config, found[1].kind, found[1].formats
    if options.context > config.max_positions:
        raise UsageError(
            f"a context of {options.context:,}, the model has {config.max_positions:,} positions",
            f"give --context {config.max_positions} or less",
        )
    scheme = _scheme(options, backend, kind, config, formats)
    quantizer = _quantizer(options, kind, scheme)
    if options.calibration and quantizer == "nearest" and not backend.compiler.traits.calibrates:
        raise UsageError(
            "--calibration with weights that are rounded to nearest", "leave it out: nothing would be calibrated"
        )
    chunk = options.prefill_chunk or min(backend.compiler.traits.prefill_chunk, options.context)
    own = _own_options(options, backend)
    build = BuildOptions(options.context, chunk, own, options.runtime, options.sibling)
    name = "-".join(part for part in (located.id.replace("/", "-").lower(), options.backend, own.repeated) if part)
    out = options.out or Path("bundles") / name
    return _ResolvedExport(
        located.id, config, scheme, quantizer, build, backend.compiler.plan(config, scheme, build), out
    )


def _scheme(
    options: ExportOptions, backend: Backend, kind: Kind, config: ModelConfig, formats: Mapping[str, WeightFormat]
) -> Scheme:
    return with_head(backend.compiler.scheme(kind, config, options.weights, formats), kind, config, options.head)


def _quantizer(options: ExportOptions, kind: Kind, scheme: Scheme) -> Quantizer:
    """Raises UsageError for GPTQ where there is nothing for it to do."""
    if options.quantizer == "gptq" and (kind != "float" or scheme.bits == 8):
        reason = f"a checkpoint that is quantized already ({kind})" if kind != "float" else "weights of 8 bits"
        raise UsageError(f"--quantizer gptq for {reason}", "leave it out: it is for int4 without training")
    return options.quantizer or ("gptq" if kind == "float" and scheme.bits == 4 else "nearest")


def _range_text(
    checkpoint: Checkpoint, texts: CalibrationTexts, tokenizer: Tokenizer, progress: Progress
) -> CalibrationText:
    """What static scales are found on: the person's texts, or the short one that ships."""
    if texts.sources:
        found = calibration(checkpoint, tokenizer, texts, _RANGE_TOKENS, progress)
        return CalibrationText(found.ids.flatten().tolist(), found.sha256)
    text = shipped_text()
    ids = tokenizer.encode(text, bos=tokenizer.adds_bos, special=False)[:_RANGE_TOKENS]
    return CalibrationText(ids, hashlib.sha256(text.encode()).hexdigest())
