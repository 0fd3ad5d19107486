"""Quantized model -> `.pte` for XNNPACK."""

from __future__ import annotations

from pathlib import Path

import torch

from mlp_export.backends.base import Artifact, BuildOptions, compiled_with, own_options
from mlp_export.backends.xnnpack.graph import decoder_subgraph
from mlp_export.backends.xnnpack.options import XnnpackOptions
from mlp_export.backends.xnnpack.program import emit_program
from mlp_export.models.numerics import INT8_ACTIVATIONS
from mlp_export.program.embedding import EmbeddingTable
from mlp_export.program.pte import share_constants
from mlp_export.program.text_program import write_durably
from mlp_export.progress import Progress
from mlp_export.quantization.store import QuantizedModel

# The embedding kernel reads bf16 scales since 1.5; before, it aborts on them ("Float or Half only").
_EMBEDDING_SCALES = {"1.5": torch.bfloat16, "1.3": torch.float16}


def lower(model: QuantizedModel, build: BuildOptions, path: Path, progress: Progress) -> Artifact:
    """Write the program of `model` to `path`; a tied head and embedding are stored once."""
    config, kv_cache = model.config, own_options(build, XnnpackOptions).kv_cache
    tied = model.tied
    with progress.stage("lay out the weights", total=config.num_layers) as stage:
        subgraph = decoder_subgraph(model, build.context, build.prefill_chunk, kv_cache, stage)
        weight = model.weight("embed")
        scale_dtype = torch.float32 if weight.scales.dtype == torch.float32 else _EMBEDDING_SCALES[build.runtime]
        embedding = EmbeddingTable.of(weight, scale_dtype, share_with_head=tied)
        min_runtime = "1.5" if embedding.scales.dtype == torch.bfloat16 else "1.3"
        del weight
    with progress.stage("write the program"):
        program = emit_program(config, build.context, build.prefill_chunk, kv_cache, embedding, subgraph)
        del subgraph, embedding
        unshared = path.with_suffix(".unshared.pte") if tied else path
        write_durably(program, unshared)
        del program
    shared: list[str] = []
    if tied:
        with progress.stage("store tied weights once"):
            shared = share_constants(unshared, path, ["head", "head.scales"])
            unshared.unlink()
    return Artifact(
        path=path,
        tied_weights_stored_once="head" in shared,
        compiled_with=compiled_with(),
        min_runtime={"executorch": min_runtime},
        quantization={"activations": INT8_ACTIVATIONS, "kv_cache": kv_cache},
    )
