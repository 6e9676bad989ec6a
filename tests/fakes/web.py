"""A web server with ranges, conditional requests and faults on demand; it keeps a list of what it was asked."""

from __future__ import annotations

import email.utils
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOUR = 3600


@dataclass
class Object:
    """A served object. modified: seconds since 1970. strong: with a strong ETag; plain: with none at all."""

    data: bytes
    modified: float = 1_700_000_000
    etag: str = ""
    kind: str = "application/octet-stream"

    def __post_init__(self) -> None:
        self.etag = self.etag or f'"{hashlib.md5(self.data).hexdigest()[:12]}"'


@dataclass
class Fault:
    """What one answer does wrong. cut: only so many bytes of the body are sent, then the connection is closed."""

    status: int = 0
    cut: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    before: Callable[[], object] = lambda: None


@dataclass
class Asked:
    """A request as it came in, and how many bytes of a body were sent for it."""

    method: str
    path: str
    headers: dict[str, str]
    sent: int = 0

    @property
    def range(self) -> str:
        return self.headers.get("range", "")


class WebServer:
    """objects: by path. faults: by path, one is used up by each request. ranges: whether ranges are served."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.asked: list[Asked] = []
        self.ranges = True
        self.validators = True
        self.lengths = True
        self.forbid: Callable[[Asked], tuple[int, bytes] | None] = lambda _: None
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                server.answer(self)

            def do_HEAD(self) -> None:
                server.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.port = self.httpd.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def put(self, path: str, data: bytes | str, **attributes: Any) -> str:
        """Serve *data* at *path*; returns its URL."""
        self.objects[path] = Object(data.encode() if isinstance(data, str) else data, **attributes)
        return self.url + path

    def fail(self, path: str, *faults: Fault) -> None:
        self.faults.setdefault(path, []).extend(faults)

    def sent(self, path: str) -> int:
        """How many bytes of bodies were sent from *path*, errors excluded."""
        return sum(one.sent for one in self.asked if one.path.partition("?")[0] == path)

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        path = re.sub(r"^http://[^/]+", "", to.path)  # a proxy gets whole URLs
        asked = Asked(to.command, path, {key.lower(): value for key, value in to.headers.items()})
        asked.headers["whole"] = to.path
        self.asked.append(asked)
        bare = path.partition("?")[0]
        waiting = self.faults.get(bare)
        fault = waiting.pop(0) if waiting else Fault()
        fault.before()
        refused = self.forbid(asked)
        if refused:
            _reply(to, refused[0], {}, refused[1])
        elif fault.status:
            _reply(to, fault.status, fault.headers, fault.body)
        elif bare not in self.objects:
            _reply(to, 404, {}, b"no such object")
        else:
            self._serve(to, asked, self.objects[bare], fault)

    def _serve(self, to: BaseHTTPRequestHandler, asked: Asked, found: Object, fault: Fault) -> None:
        headers = {"Content-Type": found.kind}
        if self.validators:
            headers |= {"ETag": found.etag, "Last-Modified": email.utils.formatdate(found.modified, usegmt=True)}
        status, body = 200, found.data
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.range)
        if self.validators and asked.headers.get("if-none-match") == found.etag:
            return _reply(to, 304, headers, b"")
        if (
            match
            and self.ranges
            and asked.headers.get("if-range", found.etag) in (found.etag, headers.get("Last-Modified"))
        ):
            start, end = int(match[1]), min(int(match[2] or len(body) - 1), len(body) - 1)
            if start >= len(body):
                return _reply(to, 416, headers | {"Content-Range": f"bytes */{len(body)}"}, b"")
            headers["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
            status, body = 206, body[start : end + 1]
        to.send_response(status)
        for key, value in (headers | fault.headers).items():
            to.send_header(key, value)
        if self.lengths:
            to.send_header("Content-Length", str(len(body)))
        else:
            to.send_header("Connection", "close")
            to.close_connection = True
        to.end_headers()
        if asked.method == "HEAD":
            return None
        part = body if fault.cut is None else body[: fault.cut]
        try:
            for at in range(0, len(part), 65536):
                asked.sent += len(part[at : at + 65536])  # before: who has it may ask how much it was
                to.wfile.write(part[at : at + 65536])
        except OSError:
            to.close_connection = True
        if fault.cut is not None:
            to.close_connection = True
        return None


def _reply(to: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    to.send_response(status)
    for key, value in headers.items():
        to.send_header(key, value)
    if status != 304:
        to.send_header("Content-Length", str(len(body)))
    to.end_headers()
    if to.command != "HEAD" and status != 304:
        to.wfile.write(body)


@contextmanager
def web_server() -> Iterator[WebServer]:
    """A running server on a port of its own."""
    server = WebServer()
    thread = threading.Thread(target=server.httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.httpd.shutdown()
        server.httpd.server_close()
        thread.join()
