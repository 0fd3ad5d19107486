"""What a delegate has to offer. Nothing outside a backend's folder knows a backend by name but this registry."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from mlp_export.config import ModelConfig
from mlp_export.errors import UsageError
from mlp_export.progress import Progress
from mlp_export.quantization import QuantizedModel, QuantizedWeight, Scheme
from mlp_export.session import Session

BACKENDS = ("xnnpack",)


@dataclass(frozen=True)
class BuildOptions:
    """What the person chose of an artifact, checked: 1 <= prefill_chunk <= context <= the model's positions."""

    context: int
    prefill_chunk: int
    kv_cache: Literal["int8", "fp32"]
    runtime: Literal["1.3", "1.5"]  # the least ExecuTorch runtime the file must load on


@dataclass(frozen=True)
class BuildPlan:
    """What a build needs and makes, in bytes, before any weight is read."""

    peak_ram_bytes: int
    disk_bytes: int
    file_bytes: int
    kv_cache_bytes: int  # codes (int8) or values (fp32)
    kv_scale_bytes: int
    device_ram_bytes: int  # what the app needs for the loaded program, caches and one prefill


@dataclass(frozen=True)
class Requirement:
    """One thing a backend needs of this machine, as `doctor` shows it."""

    name: str
    found: str  # "" where it is missing
    wanted: str
    install: str  # the command that installs it
    ok: bool


@dataclass(frozen=True)
class Artifact:
    """A lowered `.pte` and what the manifest says of it."""

    path: Path
    tied_weights_stored_once: bool
    compiled_with: dict[str, str]  # package -> version
    least_runtime: dict[str, str]  # runtime -> version
    quantization: dict[str, str]  # "activations" and "kv_cache", as the manifest spells them


class Backend(Protocol):
    name: str
    default_prefill_chunk: int

    def requirements(self) -> Sequence[Requirement]:
        """What this backend needs here, found or not."""
        ...

    def plan(self, config: ModelConfig, scheme: Scheme, options: BuildOptions) -> BuildPlan:
        """What the build will cost. Raises UsageError for what this backend cannot build."""
        ...

    def lower(self, model: QuantizedModel, options: BuildOptions, path: Path, progress: Progress) -> Artifact:
        """Write the `.pte` of `model` to `path`."""
        ...

    def open(self, path: Path) -> Session:
        """Load a `.pte` on this machine. Raises InputError where it is no program of this backend."""
        ...

    def read_weight(self, path: Path, name: str, like: QuantizedWeight) -> QuantizedWeight:
        """A weight's codes and scales read back out of a finished `.pte`, in the format that `like` has."""
        ...


def get_backend(name: str) -> Backend:
    """The backend of that name. Raises UsageError for an unknown one."""
    if name not in BACKENDS:
        raise UsageError(f"no backend {name!r}", f"Backends: {', '.join(BACKENDS)}.")
    backend: Backend = importlib.import_module(f"mlp_export.backends.{name}").BACKEND
    return backend
