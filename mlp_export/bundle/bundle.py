"""The bundle: a folder that is whole or absent.

`Bundle.open` trusts nothing in a folder unchecked. `BundleWriter` builds one in a hidden sibling folder and renames it
into place when it is complete, so that a killed process or a full disk leaves nothing at the target that looks whole.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.resources
import json
import re
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import jsonschema

from mlp_export.errors import InputError
from mlp_export.folder_writer import FolderKind, FolderWriter, check_folder_target
from mlp_export.jsonfile import read_json_object
from mlp_export.models.config import ModelConfig
from mlp_export.paths import check_utf8
from mlp_export.text.chat import ChatFormat
from mlp_export.text.tokenizer import Tokenizer

FORMAT = 2
_OLDEST_FORMAT = 1  # that is still read
MANIFEST = "manifest.json"
PTE = "model.pte"
LICENSE = "LICENSE"
ENCODINGS = "encodings.json"  # static scales, by the names of the decoder's results; where a backend has them
BUNDLE = FolderKind("bundle", lambda folder: (folder / MANIFEST).is_file())
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class BundleProblem(StrEnum):
    """Why a folder is no bundle that can be used. Apps spell them alike: see tests/vectors/manifests.json."""

    NOT_A_BUNDLE = "NOT_A_BUNDLE"  # no manifest.json
    NEWER_FORMAT = "NEWER_FORMAT"
    DAMAGED_MANIFEST = "DAMAGED_MANIFEST"
    BAD_NAME = "BAD_NAME"  # a file's name that could lead out of the folder
    SYMBOLIC_LINK = "SYMBOLIC_LINK"
    MISSING_FILE = "MISSING_FILE"
    WRONG_SIZE = "WRONG_SIZE"  # half copied, empty
    WRONG_HASH = "WRONG_HASH"
    UNREADABLE = "UNREADABLE"  # permissions, a disk that is gone


class BundleError(InputError):
    """A folder that is no bundle, or one that is damaged."""

    def __init__(self, problem: BundleProblem, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.problem = problem


@dataclass(frozen=True)
class Exporter:
    """What wrote a bundle."""

    name: str
    version: str

    @staticmethod
    def this() -> Exporter:
        """This mlp-export."""
        return Exporter("mlp-export", importlib.metadata.version("mlp-export"))


@dataclass(frozen=True)
class ModelInfo:
    """Where the weights came from. `license` is a name, its text or link is in the bundle's LICENSE."""

    id: str
    revision: str | None
    license: str | None
    parameters: int
    shape: dict[str, Any]  # ModelConfig's fields

    @staticmethod
    def of(config: ModelConfig, id: str, revision: str | None, license: str | None) -> ModelInfo:
        """The entry for weights of shape `config`."""
        return ModelInfo(id, revision, license, config.num_parameters, shape_of(config))


def shape_of(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig's fields as JSON has them."""
    return config.to_json()


@dataclass(frozen=True)
class BackendInfo:
    """What compiled the program and what runs it."""

    name: str
    target: str | None  # SoC or compute unit
    compiled_with: dict[str, str]  # package -> version
    min_runtime: dict[str, str]  # runtime -> version


@dataclass(frozen=True)
class TokenizerInfo:
    """How text becomes ids. `add_bos` is for plain prompts; a chat's text spells its own."""

    files: tuple[str, ...]
    bos_id: int
    eos_ids: tuple[int, ...]
    add_bos: bool


@dataclass(frozen=True)
class FileInfo:
    """Size and hash of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`, format 2 (schema: mlp_export/data/manifest.schema.json)."""

    model: ModelInfo
    backend: BackendInfo
    context: int
    prefill_chunk: int
    quantization: dict[
        str, Any
    ]  # "scheme", "scales", "activations", "kv_cache" and what else the scheme says of itself
    kv_cache_bytes: int
    kv_scale_bytes: int
    device_ram_bytes: int
    tied_weights_stored_once: bool
    tokenizer: TokenizerInfo
    chat: ChatFormat | None
    verification: dict[str, Any] | None = None
    files: dict[str, FileInfo] = field(default_factory=dict)
    exporter: Exporter | None = field(default_factory=Exporter.this)  # None: written before manifests said it

    def to_json(self) -> dict[str, Any]:
        """The JSON object, its keys in the order of reading."""
        values: dict[str, Any] = {"format": FORMAT, "exporter": None, **asdict(self)}
        return json.loads(json.dumps(values, allow_nan=False))  # tuples as lists

    @staticmethod
    def from_json(values: dict[str, Any], source: str = MANIFEST) -> Manifest:
        """Raises BundleError, naming the key, where `values` is not a manifest of a format that is read."""
        _check_format(values, source)
        values = _current_format(values)
        _check_names(values, source)
        try:
            jsonschema.validate(values, _schema())
        except jsonschema.ValidationError as error:
            where = ".".join(str(part) for part in error.absolute_path) or "the manifest"
            message = error.message if len(error.message) < 160 else error.message[:157] + "..."
            raise BundleError(
                BundleProblem.DAMAGED_MANIFEST, f"{source}: {where}: {message}", "the manifest is damaged: export again"
            ) from error
        chat = values["chat"]
        tokenizer = values["tokenizer"]
        exporter = values.get("exporter")
        return Manifest(
            model=ModelInfo(**values["model"]),
            backend=BackendInfo(**values["backend"]),
            context=values["context"],
            prefill_chunk=values["prefill_chunk"],
            quantization=values["quantization"],
            kv_cache_bytes=values["kv_cache_bytes"],
            kv_scale_bytes=values["kv_scale_bytes"],
            device_ram_bytes=values["device_ram_bytes"],
            tied_weights_stored_once=values["tied_weights_stored_once"],
            tokenizer=TokenizerInfo(
                tuple(tokenizer["files"]), tokenizer["bos_id"], tuple(tokenizer["eos_ids"]), tokenizer["add_bos"]
            ),
            chat=None if chat is None else ChatFormat(**{**chat, "stop": tuple(chat["stop"])}),
            verification=values["verification"],
            files={name: FileInfo(**entry) for name, entry in values["files"].items()},
            exporter=None if exporter is None else Exporter(**exporter),
        )


def _check_format(values: dict[str, Any], source: str) -> None:
    found = values.get("format")
    if type(found) is int and _OLDEST_FORMAT <= found <= FORMAT:
        return
    newer = type(found) is int and found > FORMAT
    raise BundleError(
        BundleProblem.NEWER_FORMAT if newer else BundleProblem.DAMAGED_MANIFEST,
        f"{source} is of format {found!r}, this mlp-export reads formats {_OLDEST_FORMAT} to {FORMAT}"
        if "format" in values
        else f"{source}: 'format' is a required property",
        "use a newer mlp-export" if newer else "export the model again",
    )


def _check_names(values: dict[str, Any], source: str) -> None:
    files, tokenizer = values.get("files"), values.get("tokenizer")
    names = list(files) if isinstance(files, dict) else []
    if isinstance(tokenizer, dict) and isinstance(tokenizer.get("files"), list):
        names += [name for name in tokenizer["files"] if isinstance(name, str)]
    for name in names:
        if not _FILE_NAME.fullmatch(name) or ".." in name or name == MANIFEST:
            raise BundleError(
                BundleProblem.BAD_NAME,
                f"{source}: files: {name!r} is not a plain file name",
                "no mlp-export wrote this bundle: do not use it",
            )


def _current_format(values: dict[str, Any]) -> dict[str, Any]:
    """A manifest of format 1 as format 2 has it: `min_runtime` was called `least_runtime`. Others as they are."""
    backend = values.get("backend")
    if values.get("format") != 1 or not isinstance(backend, dict) or "least_runtime" not in backend:
        return values
    renamed = {("min_runtime" if key == "least_runtime" else key): value for key, value in backend.items()}
    return {**values, "format": FORMAT, "backend": renamed}


@functools.cache
def _schema() -> dict[str, Any]:
    text = importlib.resources.files("mlp_export").joinpath("data/manifest.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


@dataclass(frozen=True)
class Bundle:
    """A checked bundle on this disk."""

    path: Path
    manifest: Manifest

    @staticmethod
    def open(path: Path, *, hashes: bool = True) -> Bundle:
        """The bundle in folder `path`: manifest, names and sizes checked and, unless `hashes` is off, sha256 too.

        Raises BundleError where the folder is no bundle or a file is missing or is not the one the manifest names.
        """
        check_utf8(path)
        try:
            return _open(path, hashes)
        except OSError as error:  # a folder that may not be entered, a name that is too long
            raise BundleError(
                BundleProblem.UNREADABLE, f"cannot read {path}: {error.strerror}", "check the path and its permissions"
            ) from error

    @property
    def pte(self) -> Path:
        """The program."""
        return self.path / PTE

    def tokenizer(self) -> Tokenizer:
        """The bundle's own tokenizer. Raises InputError where it is damaged or does not fit the model's vocabulary."""
        return Tokenizer.from_folder(self.path, self.manifest.model.shape["vocab_size"])


def _open(path: Path, hashes: bool) -> Bundle:
    hint = "give the folder that the export wrote"
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise BundleError(BundleProblem.NOT_A_BUNDLE, f"{path} {found}, expected the folder of a bundle", hint)
    if not (path / MANIFEST).is_file():
        raise BundleError(BundleProblem.NOT_A_BUNDLE, f"{path} has no {MANIFEST}: it is not a bundle", hint)
    manifest = Manifest.from_json(_read_manifest(path / MANIFEST), str(path / MANIFEST))
    for name in manifest.tokenizer.files:
        if name not in manifest.files:
            raise BundleError(
                BundleProblem.DAMAGED_MANIFEST,
                f"{path / MANIFEST}: tokenizer file {name!r} is not among its files",
                "export it again",
            )
    for name, entry in manifest.files.items():
        _check_file(path / name, entry, hashes)
    return Bundle(path, manifest)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path, strict=True)
    except InputError as error:
        unreadable = isinstance(error.__cause__, OSError)
        problem = BundleProblem.UNREADABLE if unreadable else BundleProblem.DAMAGED_MANIFEST
        raise BundleError(problem, error.message, error.hint) from error


def _check_file(path: Path, entry: FileInfo, hashes: bool) -> None:
    def refuse(problem: BundleProblem, message: str) -> BundleError:
        return BundleError(problem, message, "copy the whole bundle again, or export it again")

    if path.is_symlink():
        raise refuse(
            BundleProblem.SYMBOLIC_LINK, f"{path} is a symbolic link, expected a file of {entry.bytes:,} bytes"
        )
    if not path.is_file():
        raise refuse(BundleProblem.MISSING_FILE, f"{path} is missing, expected a file of {entry.bytes:,} bytes")
    size = path.stat().st_size
    if size != entry.bytes:
        raise refuse(BundleProblem.WRONG_SIZE, f"{path} has {size:,} bytes, the manifest says {entry.bytes:,}")
    if hashes and (found := file_sha256(path)) != entry.sha256:
        raise refuse(
            BundleProblem.WRONG_HASH, f"{path} has sha256 {found[:12]}..., the manifest says {entry.sha256[:12]}..."
        )


def file_sha256(path: Path) -> str:
    """The file's sha256 in hexadecimal. Raises InputError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "check the file and its permissions") from error


class BundleWriter(FolderWriter):
    """Builds a bundle beside its target and puts it there in one step: see `FolderWriter`.

    with BundleWriter(Path("build/demo"), overwrite=False) as writer:
        ...                                        # write model.pte, tokenizer.json, LICENSE into writer.folder
        bundle = writer.write_manifest(manifest)   # hashes what is there; may be called again, with results
        writer.publish()
    """

    def __init__(self, target: Path, overwrite: bool = False) -> None:
        """Raises UsageError where `target` exists and may not be replaced: before any work."""
        super().__init__(target, BUNDLE, overwrite)
        self._bundle: Bundle | None = None
        self._hashed: dict[tuple[str, int, int], FileInfo] = {}

    def write_manifest(self, manifest: Manifest) -> Bundle:
        """Write `manifest` with the sizes and hashes of all files of the folder, and open the result."""
        files = {path.name: self._file_info(path) for path in self.files() if path.name != MANIFEST}
        text = json.dumps(replace(manifest, files=files).to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        (self.folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
        self._bundle = Bundle.open(self.folder, hashes=False)
        return self._bundle

    def publish(self) -> Bundle:
        """Make the folder durable and move it to the target. Raises UsageError where something got there meanwhile."""
        if self._bundle is None:
            raise ValueError("write_manifest comes before publish")
        self.move_into_place()
        return Bundle(self.target, self._bundle.manifest)

    def _file_info(self, path: Path) -> FileInfo:
        status = path.stat()
        key = (path.name, status.st_size, status.st_mtime_ns)
        if key not in self._hashed:
            self._hashed[key] = FileInfo(status.st_size, file_sha256(path))
        return self._hashed[key]


def check_target(target: Path, overwrite: bool) -> None:
    """Raises UsageError where a bundle cannot be put at `target`, MissingError where it may not be.

    A folder that is no bundle is never replaced.
    """
    check_folder_target(target, BUNDLE, overwrite)
