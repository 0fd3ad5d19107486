"""The compiler for Core ML."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
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
    backends_for_any_chip,
    own_options,
    package_requirement,
    package_requirements,
)
from mlp_export.backends.coreml import DELEGATE
from mlp_export.backends.coreml.numerics import HalfNumerics
from mlp_export.backends.coreml.options import CoremlOptions
from mlp_export.backends.coreml.runtime import CoremlRuntime
from mlp_export.backends.coreml.targets import (
    COREMLTOOLS,
    DEPLOYMENT_TARGET,
    KEPT_WEIGHT_BYTES,
    MOST_DIMENSION,
    uses_neural_engine,
)
from mlp_export.backends.coreml.xcode import check_xcode
from mlp_export.checkpoints.checkpoint import Kind
from mlp_export.errors import InputError, UsageError
from mlp_export.models.config import ModelConfig
from mlp_export.models.numerics import Numerics
from mlp_export.models.quantized_weight import WeightFormat
from mlp_export.models.tensors import weight_shapes
from mlp_export.progress import Progress
from mlp_export.quantization.scheme import Scheme, Weights, channel_scheme
from mlp_export.quantization.store import QuantizedModel

_SYSTEMS = ("Linux x86_64", "Darwin arm64")  # that both coremltools and ExecuTorch have wheels for
_INSTEAD = "export on one of those; on Windows, WSL is one"
# Rows of float16 are padded to 64 bytes on the engine; a ring of W slots has to hold those of one call.
_ROWS = 32
# Measured: imports and tracing; then a byte a weight in the graph, and the package in memory beside its file.
_BASE_RAM, _RAM_PER_WEIGHT = 1_600_000_000, 2.5


class CoremlCompiler:
    """See Compiler."""

    traits = CompilerTraits(prefill_chunk=_ROWS)

    def requirements(self) -> Sequence[Requirement]:
        system = f"{platform.system()} {platform.machine()}"
        runs = system in _SYSTEMS
        here = Requirement("a machine that has the wheels", system, ", ".join(_SYSTEMS), _INSTEAD, runs)
        return [*package_requirements(), here, package_requirement("coremltools", f"=={COREMLTOOLS}")]

    def scheme(
        self,
        kind: Kind,
        config: ModelConfig,
        weights: Weights | None,
        formats: Mapping[str, WeightFormat] | None = None,
    ) -> Scheme:
        return replace(channel_scheme(kind, config, weights, formats, backends_for_any_chip()), half_scales=True)

    def plan(self, config: ModelConfig, scheme: Scheme, build: BuildOptions) -> BuildPlan:
        options = own_options(build, CoremlOptions)
        if options.deployment_target != DEPLOYMENT_TARGET:
            raise UsageError(
                f"--deployment-target {options.deployment_target}",
                f"the constants that weights are kept in came with iOS 18: give {DEPLOYMENT_TARGET}, or leave it out",
            )
        if options.compiled_model:
            check_xcode()
        rows, longest = build.prefill_chunk, min(build.context, config.window or build.context)
        if rows > longest:
            raise UsageError(
                f"a prefill chunk of {rows} for the coreml backend",
                f"give --prefill-chunk 1 to {longest}: the graph has that many rows, for single tokens too. "
                f"{_ROWS} suits the engine",
            )
        if scheme.bits == 4 and config.hidden_size % 2:
            raise InputError(
                f"int4 weights with a hidden size of {config.hidden_size}",
                "two codes share a byte: give --weights int8",
            )
        slots = max(config.cache_slots(layer, build.context) for layer in range(config.num_layers)) + rows
        columns = rows * (config.num_heads // config.num_kv_heads)
        if uses_neural_engine(options.compute_unit):
            _check_dimensions(config, slots, columns, rows)
        cache = config.kv_cache_bytes(build.context, 2)
        file_bytes = _file_bytes(config, scheme)
        weights = config.num_parameters + (config.vocab_size * config.hidden_size if config.tied_embeddings else 0)
        kept = 4 * weights if 4 * weights <= KEPT_WEIGHT_BYTES else 0  # by the interpreter, in verification
        return BuildPlan(
            peak_ram_bytes=_BASE_RAM + int(_RAM_PER_WEIGHT * weights) + kept,
            disk_bytes=2 * file_bytes,
            file_bytes=file_bytes,
            kv_cache_bytes=cache,
            kv_scale_bytes=0,
            # Core ML's copy of the package, the caches on both sides of the call, scores before and after softmax.
            device_ram_bytes=file_bytes + 2 * cache + 4 * config.num_kv_heads * slots * columns,
        )

    def lower(
        self,
        model: QuantizedModel,
        build: BuildOptions,
        path: Path,
        progress: Progress,
        text: CalibrationText | None = None,
    ) -> Artifact:
        from mlp_export.backends.coreml.lower import lower

        return lower(model, build, path, progress)

    def numerics(self, folder: Path, quantization: Mapping[str, Any], draw: int | None = None) -> Numerics:
        return HalfNumerics(None if draw is None else torch.Generator().manual_seed(draw))


def _check_dimensions(config: ModelConfig, slots: int, columns: int, rows: int) -> None:
    """Raises UsageError for tensors that the Neural Engine does not take."""
    elsewhere = "--compute-unit cpu_and_gpu"
    for what, size, instead in (
        ("keys in a score", slots, f"a --context of at most {MOST_DIMENSION - rows}"),
        ("queries in a score", columns, f"--prefill-chunk {_ROWS}"),
        ("channels of a hidden state", config.hidden_size, ""),
        ("channels of the attention", config.num_heads * config.head_dim, ""),
        ("channels of the FFN", config.ffn_size, ""),
    ):
        if size > MOST_DIMENSION:
            raise UsageError(
                f"{size:,} {what}: the Neural Engine takes {MOST_DIMENSION:,}",
                f"give {instead}, or {elsewhere}" if instead else f"give {elsewhere}",
            )


def _file_bytes(config: ModelConfig, scheme: Scheme) -> int:
    """Codes of linears, head and embedding with a float16 scale a row. Head and embedding are in two files, one in the
    package and one in the program.
    """
    shapes = weight_shapes(config)
    shapes.setdefault("head", shapes["embed"])
    codes = sum(scheme.weight_bytes(name, *shape) for name, shape in shapes.items())
    return codes + 1_000_000 + 20_000 * config.num_layers


def _open_artifact(path: Path) -> AbstractContextManager[ArtifactReader]:
    from mlp_export.backends.coreml.reader import open_artifact

    return open_artifact(path)


BACKEND = Backend(DELEGATE, CoremlCompiler(), CoremlRuntime(), _open_artifact)
