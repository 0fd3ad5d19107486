"""Quantized model -> `.pte` for Core ML: write the graph, package it, wrap it."""

from __future__ import annotations

from pathlib import Path

import torch

from mlp_export.backends.base import Artifact, BuildOptions, compiled_with, own_options
from mlp_export.backends.coreml.decoder_graph import decoder_program
from mlp_export.backends.coreml.options import CoremlOptions
from mlp_export.backends.coreml.package import write_payload
from mlp_export.backends.coreml.program import emit_program
from mlp_export.backends.coreml.targets import COREMLTOOLS
from mlp_export.program.embedding import EmbeddingTable
from mlp_export.program.text_program import write_durably
from mlp_export.progress import Progress
from mlp_export.quantization.store import QuantizedModel
from mlp_export.runtime.native_output import capture_native_output

ACTIVATIONS = "fp16"  # as the manifest spells them


def lower(model: QuantizedModel, build: BuildOptions, path: Path, progress: Progress) -> Artifact:
    """Write the program of `model` to `path`."""
    config, rows = model.config, build.prefill_chunk
    options = own_options(build, CoremlOptions)
    with progress.stage("write the graph", total=config.num_layers) as stage:
        program = decoder_program(model, build.context, rows, stage.advance)
    with progress.stage("package for Core ML"), capture_native_output():
        payload = write_payload(program, path.parent, options.compiled_model)
        del program
    with progress.stage("write the program"):
        embedding = EmbeddingTable.of(model.weight("embed"), torch.float16, share_with_head=False)
        cord = emit_program(config, build.context, rows, embedding, payload, options.compute_unit)
        write_durably(cord, path)
    return Artifact(
        path=path,
        tied_weights_stored_once=False,
        compiled_with={**compiled_with(), "coremltools": COREMLTOOLS},
        min_runtime={"executorch": "1.3", "ios": "18"},
        quantization={"activations": ACTIVATIONS, "kv_cache": "fp16"},
        target=options.compute_unit,
    )
