"""Names -> folders, against a small hub on this machine that speaks the hub's HTTP."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import unquote, urlparse

import httpx2
import pytest
from huggingface_hub import HfApi, close_session, constants
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from small_checkpoints import write_checkpoint

from mlp_export.backends.base import delegates, get_delegate
from mlp_export.checkpoints import hub as module
from mlp_export.checkpoints.catalog import MODELS, KnownModel
from mlp_export.checkpoints.checkpoint import read_checkpoint
from mlp_export.checkpoints.config import TRAINED_FOR
from mlp_export.checkpoints.hub import hub_error
from mlp_export.checkpoints.model_source import ResolvedModel
from mlp_export.checkpoints.packaged import SMOLLM2
from mlp_export.checkpoints.resolve import _check_reach, _parse, locate, read_resolved, resolve
from mlp_export.checkpoints.safetensors_folder import os_error
from mlp_export.errors import InputError, MissingError, MlpExportError, ResourceError
from mlp_export.models.license import FAIR_NC
from mlp_export.paths import cache_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PRO = "facebook/MobileLLM-Pro"


class Hub:
    """A model hub on a local port. `repos`: id -> path -> bytes; `refuse`: URL path -> (status, X-Error-Code)."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.cards: dict[str, dict[str, Any]] = {}
        self.refuse: Callable[[str], tuple[int, str] | None] = lambda path: None
        self.downloads: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = unquote(urlparse(self.path).path)
                refused = hub.refuse(path)
                if refused is not None:
                    return self.reply(refused[0], X_Error_Code=refused[1], X_Error_Message="no")
                api = path.removeprefix("/api/models/")
                repo = next(
                    (name for name in hub.repos if (api if api != path else path[1:]).startswith(f"{name}/")), ""
                )
                repo = repo or (api if api in hub.repos else "")
                if not repo:
                    return self.reply(401, X_Error_Code="RepoNotFound", X_Error_Message="no such repository")
                files = hub.repos[repo]
                rest = (api if api != path else path[1:]).removeprefix(repo).strip("/")
                if rest.startswith("resolve/"):
                    name = rest.split("/", 2)[2]
                    if name not in files:
                        return self.reply(404, X_Error_Code="EntryNotFound")
                    if self.command == "GET":
                        hub.downloads.append(name)
                    etag = hashlib.sha1(files[name]).hexdigest()
                    return self.reply(200, files[name], ETag=f'"{etag}"', X_Repo_Commit=COMMIT)
                if rest.startswith("revision/") and rest.removeprefix("revision/") not in ("main", "v1", COMMIT):
                    return self.reply(404, X_Error_Code="RevisionNotFound")
                if rest.startswith("tree/"):
                    entries = [
                        {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                        for name, data in files.items()
                    ]
                    return self.reply(200, json.dumps(entries).encode(), Content_Type="application/json")
                siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
                info = {
                    "id": repo,
                    "modelId": repo,
                    "sha": COMMIT,
                    "siblings": siblings,
                    "cardData": hub.cards.get(repo, {}),
                }
                return self.reply(200, json.dumps(info).encode(), Content_Type="application/json")

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def add(self, repo: str, folder: Path, subfolder: str = "", **card: Any) -> None:
        prefix = f"{subfolder}/" if subfolder else ""
        files = self.repos.setdefault(repo, {})
        files |= {prefix + path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        self.cards[repo] = card


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"), "mobilellm-pro", shards=2)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    running = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    template = running.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("HF_TOKEN", "")
    yield running
    running.server.shutdown()
    running.server.server_close()


def fetch(name: str, cache: Path) -> tuple[ResolvedModel, list[str]]:
    lines: list[str] = []
    return resolve(name, announce=lines.append, quiet=True, cache=cache), lines


def download_bytes(name: str, cache: Path | None = None) -> int:
    return locate(name, cache=cache).download_bytes


def test_a_repository(hub: Hub, checkpoint: Path, tmp_path: Path) -> None:
    """Fetched once, only what an export reads, with the commit; the license is said before, and carried as text."""
    hub.add("owner/model", checkpoint, license="other", license_name="some-license", license_link="LICENSE")
    hub.repos["owner/model"] |= {
        "LICENSE": b"You may.",
        "modeling_x.py": b"raise SystemExit",
        "pytorch_model.bin": b"pickle",
        "onnx/model.onnx": b"x",
    }
    expected = sum(
        len(data)
        for name, data in hub.repos["owner/model"].items()
        if name.startswith(("config", "model-", "model.", "token", "LIC"))
    )
    assert download_bytes("owner/model", cache=tmp_path) == expected
    assert not hub.downloads
    found, lines = fetch("owner/model", tmp_path)
    assert (found.id, found.revision, found.trained_for) == ("owner/model", COMMIT, None)
    assert (found.license_name, found.license_text) == ("some-license", "You may.")
    assert "some-license" in lines[0] and len(lines) == 2
    assert read_checkpoint(found.folder).config.family == "mobilellm-pro"
    assert not {"modeling_x.py", "pytorch_model.bin", "onnx/model.onnx"} & set(hub.downloads)

    hub.downloads.clear()
    again, lines = fetch("owner/model@v1", tmp_path)
    assert again == found and not lines and not hub.downloads
    assert download_bytes("owner/model", cache=tmp_path) == 0


@pytest.mark.parametrize("separate", [True, False])
@pytest.mark.parametrize(
    ("alias", "repo", "subfolder", "kind"),
    [
        ("mobilellm-pro-base", f"{PRO}-base", "base", None),
        ("mobilellm-pro-base-int4-cpu", f"{PRO}-base-int4-cpu", "base_int4_cpu", "int4-cpu"),
        (
            "mobilellm-pro-base-int4-accelerator",
            f"{PRO}-base-int4-accelerator",
            "base_int4_accelerator",
            "int4-accelerator",
        ),
        (f"{PRO}-base-int4-cpu", f"{PRO}-base-int4-cpu", "base_int4_cpu", "int4-cpu"),
        (f"{PRO}/base_int4_cpu", PRO, "base_int4_cpu", "int4-cpu"),
        ("MobileLLM-Pro", PRO, "instruct", None),
        (PRO, PRO, "instruct", None),
    ],
)
def test_both_layouts_of_mobilellm_pro(
    alias: str, repo: str, subfolder: str, kind: str | None, separate: bool, hub: Hub, checkpoint: Path, tmp_path: Path
) -> None:
    if separate and "/base_" not in alias:
        hub.add(repo, checkpoint, license="fair-noncommercial-research-license")
        expected = repo
    else:
        hub.add(PRO, checkpoint, subfolder, license="other")
        expected = f"{PRO}/{subfolder}"
    hub.repos[next(iter(hub.repos))]["LICENSE"] = b"FAIR text"
    found, lines = fetch(alias, tmp_path)
    assert (found.id, found.trained_for, found.revision) == (expected, kind, COMMIT)
    assert (found.license_name, found.license_text) == (FAIR_NC.name, "FAIR text")
    assert FAIR_NC.name in lines[0]
    assert (found.folder / "config.json").is_file() and read_checkpoint(found.folder)


@pytest.mark.parametrize(
    ("backend", "end"), [("xnnpack", "int4-cpu"), ("qnn", "int4-accelerator"), ("coreml", "int4-accelerator")]
)
def test_default_is_the_checkpoint_trained_for_the_backend(
    backend: str, end: str, hub: Hub, checkpoint: Path, tmp_path: Path
) -> None:
    hub.add(f"{PRO}-base-{end}", checkpoint)
    found, _ = fetch(get_delegate(backend).default_model, tmp_path)
    assert (found.id, found.trained_for) == (f"{PRO}-base-{end}", end)


def test_table_of_aliases() -> None:
    aliases = [model.alias for model in MODELS]
    assert len(set(aliases)) == len(aliases) and all(alias == alias.lower() and "/" not in alias for alias in aliases)
    assert {delegate.default_model for delegate in delegates().values()} <= set(aliases)


def test_an_interrupted_download_keeps_its_finished_files(hub: Hub, checkpoint: Path, tmp_path: Path) -> None:
    hub.add("owner/model", checkpoint)
    hub.refuse = lambda path: (403, "") if "00002-of" in path and "resolve" in path else None
    with pytest.raises(MissingError):
        fetch("owner/model", tmp_path)
    hub.refuse = lambda path: None
    hub.downloads.clear()
    found, _ = fetch("owner/model", tmp_path)
    assert read_checkpoint(found.folder)
    assert "model-00001-of-00002.safetensors" not in hub.downloads


def error_of(call: Callable[[], object]) -> MlpExportError:
    with pytest.raises(MlpExportError) as caught:
        call()
    assert caught.value.hint and "\n" not in caught.value.message + caught.value.hint
    return caught.value


def test_gated_without_a_token(hub: Hub, checkpoint: Path, tmp_path: Path) -> None:
    """The hub lists a gated repository to everybody and refuses its files."""
    hub.add(f"{PRO}-base-int4-cpu", checkpoint)
    hub.refuse = lambda path: (401, "GatedRepo") if "/resolve/" in path else None
    error = error_of(lambda: fetch(get_delegate("xnnpack").default_model, tmp_path))
    assert isinstance(error, MissingError) and "gated" in error.message and "not logged in" in error.message
    assert f"{hub.endpoint}/{PRO}-base-int4-cpu" in error.hint and "hf auth login" in error.hint


def test_gated_without_access(hub: Hub, checkpoint: Path, tmp_path: Path) -> None:
    hub.add("owner/model", checkpoint)
    hub.refuse = lambda path: (403, "GatedRepo")
    error = error_of(lambda: fetch("owner/model", tmp_path))
    assert "no access" in error.message and "accept the license" in error.hint


def test_no_such_model(hub: Hub, tmp_path: Path) -> None:
    error = error_of(lambda: fetch("owner/absent", tmp_path))
    assert isinstance(error, InputError) and "no model owner/absent" in error.message


def test_no_such_revision(hub: Hub, checkpoint: Path, tmp_path: Path) -> None:
    hub.add("owner/model", checkpoint)
    error = error_of(lambda: fetch("owner/model@v9", tmp_path))
    assert isinstance(error, InputError) and "no revision 'v9'" in error.message


@pytest.mark.parametrize(("status", "words"), [(401, "token"), (403, "may not read"), (429, "rate")])
def test_refusals(
    status: int, words: str, hub: Hub, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub.add("owner/model", checkpoint)
    hub.refuse = lambda path: (status, "")
    error = error_of(lambda: fetch("owner/model", tmp_path))
    assert isinstance(error, MissingError) and words in error.message and str(status) in error.message


def test_offline_with_and_without_the_cache(
    hub: Hub, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("owner/model", checkpoint)
    found, _ = fetch("owner/model", tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again, lines = fetch("owner/model", tmp_path)
    assert (again.folder, again.revision) == (found.folder, COMMIT) and not lines
    assert download_bytes("owner/model", cache=tmp_path) == 0
    for call in (lambda: fetch("owner/other", tmp_path), lambda: download_bytes("owner/other", cache=tmp_path)):
        error = error_of(call)
        assert (
            isinstance(error, MissingError) and "cannot be reached" in error.message and "HF_HUB_OFFLINE" in error.hint
        )


def test_no_network(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise httpx2.ConnectError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    error = error_of(lambda: fetch("owner/model", tmp_path))
    assert isinstance(error, MissingError) and "cannot be reached" in error.message and "ConnectError" in error.message


def test_a_repository_in_a_pickle_format(hub: Hub, checkpoint: Path, tmp_path: Path) -> None:
    hub.repos["owner/model"] = {"config.json": b"{}", "pytorch_model.bin": b"x"}
    error = error_of(lambda: fetch("owner/model", tmp_path))
    assert isinstance(error, InputError) and "pickle" in error.message
    assert not hub.downloads


def test_a_repository_without_a_checkpoint_names_its_subfolders(hub: Hub, checkpoint: Path, tmp_path: Path) -> None:
    hub.add("owner/model", checkpoint, "small")
    error = error_of(lambda: fetch("owner/model", tmp_path))
    assert "no config.json" in error.message and "owner/model/small" in error.hint
    found, _ = fetch("owner/model/small", tmp_path)
    assert found.id == "owner/model/small"


def test_too_little_disk_is_said_before_the_download(
    hub: Hub, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("owner/model", checkpoint)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=1000))
    assert isinstance(error_of(lambda: fetch("owner/model", tmp_path)), ResourceError)
    assert not hub.downloads


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, ResourceError),
        (errno.EDQUOT, ResourceError),
        (errno.EACCES, MissingError),
        (errno.EROFS, MissingError),
    ],
)
def test_disk_full_or_read_only_during_the_download(
    number: int, kind: type[MlpExportError], hub: Hub, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("owner/model", checkpoint)

    def fail(*args: object, **kwargs: object) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module, "snapshot_download", fail)
    assert type(error_of(lambda: fetch("owner/model", tmp_path))) is kind


def response(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "http://localhost"))


ERRORS = [
    (GatedRepoError("x", response=response(401)), MissingError, "not logged in"),
    (GatedRepoError("x", response=response(403)), MissingError, "no access"),
    (RepositoryNotFoundError("x", response=response(401)), InputError, "no model"),
    (RepositoryNotFoundError("x", response=response(404)), InputError, "no model"),
    (RevisionNotFoundError("x", response=response(404)), InputError, "no revision"),
    (DisabledRepoError("x", response=response(403)), InputError, "disabled"),
    (HfHubHTTPError("x", response=response(401)), MissingError, "(401)"),
    (HfHubHTTPError("x", response=response(403)), MissingError, "(403)"),
    (HfHubHTTPError("x", response=response(404)), InputError, "(404)"),
    (HfHubHTTPError("x", response=response(429)), MissingError, "(429)"),
    (HfHubHTTPError("x", response=response(500)), MissingError, "HTTP 500"),
    (LocalEntryNotFoundError("x"), MissingError, "cannot be reached"),
    (OfflineModeIsEnabled("x"), MissingError, "cannot be reached"),
    (httpx2.ReadTimeout("x"), MissingError, "cannot be reached"),
]


def test_each_error_of_the_hub_has_its_own_message() -> None:
    messages = set()
    for error, kind, words in ERRORS:
        told = hub_error(error, "owner/model", "v1")
        assert type(told) is kind and words in told.message and told.hint, error
        messages.add(told.message)
    wrapped = LocalEntryNotFoundError("x")
    wrapped.__cause__ = GatedRepoError("x", response=response(403))
    assert "no access" in hub_error(wrapped, "owner/model").message
    assert len(messages) == len(ERRORS) - 1  # a repository that is absent and one that is hidden look alike


def test_local_folders(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("model", "x-int4-cpu", "base_int4_accelerator"):
        shutil.copytree(checkpoint, tmp_path / name)
        found = resolve(str(tmp_path / name))
        assert (found.folder, found.id, found.revision, found.trained_for) == (tmp_path / name, name, None, None)
        assert (found.license_name, found.license_text) == (None, None)
        assert download_bytes(str(tmp_path / name)) == 0
    (tmp_path / "model" / "LICENSE.txt").write_text("mine")
    assert resolve(str(tmp_path / "model")).license_text == "mine"


def test_names_that_are_nothing(tmp_path: Path) -> None:
    for name in ("", "no-such-alias", "./absent", str(tmp_path / "absent"), "a/b c", "owner/model@", "~/absent/absent"):
        error = error_of(lambda name=name: resolve(name))  # type: ignore[misc]
        assert isinstance(error, InputError) and "mobilellm-pro" in error.hint
    (tmp_path / "instruct").mkdir()
    (tmp_path / "instruct" / "config.json").write_text("{}")
    error = error_of(lambda: resolve(str(tmp_path)))
    assert "no config.json" in error.message and "instruct" in error.hint
    error = error_of(lambda: resolve(str(tmp_path / "instruct" / "config.json")))
    assert "is a file" in error.message


# The machine


def test_full_disk_in_the_words_of_safetensors() -> None:
    """What safetensors raises on a full disk, as a small file system said it."""
    error = os_error(SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"))
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSPC
    other = SafetensorError("Error while serializing: something else")
    assert os_error(other) is other


@pytest.mark.parametrize("name", ["demo", "Demo", "DEMO"])
def test_the_demo_in_any_case(name: str) -> None:
    assert locate(name).id == SMOLLM2.id


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.alias)
def test_every_alias_and_repository_in_any_case(model: KnownModel) -> None:
    parsed = _parse(model.alias)
    for spelled in (model.alias.upper(), model.alias.title()):
        assert _parse(spelled) == parsed
    if model.places:
        repo = model.places[0][0]
        assert _parse(repo.upper()) == _parse(repo) == parsed


@pytest.fixture
def no_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The client is made once a process, from the environment at that time."""
    for name in list(os.environ):
        if name.lower() in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name)
    close_session()
    yield
    close_session()


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "http_proxy"])
@pytest.mark.parametrize(
    "proxy", ["socks5://h:1", "SOCKS5H://h:1", "socks4://h:1", "ftp://user:secret@h:1", "http://[::1", "a:b:c"]
)
def test_proxies_that_cannot_be_used(
    variable: str, proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_client: None
) -> None:
    monkeypatch.setenv(variable, proxy)
    error = error_of(lambda: resolve("nobody/nothing", cache=tmp_path))
    assert isinstance(error, MissingError) and f"the proxy in {variable} cannot be used" in error.message
    assert ("socksio" in error.hint) == proxy.lower().startswith("socks5") and "secret" not in error.message


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "127.0.0.1:9", "https://127.0.0.1:9"])
def test_proxies_that_do_not_answer(
    proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_client: None
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    error = error_of(lambda: resolve("nobody/nothing", cache=tmp_path))
    assert isinstance(error, MissingError) and "the hub cannot be reached" in error.message


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_certificates_that_cannot_be_read(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_client: None
) -> None:
    if text is not None:
        (tmp_path / "ca.pem").write_text(text)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    error = error_of(lambda: resolve("nobody/nothing", cache=tmp_path))
    assert isinstance(error, MissingError) and "the certificates in SSL_CERT_FILE cannot be read" in error.message


def test_a_broken_proxy_does_not_matter_to_what_the_cache_holds(
    hub: Hub, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("o/n", checkpoint)
    whole, _ = fetch("o/n", tmp_path)
    close_session()
    monkeypatch.setattr(module, "get_session", Mock(side_effect=ImportError("socksio")))
    assert fetch("o/n", tmp_path)[0] == replace(whole, license_name=None)
    assert isinstance(error_of(lambda: fetch("o/other", tmp_path)), MissingError)


def test_a_page_in_place_of_the_hubs_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = json.JSONDecodeError("Expecting value", "<html>", 0)
    monkeypatch.setattr(HfApi, "model_info", Mock(side_effect=answer))
    error = error_of(lambda: resolve("nobody/nothing", cache=tmp_path))
    assert isinstance(error, MissingError) and "a proxy or a login page" in error.message


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", Mock(side_effect=KeyError("uid not found")))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "~/.cache/huggingface/hub")  # what expanduser leaves
    for name, variable in (("demo", "XDG_CACHE_HOME"), ("nobody/nothing", "HF_HOME")):
        for call in (resolve, locate):
            error = error_of(lambda: call(name))  # noqa: B023
            assert isinstance(error, MissingError) and variable in error.hint
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/mlp-export")


# What the folder holds


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("names", [["adapter_config.json"], ["adapter_model.safetensors"], ["adapter_model.bin"]])
def test_an_adapter_is_named(hub: Hub, checkpoint: Path, tmp_path: Path, names: list[str], alone: bool) -> None:
    folder = tmp_path / "model"
    if alone:
        folder.mkdir()
        names = ["adapter_config.json", *names]
    else:
        shutil.copytree(checkpoint, folder)
    for name in names:
        (folder / name).write_text("{}")
    hub.add("o/n", folder)
    for call in (lambda: resolve(str(folder)), lambda: fetch("o/n", tmp_path), lambda: locate("o/n")):
        error = error_of(call)
        assert isinstance(error, InputError) and "holds an adapter" in error.message and "merge" in error.hint


@pytest.mark.parametrize("subfolder", ["", "base_int4_cpu"])
def test_a_snapshot_of_the_hubs_cache(checkpoint: Path, tmp_path: Path, subfolder: str) -> None:
    name = "MobileLLM-Pro" if subfolder else "MobileLLM-Pro-base-int4-cpu"
    root = tmp_path / f"models--facebook--{name}" / "snapshots" / COMMIT
    shutil.copytree(checkpoint, root / subfolder)
    (root / "LICENSE").write_text("terms")
    found = resolve(str(root / subfolder))
    assert (found.id, found.revision) == (f"facebook/{name}/{subfolder}".rstrip("/"), COMMIT)
    assert (found.trained_for, found.license_name, found.license_text) == ("int4-cpu", FAIR_NC.name, "terms")
    (tmp_path / "link").symlink_to(root / subfolder)
    assert resolve(str(tmp_path / "link")) == found
    if not subfolder:
        assert str(root) in error_of(lambda: resolve(str(root.parent.parent))).hint


@pytest.mark.parametrize("name", ["model-int4-cpu", "base_int4_accelerator", "INT4-CPU"])
def test_a_name_decides_nothing_and_its_hint_is_told(name: str, checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / name)
    lines: list[str] = []
    assert read_resolved(resolve(str(tmp_path / name)), lines.append).kind == "float"
    assert name in lines[0] and TRAINED_FOR in lines[0] and len(lines) == 1
    assert read_resolved(resolve(str(checkpoint)), lines.append).kind == "float" and len(lines) == 1


def test_config_json_states_the_training(checkpoint: Path, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", kind="int4-cpu", num_hidden_layers=1)
    assert resolve(str(folder)).trained_for == "int4-cpu" == read_checkpoint(folder).kind
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, TRAINED_FOR: "int3"}))
    error = error_of(lambda: resolve(str(folder)))
    assert isinstance(error, InputError) and "'int3'" in error.message and "int4-cpu" in error.message


def test_an_export_asks_the_hub_once_what_it_has(
    hub: Hub, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("owner/model", checkpoint)
    found = locate("owner/model", cache=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "HfApi", Mock(side_effect=AssertionError("asked again")))
        assert not found.is_here and found.download_bytes > 0
        assert found.describe().config.family == "mobilellm-pro"
        assert read_checkpoint(found.fetch(lambda line: None, quiet=True).folder)
    assert locate("owner/model", cache=tmp_path).is_here


def test_files_that_may_not_be_read(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    (folder / "LICENSE").write_text("terms")
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))  # root may read anything
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", Mock(side_effect=denied))
        assert f"cannot read {folder / 'LICENSE'}" in error_of(lambda: resolve(str(folder))).message
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", Mock(side_effect=denied))
        assert f"cannot read {folder}: Permission denied" in error_of(lambda: resolve(str(folder))).message
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", Mock(side_effect=denied))
        error = error_of(lambda: _check_reach(folder / "inside"))
        assert isinstance(error, InputError) and "Permission denied" in error.message
