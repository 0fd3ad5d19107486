"""Exports of small random checkpoints, for tests of what comes out."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from small_checkpoints import write_checkpoint

from mlp_export.bundle.bundle import Bundle
from mlp_export.checkpoints.checkpoint import Checkpoint, read_checkpoint
from mlp_export.pipeline import ExportOptions, export
from mlp_export.progress import Progress
from mlp_export.quantization.nearest import round_checkpoint
from mlp_export.quantization.scheme import Scheme, group_scheme
from mlp_export.quantization.store import QuantizedModel

QUIET = Progress(quiet=True)
# Named like the hub's QAT checkpoints: those have no quantization error, which takes a second to measure.
CPU_NAME = "model-int4-cpu"
_STORES = tempfile.TemporaryDirectory(prefix="mlp-export-tests-")


def quantized(checkpoint: Checkpoint, scheme: Scheme) -> QuantizedModel:
    """`checkpoint` rounded to the nearest codes of `scheme`, in a store that ends with the tests."""
    folder = Path(tempfile.mkdtemp(dir=_STORES.name)) / "weights"
    return QuantizedModel(checkpoint, round_checkpoint(checkpoint, scheme, folder))


def small_model(
    folder: Path, family: Any = "mobilellm-pro", *, weights: Any = None, **checkpoint: Any
) -> QuantizedModel:
    """A random checkpoint, as its artifact is quantized."""
    name = "model" if checkpoint.get("kind") == "int4-accelerator" or weights == "int8" else CPU_NAME
    checkpoint = {"kind": "int4-cpu" if name == CPU_NAME else "float", **checkpoint}
    opened = read_checkpoint(write_checkpoint(folder / name, family, **checkpoint))
    return quantized(opened, group_scheme(opened.kind, opened.config, weights))


def export_model(model: QuantizedModel, out: Path, *, weights: Any = None, **options: Any) -> Bundle:
    """The bundle of `model`, not verified unless asked for."""
    asked = {"context": 64, "prefill_chunk": 16, "verify": False, "overwrite": True, "weights": weights, **options}
    return export(ExportOptions("xnnpack", str(model.checkpoint.path), out, **asked), QUIET).bundle
