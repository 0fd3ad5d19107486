"""`export`, and what `mlp-export` does without the name of a command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mlp_export.cli.options import (
    AcceptLicenseOption,
    CalibrationOption,
    HeadOption,
    JsonOption,
    ModelOption,
    QuietOption,
    WeightsOption,
)
from mlp_export.cli.output import show
from mlp_export.cli.reporting import reporting


def export(
    backend: Annotated[str | None, typer.Option(help="xnnpack, qnn or coreml.")] = None,
    model: ModelOption = None,
    socs: Annotated[
        list[str] | None,
        typer.Option("--soc", help="Chip to build for, where the backend needs one: sm8650, sm8750. May be repeated."),
    ] = None,
    context_length: Annotated[int, typer.Option("--context", help="Tokens of prompt and answer together.")] = 2048,
    prefill_chunk: Annotated[int | None, typer.Option(help="Maximum tokens of a prompt in one call.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the bundle.", metavar="DIR")] = None,
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="Verify the artifact against the model.")] = True,
    weights: WeightsOption = None,
    head: HeadOption = None,
    quantizer: Annotated[
        Literal["gptq", "nearest"] | None,
        typer.Option(help="How int4 is made of a checkpoint not trained for it; gptq if not given, minutes of work."),
    ] = None,
    kv_cache: Annotated[
        Literal["int8", "fp16", "fp32"] | None,
        typer.Option(help="xnnpack: int8, or fp32 to compare; qnn: int8; coreml: fp16."),
    ] = None,
    compute_unit: Annotated[
        Literal["cpu_and_ne", "all", "cpu_and_gpu", "cpu_only"] | None,
        typer.Option(help="coreml: where Core ML may run it; cpu_and_ne if not given."),
    ] = None,
    deployment_target: Annotated[
        str | None, typer.Option(help="coreml: oldest system that must run it; ios18.", metavar="SYSTEM")
    ] = None,
    compiled_model: Annotated[
        bool, typer.Option("--compiled-model", help="coreml: compile here, with Xcode, and not on the phone.")
    ] = False,
    calibration: CalibrationOption = None,
    allow_lossy: Annotated[
        bool,
        typer.Option("--allow-lossy", help="Take a quantized checkpoint that no kernel holds exactly."),
    ] = False,
    runtime: Annotated[Literal["1.3", "1.5"], typer.Option(help="Minimum ExecuTorch that must run it.")] = "1.5",
    accept_license: AcceptLicenseOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what the export needs and makes, and stop.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Export a model: mlp-export --backend xnnpack --model demo --out build/demo."""
    if backend is None:
        raise typer.BadParameter("give --backend xnnpack", param_hint="--backend")
    with reporting(as_json):
        from mlp_export.cli.consent import accepted_licenses
        from mlp_export.cli.targets import check_backend, check_soc
        from mlp_export.progress import Progress

        check_backend(backend)
        for soc in socs or ():
            check_soc(soc, backend)
        from mlp_export.pipeline import ExportOptions, export, export_for_each, plan

        options = ExportOptions(
            backend=backend,
            model=model,
            out=out,
            context=context_length,
            prefill_chunk=prefill_chunk,
            weights=weights,
            kv_cache=kv_cache,
            runtime=runtime,
            soc=socs[0] if socs else None,
            compute_unit=compute_unit,
            deployment_target=deployment_target,
            compiled_model=compiled_model,
            head=head,
            quantizer=quantizer,
            calibration=tuple(calibration or ()),
            allow_lossy=allow_lossy,
            accept_license=() if dry_run else accepted_licenses(accept_license, model),
            verify=verify,
            overwrite=overwrite,
        )
        progress = Progress(quiet=quiet or as_json)
        if dry_run:
            show(plan(options).to_json(), as_json)
        elif socs and len(socs) > 1:
            reports = export_for_each(options, socs, progress)
            show({"exports": [report.to_json() for report in reports]}, as_json)
        else:
            show(export(options, progress).to_json(), as_json)
