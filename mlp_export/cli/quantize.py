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
    WeightsOption,
)
from mlp_export.cli.output import show
from mlp_export.cli.reporting import reporting


def quantize(
    model: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="Hub id, folder, alias or demo.")],
    out: Annotated[Path, typer.Option(help="Folder of the quantized checkpoint, or the gguf file.")],
    backend: Annotated[str, typer.Option(help="Whose int4: in groups for xnnpack, by channel for NPUs.")] = "xnnpack",
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
) -> None:
    """Make a quantized checkpoint of a float one, by GPTQ; a killed run goes on when it is started again."""
    with reporting(as_json):
        from mlp_export.backends.base import get_backend
        from mlp_export.cli.consent import accepted_licenses
        from mlp_export.cli.targets import check_backend
        from mlp_export.progress import Progress
        from mlp_export.quantization.quantize import QuantizeOptions
        from mlp_export.quantization.quantize import quantize as quantize_checkpoint

        options = QuantizeOptions(
            model=model,
            out=out,
            scheme=get_backend(check_backend(backend)).scheme,
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
        show(quantize_checkpoint(options, Progress(quiet=quiet or as_json)).to_json(), as_json)
