"""A package index on this machine, as JSON or as HTML, with a password or with connections that break."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlparse


class PackageIndex:
    """`files`: name -> bytes, of one project. `cut` bytes are sent of an answer before the connection is closed."""

    def __init__(self, project: str, files: dict[str, bytes], form: Literal["json", "html"] = "json") -> None:
        self.files = files
        self.form = form
        self.password: str | None = None
        self.cut: int | None = None
        self.status = 200
        self.requests: list[tuple[str, str | None]] = []  # path, range
        index = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                path = urlparse(self.path).path
                span = self.headers.get("Range")
                index.requests.append((path, span))
                if index.password is not None and self.headers.get("Authorization") != index.basic():
                    return self.reply(401, b"")
                if index.status != 200:
                    return self.reply(index.status, b"")
                if path == f"/simple/{project}/":
                    return self.page()
                data = index.files.get(path.removeprefix("/files/"))
                if data is None:
                    return self.reply(404, b"")
                start = int(span.removeprefix("bytes=").removesuffix("-")) if span else 0
                if start >= len(data):
                    return self.reply(416, b"")
                self.reply(206 if span else 200, data[start:], cut=index.cut)

            def page(self) -> None:
                hashes = {name: hashlib.sha256(data).hexdigest() for name, data in index.files.items()}
                if index.form == "html":
                    links = [f'<a href="../../files/{name}#sha256={hashes[name]}">{name}</a>' for name in index.files]
                    return self.reply(200, "".join(links).encode(), "text/html")
                files = [
                    {"filename": name, "url": f"../../files/{name}", "hashes": {"sha256": sha256}}
                    for name, sha256 in hashes.items()
                ]
                self.reply(200, json.dumps({"files": files}).encode(), "application/vnd.pypi.simple.v1+json")

            def reply(self, status: int, body: bytes, kind: str = "text/plain", cut: int | None = None) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body if cut is None else body[:cut])
                self.close_connection = cut is not None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.host}/simple"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def basic(self) -> str:
        """The Authorization header that is expected, for the user "me"."""
        return "Basic " + base64.b64encode(f"me:{self.password}".encode()).decode()


@contextmanager
def serving(project: str, files: dict[str, bytes], form: Literal["json", "html"] = "json") -> Iterator[PackageIndex]:
    """An index that runs meanwhile."""
    index = PackageIndex(project, files, form)
    try:
        yield index
    finally:
        index.server.shutdown()
        index.server.server_close()
