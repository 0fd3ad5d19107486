"""The compiler for XNNPACK."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from mlp_export.backends.base import (
    Artifact,
    ArtifactReader,
    Backend,
    BuildOptions,
    BuildPlan,
    CalibrationText,
    CompilerTraits,
    Requirement,
    own_options,
    package_requirements,
)
from mlp_export.backends.xnnpack import DELEGATE
from mlp_export.backends.xnnpack.options import XnnpackOptions
from mlp_export.backends.xnnpack.runtime import XnnpackRuntime
from mlp_export.checkpoints.checkpoint import Kind
from mlp_export.models.config import ModelConfig
from mlp_export.models.numerics import DynamicNumerics, EmbeddingNoise, Numerics
from mlp_export.models.quantized_weight import WeightFormat
from mlp_export.models.tensors import parameters, weight_shapes
from mlp_export.program.cache import cache_tensors
from mlp_export.progress import Progress
from mlp_export.quantization.scheme import Scheme, Weights, group_scheme
from mlp_export.quantization.store import QuantizedModel

# Measured: 1.3 GB for a file of 76 MB, 2.8 GB for one of 610 MB. Imports and the export of the program; then, for
# each byte of the file, what is laid out and written, or loaded, packed and compared.
_BASE_RAM, _RAM_PER_FILE_BYTE = 1_200_000_000, 3

_NOISE = 1e-6  # relative; kernels that sum in another order differ by a tenth of it


class XnnpackCompiler:
    """See Compiler."""

    traits = CompilerTraits(prefill_chunk=128, shares_tied_weights=True)

    def requirements(self) -> Sequence[Requirement]:
        return package_requirements()

    def plan(self, config: ModelConfig, scheme: Scheme, build: BuildOptions) -> BuildPlan:
        tensors = cache_tensors(config, build.context, own_options(build, XnnpackOptions).kv_cache)
        sizes = {t.name: t.slots * config.num_kv_heads * t.width * t.dtype.itemsize for t in tensors}
        scale_bytes = sum(size for name, size in sizes.items() if "scales" in name)
        file_bytes = _file_bytes(config, scheme, build)
        workspace = _workspace_bytes(config, build)
        return BuildPlan(
            peak_ram_bytes=_BASE_RAM + _RAM_PER_FILE_BYTE * file_bytes,
            disk_bytes=2 * file_bytes,  # before and after head and embedding share their bytes
            file_bytes=file_bytes,
            kv_cache_bytes=sum(sizes.values()) - scale_bytes,
            kv_scale_bytes=scale_bytes,
            # packed weights, caches, the slices of them that the delegate takes, its workspace
            device_ram_bytes=_packed_bytes(config, scheme) + 2 * sum(sizes.values()) + workspace,
        )

    def scheme(
        self,
        kind: Kind,
        config: ModelConfig,
        weights: Weights | None,
        formats: Mapping[str, WeightFormat] | None = None,
    ) -> Scheme:
        return group_scheme(kind, config, weights, formats)

    def lower(
        self,
        model: QuantizedModel,
        build: BuildOptions,
        path: Path,
        progress: Progress,
        text: CalibrationText | None = None,
    ) -> Artifact:
        from mlp_export.backends.xnnpack.lower import lower

        return lower(model, build, path, progress)

    def numerics(self, folder: Path, quantization: Mapping[str, Any], draw: int | None = None) -> Numerics:
        numerics = DynamicNumerics.from_manifest(quantization)
        if draw is None:
            return numerics
        return EmbeddingNoise(numerics, _NOISE, torch.Generator().manual_seed(draw))


def _workspace_bytes(config: ModelConfig, build: BuildOptions) -> int:
    """Bytes of XNNPACK's workspace for the longest call at the end of the context, at most. Layers use it in turn.

    Measured at MobileLLM-Pro's width, context 8192, chunk 128: 0.11 GB where this says 0.15.
    """
    keys = build.context + build.prefill_chunk
    scores = 4 * config.num_heads * build.prefill_chunk * keys  # softmax and its neighbours work in place
    mask = scores // config.num_kv_heads
    # Of each cached value its code, of keys the transposed one, too; a float; and the float that a matmul packs.
    slots = (4 + 4 + 4 + 4 + 3) * keys * config.num_kv_heads * config.head_dim
    return scores + mask + slots


def _packed_bytes(config: ModelConfig, scheme: Scheme) -> int:
    """Bytes of the linears' weights as XNNPACK has them packed, which is what stays in memory of a mapped file: of the
    embedding, only pages of rows that were looked up.

    Measured with benchmarks/load_memory.py on MobileLLM-Pro's shape: 615.9 MB in the file of packed weights, where
    codes and scales are 610.0 MB; each output row has some sums and a bias beside them. Loaded and with a prefill of
    512 tokens the program held 677 MB anonymous and 8 MB of mapped pages; `plan` says 686 MB at a context of 2048.
    """
    shapes = weight_shapes(config)
    if config.tied_embeddings:
        shapes["head"] = shapes["embed"]
    del shapes["embed"]
    return sum(scheme.weight_bytes(name, *shape) + 8 * shape[0] for name, shape in shapes.items())


def _file_bytes(config: ModelConfig, scheme: Scheme, build: BuildOptions) -> int:
    """Bytes of codes, scales and norms, with head and embedding stored once where they are equal."""
    shapes = {name: parameter.shape for name, parameter in parameters(config).items()}
    shared = scheme.ties(config)
    if config.tied_embeddings and not shared:  # codes of its own
        shapes["head"] = shapes["embed"]
    total = sum(scheme.weight_bytes(name, *shape) for name, shape in shapes.items() if len(shape) == 2)
    embedding = scheme.format("embed")
    if shared and embedding.group_size is not None and build.runtime != "1.5":  # fp16 scales beside the head's bf16
        total += config.vocab_size * embedding.scales_per_row(config.hidden_size) * 2
    norms = sum(4 * shape[0] for shape in shapes.values() if len(shape) == 1)
    return total + norms + 1_000_000  # the program itself, and alignment


def _open_artifact(path: Path) -> AbstractContextManager[ArtifactReader]:
    from mlp_export.backends.xnnpack.reader import open_artifact

    return open_artifact(path)


BACKEND = Backend(DELEGATE, XnnpackCompiler(), XnnpackRuntime(), _open_artifact)
