"""The compiler for QNN."""

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
    backends_for_any_chip,
    package_requirements,
)
from mlp_export.backends.qnn import DELEGATE, sdk
from mlp_export.backends.qnn.encodings import ENCODINGS, Jitter, StaticNumerics, read_encodings
from mlp_export.backends.qnn.runtime import QnnRuntime
from mlp_export.checkpoints.checkpoint import Kind
from mlp_export.errors import MissingError, UsageError
from mlp_export.models.config import ModelConfig
from mlp_export.models.numerics import Numerics
from mlp_export.models.quantized_weight import WeightFormat
from mlp_export.models.tensors import weight_shapes
from mlp_export.progress import Progress
from mlp_export.quantization.scheme import Scheme, Weights, channel_scheme
from mlp_export.quantization.store import QuantizedModel
from mlp_export.resources import human_bytes

# The compiler takes N rows in tiles of 32, and a ring of W slots has to hold those of one call.
_ROWS = 32
# Measured: 2.0 GB for SmolLM2-135M, 6.9 GB for MobileLLM-Pro's shape, in the process that compiles.
_BASE_RAM, _RAM_PER_WEIGHT = 1_300_000_000, 4.4
_HTP_BYTES = 3_584 << 20  # what one graph may take: `memory_alloc_limit` in the compiler's settings


class QnnCompiler:
    """See Compiler."""

    traits = CompilerTraits(prefill_chunk=_ROWS, calibrates=True)

    def requirements(self) -> Sequence[Requirement]:
        wanted = f"{sdk.WHEEL} {sdk.WHEEL_VERSION}, or QAIRT {sdk.WHEEL_QAIRT} in QNN_SDK_ROOT"
        try:
            found = sdk.find_sdk()
            build = sdk.probe(found)
            libraries = Requirement("Qualcomm's libraries", f"{build} ({found.source})", wanted, sdk.INSTALL, True)
        except MissingError as error:
            libraries = Requirement("Qualcomm's libraries", error.message, wanted, error.hint, False)
        return [*package_requirements(), libraries]

    def scheme(
        self,
        kind: Kind,
        config: ModelConfig,
        weights: Weights | None,
        formats: Mapping[str, WeightFormat] | None = None,
    ) -> Scheme:
        return channel_scheme(kind, config, weights, formats, backends_for_any_chip())

    def plan(self, config: ModelConfig, scheme: Scheme, build: BuildOptions) -> BuildPlan:
        rows, longest = build.prefill_chunk, min(build.context, config.window or build.context)
        if rows % _ROWS or rows > longest:
            raise UsageError(
                f"a prefill chunk of {rows} for the qnn backend",
                f"give a multiple of {_ROWS} up to {longest}: the graph has that many rows, for single tokens too",
            )
        cache = config.kv_cache_bytes(build.context)
        file_bytes = _file_bytes(config, scheme)
        # The caches are copied to the NPU; scores of all heads, before and after the softmax, in 16 bits.
        scores = 4 * config.num_heads * rows * (build.context + rows)
        device = file_bytes + 2 * cache + scores
        if device > _HTP_BYTES:
            needs, has = human_bytes(device), human_bytes(_HTP_BYTES)
            raise UsageError(
                f"a context of {build.context:,} needs {needs} on the NPU, which has {has}",
                f"give a smaller --context, or {backends_for_any_chip()}",
            )
        weights = config.num_parameters + (config.vocab_size * config.hidden_size if config.tied_embeddings else 0)
        return BuildPlan(
            peak_ram_bytes=_BASE_RAM + int(_RAM_PER_WEIGHT * weights),
            disk_bytes=2 * file_bytes,
            file_bytes=file_bytes,
            kv_cache_bytes=cache,
            kv_scale_bytes=0,  # the graph knows them
            device_ram_bytes=device,
        )

    def lower(
        self,
        model: QuantizedModel,
        build: BuildOptions,
        path: Path,
        progress: Progress,
        text: CalibrationText | None = None,
    ) -> Artifact:
        from mlp_export.backends.qnn.lower import lower

        if text is None:
            raise ValueError("static scales come from a calibration text")
        return lower(model, build, path, progress, text)

    def numerics(self, folder: Path, quantization: Mapping[str, Any], draw: int | None = None) -> Numerics:
        encodings = read_encodings(folder / ENCODINGS)
        if draw is None:
            return StaticNumerics(encodings)
        scheme = Scheme.from_manifest(quantization)
        return StaticNumerics(encodings, Jitter(scheme, torch.Generator().manual_seed(draw)))


def _file_bytes(config: ModelConfig, scheme: Scheme) -> int:
    """Codes of linears, head and embedding, with a scale a row; the head is laid out for the NPU, and never shared."""
    shapes = weight_shapes(config)
    shapes.setdefault("head", shapes["embed"])
    codes = sum(scheme.weight_bytes(name, *shape) + 8 * shape[0] for name, shape in shapes.items())
    return codes + 6_000_000


def _open_artifact(path: Path) -> AbstractContextManager[ArtifactReader]:
    from mlp_export.backends.qnn.reader import open_artifact

    return open_artifact(path)


BACKEND = Backend(DELEGATE, QnnCompiler(), QnnRuntime(), _open_artifact)
