"""`quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mlp_export.cli.options import (
    AcceptLicenseOption,
    CalibrationOption,
    HeadOption,
    JsonOption,
    QuietOption,
    VerboseOption,
    WeightsOption,
    backend_names,
)
from mlp_export.cli.output import progress_of, show
from mlp_export.cli.reporting import reporting


def quantize(
    model: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="Hub id, folder, alias or demo.")],
    out: Annotated[Path, typer.Option(help="Folder of the quantized checkpoint, or the gguf file.")],
    backend: Annotated[
        str | None,
        typer.Option(
            help="Whose int4: in groups for CPUs, which is the default, by channel for NPUs.",
            autocompletion=backend_names,
        ),
    ] = None,
    weights: WeightsOption = None,
    head: HeadOption = None,
    calibration: CalibrationOption = None,
    calibration_tokens: Annotated[int, typer.Option(help="Tokens of the calibration text to use.")] = 12_288,
    sequential: Annotated[
        bool,
        typer.Option("--sequential", help="Calibrate a layer on what the quantized ones before it make."),
    ] = False,
    distill: Annotated[int, typer.Option(help="Steps that tune scales and norms against the float model.")] = 0,
    format: Annotated[
        Literal["safetensors", "gguf"], typer.Option(help="gguf: the same codes as Q4_0, for llama.cpp.")
    ] = "safetensors",
    accept_license: AcceptLicenseOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Make a quantized checkpoint of a float one, by GPTQ; a killed run goes on when it is started again."""
    with reporting(as_json, verbose):
        from mlp_export.backends.base import get_backend
        from mlp_export.cli.consent import accepted_licenses
        from mlp_export.quantization.quantize import QuantizeOptions
        from mlp_export.quantization.quantize import quantize as quantize_checkpoint
        from mlp_export.quantization.scheme import group_scheme

        options = QuantizeOptions(
            model=model,
            out=out,
            scheme=group_scheme if backend is None else get_backend(backend).compiler.scheme,
            weights=weights,
            head=head,
            calibration=tuple(calibration or ()),
            calibration_tokens=calibration_tokens,
            sequential=sequential,
            distill=distill,
            format=format,
            accept_license=accepted_licenses(accept_license, model),
            overwrite=overwrite,
        )
        show(quantize_checkpoint(options, progress_of(quiet or as_json or verbose)).to_json(), as_json)
