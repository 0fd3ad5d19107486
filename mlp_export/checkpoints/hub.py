"""Checkpoints on the model hub: found, downloaded, and what a person is told where that fails.

Downloads go through huggingface_hub: resumed, cached, and only the files an export reads. Nothing of a repository is
ever run, and pickles are not fetched.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, get_session, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils._paths import filter_repo_objects
from huggingface_hub.utils.tqdm import tqdm

from mlp_export.checkpoints.checkpoint import Kind, check_no_adapter
from mlp_export.checkpoints.config import read_config, stated_training
from mlp_export.checkpoints.formats.recognize import QUANTIZATION_FILES
from mlp_export.checkpoints.license_files import LICENSE_PATTERNS, LicenseStatement
from mlp_export.checkpoints.local_folder import CHECKPOINT_FILES, LocalModel, resolved_model
from mlp_export.checkpoints.model_source import Announce, LocatedModel, ModelDescription, ResolvedModel
from mlp_export.checkpoints.storage import no_space, storage_errors
from mlp_export.errors import InputError, MissingError, MlpExportError
from mlp_export.models.license import License, find_license
from mlp_export.paths import check_utf8, no_home
from mlp_export.resources import existing_parent

# What read_config reads, but for tokenizer.json, which is large.
_CONFIG_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    *QUANTIZATION_FILES,
)

_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@dataclass(frozen=True)
class HubPlace:
    """Where on the hub to look: the first option, (repository, subfolder), that has a checkpoint counts."""

    options: tuple[tuple[str, str], ...]
    revision: str | None = None
    license: License | None = None
    trained_for: Kind | None = None


class _UnreachableError(Exception):
    """The hub did not answer; what the cache holds may still do."""


@dataclass(frozen=True)
class _HubModel:
    """A checkpoint that the hub says it has."""

    repo: str
    subfolder: str
    revision: str | None
    to_fetch: dict[str, int]  # path -> bytes of what the cache lacks
    license: LicenseStatement
    trained_for: Kind | None
    cache: Path | None

    @property
    def id(self) -> str:
        return f"{self.repo}/{self.subfolder}" if self.subfolder else self.repo

    @property
    def is_here(self) -> bool:
        return not self.to_fetch

    @property
    def download_bytes(self) -> int:
        return sum(self.to_fetch.values())

    def describe(self) -> ModelDescription:
        patterns = [f"{self.subfolder}/{name}".lstrip("/") for name in _CONFIG_FILES]
        with storage_errors(self.cache):
            root = _snapshot(self.repo, patterns, self.revision, self.cache, offline=False, quiet=True)
            folder = root / self.subfolder
            return ModelDescription(read_config(folder), self.trained_for or stated_training(folder))

    def fetch(self, announce: Announce, *, quiet: bool = False, accepted: Collection[str] = ()) -> ResolvedModel:
        with storage_errors(self.cache):
            if self.to_fetch:
                self._announce(announce)
            patterns = _patterns(self.subfolder)
            root = _snapshot(self.repo, patterns, self.revision, self.cache, offline=False, quiet=quiet)
            return _resolved(root, self.repo, self.subfolder, self.license, self.trained_for)

    def _announce(self, announce: Announce) -> None:
        license = self.license.name or "no stated license"
        announce(f"{self.id} is under: {license} ({self.license.link}). Downloading it is accepting that.")
        announce(f"downloading {self.download_bytes / 1e6:,.0f} MB (resumes where it was interrupted)")
        target = existing_parent(self.cache or Path(constants.HF_HUB_CACHE))
        free = shutil.disk_usage(target).free
        if free < self.download_bytes:
            raise no_space(f"{self.download_bytes / 1e6:,.0f} MB to download, {free / 1e6:,.0f} MB free at {target}")


def locate_on_hub(place: HubPlace, cache: Path | None) -> LocatedModel:
    """The checkpoint at `place`; where the hub cannot be reached, that in its cache."""
    try:
        return _ask(place, cache)
    except _UnreachableError as error:
        return _cached(place, cache, error)


def _ask(place: HubPlace, cache: Path | None) -> _HubModel:
    """Asks the hub which option has a checkpoint and what is missing here."""
    failure: MlpExportError | None = None
    _check_cache(cache)
    _check_client()
    for repo, subfolder in place.options:
        try:
            info = HfApi().model_info(repo, revision=place.revision, files_metadata=True)
        except (OfflineModeIsEnabled, httpx2.RequestError, httpx2.InvalidURL, HfHubHTTPError) as error:
            if _is_unreachable(error):
                raise _UnreachableError(f"{type(error).__name__}") from error
            failure = failure or hub_error(error, repo, place.revision)
            if isinstance(error, RepositoryNotFoundError) and not isinstance(error, GatedRepoError):
                continue
            raise hub_error(error, repo, place.revision) from error
        except HFValidationError as error:
            raise InputError(f"{repo!r} is not a hub id: {error}", "give owner/name") from error
        except (ValueError, KeyError, TypeError) as error:  # a page in place of the hub's JSON
            raise _UnreachableError("the answer is not the hub's: a proxy or a login page of the network?") from error
        sizes = {entry.rfilename: entry.size or 0 for entry in info.siblings or []}
        if f"{subfolder}/config.json".lstrip("/") not in sizes:
            if f"{subfolder}/adapter_config.json".lstrip("/") in sizes:
                _check_files(repo, subfolder, sizes)
            failure = failure or _no_checkpoint(repo, subfolder, sizes)
            continue
        _check_files(repo, subfolder, sizes)
        wanted = filter_repo_objects(sizes, allow_patterns=_patterns(subfolder))
        missing = {path: sizes[path] for path in wanted if not _is_cached(repo, path, info.sha, cache)}
        card: Any = info.card_data or {}
        name = card.get("license_name") or card.get("license")
        license = place.license or find_license(name)
        if license is not None and name in (None, "other", "fair", license.hub_id):
            name = license.name
        link = card.get("license_link") or ""
        if not str(link).startswith(("http://", "https://")):  # often the path of a file in the repository
            link = f"{constants.ENDPOINT}/{repo}"
        statement = LicenseStatement(name, str(link), license)
        return _HubModel(repo, subfolder, place.revision, missing, statement, place.trained_for, cache)
    assert failure is not None  # there is an option, and each sets it
    raise failure


def _check_cache(cache: Path | None) -> None:
    """Raises MissingError where the hub's cache has no place: huggingface_hub would make a folder called "~"."""
    folder = Path(cache or constants.HF_HUB_CACHE)
    if folder.parts[:1] == ("~",):
        raise no_home("HF_HOME")
    check_utf8(folder, MissingError)


def _check_client() -> None:
    """Raises _UnreachableError from a MissingError where the environment's proxy or certificates cannot be used.

    httpx reads them when its client is made, before any request.
    """
    if constants.is_offline_mode():
        return
    try:
        get_session()
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        names = sorted(name for name in os.environ if name.lower() in _PROXY_VARIABLES and os.environ[name])
        hint = "give a proxy as http://host:port, or unset the variable"
        if isinstance(error, ImportError):
            hint = f"install its support: {sys.executable} -m pip install socksio; or give an http:// proxy"
        raise _UnreachableError from MissingError(
            f"the proxy in {', '.join(names) or 'the environment'} cannot be used: {error}", hint
        )
    except OSError as error:
        names = sorted(name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name))
        raise _UnreachableError from MissingError(
            f"the certificates in {' and '.join(names) or 'the environment'} cannot be read: {error}",
            "give a file of certificates in PEM format, or unset the variable",
        )


def _no_checkpoint(repo: str, subfolder: str, files: dict[str, int]) -> InputError:
    inside = sorted(f"{repo}/{path.removesuffix('/config.json')}" for path in files if path.endswith("/config.json"))
    where = f"{repo}/{subfolder}" if subfolder else repo
    return InputError(
        f"{where} has no config.json",
        f"give one of: {', '.join(inside)}" if inside else "it is not a transformers checkpoint",
    )


def _check_files(repo: str, subfolder: str, files: dict[str, int]) -> None:
    prefix = f"{subfolder}/" if subfolder else ""
    here = [path.removeprefix(prefix) for path in files if path.startswith(prefix)]
    check_no_adapter(here, f"{repo}/{subfolder}" if subfolder else repo)
    if any(prefix + name in files for name in ("model.safetensors", "model.safetensors.index.json")):
        return
    pickles = sorted(
        path for path in files if path.startswith(prefix) and path.endswith((".bin", ".pth", ".pt", ".ckpt"))
    )
    found = (
        f"only {', '.join(pickles[:3])}, a pickle format that can run code when it is opened"
        if pickles
        else "no weights"
    )
    raise InputError(
        f"{repo} holds {found}, expected {prefix}model.safetensors", "choose a checkpoint in safetensors format"
    )


def _patterns(subfolder: str) -> list[str]:
    prefix = f"{subfolder}/" if subfolder else ""
    patterns = [prefix + pattern for pattern in (*CHECKPOINT_FILES, *LICENSE_PATTERNS)]
    return patterns + list(LICENSE_PATTERNS) if subfolder else patterns


def _is_cached(repo: str, path: str, commit: str | None, cache: Path | None) -> bool:
    return isinstance(try_to_load_from_cache(repo, path, cache_dir=cache, revision=commit), str)


def _cached(place: HubPlace, cache: Path | None, unreachable: _UnreachableError) -> LocalModel:
    """The checkpoint out of the hub's cache, without network. Raises MissingError where it is not complete there."""
    for repo, subfolder in place.options:
        try:
            root = _snapshot(repo, _patterns(subfolder), place.revision, cache, offline=True, quiet=True)
        except MissingError:
            continue
        if (root / subfolder / "config.json").is_file():
            name = None if place.license is None else place.license.name
            statement = LicenseStatement(name, f"{constants.ENDPOINT}/{repo}", place.license)
            return LocalModel(_resolved(root, repo, subfolder, statement, place.trained_for))
    if isinstance(unreachable.__cause__, MlpExportError):
        raise unreachable.__cause__
    raise _offline(place.options[0][0], str(unreachable)) from unreachable.__cause__


def _snapshot(
    repo: str, patterns: list[str], revision: str | None, cache: Path | None, *, offline: bool, quiet: bool
) -> Path:
    try:
        return Path(
            snapshot_download(
                repo,
                revision=revision,
                cache_dir=cache,
                allow_patterns=patterns,
                local_files_only=offline,
                tqdm_class=_Silent if quiet else None,
            )
        )
    except (
        OfflineModeIsEnabled,
        httpx2.RequestError,
        httpx2.InvalidURL,
        HfHubHTTPError,
        EntryNotFoundError,
    ) as error:
        raise hub_error(error, repo, revision) from error
    except (ValueError, RuntimeError) as error:  # a page in place of the hub's JSON, or the xet client
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MissingError(
            f"the download of {repo} failed: {reason}",
            "check the network and a proxy, and try again: a finished part is kept",
        ) from error


def _resolved(
    root: Path, repo: str, subfolder: str, license: LicenseStatement, trained_for: Kind | None
) -> ResolvedModel:
    folder = root / subfolder
    identity = f"{repo}/{subfolder}" if subfolder else repo
    # The cache names the folder of a snapshot after its commit.
    return resolved_model(folder, identity, root.name, license, trained_for, root)


class _Silent(tqdm):
    """A progress bar that shows nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})


def _is_unreachable(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    return True


def hub_error(error: Exception, repo: str, revision: str | None = None) -> MlpExportError:
    """What a person is told of an exception of huggingface_hub or its HTTP client."""
    page = f"{constants.ENDPOINT}/{repo}"
    if isinstance(error, GatedRepoError):
        if error.response.status_code == 401:
            return MissingError(
                f"{repo} is gated and this machine is not logged in",
                f"accept the license at {page}, then run `hf auth login` with a token of that account",
            )
        return MissingError(
            f"{repo} is gated and your account has no access to it",
            f"accept the license at {page} and wait for approval; a fine-grained token must include gated repositories",
        )
    if isinstance(error, RevisionNotFoundError):
        return InputError(f"{repo} has no revision {revision!r}", f"see the branches, tags and commits at {page}")
    if isinstance(error, RepositoryNotFoundError):
        return InputError(
            f"no model {repo} on the hub, or it is private",
            "check the spelling; for a private model run `hf auth login` first",
        )
    if isinstance(error, DisabledRepoError):
        return InputError(f"{repo} has been disabled by its author or the hub", "choose another checkpoint")
    if isinstance(error, (LocalEntryNotFoundError, OfflineModeIsEnabled)):
        # The cause tells a refusal of the hub, which huggingface_hub wraps when it looks in its cache instead, from a
        # missing network.
        cause = error.__cause__
        if isinstance(cause, HfHubHTTPError):
            return hub_error(cause, repo, revision)
        return _offline(repo, type(cause or error).__name__)
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status == 401:
            return MissingError(
                f"the hub does not accept this machine's token for {repo} (401)",
                "run `hf auth login` with a valid token",
            )
        if status == 403:
            return MissingError(
                f"this machine's token may not read {repo} (403)",
                "give the token read access in its settings on the hub, or use another",
            )
        if status == 404:
            return InputError(f"{repo} lacks a file that it lists (404)", f"see {page}; another revision may be whole")
        if status == 429:
            return MissingError(
                f"the hub limits this machine's rate for {repo} (429)", "wait some minutes, or run `hf auth login`"
            )
        return MissingError(f"the hub failed on {repo} (HTTP {status})", "try again later: a finished part is kept")
    return _offline(repo, type(error).__name__)


def _offline(repo: str, reason: str) -> MissingError:
    return MissingError(
        f"the hub cannot be reached and {repo} is not complete in the cache ({reason})",
        "check the network, a proxy and HF_HUB_OFFLINE, or give a checkpoint folder on this machine",
    )
