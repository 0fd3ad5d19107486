"""A name -> a checkpoint folder on this disk, with its revision and license.

A name is an alias of the catalog, a folder, or a hub id `owner/name[/subfolder][@revision]`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

from huggingface_hub import constants

from mlp_export.checkpoints.catalog import MODELS, find_alias, find_repository
from mlp_export.checkpoints.checkpoint import Checkpoint, Kind, read_checkpoint
from mlp_export.checkpoints.config import TRAINED_FOR, id_conflicts
from mlp_export.checkpoints.hub import HubPlace, locate_on_hub
from mlp_export.checkpoints.license_files import LicenseStatement
from mlp_export.checkpoints.local_folder import LocalModel, check_folder, resolved_model, snapshot_of, unreadable
from mlp_export.checkpoints.model_source import Announce, LocatedModel, ResolvedModel
from mlp_export.checkpoints.packaged import PackagedModel, locate_packaged
from mlp_export.checkpoints.storage import storage_errors
from mlp_export.errors import InputError
from mlp_export.loggers import get_logger

_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(/(?P<subfolder>[\w.-]+(/[\w.-]+)*))?(@(?P<revision>[^@]+))?")

_log = get_logger(__name__)


def _silent(line: str) -> None:
    pass


def resolve(
    name: str,
    *,
    announce: Announce = _silent,
    quiet: bool = False,
    accepted: Collection[str] = (),
    cache: Path | None = None,
) -> ResolvedModel:
    """The checkpoint `name` on this machine, downloaded where it is not here: `locate`, then `fetch`; same errors.

    `announce` gets lines for the person, once before a download: the license and the bytes.
    """
    return locate(name, cache=cache).fetch(announce, quiet=quiet, accepted=accepted)


def locate(name: str, *, cache: Path | None = None) -> LocatedModel:
    """Finds the model `name` without fetching its weights; asks the hub at most once.

    `cache` is a folder to use in place of the hub's and mlp-export's own caches. Raises InputError (no such model or
    revision, not a checkpoint), MissingError (no access, no network).
    """
    place = _parse(name)
    if isinstance(place, Path):
        return _local(place)
    with storage_errors(cache):
        return locate_packaged(place, cache) if isinstance(place, PackagedModel) else locate_on_hub(place, cache)


def read_resolved(model: ResolvedModel, announce: Announce = _silent) -> Checkpoint:
    """The checkpoint of `model`, its files checked. A folder's name decides nothing: what it hints at is announced."""
    _log.info("reads %s", model.id, extra={"checkpoint": str(model.folder)})
    checkpoint = read_checkpoint(model.folder, model.trained_for)
    config = checkpoint.config
    _log.info(
        "%s (%s): %s, %s, %d layers, %d parameters, in %s",
        *(model.id, model.revision or "no revision", config.family, checkpoint.kind),
        *(config.num_layers, config.num_parameters, model.folder),
    )
    for conflict in id_conflicts(model.folder):
        announce(f"note: {conflict}")
    hint = _kind_in_name(model.id)
    if hint is not None and checkpoint.kind == "float":
        announce(
            f"note: the name {model.id} hints at {hint} training, which nothing in its files states: taken as a float "
            f'model. If it was trained so, put "{TRAINED_FOR}": "{hint}" into its config.json'
        )
    return checkpoint


def _parse(name: str) -> HubPlace | PackagedModel | Path:
    known = find_alias(name)
    if known is not None:
        return known.packaged or HubPlace(known.places, None, known.license, known.trained_for)
    path = Path(os.path.expanduser(name))  # Path's own methods raise for names that are too long or of no user
    if name and os.path.isdir(path):
        return path
    _check_reach(path)
    if name and os.path.exists(path):
        raise InputError(f"{name} is a file, expected a checkpoint folder", "give the folder that holds config.json")
    match = _HUB_ID.fullmatch(name)
    if match is None or name.startswith((".", "/", "~")):
        aliases = ", ".join(model.alias for model in MODELS)
        raise InputError(
            f"no folder, alias or hub id {name!r}",
            f"give a checkpoint folder, owner/name[/subfolder][@revision], or one of: {aliases}",
        )
    return _hub_place(match["repo"], match["subfolder"] or "", match["revision"])


def _hub_place(repo: str, subfolder: str, revision: str | None) -> HubPlace:
    """The place on the hub, with what the catalog knows of it."""
    known = find_repository(repo, subfolder)
    if known is not None:
        return HubPlace(known.places, revision, known.license, known.trained_for)
    of_repository = find_repository(repo)
    known = find_repository(repo, subfolder, anywhere=True)
    license = next((model.license for model in (known, of_repository) if model is not None), None)
    return HubPlace(((repo, subfolder),), revision, license, None if known is None else known.trained_for)


def _check_reach(path: Path) -> None:
    """Raises InputError where a folder above `path` may not be entered: whether there is such a file is not known."""
    try:
        os.stat(path)
    except PermissionError as error:
        raise unreadable(path, error) from error
    except (OSError, ValueError):  # no such file, or no name of a file
        return


def _local(given: Path) -> LocatedModel:
    folder = check_folder(given)
    snapshot = snapshot_of(folder)
    if snapshot is None:
        return LocalModel(resolved_model(folder, folder.name, None, LicenseStatement(), None))
    place = _hub_place(snapshot.repo, snapshot.subfolder, None)
    name = None if place.license is None else place.license.name
    statement = LicenseStatement(name, f"{constants.ENDPOINT}/{snapshot.repo}", place.license)
    id = f"{snapshot.repo}/{snapshot.subfolder}".rstrip("/")
    return LocalModel(resolved_model(folder, id, snapshot.revision, statement, place.trained_for, snapshot.root))


def _kind_in_name(name: str) -> Kind | None:
    """What the names of QAT checkpoints end in."""
    match = re.search(r"int4[-_](cpu|accelerator)$", name.lower())
    if match is None:
        return None
    return "int4-cpu" if match[1] == "cpu" else "int4-accelerator"
