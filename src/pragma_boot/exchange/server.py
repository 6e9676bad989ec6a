"""The exchange over HTTP or HTTPS: one thread a request, all of them bounded in number, size and time.

Nothing of a query, a body or a header is ever logged: join information and tokens stand there.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pragma_boot.connect import is_loopback
from pragma_boot.errors import PragmaError, UsageError
from pragma_boot.exchange.actions import Actions, Reply
from pragma_boot.exchange.jobs import Jobs, job_name
from pragma_boot.exchange.limits import Limits, Rate
from pragma_boot.network.overlay.information import lines
from pragma_boot.network.overlay.web_service import MODERN

_log = logging.getLogger(__name__)

PORT = 8437
"""Unless another one is asked for; nobody else is known for it."""

_FIELDS = 128
_GOODBYE = 1.0


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens once it is made; `serve` answers. A context: everything is closed after it.

    host: an address or a name of this machine. port: 0 for a free one. tls: see `tls_context`; without it only
    loopback addresses are served, unless *insecure*. tell: called with one line for each request, from any thread.

    Raises UsageError for an address that shall not be served, PragmaError when it cannot be had.
    """

    daemon_threads = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(
        self,
        jobs: Jobs,
        *,
        host: str = "127.0.0.1",
        port: int = PORT,
        tls: ssl.SSLContext | None = None,
        insecure: bool = False,
        limits: Limits | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.limits = limits or Limits()
        self.actions, self.tls, self.tell, self.rate = Actions(jobs), tls, tell, Rate(self.limits.rate)
        self._open: dict[Any, tuple[float, socket.socket]] = {}
        self._clients: dict[Any, str] = {}
        self._lock = threading.Lock()
        self.address_family, address = _resolve(host, port)
        if not (tls or insecure or is_loopback(address[0])):
            raise UsageError(
                f"{host} is not this machine alone, and join information and tokens would go there unencrypted",
                resolution="give certificate= and key=; or insecure=yes where a proxy before it encrypts",
            )
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            raise PragmaError(
                f"cannot serve {host}, port {port}",
                details=error.strerror,
                resolution="choose another port=, or an address of this machine as host=",
            ) from error

    @property
    def url(self) -> str:
        """Where it is reached."""
        host, port = self.server_address[:2]
        name = f"[{host!s}]" if self.address_family == socket.AF_INET6 else str(host)
        return f"{'https' if self.tls else 'http'}://{name}:{port}/"

    def serve(self) -> None:
        """Answer until KeyboardInterrupt is raised (any signal that ends us is one); requests may end then."""
        try:
            self.serve_forever(self.limits.look)
        finally:
            self.socket.close()
            deadline = time.monotonic() + self.limits.grace
            while self._open and time.monotonic() < deadline:
                time.sleep(0.02)
            self._cut(0)
            self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, unless there are too many."""
        address = str(client_address[0])
        with self._lock:
            most = self.limits.connections, self.limits.each
            full = len(self._open) >= most[0] or list(self._clients.values()).count(address) >= most[1]
            if not full:
                self._open[request], self._clients[request] = (time.monotonic(), request), address
        if full:
            self.tell(f"{client_address[0]} - - too many connections")
            request.close()
            return
        super().process_request(request, client_address)

    def wrapped(self, request: Any, by: ssl.SSLSocket) -> None:
        """A connection speaks TLS from now on: *by* has taken it over."""
        with self._lock:
            self._open[request] = (self._open[request][0], by)

    def shutdown_request(self, request: Any) -> None:
        """The connection is done with."""
        with self._lock:
            self._open.pop(request, None)
            self._clients.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called again and again: end connections that take too long."""
        super().service_actions()
        self._cut(self.limits.seconds)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke off, or spoke no TLS, is no fault of ours; anything else is."""
        import sys  # noqa: PLC0415

        error = sys.exception()
        if isinstance(error, OSError):
            self.tell(f"{client_address[0]} - - broke off ({type(error).__name__})")
        else:
            _log.critical("unexpected %s", type(error).__name__, exc_info=error)

    def _cut(self, seconds: float) -> None:
        before = time.monotonic() - seconds
        with self._lock:
            late = [connection for since, connection in self._open.values() if since <= before]
        for connection in late:
            with contextlib.suppress(OSError):
                # Its thread wakes, and closes it. An SSLSocket's own method would first drop TLS, and what the thread
                # is about to send would go out unencrypted.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    server_version, sys_version = "pragma_boot", ""
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "error=http\nmessage=%(code)d\n"

    def setup(self) -> None:
        """Begin TLS, here in the request's own thread."""
        self.request.settimeout(self.server.limits.seconds)
        if self.server.tls:
            wrapped = self.server.tls.wrap_socket(self.request, server_side=True, do_handshake_on_connect=False)
            self.server.wrapped(self.request, wrapped)
            self.request = wrapped
            try:
                wrapped.do_handshake()
            except OSError:
                wrapped.close()
                raise
        super().setup()

    def finish(self) -> None:
        """Say goodbye in TLS; the connection itself is closed by the server, which knows it unwrapped."""
        super().finish()
        if isinstance(self.request, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):
                self.request.settimeout(_GOODBYE)
                self.request.unwrap()
            self.request.close()

    def do_GET(self) -> None:
        """All words are in the query."""
        self._answer({})

    def do_POST(self) -> None:
        """Further words are in the body."""
        length = self.headers.get("content-length", "")
        if not (length.isascii() and length.isdecimal()):
            return self._send("-", "-", Reply(411, lines({"error": "length", "message": "Content-Length is missing"})))
        if len(length) > 9 or int(length) > self.server.limits.body:
            return self._send("-", "-", Reply(413, lines({"error": "size", "message": "this is too much"})))
        try:
            data = self.rfile.read(int(length))
            if len(data) < int(length):
                raise ValueError("the client has gone before its body was here")
            return self._answer(_words(data.decode("utf-8", "replace")))
        except ValueError:
            return self._send("-", "-", _unreadable())

    def _answer(self, body: Mapping[str, str]) -> None:
        if not self.server.rate.admits(self.client_address[0]):
            return self._send("-", "-", Reply(429, lines({"error": "rate", "message": "too many requests"})))
        try:
            query = _words(urlsplit(self.path).query)
            # a first line that is cut looks like HTTP/0.9: half of what was to be put
            if query.keys() & body.keys() or self.request_version == "HTTP/0.9":
                raise ValueError("a word in both, or half a request")
            words = {**query, **body}
            job = job_name(words.get("jobId") or words.get("jobid") or "")
        except (ValueError, UsageError):
            return self._send("-", "-", _unreadable())
        action = self.server.actions.known(words.get("action", ""))
        reply = self.server.actions.perform(job, self._token(words), words)
        return self._send(job if reply.status != 403 else "-", action, reply)

    def _token(self, words: Mapping[str, str]) -> str:
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if kind.lower() == "bearer" else words.get("token", "")

    def _send(self, job: str, action: str, reply: Reply) -> None:
        body = reply.text.encode()
        self.server.tell(f"{self.client_address[0]} {job} {action} {reply.status}")
        self.send_response_only(reply.status)
        for key, value in (
            ("Content-Type", self.error_content_type),
            ("Content-Length", str(len(body))),
            (MODERN, "1"),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(key, value)
        if reply.status in (429, 503):
            self.send_header("Retry-After", "5")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """The base class's lines would hold queries."""


def tls_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """TLS with a certificate (PEM, with its chain), and its key where that is not in the same file.

    Raises UsageError when they cannot be used.
    """

    def no_password() -> str:
        raise UsageError("the key is encrypted", resolution="give a key without a password, in a file with mode 0600")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, no_password)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"cannot serve with the certificate {certificate}" + (f" and the key {key}" if key else ""),
            details=error.strerror or str(error),
            resolution="give a certificate and its key, both in PEM form, that you may read",
        ) from error
    return context


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{host!r} is no address of this machine", resolution="give an IP address as host=") from error
    family, _, _, _, address = found[0]
    return family, address


def _words(text: str) -> dict[str, str]:
    """The words of a query or a body. Raises ValueError for one that is given twice, or for too many."""
    found = parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS)
    words = dict(found)
    if len(words) < len(found):
        raise ValueError("a word twice")
    return words


def _unreadable() -> Reply:
    return Reply(400, lines({"error": "words", "message": "needs jobId and action, and each word once"}))
