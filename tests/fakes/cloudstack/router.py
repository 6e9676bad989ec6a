"""What a virtual router does for machines that really run: user data by HTTP, and ports of public addresses."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .hypervisor import Forward


@dataclass(frozen=True)
class Guest:
    """What is served to one address. userdata: as it was given to the API, in base64."""

    name: str
    ident: str
    ip: str
    userdata: str = ""
    keys: tuple[str, ...] = ()

    def files(self) -> dict[str, bytes]:
        """By path; as the server does, user data is served decoded."""
        meta = {
            "instance-id": self.ident,
            "vm-id": self.ident,
            "local-hostname": self.name,
            "local-ipv4": self.ip,
            "public-keys": "\n".join(self.keys),
        }
        made = {f"/latest/meta-data/{name}": text.encode() for name, text in meta.items()}
        made["/latest/meta-data"] = "\n".join(meta).encode()
        if self.userdata:
            made["/latest/user-data"] = base64.b64decode(self.userdata)
        return made


class _Web(ThreadingHTTPServer):
    daemon_threads = True
    guests: dict[str, Guest]
    asked: list[tuple[str, str]]


class _Handler(BaseHTTPRequestHandler):
    server: _Web

    def do_GET(self) -> None:
        client = self.client_address[0]
        self.server.asked.append((client, self.path))
        guest = self.server.guests.get(client)
        body = guest.files().get(self.path.rstrip("/")) if guest else None
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: Any) -> None:
        pass


class UserDataServer:
    """``GET /latest/user-data`` and ``/latest/meta-data/…`` on the router's address, by the client's address.

    guests: by address; may change while it serves. asked: (client, path), in order.
    """

    def __init__(self, address: str, port: int = 80) -> None:
        self.guests: dict[str, Guest] = {}
        self.asked: list[tuple[str, str]] = []
        self._httpd = _Web((address, port), _Handler)
        self._httpd.guests, self._httpd.asked = self.guests, self.asked
        self.port = int(self._httpd.server_address[1])
        self._thread = threading.Thread(target=self._httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._httpd.shutdown()
        self._httpd.server_close()
        self._thread.join()


@dataclass
class Forwarder:
    """Public ports as TCP connections to guests: the public address must be one of this host's (127.0.0.0/8 is)."""

    _open: dict[Forward, socket.socket] = field(default_factory=dict)

    def set(self, forwards: frozenset[Forward]) -> None:
        """Open what is new, close what is gone; connections that are open stay so."""
        for gone in set(self._open) - forwards:
            self._close(self._open.pop(gone))
        for new in sorted(forwards - set(self._open)):
            if new.protocol == "tcp":
                listening = socket.create_server((new.ip, new.port))
                self._open[new] = listening
                threading.Thread(target=_accept, args=(listening, new), daemon=True).start()

    def close(self) -> None:
        self.set(frozenset())

    @staticmethod
    def _close(listening: socket.socket) -> None:
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def _accept(listening: socket.socket, forward: Forward) -> None:
    while True:
        try:
            client, _ = listening.accept()
        except OSError:  # closed
            return
        threading.Thread(target=_join, args=(client, forward), daemon=True).start()


def _join(client: socket.socket, forward: Forward) -> None:
    """A guest that does not answer looks as through a router: the connection is reset."""
    with client:
        try:
            guest = socket.create_connection((forward.guest, forward.guest_port), timeout=10)
        except OSError:
            return
        with guest:
            guest.settimeout(None)
            back = threading.Thread(target=_pump, args=(guest.recv, client), daemon=True)
            back.start()
            _pump(client.recv, guest)
            back.join()


def _pump(read: Callable[[int], bytes], to: socket.socket) -> None:
    with suppress(OSError):
        while data := read(65536):
            to.sendall(data)
    with suppress(OSError):
        to.shutdown(socket.SHUT_WR)
