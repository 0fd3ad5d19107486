"""What a delegate has to offer. Nothing outside a backend's folder knows a backend by name but this registry."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Protocol

from mlp_export.bundle.bundle import Bundle
from mlp_export.checkpoints.checkpoint import Kind
from mlp_export.errors import UsageError
from mlp_export.models.config import ModelConfig
from mlp_export.models.numerics import Numerics
from mlp_export.models.quantized_weight import QuantizedWeight, WeightFormat
from mlp_export.program.stored_weight import StoredWeight
from mlp_export.progress import Progress
from mlp_export.quantization.scheme import Scheme, Weights
from mlp_export.quantization.store import QuantizedModel
from mlp_export.runtime.host_runtime import HostRuntime
from mlp_export.runtime.session import Session, load_session

BACKENDS = ("xnnpack", "qnn", "coreml")
KvCache = Literal["int8", "fp16", "fp32"]
# What the file formats, the operators and the graphs were verified with.
_PACKAGES = {"torch": "2.13.0", "executorch": "1.5.1", "torchao": "0.18.0"}


@dataclass(frozen=True)
class BuildOptions:
    """What the person chose of an artifact, checked: 1 <= prefill_chunk <= context <= the model's positions."""

    context: int
    prefill_chunk: int
    kv_cache: KvCache
    runtime: Literal["1.3", "1.5"]  # the least ExecuTorch runtime the file must load on
    soc: str | None = None  # for backends that build for one
    compute_unit: str | None = None  # for backends whose programs may run on several
    deployment_target: str | None = None  # oldest system that must run it; None: the oldest that can
    compiled_model: bool = False  # whether the delegate's model is compiled here and not on the device
    encodings: Path | None = None  # static scales that an export of the same model for another chip found


@dataclass(frozen=True)
class CalibrationText:
    """Tokens whose activations say how wide a static scale has to be, and the sha256 of the text they come from."""

    ids: Sequence[int]
    sha256: str


@dataclass(frozen=True)
class BuildPlan:
    """What a build needs and makes, in bytes, before any weight is read."""

    peak_ram_bytes: int
    disk_bytes: int
    file_bytes: int
    kv_cache_bytes: int  # codes (int8) or values (fp16, fp32)
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


def package_requirement(package: str, wanted: str) -> Requirement:
    """A package in exactly that version, builds for some hardware ("2.13.0+cpu") included."""
    try:
        installed = version(package)
    except PackageNotFoundError:
        installed = ""
    ok = installed.split("+")[0] == wanted
    return Requirement(package, installed, wanted, f"pip install {package}=={wanted}", ok)


def package_requirements() -> list[Requirement]:
    """The packages that every backend needs."""
    return [package_requirement(package, wanted) for package, wanted in _PACKAGES.items()]


def compiled_with() -> dict[str, str]:
    """The installed versions of those packages, as the manifest has them."""
    return {package: version(package) for package in sorted(_PACKAGES)}


@dataclass(frozen=True)
class PlacementForecast:
    """Where the operators of a delegate's program will run, as far as public limits tell. The device decides."""

    processor: str
    operators: dict[str, int]  # type -> how many
    share: float  # of the operators, that the processor is expected to take
    exceptions: list[str]  # each operator or weight that breaks a limit, and which


@dataclass(frozen=True)
class Artifact:
    """A lowered `.pte` and what the manifest says of it."""

    path: Path
    tied_weights_stored_once: bool
    compiled_with: dict[str, str]  # package -> version
    min_runtime: dict[str, str]  # runtime -> version
    quantization: dict[str, Any]  # "activations", "kv_cache" and what else the manifest is to say of the rounding
    target: str | None = None  # chip or compute unit


class Backend(Protocol):
    name: str
    default_prefill_chunk: int
    socs: Sequence[str]  # chips it builds for, one a program, the first by default; none where programs run on any
    compute_units: Sequence[str]  # what a program may be told to run on, the first by default; none where that is clear
    kv_caches: Sequence[KvCache]  # types of the KV cache, the first by default
    shares_tied_weights: bool  # whether a tied head and embedding are stored once
    calibrates: bool  # whether `lower` wants a text
    runtime: HostRuntime

    def requirements(self) -> Sequence[Requirement]:
        """What this backend needs here, found or not."""
        ...

    def scheme(
        self,
        kind: Kind,
        config: ModelConfig,
        weights: Weights | None,
        formats: Mapping[str, WeightFormat] | None = None,
    ) -> Scheme:
        """How the weights of a checkpoint of `kind` are rounded; `weights` is what the person asked for, `formats` what
        those of a quantized checkpoint have, by name.

        Raises UsageError where that contradicts the checkpoint's training, InputError where this backend has no exact
        form for it.
        """
        ...

    def plan(self, config: ModelConfig, scheme: Scheme, options: BuildOptions) -> BuildPlan:
        """What the build will cost. Raises UsageError for what this backend cannot build."""
        ...

    def lower(
        self,
        model: QuantizedModel,
        options: BuildOptions,
        path: Path,
        progress: Progress,
        text: CalibrationText | None = None,
    ) -> Artifact:
        """Write the `.pte` of `model` to `path`, and beside it what else belongs into the bundle."""
        ...

    def numerics(self, folder: Path, quantization: Mapping[str, Any], draw: int | None = None) -> Numerics:
        """What the artifact in `folder` rounds, for the eager decoder. `quantization` is its manifest's entry.

        With `draw`, the same disturbed at random by as much as this backend's kernels may differ from exact ones:
        another for each number. Raises InputError where the folder's files do not say it.
        """
        ...

    def describe(self, path: Path) -> Mapping[str, str]:
        """What a `.pte` of this backend says of its target ("soc") and of what compiled it."""
        ...

    def placement(self, path: Path) -> PlacementForecast | None:
        """A forecast of where a `.pte` of this backend will run; None where that is no question."""
        ...

    def compatibility_issues(self, path: Path) -> Sequence[str]:
        """Why the stock runtime on a phone will not load a `.pte` of this backend, or not run it rightly, whoever made
        it: a sentence each.
        """
        ...

    def read_weight(self, path: Path, name: str, like: QuantizedWeight) -> StoredWeight:
        """What a finished `.pte` shows of a weight, in the format that `like` has.

        Raises InputError where the file holds no such weight.
        """
        ...


def get_backend(name: str) -> Backend:
    """The backend of that name. Raises UsageError for an unknown one."""
    if name not in BACKENDS:
        raise UsageError(f"no backend {name!r}", f"Backends: {', '.join(BACKENDS)}.")
    backend: Backend = importlib.import_module(f"mlp_export.backends.{name}").BACKEND
    return backend


def open_session(bundle: Bundle) -> Session:
    """The bundle's `.pte`, loaded by the runtime of the backend that its manifest names.

    Raises InputError where the program does not load or is not the one the manifest describes, UsageError where this
    mlp-export has no such backend.
    """
    return load_session(bundle, get_backend(bundle.manifest.backend.name).runtime)
