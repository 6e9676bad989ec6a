"""Google Drive, API v3, as far as it is used: folders, paging, keys, tokens, ranges, and faults on demand."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

FOLDER = "application/vnd.google-apps.folder"
SHORTCUT = "application/vnd.google-apps.shortcut"


@dataclass
class File:
    """A file or folder; *abusive*: taken for malware. key: its resource key. target: a shortcut's."""

    id: str
    name: str
    parent: str
    kind: str = "application/octet-stream"
    data: bytes = b""
    key: str = ""
    abusive: bool = False
    target: str = ""
    modified: str = "2026-01-01T00:00:00.000Z"

    def metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "id": self.id, "name": self.name, "mimeType": self.kind, "modifiedTime": self.modified,
        }  # fmt: skip
        if self.key:
            found["resourceKey"] = self.key
        if self.kind not in (FOLDER, SHORTCUT):
            found |= {"size": str(len(self.data)), "md5Checksum": hashlib.md5(self.data).hexdigest()}
            found["sha256Checksum"] = hashlib.sha256(self.data).hexdigest()
        return found


@dataclass
class Refusal:
    """What one answer is instead. cut: only so many bytes of the body are sent."""

    status: int = 0
    reason: str = ""
    cut: int | None = None
    headers: dict[str, str] = field(default_factory=dict)


class FakeDrive:
    """Its root is the folder ROOT. key: the API key it wants; public_key: whose tokens it gives and takes."""

    ROOT = "root-folder-0001"

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.key = "a-good-api-key"
        self.public_key: Any = None
        self.tokens = 0
        self.page = 1000
        self.refusals: list[Refusal] = []
        self.asked: list[tuple[str, str, str]] = []  # path, query, Range
        self.add(File(self.ROOT, "root", "", FOLDER))

    def add(self, file: File) -> File:
        self.files[file.id] = file
        return file

    def folder(self, name: str, parent: str = ROOT, **more: Any) -> str:
        return self.add(File(f"folder-{len(self.files):06}", name, parent, FOLDER, **more)).id

    def file(self, name: str, data: bytes, parent: str, **more: Any) -> str:
        return self.add(File(f"file-{len(self.files):08}", name, parent, data=data, **more)).id

    # ------------------------------------------------------------------------------------------------------- answers

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.asked.append((parts.path, parts.query, handler.headers.get("Range", "")))
        refusal = self.refusals.pop(0) if self.refusals else Refusal()
        if refusal.status:
            self._refuse(handler, refusal.status, refusal.reason, refusal.headers)
        elif not self._allowed(handler):
            self._refuse(handler, 400, "badRequest")
        elif parts.path == "/drive/v3/files":
            self._list(handler, query)
        else:
            self._file(handler, parts.path.removeprefix("/drive/v3/files/"), query, refusal)

    def token(self, handler: BaseHTTPRequestHandler) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        body = parse_qs(handler.rfile.read(int(handler.headers["Content-Length"])).decode())
        text, _, signature = body["assertion"][0].rpartition(".")
        decode = lambda part: base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))  # noqa: E731
        claims = json.loads(decode(text.split(".")[1]))
        try:
            self.public_key.verify(decode(signature), text.encode(), padding.PKCS1v15(), hashes.SHA256())
            assert claims["iss"] == "robot@example.org"
            assert claims["scope"].endswith("drive.readonly")
        except (InvalidSignature, AssertionError):
            self._send(handler, 400, json.dumps({"error": "invalid_grant"}).encode())
            return
        self.tokens += 1
        self._send(handler, 200, json.dumps({"access_token": f"token-{self.tokens}", "expires_in": 3600}).encode())

    def _allowed(self, handler: BaseHTTPRequestHandler) -> bool:
        bearer = handler.headers.get("Authorization", "")
        if self.public_key is not None and bearer:
            return bearer == f"Bearer token-{self.tokens}"
        return handler.headers.get("X-Goog-Api-Key") == self.key

    def _has_key(self, handler: BaseHTTPRequestHandler, file: File) -> bool:
        known = handler.headers.get("X-Goog-Drive-Resource-Keys", "").split(",")
        return not file.key or f"{file.id}/{file.key}" in known

    def _list(self, handler: BaseHTTPRequestHandler, query: dict[str, str]) -> None:
        match = re.fullmatch(r"'([^']+)' in parents and trashed=false", query["q"])
        folder = self.files.get(match[1]) if match else None
        if folder is None or not self._has_key(handler, folder):
            self._refuse(handler, 404, "notFound")
            return
        children = [file for file in self.files.values() if file.parent == folder.id]
        start, size = int(query.get("pageToken", "0")), min(self.page, int(query.get("pageSize", "100")))
        wanted = re.search(r"files\(([^)]*)\)", query.get("fields", ""))
        fields = wanted[1].split(",") if wanted else ["id", "name", "mimeType"]
        answer: dict[str, Any] = {"files": [self._fields(file, fields) for file in children[start : start + size]]}
        if start + size < len(children):
            answer["nextPageToken"] = str(start + size)
        self._send(handler, 200, json.dumps(answer).encode())

    def _fields(self, file: File, fields: list[str]) -> dict[str, Any]:
        found = file.metadata()
        if file.kind == SHORTCUT:
            target = self.files[file.target]
            found["shortcutDetails"] = {"targetId": target.id, "targetMimeType": target.kind}
            if target.key:
                found["shortcutDetails"]["targetResourceKey"] = target.key
        return {name: value for name, value in found.items() if name in fields}

    def _file(self, handler: BaseHTTPRequestHandler, ident: str, query: dict[str, str], refusal: Refusal) -> None:
        file = self.files.get(ident)
        if file is None or not self._has_key(handler, file):
            self._refuse(handler, 404, "notFound")
        elif query.get("alt") != "media":
            self._send(handler, 200, json.dumps(self._fields(file, query["fields"].split(","))).encode())
        elif file.abusive:
            self._refuse(handler, 403, "cannotDownloadAbusiveFile")
        else:
            self._media(handler, file.data, refusal.cut)

    def _media(self, handler: BaseHTTPRequestHandler, data: bytes, cut: int | None) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        if not asked:
            self._send(handler, 200, data, cut=cut)
            return
        first, last = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
        if first >= len(data):
            self._send(handler, 416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        headers = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
        self._send(handler, 206, data[first : last + 1], headers, cut)

    def _refuse(
        self, handler: BaseHTTPRequestHandler, status: int, reason: str, headers: dict[str, str] | None = None
    ) -> None:
        error = {"code": status, "message": f"about {reason}", "errors": [{"reason": reason, "domain": "usageLimits"}]}
        self._send(handler, status, json.dumps({"error": error}).encode(), headers)

    @staticmethod
    def _send(
        handler: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        cut: int | None = None,
    ) -> None:
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[:cut])
        if cut is not None:
            handler.close_connection = True

    @contextmanager
    def running(self) -> Iterator[str]:
        """The server's address while the block runs."""
        drive = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                drive.answer(self)

            def do_POST(self) -> None:
                drive.token(self)

            def log_message(self, *_: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
