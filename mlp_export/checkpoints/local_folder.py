"""A checkpoint in a folder of this machine; a folder in the hub's cache is still the hub's model."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from mlp_export.checkpoints.checkpoint import Kind, check_no_adapter
from mlp_export.checkpoints.config import read_config, stated_training
from mlp_export.checkpoints.formats import embedding_scales
from mlp_export.checkpoints.formats.recognize import QUANTIZATION_FILES
from mlp_export.checkpoints.license_files import LicenseStatement, license_text, notice_text
from mlp_export.checkpoints.model_source import Announce, ModelDescription, ResolvedModel
from mlp_export.errors import InputError
from mlp_export.paths import check_utf8, resolved

_SNAPSHOTS = "snapshots/*/config.json"
# What is read of a checkpoint, as patterns.
CHECKPOINT_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "chat_template.jinja",
    *QUANTIZATION_FILES,
    embedding_scales.FILE,
)
_LINKS = (*CHECKPOINT_FILES, "*.safetensors")  # an index may name any of these, and `quantize` hashes them all


@dataclass(frozen=True)
class LocalModel:
    """A model that this machine holds whole."""

    resolved: ResolvedModel

    @property
    def id(self) -> str:
        return self.resolved.id

    @property
    def is_here(self) -> bool:
        return True

    @property
    def download_bytes(self) -> int:
        return 0

    def describe(self) -> ModelDescription:
        folder = self.resolved.folder
        return ModelDescription(read_config(folder), self.resolved.trained_for)

    def fetch(self, announce: Announce, *, quiet: bool = False, accepted: Collection[str] = ()) -> ResolvedModel:
        return self.resolved


@dataclass(frozen=True)
class Snapshot:
    """A folder of the hub's cache, models--OWNER--NAME/snapshots/COMMIT[/SUBFOLDER], as `hf download` prints it."""

    root: Path
    repo: str
    revision: str
    subfolder: str


def snapshot_of(folder: Path) -> Snapshot | None:
    """The snapshot that the resolved path `folder` is, if it is one of a model with an owner."""
    for root in (folder, *folder.parents):
        repo = root.parent.parent.name
        if root.parent.name == "snapshots" and repo.startswith("models--"):
            name = repo.removeprefix("models--").replace("--", "/")
            inside = folder.relative_to(root).as_posix()
            return Snapshot(root, name, root.name, "" if inside == "." else inside) if "/" in name else None
    return None


def check_folder(given: Path) -> Path:
    """The resolved path of a checkpoint folder. Raises InputError where it holds none or may not be read."""
    folder = resolved(given)
    check_utf8(folder)
    try:
        files = [entry.name for entry in os.scandir(folder)]
        os.stat(f"{folder}/.")  # a folder may be listed and yet not be entered; Path drops the dot
    except OSError as error:
        raise unreadable(folder, error) from error
    check_no_adapter(files, str(given))
    _check_links(folder, files)
    if not (folder / "config.json").is_file():
        inside = sorted(str(path.parent) for path in (*folder.glob("*/config.json"), *folder.glob(_SNAPSHOTS)))
        hint = (
            f"give one of its subfolders: {', '.join(inside)}" if inside else "give the folder that holds config.json"
        )
        raise InputError(f"no config.json in {given}", hint)
    return folder


def _check_links(folder: Path, files: Collection[str]) -> None:
    """Raises InputError for a link that is read and whose file is gone: taken as a file that was never there, a
    tokenizer's settings or a chat template would be lost without a word.
    """
    for name in sorted(files):
        path = folder / name
        read = any(fnmatch(name, pattern) for pattern in _LINKS)
        if read and path.is_symlink() and not os.path.exists(path):
            raise InputError(
                f"{path} is a link to {os.readlink(path)}, which is not there",
                "the checkpoint is not complete (a cache that was cleaned, or moved): fetch it again",
            )


def resolved_model(
    folder: Path,
    id: str,
    revision: str | None,
    license: LicenseStatement,
    trained_for: Kind | None,
    root: Path | None = None,
) -> ResolvedModel:
    """The model in `folder`, with the license texts of its files or of those at `root`, above it."""
    folders = (folder,) if root is None or root == folder else (folder, root)
    texts = [license_text(place) for place in folders]
    notices = [notice_text(place) for place in folders]
    if license.license is not None:
        texts.append(license.license.text())
        notices.append(license.license.notice_text())
    return ResolvedModel(
        folder,
        id,
        revision,
        license.name,
        next((text for text in texts if text is not None), license.link),
        next((text for text in notices if text is not None), None),
        trained_for or stated_training(folder),
    )


def unreadable(path: Path, error: OSError) -> InputError:
    """The error for a path that may not be read."""
    return InputError(f"cannot read {path}: {error.strerror}", "check the path and its permissions")
