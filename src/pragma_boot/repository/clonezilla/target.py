"""Where a restored disk goes: a sparse raw file, a qcow2 file, or a volume on a NAS.

A target takes bytes for any place, in any order; places that nobody wrote read as zeros. Zeros are left out.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

GRANULE = 64 * 1024
"""Zeros are left out in stretches of so many bytes, and at such places of the disk."""

_ZEROS = bytes(GRANULE)
_QCOW2 = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_QCOW2_HEADER = 104
_NORMAL = 1 << 63  # an entry's cluster has one reference
_TABLE_LIMIT = 32 * 1024 * 1024  # bytes of second-level tables that a disk may need in memory
_CLUSTER_BITS = range(16, 22)
_HEADER_OFFSET_BITS = 4  # refcounts of 2**4 bits


class Target(Protocol):
    """A disk that is being written."""

    def write(self, offset: int, data: memoryview) -> None:
        """Put bytes at *offset* of the disk. Raises OSError (disk full) or PragmaError (a NAS that refuses)."""

    def finish(self) -> None:
        """Complete the disk; called once, after the last write. Raises as `write`."""

    def close(self) -> None:
        """Let go of it, finished or not; nothing is written afterwards."""


class RawTarget:
    """A sparse raw file of *size* bytes; *path* exists and is empty."""

    def __init__(self, path: Path, size: int) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        os.ftruncate(self._descriptor, size)

    def write(self, offset: int, data: memoryview) -> None:
        """See `Target.write`."""
        for start, end in runs(data, offset):
            _write_all(self._descriptor, data[start:end], offset + start)

    def finish(self) -> None:
        """See `Target.finish`."""

    def close(self) -> None:
        """See `Target.close`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Qcow2Target:
    """A qcow2 file, version 3; *path* exists and is empty.

    Clusters follow each other in the order in which they are first written; the tables come after them, the header
    last: a file that was left half-way is no qcow2 file. Clusters are larger than 64 KiB where the tables of a full
    disk would not fit in memory.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._size = size
        self._bits = next((bits for bits in _CLUSTER_BITS if (size >> bits) * 8 <= _TABLE_LIMIT), _CLUSTER_BITS[-1])
        self._cluster = 1 << self._bits
        self._per_table = self._cluster // 8
        self._tables: dict[int, array[int]] = {}
        self._end = self._cluster  # of the file so far; the header has the first cluster

    def write(self, offset: int, data: memoryview) -> None:
        """See `Target.write`."""
        for start, end in runs(data, offset):
            for place, first, last in self._places(offset + start, end - start):
                _write_all(self._descriptor, data[start + first : start + last], place)

    def finish(self) -> None:
        """See `Target.finish`."""
        entries = -(-self._size // self._cluster)
        level_1 = array("Q", bytes(8 * max(1, -(-entries // self._per_table))))
        for index, table in self._tables.items():
            level_1[index] = self._append(_big_endian(table)) | _NORMAL
        level_1_offset = self._append(_big_endian(level_1))
        counts_offset, counts_clusters = self._append_counts()
        header = _QCOW2.pack(
            b"QFI\xfb", 3, 0, 0, self._bits, self._size, 0, len(level_1), level_1_offset, counts_offset,
            counts_clusters, 0, 0, 0, 0, 0, _HEADER_OFFSET_BITS, _QCOW2_HEADER,
        )  # fmt: skip
        os.ftruncate(self._descriptor, self._end)
        _write_all(self._descriptor, memoryview(header), 0)

    def close(self) -> None:
        """See `Target.close`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _places(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Where in the file a stretch of the disk is: (place, first, last) of its pieces, neighbours joined."""
        place, first, last = -1, 0, 0
        while last < length:
            within = (offset + last) % self._cluster
            here = self._place((offset + last) // self._cluster) + within
            if place >= 0 and here != place + last - first:
                yield place, first, last
                place = -1
            if place < 0:
                place, first = here, last
            last += min(self._cluster - within, length - last)
        yield place, first, last

    def _place(self, number: int) -> int:
        """Where cluster *number* of the disk is in the file; it gets the next place when it has none."""
        index, entry = divmod(number, self._per_table)
        table = self._tables.get(index)
        if table is None:
            table = self._tables[index] = array("Q", bytes(self._cluster))
        if not table[entry]:
            table[entry] = self._end | _NORMAL
            self._end += self._cluster
        return table[entry] & ~_NORMAL

    def _append(self, data: bytes) -> int:
        """Put a table into clusters of its own at the end; returns its place."""
        place = self._end
        _write_all(self._descriptor, memoryview(data), place)
        self._end += -(-len(data) // self._cluster) * self._cluster
        return place

    def _append_counts(self) -> tuple[int, int]:
        """The reference counts, 1 for each cluster of the file, these tables' own included; (place, clusters)."""
        per_block = self._cluster // 2
        used = self._end // self._cluster
        blocks = tables = 0
        while True:  # the counts need clusters, which need counts
            total = used + blocks + tables
            wanted = _ceil(total, per_block)
            if (blocks, tables) == (wanted, _ceil(wanted, self._per_table)):
                break
            blocks, tables = wanted, _ceil(wanted, self._per_table)
        one = b"\0\1" * per_block
        places = array("Q")
        for number in range(blocks):
            count = min(per_block, total - number * per_block)
            places.append(self._append(one[: 2 * count]))
        return self._append(_big_endian(places)), tables


def runs(data: memoryview, offset: int) -> Iterator[tuple[int, int]]:
    """The stretches of *data*, which belongs to *offset* of the disk, that are not zeros; in granules of the disk."""
    begin, at, length = -1, 0, len(data)
    while at < length:
        end = min(at + GRANULE - (offset + at) % GRANULE, length)
        # a look at one byte spares most copies; bytes compare faster than memoryviews do
        empty = not data[at] and not data[end - 1] and data[at:end].tobytes() == _ZEROS[: end - at]
        if empty and begin >= 0:
            yield begin, at
            begin = -1
        elif not empty and begin < 0:
            begin = at
        at = end
    if begin >= 0:
        yield begin, length


def _ceil(number: int, unit: int) -> int:
    return -(-number // unit)


def _big_endian(table: array[int]) -> bytes:
    swapped = array("Q", table)
    swapped.byteswap()
    return swapped.tobytes()


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        done = os.pwrite(descriptor, data, offset)
        data, offset = data[done:], offset + done
