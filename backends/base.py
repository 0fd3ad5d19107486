"""What a backend offers: facts of a delegate, and three protocols, a compiler, a runtime on this machine and a reader.

A backend is a folder here. Its package says what is known of it without loading anything (`DELEGATE`), its module
`backend` has the rest (`BACKEND`). Nothing outside that folder names it. This module loads neither torch nor
ExecuTorch.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from packaging.specifiers import SpecifierSet

from mlp_export.errors import UsageError
from mlp_export.versions import installed_version, tested_versions

if TYPE_CHECKING:
    from mlp_export.bundle.bundle import Bundle
    from mlp_export.checkpoints.checkpoint import Kind
    from mlp_export.models.config import ModelConfig
    from mlp_export.models.numerics import Numerics
    from mlp_export.models.quantized_weight import QuantizedWeight, WeightFormat
    from mlp_export.program.stored_weight import StoredWeight
    from mlp_export.progress import Progress
    from mlp_export.quantization.scheme import Scheme, Weights
    from mlp_export.quantization.store import QuantizedModel
    from mlp_export.runtime.host_runtime import HostRuntime
    from mlp_export.runtime.session import Session

KvCache = Literal["int8", "fp16", "fp32"]
# Whose file formats, operators and graphs are used, as pyproject.toml has them.
_PACKAGES = {"torch": ">=2.13,<2.14", "executorch": ">=1.5.1,<1.6", "torchao": ">=0.18,<0.19"}
_OPTION = "option"


@dataclass(frozen=True)
class Option:
    """How one field of a backend's options is given on the command line, as --NAME."""

    help: str
    choices: tuple[str, ...] = ()  # none: free text, or a flag where the default is False
    metavar: str | None = None
    # Whether it may be given several times, for a bundle each. Its value is then part of the bundle's name.
    repeatable: bool = False
    readable: bool = True  # whether an artifact that is made so can be read back, for verification


def option(default: Any, help: str, **details: Any) -> Any:
    """A field of a backend's options; `details` are those of `Option`."""
    return field(default=default, metadata={_OPTION: Option(help, **details)})


@dataclass(frozen=True)
class BackendOptions:
    """What one may choose of one backend's artifacts alone: each backend has its own, with fields made by `option`."""

    @classmethod
    def declared(cls) -> dict[str, Option]:
        """Field -> how it is given."""
        return {entry.name: entry.metadata[_OPTION] for entry in fields(cls) if _OPTION in entry.metadata}

    @property
    def repeated(self) -> str | None:
        """The value of the repeatable option, where there is one."""
        found = (getattr(self, name) for name, declared in self.declared().items() if declared.repeatable)
        return next(found, None)


def flag(name: str) -> str:
    """The command line's spelling of an option's field."""
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True)
class AndroidRuntime:
    """What of ExecuTorch's Android builds runs a delegate."""

    package: str  # on Maven Central
    abis: tuple[str, ...]  # that its libraries exist for
    companions: Mapping[str, str] = field(default_factory=dict)  # runtime in `min_runtime` -> the package that has it


@dataclass(frozen=True)
class IosRuntime:
    """What of ExecuTorch's Swift package runs a delegate."""

    product: str
    simulator_target: str | None = None  # the only target that Apple's Simulator has; None: it has all


@dataclass(frozen=True)
class PublishedSpeed:
    """Prefill times that MobileLLM-Pro's model card gives for the delegate, in int4."""

    device: str
    prefill_s: Mapping[int, float]  # tokens of the prompt -> seconds


@dataclass(frozen=True)
class Delegate:
    """What is known of a backend without loading anything."""

    name: str  # as --backend takes it
    id: str  # of the delegate in a `.pte`
    runs_on: str  # in words
    options: type[BackendOptions]
    default_model: str  # alias of the checkpoint that was trained for what it computes
    android: AndroidRuntime | None = None
    ios: IosRuntime | None = None
    published: PublishedSpeed | None = None

    @property
    def runs_anywhere(self) -> bool:
        """Whether ExecuTorch's builds for both systems of phones have it."""
        return self.android is not None and self.ios is not None


@dataclass(frozen=True)
class BuildOptions:
    """What the person chose of an artifact, checked: 1 <= prefill_chunk <= context <= the model's positions."""

    context: int
    prefill_chunk: int
    options: BackendOptions  # the backend's own
    runtime: Literal["1.3", "1.5"] = "1.5"  # the least ExecuTorch runtime the file must load on
    # A bundle that this export made of the same model on the same calibration text, for another value of a repeatable
    # option: what was found on the text need not be found again.
    sibling: Path | None = None


Own = TypeVar("Own", bound=BackendOptions)


def own_options(build: BuildOptions, kind: type[Own]) -> Own:
    """`build`'s options of one backend. Raises TypeError where they are another one's."""
    if not isinstance(build.options, kind):
        raise TypeError(f"options of type {type(build.options).__name__}, expected {kind.__name__}")
    return build.options


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


def package_requirement(package: str, supported: str) -> Requirement:
    """A package in a version that the specifier `supported` allows, builds for some hardware ("2.13.0+cpu") included.
    The command installs the version that was tested.
    """
    installed = installed_version(package)
    ok = bool(installed) and SpecifierSet(supported).contains(installed, prereleases=True)
    wanted = supported.removeprefix("==")
    return Requirement(package, installed, wanted, f"pip install {package}=={tested_versions()[package]}", ok)


def package_requirements() -> list[Requirement]:
    """The packages that every backend needs."""
    return [package_requirement(package, supported) for package, supported in _PACKAGES.items()]


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


@dataclass(frozen=True)
class CompilerTraits:
    """What decides how an export goes, whatever the model."""

    prefill_chunk: int  # by default
    shares_tied_weights: bool = False  # whether a tied head and embedding are stored once
    calibrates: bool = False  # whether `lower` wants a text


class Compiler(Protocol):
    """From a quantized model to a `.pte`."""

    traits: CompilerTraits

    def requirements(self) -> Sequence[Requirement]:
        """What is needed of this machine, found or not."""
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

    def plan(self, config: ModelConfig, scheme: Scheme, build: BuildOptions) -> BuildPlan:
        """What the build will cost. Raises UsageError for what this backend cannot build."""
        ...

    def lower(
        self,
        model: QuantizedModel,
        build: BuildOptions,
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


class ArtifactReader(Protocol):
    """An open `.pte`, read without running it, whoever made it."""

    def description(self) -> Mapping[str, str]:
        """What the delegate's own binary says of its target and of what compiled it."""
        ...

    def compatibility_issues(self) -> Sequence[str]:
        """Why the stock runtime on a phone will not load it, or not run it rightly: a sentence each."""
        ...

    def placement(self) -> PlacementForecast | None:
        """A forecast of where the operators will run; None where that is no question."""
        ...

    def weight(self, name: str, like: QuantizedWeight) -> StoredWeight:
        """What the file shows of a weight, in the format that `like` has.

        Raises InputError where the file holds no such weight.
        """
        ...


@dataclass(frozen=True)
class Backend:
    """A delegate with what compiles, runs and reads its programs."""

    delegate: Delegate
    compiler: Compiler
    runtime: HostRuntime
    # Opens a `.pte` until the body is left. Raises InputError where it is no whole program of this delegate.
    open_artifact: Callable[[Path], AbstractContextManager[ArtifactReader]]

    @property
    def name(self) -> str:
        """As --backend takes it."""
        return self.delegate.name


@functools.cache
def delegates() -> dict[str, Delegate]:
    """Name -> what is known of each backend: of each folder here."""
    folder = str(Path(__file__).parent)
    names = sorted(module.name for module in pkgutil.iter_modules([folder]) if module.ispkg)
    return {name: importlib.import_module(f"{__package__}.{name}").DELEGATE for name in names}


def get_delegate(name: str) -> Delegate:
    """What is known of the backend of that name. Raises UsageError for an unknown one."""
    if name not in delegates():
        raise UsageError(f"no backend {name!r}", _nearest(name, list(delegates())))
    return delegates()[name]


def get_backend(name: str) -> Backend:
    """The backend of that name. Raises UsageError for an unknown one."""
    get_delegate(name)
    backend: Backend = importlib.import_module(f"{__package__}.{name}.backend").BACKEND
    return backend


def backend_options(backend: str, **values: Any) -> BackendOptions:
    """The options of one backend with `values` for some of them, as `ExportOptions.backend_options` takes them.

    They are the options of the command line whose help names the backend. Raises UsageError for an unknown backend, for
    an option that it does not have, and for a value that is none of its choices.
    """
    delegate = get_delegate(backend)
    declared = delegate.options.declared()
    for name in values:
        if name not in declared:
            raise UsageError(f"backend {backend} has no option {name!r}", _nearest(name, list(declared)))
    options = delegate.options(**values)
    check_options(delegate, options)
    return options


def check_options(delegate: Delegate, options: BackendOptions) -> None:
    """Raises UsageError for a value that is none of an option's choices, TypeError for another backend's options."""
    if not isinstance(options, delegate.options):
        raise TypeError(f"options of type {type(options).__name__}, expected {delegate.options.__name__}")
    for name, declared in options.declared().items():
        value = getattr(options, name)
        if declared.choices and value not in declared.choices:
            raise UsageError(
                f"{flag(name)} {value} with --backend {delegate.name}", _nearest(str(value), declared.choices)
            )


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name.lower(), names, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"choose one of: {', '.join(names)}"


def backends_for_any_chip() -> str:
    """The backends whose programs run on any phone, as a hint names them."""
    return " or ".join(f"--backend {delegate.name}" for delegate in delegates().values() if delegate.runs_anywhere)


def open_session(bundle: Bundle) -> Session:
    """The bundle's `.pte`, loaded by the runtime of the backend that its manifest names.

    Raises InputError where the program does not load or is not the one the manifest describes, UsageError where this
    mlp-export has no such backend.
    """
    from mlp_export.runtime.session import load_session

    return load_session(bundle, get_backend(bundle.manifest.backend.name).runtime)
