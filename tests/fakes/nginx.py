"""Debian's nginx for a folder, plain and with TLS of a private authority."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pragma_boot.run import background, run, which

CONFIGURATION = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log info; {user}
events {{ worker_connections 64; }}
http {{
    access_log {folder}/access.log; sendfile on; default_type application/octet-stream;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{secure} ssl;
        ssl_certificate {folder}/server.crt; ssl_certificate_key {folder}/server.key;
        root {folder}/www;
        location = /bucket/ {{ default_type application/xml; try_files /listing.xml =404; }}
        location /bucket/ {{ alias {folder}/www/; }}
        location /saved/ {{ autoindex on; }}
        location /slow/ {{ alias {folder}/www/; limit_rate 400k; }}
    }}
}}
"""


class Nginx:
    """A running server for the folder *www*."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.www = folder, folder / "www"
        self.www.mkdir()
        self.port, self.secure = free_ports(2)
        self.url, self.https = f"http://127.0.0.1:{self.port}", f"https://127.0.0.1:{self.secure}"

    def clear(self) -> None:
        """Serve nothing any more, and forget all requests."""
        for path in self.www.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (self.folder / "access.log").write_text("")

    def requests(self) -> str:
        return (self.folder / "access.log").read_text()


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def make_certificates(folder: Path) -> None:
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    run([*new, "-subj", "/CN=Test CA", "-keyout", folder / "ca.key", "-out", folder / "ca.pem"])
    run([
        *new, "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-CA", folder / "ca.pem",
        "-CAkey", folder / "ca.key", "-keyout", folder / "server.key", "-out", folder / "server.crt",
    ])  # fmt: skip


def installed() -> bool:
    return which("nginx") is not None and which("openssl") is not None


@contextmanager
def running_nginx(folder: Path) -> Iterator[Nginx]:
    """A server in an empty folder, which ends with the block."""
    server = Nginx(folder)
    make_certificates(server.folder)
    user = "user root;" if os.geteuid() == 0 else ""
    names = {"folder": server.folder, "port": server.port, "secure": server.secure, "user": user}
    (server.folder / "nginx.conf").write_text(CONFIGURATION.format(**names))
    argv = ["nginx", "-p", server.folder, "-c", server.folder / "nginx.conf", "-e", server.folder / "error.log"]
    with background(argv) as process:
        deadline = time.monotonic() + 10
        while socket.socket().connect_ex(("127.0.0.1", server.secure)):
            assert process.poll() is None, (server.folder / "error.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield server
