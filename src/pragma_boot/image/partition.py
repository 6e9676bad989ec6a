"""Where a disk's partitions begin: a bounded reader of MBR and GPT tables.

The tables come from images, so they are untrusted: every number is checked against the disk's size, and every loop
has a limit. Nothing here starts a process or needs privileges.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

SECTOR = 512
_SIGNATURE = b"\x55\xaa"
_EXTENDED = {0x05, 0x0F, 0x85}
_PROTECTIVE = 0xEE
_GPT_ENTRIES = 128
_LOGICAL = 60


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition: its number as Linux counts (0: the whole disk), its first byte and its length in bytes."""

    number: int
    start: int
    size: int

    @property
    def alone(self) -> Partition:
        """The same partition in a file that holds nothing else."""
        return Partition(self.number, 0, self.size)


def read_at(device: BinaryIO, offset: int, length: int) -> bytes:
    """Up to *length* bytes at *offset*; fewer (or none) beyond the end."""
    device.seek(offset)
    return device.read(length)


def disk_size(device: BinaryIO) -> int:
    """The disk's size in bytes."""
    return device.seek(0, 2)


def partitions(device: BinaryIO) -> tuple[Partition, ...]:
    """The partitions of a disk in the order of their numbers; empty when it has no (valid) table.

    Partitions that do not lie within the disk, or in its first sector, are left out.
    """
    size = disk_size(device)
    sector = read_at(device, 0, SECTOR)
    if len(sector) < SECTOR or sector[510:] != _SIGNATURE:
        return ()
    primary = list(_entries(sector))
    found = _gpt(device) if any(kind == _PROTECTIVE for _, kind, _, _ in primary) else _mbr(device, primary)
    return tuple(part for part in found if part.start >= SECTOR and part.size > 0 and part.start + part.size <= size)


def _entries(sector: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Number, type, first sector and count of sectors of a boot record's four entries; empty ones are left out."""
    for index in range(4):
        kind, first, count = struct.unpack_from("<4xB3xII", sector, 446 + 16 * index)
        if kind and count:
            yield index + 1, kind, first, count


def _mbr(device: BinaryIO, primary: list[tuple[int, int, int, int]]) -> Iterator[Partition]:
    for number, kind, first, count in primary:
        if kind not in _EXTENDED:
            yield Partition(number, first * SECTOR, count * SECTOR)
    for _, kind, first, _ in primary:
        if kind in _EXTENDED:
            yield from _logical(device, first)
            return


def _logical(device: BinaryIO, base: int) -> Iterator[Partition]:
    """The chain of logical partitions: each record tells one partition and where the next record is."""
    record = base
    for number in range(5, 5 + _LOGICAL):
        sector = read_at(device, record * SECTOR, SECTOR)
        if len(sector) < SECTOR or sector[510:] != _SIGNATURE:
            return
        following = None
        for _, kind, first, count in _entries(sector):
            if kind in _EXTENDED:
                following = base + first
            else:
                yield Partition(number, (record + first) * SECTOR, count * SECTOR)
        if following is None:
            return
        record = following


def _gpt(device: BinaryIO) -> Iterator[Partition]:
    header = read_at(device, SECTOR, 92)
    if len(header) < 92 or header[:8] != b"EFI PART":
        return
    length, checksum = struct.unpack_from("<II", header, 12)
    table, count, width = struct.unpack_from("<QII", header, 72)
    if length != 92 or zlib.crc32(header[:16] + bytes(4) + header[20:]) != checksum or not 128 <= width <= 4096:
        return
    for index in range(min(count, _GPT_ENTRIES)):
        entry = read_at(device, table * SECTOR + index * width, 128)
        if len(entry) < 128:
            return
        first, last = struct.unpack_from("<QQ", entry, 32)
        if any(entry[:16]) and last >= first:
            yield Partition(index + 1, first * SECTOR, (last - first + 1) * SECTOR)
