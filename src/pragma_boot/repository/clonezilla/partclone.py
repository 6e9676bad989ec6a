"""Reads partclone's streams, formats 0001 and 0002: which blocks of a file system are used, and their content.

The layout is described in repositories.md 3.3 and 3.4. Every checksum that says anything is verified; those of
format 0001 do not (they are computed from the first byte of each block alone) and are skipped.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from pragma_boot.model import shorten
from pragma_boot.repository.clonezilla.bitmap import Bitmap
from pragma_boot.repository.clonezilla.reader import Reader
from pragma_boot.repository.clonezilla.source import AGAIN, PIECE, refused

Write = Callable[[int, memoryview], None]
"""Takes bytes for an offset in the file system; called in ascending order."""

MAGIC = b"partclone-image"

_HEAD = struct.Struct("<16s14s4sH16sQQQQI")
_OPTIONS = struct.Struct("<IHHHHIBB")
_SIZE_2 = _HEAD.size + _OPTIONS.size
_OLD = struct.Struct("<IQQQ")
_SIZE_1 = 4160
_LITTLE_ENDIAN = 0xC0DE
_BITMAP_END = b"BiTmAgIc"
_BLOCK_LIMIT = 64 * 1024 * 1024
_COUNT_LIMIT = 2**32
_CRC_START = 0xFFFFFFFF
_SAVE_AGAIN = "save the disk again with a current Clonezilla"


class Checks(IntEnum):
    """Checksum modes, as stored; format 0001 has `OLD`, which proves nothing."""

    NONE = 0
    OLD = 1
    CRC32 = 0x20
    XXH64 = 0x30
    XXH128 = 0x31


_CHECK_SIZES = {Checks.NONE: 0, Checks.CRC32: 4, Checks.XXH64: 8, Checks.XXH128: 16}


@dataclass(frozen=True, slots=True)
class Header:
    """What a stream says of itself; sizes in bytes, blocks counted.

    blocks_per_check: after so many used blocks stands one checksum. reseed: whether each begins anew.
    """

    file_system: str
    device_size: int
    blocks: int
    block_size: int
    checks: Checks
    blocks_per_check: int
    reseed: bool
    has_bitmap: bool = True


class Digest(Protocol):
    """A running checksum."""

    def update(self, data: memoryview, /) -> None:
        """Add *data*."""

    def stored(self) -> bytes:
        """Its value so far, in the byte order of the stream."""


def restore(reader: Reader, size: int, write: Write) -> Header:
    """Write the used blocks of a stream to where they belong.

    size: bytes of the partition, which nothing may exceed.
    Raises ImageError when the stream is no partclone image, is damaged, cut, or larger than *size*.
    """
    header = read_header(reader)
    if max(header.device_size, header.blocks * header.block_size) > size:
        what = f"its file system of {header.device_size} bytes does not fit in its partition of {size} bytes"
        raise refused(reader.name, what, _SAVE_AGAIN)
    with _bitmap(reader, header) as bitmap:
        if header.checks is Checks.OLD:
            _old_blocks(reader, header, bitmap, write)
        elif bitmap.used:
            _blocks(reader, header, bitmap, write)
    if not reader.at_end():
        raise refused(reader.name, "there is something else after its last block")
    return header


def read_header(reader: Reader) -> Header:
    """Read the header of either format. Raises ImageError when it makes no sense or is of an unknown format."""
    start = reader.take(36)
    if not start.startswith(MAGIC):
        raise refused(reader.name, "it is no partclone image")
    version = start[30:34]
    if version == b"0002":
        header = _header_2(reader, start)
    elif version == b"0001":
        header = _header_1(reader, start)
    else:
        raise refused(reader.name, f"partclone format {shorten(repr(version))} is unknown", _SAVE_AGAIN)
    sane = 1 <= header.block_size <= _BLOCK_LIMIT and header.blocks <= _COUNT_LIMIT
    if not sane or (header.checks is not Checks.NONE and not header.blocks_per_check):
        raise refused(reader.name, "its partclone header makes no sense")
    return header


def _header_1(reader: Reader, start: bytes) -> Header:
    rest = reader.take(_SIZE_1 - len(start))
    block_size, device_size, blocks, _ = _OLD.unpack_from(rest)
    return Header(_text(start[15:30]), device_size, blocks, block_size, Checks.OLD, 1, reseed=False)


def _header_2(reader: Reader, start: bytes) -> Header:
    data = start + reader.take(_SIZE_2 - len(start))
    stored = reader.take(4)
    if _crc(data) != stored:
        raise refused(reader.name, "the checksum of its header is wrong", AGAIN)
    _, _, _, order, file_system, device_size, blocks, _, _, block_size = _HEAD.unpack_from(data)
    _, _, _, mode, check_size, per_check, reseed, bitmap_mode = _OPTIONS.unpack_from(data, _HEAD.size)
    if order != _LITTLE_ENDIAN:
        raise refused(reader.name, "it was made on a big-endian machine", _SAVE_AGAIN)
    if bitmap_mode not in (0, 1):
        raise refused(reader.name, f"bitmap mode {bitmap_mode} is not supported", _SAVE_AGAIN)
    if mode not in _CHECK_SIZES or _CHECK_SIZES[Checks(mode)] != check_size:
        raise refused(reader.name, f"checksum mode {mode:#x} of {check_size} bytes is unknown", _SAVE_AGAIN)
    return Header(
        _text(file_system), device_size, blocks, block_size, Checks(mode), per_check, bool(reseed), bitmap_mode == 1
    )


def _bitmap(reader: Reader, header: Header) -> Bitmap:
    """The map of used blocks, checked; what follows it is skipped."""
    if not header.has_bitmap:
        return Bitmap.full(header.blocks)
    if header.checks is Checks.OLD:
        bitmap = Bitmap.from_bytes(reader.pieces(header.blocks), header.blocks)
        if reader.take(len(_BITMAP_END)) != _BITMAP_END:
            bitmap.close()
            raise refused(reader.name, "its bitmap does not end where it should")
        return bitmap
    crc = zlib.crc32(b"")

    def watched() -> Iterator[memoryview]:
        nonlocal crc
        for piece in reader.pieces(-(-header.blocks // 8)):
            crc = zlib.crc32(piece, crc)
            yield piece

    bitmap = Bitmap.from_bits(watched(), header.blocks)
    if reader.take(4) != (crc ^ _CRC_START).to_bytes(4, "little"):
        bitmap.close()
        raise refused(reader.name, "the checksum of its bitmap is wrong")
    return bitmap


def _blocks(reader: Reader, header: Header, bitmap: Bitmap, write: Write) -> None:
    """The used blocks. They come in groups with a checksum each; runs and groups end where they like."""
    group_size = header.blocks_per_check * header.block_size
    check_size = _CHECK_SIZES[header.checks]
    digest = _digest(header)
    group_left = group_size
    for first, count in bitmap.runs():
        offset, left = first * header.block_size, count * header.block_size
        while left:
            take = min(left, group_left) if check_size else left
            for piece in reader.pieces(take):
                if digest:
                    digest.update(piece)
                write(offset, piece)
                offset += len(piece)
            left, group_left = left - take, group_left - take
            if check_size and group_left == 0:
                digest = _check(reader, header, digest, check_size)
                group_left = group_size
    if check_size and group_left < group_size:
        _check(reader, header, digest, check_size)


def _old_blocks(reader: Reader, header: Header, bitmap: Bitmap, write: Write) -> None:
    """The used blocks of format 0001, each followed by four bytes that prove nothing; some at a time."""
    size = header.block_size
    at_once = max(1, PIECE // size)
    for first, count in bitmap.runs():
        for block in range(first, first + count, at_once):
            data = memoryview(reader.take((size + 4) * min(at_once, first + count - block)))
            blocks = [data[at : at + size] for at in range(0, len(data), size + 4)]
            write(block * size, memoryview(b"".join(blocks)))


def _check(reader: Reader, header: Header, digest: Digest | None, size: int) -> Digest | None:
    """Compare the checksum that stands here; returns the one for the next group."""
    stored = reader.take(size)
    if digest and digest.stored() != stored:
        raise refused(reader.name, f"the checksum of its blocks is wrong before byte {reader.position}")
    return _digest(header) if header.reseed else digest


def _digest(header: Header) -> Digest | None:
    if header.checks in (Checks.NONE, Checks.OLD):
        return None
    return _Crc32() if header.checks is Checks.CRC32 else _XxHash(header.checks)


class _Crc32:
    """CRC-32 without the final inversion."""

    def __init__(self) -> None:
        self._crc = fast_crc32()
        self._value = 0

    def update(self, data: memoryview, /) -> None:
        self._value = self._crc(data, self._value)

    def stored(self) -> bytes:
        return (self._value ^ _CRC_START).to_bytes(4, "little")


class _XxHash:
    """XXH64, or XXH3 of 128 bits stored low half first."""

    def __init__(self, kind: Checks) -> None:
        import xxhash  # noqa: PLC0415 - only such images need it

        self._hash = xxhash.xxh64() if kind is Checks.XXH64 else xxhash.xxh3_128()

    def update(self, data: memoryview, /) -> None:
        self._hash.update(data)

    def stored(self) -> bytes:
        return bytes(self._hash.digest()[::-1])


def fast_crc32() -> Callable[[memoryview, int], int]:
    """isal's CRC-32 where it is installed, else zlib's, which takes some ten times as long."""
    try:
        from isal import isal_zlib  # noqa: PLC0415 - optional
    except ImportError:
        return zlib.crc32
    crc32: Callable[[memoryview, int], int] = isal_zlib.crc32
    return crc32


def _crc(data: bytes) -> bytes:
    return (zlib.crc32(data) ^ _CRC_START).to_bytes(4, "little")


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("ascii", errors="replace")
