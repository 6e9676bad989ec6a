"""Publishes images on a fake web server, and checks CloudFront's signatures there (repositories.md 5.3)."""

from __future__ import annotations

import base64
import fnmatch
import gzip
import json
import time
from dataclasses import replace
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from fakes.repository import DISK, document
from fakes.web import Asked, WebServer
from pragma_boot.config.settings import RepositorySettings

TOP = "/pragma"


class Publisher:
    """A repository on *server*; *folder* is where its copy goes."""

    def __init__(self, server: WebServer, folder: Path) -> None:
        self.server = server
        self.url = f"{server.url}{TOP}"
        self.lines: list[str] = []
        copy = folder / "copy"
        self.settings = RepositorySettings(
            "http", copy, copy / "vcdb.txt", folder / "cache", {"repository_url": self.url}
        )
        self.locks = folder / "locks"
        self._write()

    def with_settings(self, **others: object) -> RepositorySettings:
        """The settings, with further keys."""
        return replace(self.settings, others={**self.settings.others, **others})

    def offer(self, name: str, xml: str | None = None, **files: bytes) -> None:
        """Offer an image; *files* are named by keywords (``disk_img_gz`` is disk.img.gz)."""
        if xml is None and not files:
            xml, files = document("disk.img.gz"), {"disk_img_gz": gzip.compress(DISK)}
        self.put(f"{name}/{name}.xml", document() if xml is None else xml)
        for key, data in files.items():
            self.put(f"{name}/{key.replace('_', '.')}", data)
        self.lines.append(f"{name},{name}/{name}.xml\n")
        self._write()

    def offer_broken(self, name: str) -> None:
        """An image that can be described but never had: its disk is a volume."""
        self.offer(name, document().replace("file='disk.img'", "volume='v' pool='p'"))

    def withdraw(self, name: str) -> None:
        """Offer an image no more."""
        self.lines = [line for line in self.lines if not line.startswith(f"{name},")]
        for path in [path for path in self.server.objects if path.startswith(f"{TOP}/{name}/")]:
            del self.server.objects[path]
        self._write()

    def put(self, path: str, data: bytes | str) -> str:
        return self.server.put(f"{TOP}/{path}", data)

    def _write(self) -> None:
        self.put("vcdb.txt", "".join(self.lines))


def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, form: str = "PKCS8", password: bytes | None = None
) -> bytes:
    """The key as a file: PKCS8, or TraditionalOpenSSL (PKCS#1, SEC1)."""
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, getattr(serialization.PrivateFormat, form), encryption)


class Verifier:
    """Refuses what is not signed by one of *keys* (by id), as CloudFront does."""

    def __init__(self, server: WebServer, **keys: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> None:
        self.keys = keys
        self.now = time.time
        self._url = server.url
        server.forbid = self

    def __call__(self, asked: Asked) -> tuple[int, bytes] | None:
        wrong = self._wrong(asked.path)
        return (403, f"<?xml version='1.0'?><Error><Code>{wrong}</Code></Error>".encode()) if wrong else None

    def _wrong(self, path: str) -> str:
        bare, _, query = path.partition("?")
        words = dict(word.partition("=")[::2] for word in query.split("&"))
        signing = {
            key: words.pop(key, "") for key in ("Expires", "Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm")
        }
        rest = "&".join(f"{key}={value}" for key, value in words.items() if key)
        url = f"{self._url}{bare}" + (f"?{rest}" if rest else "")
        if not signing["Key-Pair-Id"]:
            return "MissingKey"
        key = self.keys.get(signing["Key-Pair-Id"])
        if key is None:
            return "InvalidKey"
        policy = decoded(signing["Policy"]) if signing["Policy"] else canned(url, signing["Expires"])
        algorithm = hashes.SHA256() if signing["Hash-Algorithm"] == "SHA256" else hashes.SHA1()
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(decoded(signing["Signature"]), policy, ec.ECDSA(algorithm))
            else:
                key.verify(decoded(signing["Signature"]), policy, padding.PKCS1v15(), algorithm)
        except InvalidSignature:
            return "AccessDenied"
        (statement,) = json.loads(policy)["Statement"]
        resource = statement["Resource"].replace("[", "[[]")
        fresh = statement["Condition"]["DateLessThan"]["AWS:EpochTime"] > self.now()
        return "" if fresh and fnmatch.fnmatchcase(url, resource) else "AccessDenied"


def canned(url: str, expires: str) -> bytes:
    text = '{"Statement":[{"Resource":"URL","Condition":{"DateLessThan":{"AWS:EpochTime":EXPIRES}}}]}'
    return text.replace("URL", url).replace("EXPIRES", expires).encode()


def decoded(text: str) -> bytes:
    return base64.b64decode(text.translate(str.maketrans("-_~", "+=/")))
