"""Decompression in bounded pieces: gzip, zstd, xz and bzip2, told from each other by their first bytes.

All of them are read as one thing, a row of members (or frames, or streams) one after the other, each unpacked by an
object of the form that the standard library's bz2 has.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from pragma_boot.errors import ImageError, NotAvailableError

_OUTPUT = 1024 * 1024
_GZIP_FORMAT = 31  # zlib's word for "with gzip header and checksum"
_XZ_MEMORY = 80 * 1024 * 1024  # what `xz -9` needs to unpack is 65 MiB
_AGAIN = "copy the image into the repository again"


class Inflater(Protocol):
    """One gzip member being unpacked; zlib's and isal's objects are such."""

    @property
    def eof(self) -> bool: ...  # noqa: D102 - as in zlib
    @property
    def unused_data(self) -> bytes: ...  # noqa: D102
    @property
    def unconsumed_tail(self) -> bytes: ...  # noqa: D102
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Engine:
    """A gzip library: how to begin a member, and what it raises for bad data."""

    begin: Callable[[], Inflater]
    error: type[Exception]


ZLIB = Engine(lambda: zlib.decompressobj(_GZIP_FORMAT), zlib.error)


def fastest_engine() -> Engine:
    """isal where it is installed, else the standard library's zlib, which takes two to three times as long."""
    try:
        from isal import isal_zlib  # noqa: PLC0415 - optional
    except ImportError:
        return ZLIB
    return Engine(lambda: isal_zlib.decompressobj(_GZIP_FORMAT), cast(type[Exception], isal_zlib.error))


class Member(Protocol):
    """One member being unpacked; bz2's, lzma's and zstd's objects are such. What it cannot give yet, it keeps."""

    @property
    def eof(self) -> bool: ...  # noqa: D102 - as in bz2
    @property
    def needs_input(self) -> bool: ...  # noqa: D102
    @property
    def unused_data(self) -> bytes: ...  # noqa: D102
    def decompress(self, data: bytes, max_length: int) -> bytes: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Codec:
    """A way of compressing. magics: what its members begin with. begin: makes a Member. error: raised for bad data."""

    name: str
    magics: tuple[bytes, ...]
    begin: Callable[[], Member]
    error: Callable[[], type[Exception]]


def gzip_codec(engine: Engine | None = None) -> Codec:
    """Gzip with that library, else with the fastest."""
    chosen = engine or fastest_engine()
    return Codec("gzip", (b"\x1f\x8b",), lambda: _GzipMember(chosen.begin()), lambda: chosen.error)


def unpack(chunks: Iterable[bytes], part: object, codecs: Sequence[Codec]) -> Iterator[bytes]:
    """Unpack a stream of members; zeros after the last one are padding, anything else is a fault.

    part: what errors name (a path, or a URL for people). codecs: those that are allowed; all members are of one.
    Raises ImageError for data of none of them, that is cut, or corrupt; NotAvailableError for a missing library.
    """
    stream = _Stream(part, codecs)
    for chunk in chunks:
        yield from stream.feed(chunk)
    stream.end()


class _Stream:
    """The state between two chunks."""

    def __init__(self, part: object, codecs: Sequence[Codec]) -> None:
        self._part, self._codecs = part, codecs
        self._codec: Codec | None = None
        self._member: Member | None = None
        self._pending, self._members = b"", 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        self._pending += chunk
        while self._pending:
            if self._member is None and not self._begin():
                return
            assert self._member and self._codec
            yield from self._drain(self._member, self._codec)
            self._pending = self._member.unused_data
            if self._member.eof:
                self._member = None

    def end(self) -> None:
        if self._member is not None or self._pending or not self._members:
            what = f"its {self._codec.name} data" if self._codec else "it"
            raise _refused(self._part, f"{what} is cut: the end is missing")

    def _begin(self) -> bool:
        """Begin the next member; False when more data is needed for it, or only padding is left."""
        if self._members and not self._pending.strip(b"\0"):
            self._pending = b""
            return False
        allowed = [self._codec] if self._codec else self._codecs
        found = next((codec for codec in allowed if self._pending.startswith(codec.magics)), None)
        if found:
            self._codec, self._member = found, found.begin()
            self._members += 1
            return True
        if any(magic.startswith(self._pending) for codec in allowed for magic in codec.magics):
            return False
        if self._codec:
            raise _refused(self._part, f"there is something else after its {self._codec.name} data")
        raise _refused(self._part, f"it is no {' or '.join(codec.name for codec in allowed)} file")

    def _drain(self, member: Member, codec: Codec) -> Iterator[bytes]:
        """Everything that the pending data unpacks to, in bounded pieces."""
        data = self._pending
        while True:
            try:
                piece = member.decompress(data, _OUTPUT)
            except codec.error() as error:
                raise _refused(self._part, f"its {codec.name} data is corrupt: {error}") from error
            data = b""
            if piece:
                yield piece
            if member.eof or (member.needs_input and len(piece) < _OUTPUT):
                return


class _GzipMember:
    """A Member around zlib's form."""

    def __init__(self, inflater: Inflater) -> None:
        self._inflater = inflater

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflater.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inflater.decompress(self._inflater.unconsumed_tail + data, max_length)


def _begin_zstd() -> Member:
    return cast(Member, _zstd().ZstdDecompressor())


def _begin_xz() -> Member:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


def _begin_bzip2() -> Member:
    return bz2.BZ2Decompressor()


def _zstd() -> Any:
    """The standard library's zstd (Python 3.14), or its backport."""
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    except ImportError:
        try:
            from backports import zstd  # noqa: PLC0415
        except ImportError as error:
            raise NotAvailableError(
                "zstd images cannot be unpacked by this Python",
                details=str(error),
                resolution="install the Python package backports.zstd",
            ) from error
    return zstd


_SKIPPABLE = tuple(bytes([kind]) + b"\x2a\x4d\x18" for kind in range(0x50, 0x60))

CODECS = (
    Codec("zstd", (b"\x28\xb5\x2f\xfd", *_SKIPPABLE), _begin_zstd, lambda: _zstd().ZstdError),
    Codec("xz", (b"\xfd7zXZ\x00",), _begin_xz, lambda: lzma.LZMAError),
    Codec("bzip2", (b"BZh",), _begin_bzip2, lambda: OSError),
)
"""The ways of compressing beside gzip."""


def _refused(part: object, why: str) -> ImageError:
    return ImageError(f"the image file {part} cannot be used", details=why, resolution=_AGAIN)
