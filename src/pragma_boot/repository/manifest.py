"""What a publisher says of the files of a repository: sizes and digests (repositories.md 6.3).

Two forms are read: lines as ``sha256sum`` writes them (`SHA256SUMS`), and the index `vcdb.json`, which may be signed
(``vcdb.json.sig``, by ``ssh-keygen -Y sign -n pragma_boot``). Paths in both start from the repository's top.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pragma_boot.errors import CommandError, RepositoryError
from pragma_boot.model import shorten
from pragma_boot.repository.record import Digest
from pragma_boot.run import run

INDEX = "vcdb.json"
SUMS = "SHA256SUMS"
NAMES = (INDEX, SUMS)
"""The manifests that are looked for, the better one first."""

SIZE_LIMIT = 64 * 1024 * 1024
NAMESPACE = "pragma_boot"
"""What signatures are made for, so that none made for another purpose counts."""

_LINE = re.compile(r"([0-9a-fA-F]{32,128})[ \t][ *](.+)")
_TAGGED = re.compile(r"([A-Z0-9-]+) \((.+)\) = ([0-9a-fA-F]{32,128})")
_BY_LENGTH = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
_TAGS = {"MD5": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512", "BLAKE2b": "blake2b"}
_PUBLISHER = "ask the publisher to write it anew with 'pragma repository index'"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a manifest. disk_size: bytes of the disk that is in it; None where nothing is said."""

    digest: Digest
    size: int | None = None
    disk_size: int | None = None


Manifest = Mapping[str, Entry]
"""By path from the repository's top."""


def read(data: bytes, name: str, origin: str) -> Manifest:
    """Read a manifest called *name*; *origin* is its path or URL, for messages.

    Raises RepositoryError when it is none: a digest that was mistyped must not pass as "nothing is said".
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _broken(origin, "it is not UTF-8") from error
    return _index(text, origin) if name.endswith(".json") else _sums(text, name, origin)


def verify(data: bytes, signature: bytes, signers: Path, origin: str) -> None:
    """Check a detached signature of one of the *signers* (a file as ssh-keygen(1) has it, ALLOWED SIGNERS).

    Raises RepositoryError when it is not theirs; CommandError without ssh-keygen.
    """
    mend = f"see that {signers} names the publisher's key; if it does, somebody changed the repository"
    with tempfile.NamedTemporaryFile(prefix="pragma-signature-") as file:
        file.write(signature)
        file.flush()
        common = ["-s", file.name, "-f", str(signers)]
        try:
            found = run(["ssh-keygen", "-Y", "find-principals", *common, "-n", NAMESPACE], stdin=b"", timeout=30)
            signer = found.text.splitlines()[0]
            words = ["ssh-keygen", "-Y", "verify", "-I", signer, "-n", NAMESPACE, *common]
            run(words, stdin=data, timeout=60)
        except (CommandError, IndexError) as error:
            raise RepositoryError(
                f"the signature of {origin} is not of a trusted publisher",
                details=getattr(error, "details", None),
                resolution=mend,
            ) from error


def _sums(text: str, name: str, origin: str) -> Manifest:
    entries: dict[str, Entry] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        plain, tagged = _LINE.fullmatch(line.rstrip()), _TAGGED.fullmatch(line.rstrip())
        algorithm: str | None
        if plain:
            value, path = plain[1], plain[2]
            algorithm = "blake2b" if name.upper().startswith("B2") else _BY_LENGTH.get(len(value))
        elif tagged:
            value, path, algorithm = tagged[3], tagged[2], _TAGS.get(tagged[1])
        else:
            value, path, algorithm = "", "", None
        if algorithm is None:
            raise _broken(origin, f"line {number} is {shorten(line)!r}, not 'digest  path'")
        entries[_path(path, origin)] = Entry(Digest(algorithm, value.lower()))
    return entries


def _index(text: str, origin: str) -> Manifest:
    try:
        top = json.loads(text)
        version, clusters = top["version"], top["clusters"]
        if version != 1:
            raise _broken(origin, f"its version is {shorten(str(version))}, only 1 is known")
        entries = {_path(top["catalog"]["path"], origin): _entry(top["catalog"])} if "catalog" in top else {}
        for cluster in clusters.values():
            entries[_path(cluster["xml"], origin)] = _entry(cluster)
            for file in cluster["files"]:
                entries[_path(file["path"], origin)] = _entry(file)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _broken(origin, f"{type(error).__name__}: {shorten(str(error))}") from error
    return entries


def _entry(found: Mapping[str, Any]) -> Entry:
    digest = found["sha256"]
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError(f"{digest!r} is no sha256")
    return Entry(Digest("sha256", digest), _size(found.get("size")), _size(found.get("disk_size")))


def _size(value: object) -> int | None:
    if value is not None and (not isinstance(value, int) or not 0 <= value < 1 << 60):
        raise ValueError(f"{value!r} is no size")
    return value


def _path(text: object, origin: str) -> str:
    path = PurePosixPath(text) if isinstance(text, str) else PurePosixPath("/")
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise _broken(origin, f"the path {shorten(str(text))!r} leaves the repository")
    return str(path)


def _broken(origin: str, why: str) -> RepositoryError:
    return RepositoryError(f"the manifest {origin} cannot be read", details=why, resolution=_PUBLISHER)
