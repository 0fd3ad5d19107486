"""Quantizes a float finetune to int4 by GPTQ and exports it: quantize_finetune.py CHECKPOINT OUT [TEXT ...].

OUT-int4 is the quantized checkpoint, which other tools can load; OUT is the bundle. Each TEXT is calibration text.
"""

import sys
from pathlib import Path

import mlp_export


def main(checkpoint: str, out: str, *texts: str) -> None:
    quantized = Path(f"{out}-int4")
    options = mlp_export.QuantizeOptions(
        model=checkpoint, out=quantized, calibration=tuple(map(Path, texts)), calibration_tokens=4096
    )
    made = mlp_export.quantize(options)
    print(f"{made.out}: {made.to_json()['scheme']}, {made.to_json()['bytes'] / 1e6:.1f} MB")
    report = mlp_export.export(
        mlp_export.ExportOptions(backend="xnnpack", model=str(quantized), out=Path(out), context=512)
    )
    manifest = report.bundle.manifest
    print(
        f"{report.bundle.path}: weights as quantized, {manifest.quantization['quantizer']['calibration_tokens']} tokens"
    )


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except mlp_export.MlpExportError as error:
        sys.exit(f"{error.message}\nhint: {error.hint}")
