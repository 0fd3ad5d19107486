"""`verify`: a bundle verified against the model it came from: a file a check, in this order.

Nothing here knows a backend: the artifact is a Session, its weights are read back through the backend's reader, and
what it should answer comes from the eager reference with the same codes.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from mlp_export.backends.base import Backend, get_backend, open_session
from mlp_export.bundle.bundle import Bundle, bundle_errors
from mlp_export.bundle.manifest import shape_of
from mlp_export.checkpoints.checkpoint import read_checkpoint
from mlp_export.checkpoints.resolve import read_resolved, resolve
from mlp_export.errors import InputError
from mlp_export.loggers import get_logger
from mlp_export.progress import Progress
from mlp_export.quantization.nearest import round_checkpoint
from mlp_export.quantization.quantize import find_quantized
from mlp_export.quantization.scheme import Scheme
from mlp_export.quantization.store import QuantizedModel
from mlp_export.scratch import scratch_folder
from mlp_export.verification.cache_visibility import check_cache_visibility
from mlp_export.verification.files import check_files
from mlp_export.verification.logits import compare_with_model
from mlp_export.verification.report import Check, VerificationReport
from mlp_export.verification.stock_runner import check_stock_runner, check_tokenizer, own_answers, prompts_for
from mlp_export.verification.structure import check_structure
from mlp_export.verification.weights import check_weights

_log = get_logger(__name__)


def verify_bundle(
    path: Path, model: str | None = None, progress: Progress | None = None, *, accept_license: Collection[str] = ()
) -> VerificationReport:
    """Verify the bundle in folder `path` against checkpoint `model`, a hub id, folder or alias; without it: hashes,
    structure and a smoke run. `progress` shows its stages on stderr; None: nothing is shown. `accept_license` is as in
    ExportOptions.

    A bundle that does not do what its model does gives a report whose `passed` is False. Raises InputError where the
    folder is no bundle or the checkpoint is not of the manifest's shape.
    """
    progress = progress or Progress()
    with progress.stage("hashes"):
        bundle, files = check_files(path)
    with bundle_errors(bundle.path), scratch_folder() as scratch:
        quantized = None if model is None else _model_of(bundle, model, scratch, progress, accept_license)
        report = verify(bundle, quantized, progress, scratch)
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


def verify(
    bundle: Bundle, model: QuantizedModel | None, progress: Progress, scratch: Path | None = None
) -> VerificationReport:
    """Verify `bundle`, whose files have been checked, against `model`; without it, its structure and a smoke run.

    A file as large as the program is made on the way, in folder `scratch`, TMPDIR if not given.
    """
    backend = get_backend(bundle.manifest.backend.name)
    if backend.runtime.notes.note:
        progress.note(backend.runtime.notes.note)
    checks = [check_structure(bundle, model, backend.compiler.traits.shares_tied_weights)]
    comparison = None
    bits = None
    if model is not None:
        with backend.open_artifact(bundle.pte) as reader:
            weights = check_weights(model, reader, progress)
        bits = weights.passed
        comparison = compare_with_model(bundle, model, backend, progress, scratch)
        checks += [weights, *comparison.checks]
    checks += _check_runs(bundle, backend, progress)
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


def _check_runs(bundle: Bundle, backend: Backend, progress: Progress) -> list[Check]:
    """What needs no reference: which cache slots count, and the same ids and greedy text from the stock runner."""
    manifest = bundle.manifest
    budget = backend.runtime.verification_budget(manifest.model.parameters)
    prompts = prompts_for(bundle, bundle.tokenizer(), budget)
    checks = [check_tokenizer(bundle, prompts)]
    answered = [prompt for prompt in prompts[: budget.prompts] if len(prompt.ids) < manifest.context]
    if not checks[0].passed or not (budget.edges or answered):
        return checks
    with progress.stage("cache visibility"):
        session = open_session(bundle)
        if budget.edges:
            shape = cast(Mapping[str, Any], manifest.model.shape)  # without the key where no layer is local
            checks += check_cache_visibility(session, shape.get("window", 0))
    if answered:
        with progress.stage("stock runner"):
            ours = own_answers(bundle, session, answered)
            del session  # before the runner comes: each holds the program in memory
            checks.append(check_stock_runner(bundle, backend.runtime, answered, ours, budget.answer_tokens))
    return checks
