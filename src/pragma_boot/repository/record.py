"""What is known of a fetched file: where it came from, what it was when it was complete, and its digests.

Kept in a hidden folder beside the file, so that it lies on the same file system::

    FOLDER/NAME                 the file, complete
    FOLDER/.fetch/NAME.json     its Record; written last
    FOLDER/.fetch/NAME.part     what is here of a file that is being fetched
    FOLDER/.fetch/NAME.part.json    which object that is (`Partial`); written first
    FOLDER/.fetch/NAME.lock     held by whoever fetches
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pragma_boot import files

STATE = ".fetch"
"""Name of the hidden folders; nothing of a repository may be called so."""

ALGORITHMS = ("md5", "sha1", "sha256", "sha512", "blake2b")
"""Digests that a manifest may name."""

_NAME_LIMIT = 200
_PIECE = 1024 * 1024
_T = TypeVar("_T", "Record", "Partial")


@dataclass(frozen=True, slots=True)
class Digest:
    """What a file's content must hash to; *value* in hexadecimal, lower case."""

    algorithm: str
    value: str


@dataclass(frozen=True, slots=True)
class Record:
    """A complete file. name: in its folder. url: without secrets. mtime_ns: the file's. digests: by algorithm, sha256
    among them."""

    url: str
    size: int
    mtime_ns: int
    etag: str = ""
    modified: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    def has(self, size: int | None, digest: Digest | None) -> bool:
        """Whether the file is of that size and digest; False when the digest is not known."""
        same = digest is None or self.digests.get(digest.algorithm) == digest.value
        return same and size in (None, self.size)


@dataclass(frozen=True, slots=True)
class Partial:
    """An object of which a part is here. validator: for ``If-Range``. durable: bytes that are on the disk for sure;
    more than these are trusted only while the machine runs on (*boot* names that run)."""

    url: str
    validator: str
    total: int | None
    etag: str = ""
    modified: str = ""
    durable: int = 0
    boot: str = ""
    name: str = ""


class Place:
    """Where a file and its state are. Makes no folder before something is written."""

    def __init__(self, target: Path) -> None:
        self.target = target
        name = target.name
        if len(name.encode()) > _NAME_LIMIT:
            name = hashlib.sha256(name.encode()).hexdigest()
        self._state = target.parent / STATE / name

    @property
    def part(self) -> Path:
        """What is here of a file that is being fetched."""
        return self._beside(".part")

    @property
    def lock(self) -> Path:
        """The lock of whoever fetches it."""
        return self._beside(".lock")

    @classmethod
    def recorded(cls, state: Path) -> tuple[Place, ...]:
        """The files whose state is kept in the folder *state*."""
        parts = [_read(file, Partial) for file in state.glob("*.part.json")]
        whole = [_read(file, Record) for file in state.glob("*.json")]
        names = {found.name for found in (*parts, *whole) if found and found.name and "/" not in found.name}
        return tuple(cls(state.parent / name) for name in sorted(names))

    def record(self) -> Record | None:
        """What is known of the file, when it is there and still what was fetched."""
        record = _read(self._beside(".json"), Record)
        try:
            status = self.target.stat()
        except OSError:
            return None
        same = record and (record.size, record.mtime_ns) == (status.st_size, status.st_mtime_ns)
        return record if same else None

    def note(self, record: Record) -> Record:
        """Keep what is known; the file's time is taken from it as it is now. Raises PragmaError."""
        status = self.target.stat()
        seen = replace(record, mtime_ns=status.st_mtime_ns, size=status.st_size, name=self.target.name)
        self._write(".json", seen)
        return seen

    def confirm(self) -> None:
        """Remember that the server has said just now that the file is as it offers it."""
        with contextlib.suppress(OSError):
            os.utime(self._beside(".json"))

    def confirmed(self) -> float | None:
        """When the server last said so, or gave the file; seconds since 1970."""
        try:
            return self._beside(".json").stat().st_mtime
        except OSError:
            return None

    def partial(self) -> Partial | None:
        """Which object the part belongs to; None when there is none that could be gone on with."""
        return _read(self._beside(".part.json"), Partial) if self.part.exists() else None

    def note_partial(self, partial: Partial) -> None:
        """Say which object the part belongs to. Raises PragmaError."""
        self._write(".part.json", partial)

    def drop_part(self) -> None:
        """Forget what is here of an unfinished file."""
        self.part.unlink(missing_ok=True)
        self._beside(".part.json").unlink(missing_ok=True)

    def remove(self) -> bool:
        """Remove the file, its state and folders that are empty then; says whether it was there. Raises PragmaError."""
        try:
            existed = self.target.exists()
            self._beside(".json").unlink(missing_ok=True)
            self.target.unlink(missing_ok=True)
            self.drop_part()
            self.lock.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.lock.parent.rmdir()
                self.target.parent.rmdir()
        except OSError as error:
            raise files.refused("remove", self.target, error) from error
        return existed

    def _beside(self, suffix: str) -> Path:
        return self._state.with_name(self._state.name + suffix)

    def _write(self, suffix: str, value: Record | Partial) -> None:
        files.make_folder(self._state.parent)
        files.write_atomic(
            self._beside(suffix), json.dumps(asdict(value) | {"name": self.target.name}, indent=1) + "\n"
        )


class Hashes:
    """sha256, and the manifest's own digest, of what has arrived so far."""

    def __init__(self, digest: Digest | None) -> None:
        self._names = {"sha256", digest.algorithm} if digest else {"sha256"}
        self._clear()

    def _clear(self) -> None:
        self.position = 0
        self._running = {name: hashlib.new(name, usedforsecurity=False) for name in sorted(self._names)}

    def add(self, piece: bytes) -> None:
        """Go on with these bytes."""
        for running in self._running.values():
            running.update(piece)
        self.position += len(piece)

    def over(self, path: Path, size: int) -> None:
        """Begin anew with the first *size* bytes of a file. Raises OSError."""
        self._clear()
        with path.open("rb", buffering=0) as file:
            while self.position < size and (piece := file.read(min(_PIECE, size - self.position))):
                self.add(piece)

    def values(self) -> dict[str, str]:
        """The digests so far, by algorithm, in hexadecimal."""
        return {name: running.hexdigest() for name, running in self._running.items()}


def boot_id() -> str:
    """Names this run of the machine; empty where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _read(path: Path, kind: type[_T]) -> _T | None:
    """A state file; None when it is missing or not ours: everything in it can be had again."""
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
        made = kind(**found)
    except (OSError, ValueError, TypeError):
        return None
    texts = (made.url, made.etag, made.modified, made.name)
    return made if all(isinstance(text, str) for text in texts) else None
