"""Objects that are read in ranges, here or on a server: one whose bytes are needed in part only (an ISO image)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from pragma_boot.connect import shown
from pragma_boot.errors import ImageError
from pragma_boot.repository.patience import TransientError, Tries
from pragma_boot.repository.probe import refused
from pragma_boot.repository.web import PIECE, Reply, Web


class Reader(Protocol):
    """The bytes of a range, in order."""

    def read(self, most: int = PIECE, /) -> bytes:
        """The next bytes, at least one and at most *most*; empty at the range's end. Raises PragmaError."""


class Source(Protocol):
    """One object of fixed content. *name* is for messages: a path, or a URL without secrets."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def size(self) -> int:
        """Bytes. Raises PragmaError when it cannot be told."""

    def open_range(self, start: int, length: int) -> contextlib.AbstractContextManager[Reader]:
        """Read *length* bytes from *start* on. Raises ImageError when the object ends before that."""


def read_at(source: Source, start: int, length: int) -> bytes:
    """Exactly these bytes; for small ranges. Raises PragmaError."""
    with source.open_range(start, length) as reader:
        return b"".join(iter(reader.read, b""))


class FileSource:
    """A file of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)

    @property
    def size(self) -> int:
        """See `Source.size`."""
        try:
            return self._path.stat().st_size
        except OSError as error:
            raise _unreadable(self._path, error) from error

    @contextlib.contextmanager
    def open_range(self, start: int, length: int) -> Iterator[Reader]:
        """See `Source.open_range`."""
        _check(self.name, start, length, self.size)
        try:
            with self._path.open("rb", buffering=0) as file:
                file.seek(start)
                yield _FileReader(self._path, file, length)
        except OSError as error:
            raise _unreadable(self._path, error) from error


class WebSource:
    """An object on a server that serves ranges; it must stay the same from the first request to the last.

    A range that is cut goes on by itself where it was cut, with the client's patience.
    """

    def __init__(self, web: Web, url: str) -> None:
        self._web, self._url = web, url
        self._identity: tuple[int, str, str] | None = None
        self.name = shown(url)

    @property
    def size(self) -> int:
        """See `Source.size`; the first call asks the server."""
        if self._identity is None:
            with self.open_range(0, 1) as reader:
                reader.read(1)
        assert self._identity
        return self._identity[0]

    @contextlib.contextmanager
    def open_range(self, start: int, length: int) -> Iterator[Reader]:
        """See `Source.open_range`. Raises StatusError or TransientError, too, and ImageError when it was changed."""
        with contextlib.closing(_WebReader(self, start, length)) as reader:
            yield reader

    def request(self, stack: contextlib.ExitStack, start: int, end: int) -> Reply:
        """One attempt at the bytes from *start* to before *end*; the reply lives as long as *stack*."""
        reply = stack.enter_context(self._web.open(self._url, {"Range": f"bytes={start}-{end - 1}"}))
        first, total = reply.content_range
        if reply.status == 416:
            raise _too_short(self.name, start)
        if reply.status != 206 or first != start or total is None:
            raise ImageError(
                f"{self.name} cannot be read in parts",
                details="the server does not serve ranges (no 206 with a Content-Range)",
                resolution="take a server that does (nginx, Apache httpd, S3, …), or copy the file to this machine",
            )
        found = (total, reply.headers.get("etag", ""), reply.headers.get("last-modified", ""))
        if self._identity not in (None, found):
            raise ImageError(f"{self.name} was changed while it was read", resolution="repeat the command")
        self._identity = found
        _check(self.name, start, end - start, total)
        return reply

    @property
    def patience(self) -> Tries:
        """A new count of failures."""
        return Tries(self._web.patience)


class _WebReader:
    """The bytes of a range; asks again for what is missing after a cut."""

    def __init__(self, source: WebSource, start: int, length: int) -> None:
        self._source, self._at, self._end = source, start, start + length
        self._tries = source.patience
        self._open = contextlib.ExitStack()
        self._reply: Reply | None = None

    def read(self, most: int = PIECE, /) -> bytes:
        while self._at < self._end:
            try:
                if self._reply is None:
                    self._reply = self._source.request(self._open, self._at, self._end)
                piece = self._reply.read(min(most, self._end - self._at))
                if not piece:
                    raise TransientError(f"{self._source.name} was cut", resolution="repeat the command")
            except TransientError as error:
                self.close()
                self._tries.failed(error)
                continue
            self._tries.progressed()
            self._at += len(piece)
            return piece
        return b""

    def close(self) -> None:
        self._reply = None
        self._open.close()


class _FileReader:
    """The bytes of a range of a file."""

    def __init__(self, path: Path, file: BinaryIO, length: int) -> None:
        self._path, self._file, self._left = path, file, length

    def read(self, most: int = PIECE, /) -> bytes:
        piece = self._file.read(min(most, self._left)) if self._left else b""
        if self._left and not piece:
            raise _too_short(str(self._path), self._left)
        self._left -= len(piece)
        return piece


def _check(name: str, start: int, length: int, size: int) -> None:
    if start < 0 or length < 0 or start + length > size:
        raise _too_short(name, start + length)


def _too_short(name: str, wanted: int) -> ImageError:
    return ImageError(f"{name} is cut: it ends before byte {wanted}", resolution="copy it into the repository again")


def _unreadable(path: Path, error: OSError) -> ImageError:
    return refused(path, error.strerror or str(error), "mend the file or its permissions")
