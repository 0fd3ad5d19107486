"""Exports of small random checkpoints, for tests of what comes out."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from small_checkpoints import write_checkpoint

from mlp_export.backends.base import get_backend, get_delegate
from mlp_export.bundle.bundle import Bundle
from mlp_export.checkpoints.checkpoint import Checkpoint, read_checkpoint
from mlp_export.models.quantized_weight import QuantizedWeight
from mlp_export.pipeline import ExportOptions, export
from mlp_export.program.stored_weight import StoredWeight
from mlp_export.progress import Progress
from mlp_export.quantization.nearest import round_checkpoint
from mlp_export.quantization.scheme import Scheme, group_scheme
from mlp_export.quantization.store import QuantizedModel

QUIET = Progress()
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


def export_options(backend: str, model: Path | str | None, out: Path, **asked: Any) -> ExportOptions:
    """An export's options; those among `asked` that the backend declares go to its own."""
    kind = get_delegate(backend).options
    own = {name: asked.pop(name) for name in list(asked) if name in kind.declared()}
    return ExportOptions(backend, None if model is None else str(model), out, backend_options=kind(**own), **asked)


def read_weight(backend: str, path: Path, name: str, like: QuantizedWeight) -> StoredWeight:
    """What the `.pte` shows of a weight."""
    with get_backend(backend).open_artifact(path) as reader:
        return reader.weight(name, like)


def compatibility_issues(backend: str, path: Path) -> list[str]:
    """Why a phone's runtime will not run the `.pte`."""
    with get_backend(backend).open_artifact(path) as reader:
        return list(reader.compatibility_issues())


def export_model(model: QuantizedModel, out: Path, *, weights: Any = None, **options: Any) -> Bundle:
    """The bundle of `model`, not verified unless asked for."""
    asked = {"context": 64, "prefill_chunk": 16, "verify": False, "overwrite": True, "weights": weights, **options}
    return export(export_options("xnnpack", model.checkpoint.path, out, **asked), QUIET).bundle
