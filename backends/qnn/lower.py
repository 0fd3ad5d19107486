"""Quantized model -> `.pte` for QNN: calibrate, compile in a process of its own, wrap."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from mlp_export.backends.base import Artifact, BuildOptions, CalibrationText, compiled_with, own_options
from mlp_export.backends.qnn import sdk
from mlp_export.backends.qnn.binary import qairt_release
from mlp_export.backends.qnn.calibration import calibrate
from mlp_export.backends.qnn.compile_process import CompileRequest, compile_in_subprocess
from mlp_export.backends.qnn.encodings import ENCODINGS, read_encodings
from mlp_export.backends.qnn.options import QnnOptions
from mlp_export.backends.qnn.program import emit_program
from mlp_export.backends.qnn.targets import TARGETS
from mlp_export.program.embedding import EmbeddingTable
from mlp_export.program.text_program import write_durably
from mlp_export.progress import Progress
from mlp_export.quantization.store import QuantizedModel
from mlp_export.runtime.native_output import capture_native_output

ACTIVATIONS = "int16-static-per-tensor"  # as the manifest spells them


def lower(
    model: QuantizedModel, build: BuildOptions, path: Path, progress: Progress, text: CalibrationText
) -> Artifact:
    """Write the program of `model` to `path`, and the encodings of its results beside it."""
    found = sdk.find_sdk()
    qairt = sdk.probe(found)
    soc = own_options(build, QnnOptions).soc
    if build.sibling is None:
        encodings = calibrate(model, text, progress)
    else:
        encodings = read_encodings(build.sibling / ENCODINGS, model.config)
    path.with_name(ENCODINGS).write_text(json.dumps(encodings.to_json(), indent=1) + "\n", encoding="utf-8")
    payload = path.with_suffix(".payload")
    with progress.stage(f"compile for {soc}"):
        compile_in_subprocess(
            CompileRequest(
                checkpoint=str(model.checkpoint.path),
                kind=model.checkpoint.kind,
                weights=str(model.store.folder),
                encodings=str(path.with_name(ENCODINGS)),
                context=build.context,
                rows=build.prefill_chunk,
                soc=soc,
                libraries=str(found.folder),
                payload=str(payload),
            )
        )
    with progress.stage("write the program"):
        sdk.load(found)
        embedding = EmbeddingTable.of(model.weight("embed"), torch.float32, share_with_head=False)
        with capture_native_output():
            program = emit_program(
                model.config,
                build.context,
                build.prefill_chunk,
                embedding,
                encodings.hidden,
                payload.read_bytes(),
                soc,
            )
        write_durably(program, path)
        payload.unlink()
    target = TARGETS[soc]
    return Artifact(
        path=path,
        tied_weights_stored_once=False,
        compiled_with={**compiled_with(), "qairt": qairt},
        min_runtime={"executorch": "1.3", "qairt": qairt_release(qairt)},
        quantization={
            "activations": ACTIVATIONS,
            "kv_cache": "int8",
            "calibration": {"sha256": text.sha256, "tokens": len(text.ids)},
            "htp": {"arch": f"v{target.htp_arch}", "vtcm_mb": target.vtcm_mb},
        },
        target=soc,
    )
