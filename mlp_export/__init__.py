"""mlp-export: language models from a checkpoint to a verified ExecuTorch bundle for phones.

The public API. A name is imported when it is first used: `import mlp_export` loads neither torch nor executorch.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from mlp_export import errors
from mlp_export.errors import (
    InputError,
    MissingError,
    MlpExportError,
    ResourceError,
    UsageError,
    VerificationError,
)

if TYPE_CHECKING:
    from mlp_export.backends.base import backend_options
    from mlp_export.bundle.bundle import Bundle
    from mlp_export.evaluation.inspect_artifact import Inspection
    from mlp_export.evaluation.inspect_artifact import inspect_artifact as inspect
    from mlp_export.pipeline import ExportOptions, ExportPlan, ExportReport, export, plan
    from mlp_export.progress import Progress, ProgressEvent
    from mlp_export.quantization.quantize import QuantizeOptions, QuantizeReport, quantize
    from mlp_export.quantization.scheme import channel_scheme, group_scheme
    from mlp_export.runtime.conversation import Conversation
    from mlp_export.runtime.generate import Generation
    from mlp_export.runtime.loaded_model import LoadedModel
    from mlp_export.runtime.session import Session
    from mlp_export.verification.report import VerificationReport
    from mlp_export.verification.verify import verify_bundle as verify

    __version__: str

# name -> where it is defined: "module" or "module:other name"
_DEFINED_IN = {
    "backend_options": "backends.base",
    "export": "pipeline",
    "plan": "pipeline",
    "ExportOptions": "pipeline",
    "ExportPlan": "pipeline",
    "ExportReport": "pipeline",
    "LoadedModel": "runtime.loaded_model",
    "Conversation": "runtime.conversation",
    "Generation": "runtime.generate",
    "Session": "runtime.session",
    "Bundle": "bundle.bundle",
    "verify": "verification.verify:verify_bundle",
    "VerificationReport": "verification.report",
    "inspect": "evaluation.inspect_artifact:inspect_artifact",
    "Inspection": "evaluation.inspect_artifact",
    "channel_scheme": "quantization.scheme",
    "group_scheme": "quantization.scheme",
    "quantize": "quantization.quantize",
    "QuantizeOptions": "quantization.quantize",
    "QuantizeReport": "quantization.quantize",
    "Progress": "progress",
    "ProgressEvent": "progress",
}

__all__ = [
    "Bundle",
    "Conversation",
    "ExportOptions",
    "ExportPlan",
    "ExportReport",
    "Generation",
    "InputError",
    "Inspection",
    "LoadedModel",
    "MissingError",
    "MlpExportError",
    "Progress",
    "ProgressEvent",
    "QuantizeOptions",
    "QuantizeReport",
    "ResourceError",
    "Session",
    "UsageError",
    "VerificationError",
    "VerificationReport",
    "__version__",
    "backend_options",
    "channel_scheme",
    "errors",
    "export",
    "group_scheme",
    "inspect",
    "load",
    "plan",
    "quantize",
    "verify",
]


def load(path: str | os.PathLike[str]) -> LoadedModel:
    """The model of the bundle in folder `path`, its files checked, loaded on this machine.

    Raises InputError where the folder is no bundle, is damaged or does not load, and MissingError where this machine
    lacks what runs its backend's programs.
    """
    from pathlib import Path

    from mlp_export.backends.base import open_session
    from mlp_export.bundle.bundle import Bundle
    from mlp_export.runtime.loaded_model import LoadedModel

    bundle = Bundle.open(Path(path))
    return LoadedModel(bundle, open_session(bundle), bundle.tokenizer())


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("mlp-export")
    elif name in _DEFINED_IN:
        module, _, other = _DEFINED_IN[name].partition(":")
        value = getattr(importlib.import_module(f"mlp_export.{module}"), other or name)
    else:
        raise AttributeError(f"module 'mlp_export' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
