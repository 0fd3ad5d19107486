"""The bundle: a folder that is whole or absent.

`Bundle.open` trusts nothing in a folder unchecked. `BundleWriter` builds one in a hidden sibling folder and renames it
into place when it is complete, so that a killed process or a full disk leaves nothing at the target that looks whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlp_export.bundle.manifest import MANIFEST, PTE, BundleError, BundleProblem, FileInfo, Manifest
from mlp_export.errors import InputError
from mlp_export.folder_writer import FolderWriter, OutputKind, check_folder_target
from mlp_export.hashing import file_sha256
from mlp_export.jsonfile import read_json_object
from mlp_export.paths import check_utf8
from mlp_export.resources import DISK_FAILED
from mlp_export.text.tokenizer import Tokenizer

BUNDLE = OutputKind("bundle", lambda folder: (folder / MANIFEST).is_file())


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
        with bundle_errors(path):  # a folder that may not be entered, a name that is too long
            return _open(path, hashes)

    @property
    def pte(self) -> Path:
        """The program."""
        return self.path / PTE

    def tokenizer(self) -> Tokenizer:
        """The bundle's own tokenizer. Raises InputError where it is damaged or does not fit the model's vocabulary."""
        told = self.manifest.tokenizer
        tokenizer = Tokenizer.from_folder(self.path, self.manifest.model.shape["vocab_size"])
        if told.normalization is None and told.answer_strip is None:
            return tokenizer
        return Tokenizer.from_json(tokenizer.to_json(), tokenizer.source, told.normalization, told.answer_strip)


@contextmanager
def bundle_errors(path: Path) -> Iterator[None]:
    """Raises BundleError for an OSError of the body that is about the bundle in folder `path` and what is in it: one
    that is moved away, or whose disk fails, while it is read.
    """
    try:
        yield
    except OSError as error:
        name = error.filename
        if error.errno not in DISK_FAILED if name is None else not Path(os.fsdecode(name)).is_relative_to(path):
            raise
        raise BundleError(
            BundleProblem.UNREADABLE,
            f"cannot read {error.filename or path}: {error.strerror}",
            "check the path and its permissions",
        ) from error


def _open(path: Path, hashes: bool) -> Bundle:
    hint = "give the folder that the export wrote"
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise BundleError(BundleProblem.NOT_A_BUNDLE, f"{path} {found}, expected the folder of a bundle", hint)
    if not (path / MANIFEST).is_file():
        raise BundleError(BundleProblem.NOT_A_BUNDLE, f"{path} has no {MANIFEST}: it is not a bundle", hint)
    manifest = Manifest.from_json(_read_manifest(path / MANIFEST), str(path / MANIFEST))
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
