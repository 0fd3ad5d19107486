"""`export`, and what `mlp-export` does without the name of a command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mlp_export.backends.base import delegates
from mlp_export.cli.backend_options import chosen_options, with_backend_options
from mlp_export.cli.options import (
    AcceptLicenseOption,
    CalibrationOption,
    HeadOption,
    JsonOption,
    ModelOption,
    QuietOption,
    VerboseOption,
    WeightsOption,
    backend_names,
)
from mlp_export.cli.output import progress_of, show
from mlp_export.cli.reporting import reporting

_BACKENDS = " or ".join(", ".join(delegates()).rsplit(", ", 1))


@with_backend_options
def export(
    backend: Annotated[str | None, typer.Option(help=f"{_BACKENDS}.", autocompletion=backend_names)] = None,
    model: ModelOption = None,
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
    verbose: VerboseOption = False,
    **own: Any,
) -> None:
    """Export a model: mlp-export --backend xnnpack --model demo --out build/demo."""
    if backend is None:
        raise typer.BadParameter(f"give {_BACKENDS}", param_hint="--backend")
    with reporting(as_json, verbose):
        from mlp_export.cli.consent import accepted_licenses

        each = chosen_options(backend, own)
        from mlp_export.pipeline import ExportOptions, export, export_for_each, plan, plan_for_each

        options = ExportOptions(
            backend=backend,
            model=model,
            out=out,
            context=context_length,
            prefill_chunk=prefill_chunk,
            weights=weights,
            runtime=runtime,
            backend_options=each[0],
            head=head,
            quantizer=quantizer,
            calibration=tuple(calibration or ()),
            allow_lossy=allow_lossy,
            accept_license=() if dry_run else accepted_licenses(accept_license, model),
            verify=verify,
            overwrite=overwrite,
        )
        progress = progress_of(quiet or as_json or verbose)
        if dry_run and len(each) > 1:
            show({"exports": [told.to_json() for told in plan_for_each(options, each)]}, as_json)
        elif dry_run:
            show(plan(options).to_json(), as_json)
        elif len(each) > 1:
            reports = export_for_each(options, each, progress)
            show({"exports": [report.to_json() for report in reports]}, as_json)
        else:
            show(export(options, progress).to_json(), as_json)
