"""Where a disk goes that is being made: a sparse raw file or a qcow2 file (and `clonezilla.zvol`: a volume on a NAS).

A target takes bytes for any place, in any order; places that nobody wrote read as zeros. Zeros are left out.
"""

from __future__ import annotations

import os
import queue
import struct
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from pragma_boot.model import DiskFormat

GRANULE = 64 * 1024
"""Zeros are left out in stretches of so many bytes, and at such places of the disk."""

_ZEROS = bytes(GRANULE)
_QCOW2 = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_QCOW2_HEADER = 104
_NORMAL = 1 << 63  # an entry's cluster has one reference
_BITS = 16
_CLUSTER = 1 << _BITS
_PER_TABLE = _CLUSTER // 8
_TABLES = 64  # second-level tables that are kept in memory: a disk of 32 GiB, 4 MiB of memory
_HEADER_OFFSET_BITS = 4  # refcounts of 2**4 bits
_BEHIND = 4


class Target(Protocol):
    """A disk that is being written."""

    def write(self, offset: int, data: memoryview) -> None:
        """Put bytes at *offset* of the disk. Raises OSError (disk full) or PragmaError (a NAS that refuses)."""

    def finish(self) -> None:
        """Complete the disk; called once, after the last write. Raises as `write`."""

    def close(self) -> None:
        """Let go of it, finished or not; nothing is written afterwards."""


def open_target(path: Path, form: DiskFormat, size: int | None = None) -> Target:
    """A file of that format; *path* exists, and loses what is in it.

    size: the disk's, bytes; None: it ends where writes end.
    """
    return RawTarget(path, size) if form is DiskFormat.RAW else Qcow2Target(path, size)


class _FileTarget:
    """What both formats have: the file, and the disk's size, which may follow from what is written."""

    def __init__(self, path: Path, size: int | None) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_TRUNC | os.O_CLOEXEC)  # old data must not stay where zeros go
        self._size, self._reach = size, 0

    @property
    def size(self) -> int:
        """Bytes of the disk, as far as is known."""
        return self._reach if self._size is None else self._size

    def close(self) -> None:
        """See `Target.close`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _runs(self, offset: int, data: memoryview) -> Iterator[tuple[int, int]]:
        self._reach = max(self._reach, offset + len(data))
        return runs(data, offset)


class RawTarget(_FileTarget):
    """A sparse raw file; see `open_target`."""

    def write(self, offset: int, data: memoryview) -> None:
        """See `Target.write`."""
        for start, end in self._runs(offset, data):
            _write_all(self._descriptor, data[start:end], offset + start)

    def finish(self) -> None:
        """See `Target.finish`."""
        os.ftruncate(self._descriptor, self.size)


class Qcow2Target(_FileTarget):
    """A qcow2 file, version 3; see `open_target`. The size must be a multiple of 512.

    Clusters follow each other in the order in which they are first written, and second-level tables among them; the
    first-level table and the counts come after them, the header last: a file that was left half-way is no qcow2 file.
    Of the tables only some are in memory, so that this does not grow with the disk.
    """

    def __init__(self, path: Path, size: int | None) -> None:
        super().__init__(path, size)
        self._tables: dict[int, array[int]] = {}  # the one that was used last is last
        self._places: dict[int, int] = {}  # of tables in the file
        self._end = _CLUSTER  # of the file so far; the header has the first cluster

    def write(self, offset: int, data: memoryview) -> None:
        """See `Target.write`."""
        for start, end in self._runs(offset, data):
            for place, first, last in self._pieces(offset + start, end - start):
                _write_all(self._descriptor, data[start + first : start + last], place)

    def finish(self) -> None:
        """See `Target.finish`."""
        while self._tables:
            self._put_away()
        tables = _ceil(_ceil(self.size, _CLUSTER), _PER_TABLE)
        level_1 = array("Q", bytes(8 * max(1, tables)))
        for index, place in self._places.items():
            level_1[index] = place | _NORMAL
        level_1_offset = self._append(_big_endian(level_1))
        counts_offset, counts_clusters = self._append_counts()
        header = _QCOW2.pack(
            b"QFI\xfb", 3, 0, 0, _BITS, self.size, 0, len(level_1), level_1_offset, counts_offset,
            counts_clusters, 0, 0, 0, 0, 0, _HEADER_OFFSET_BITS, _QCOW2_HEADER,
        )  # fmt: skip
        os.ftruncate(self._descriptor, self._end)
        _write_all(self._descriptor, memoryview(header), 0)

    def _pieces(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Where in the file a stretch of the disk is: (place, first, last) of its pieces, neighbours joined."""
        place, first, last = -1, 0, 0
        while last < length:
            within = (offset + last) % _CLUSTER
            here = self._place((offset + last) // _CLUSTER) + within
            if place >= 0 and here != place + last - first:
                yield place, first, last
                place = -1
            if place < 0:
                place, first = here, last
            last += min(_CLUSTER - within, length - last)
        yield place, first, last

    def _place(self, number: int) -> int:
        """Where cluster *number* of the disk is in the file; it gets the next place when it has none."""
        index, entry = divmod(number, _PER_TABLE)
        table = self._table(index)
        if not table[entry]:
            table[entry] = self._end | _NORMAL
            self._end += _CLUSTER
        return table[entry] & ~_NORMAL

    def _table(self, index: int) -> array[int]:
        """The second-level table of that number, in memory; the one that was used least lately makes room for it."""
        table = self._tables.pop(index, None)
        if table is None:
            while len(self._tables) >= _TABLES:
                self._put_away()
            place = self._places.get(index)
            kept = os.pread(self._descriptor, _CLUSTER, place) if place else bytes(_CLUSTER)
            table = array("Q", kept)
            table.byteswap()
        self._tables[index] = table
        return table

    def _put_away(self) -> None:
        index = next(iter(self._tables))
        data = _big_endian(self._tables.pop(index))
        if index in self._places:
            _write_all(self._descriptor, memoryview(data), self._places[index])
        else:
            self._places[index] = self._append(data)

    def _append(self, data: bytes) -> int:
        """Put a table into clusters of its own at the end; returns its place."""
        place = self._end
        _write_all(self._descriptor, memoryview(data), place)
        self._end += _ceil(len(data), _CLUSTER) * _CLUSTER
        return place

    def _append_counts(self) -> tuple[int, int]:
        """The reference counts, 1 for each cluster of the file, these tables' own included; (place, clusters)."""
        per_block = _CLUSTER // 2
        used = self._end // _CLUSTER
        blocks = tables = 0
        while True:  # the counts need clusters, which need counts
            total = used + blocks + tables
            wanted = _ceil(total, per_block)
            if (blocks, tables) == (wanted, _ceil(wanted, _PER_TABLE)):
                break
            blocks, tables = wanted, _ceil(wanted, _PER_TABLE)
        one = b"\0\1" * per_block
        places = array("Q")
        for number in range(blocks):
            count = min(per_block, total - number * per_block)
            places.append(self._append(one[: 2 * count]))
        return self._append(_big_endian(places)), tables


@contextmanager
def behind(target: Target) -> Iterator[Target]:
    """The same target, written by a thread that is some pieces behind: unpacking and writing go on side by side.

    What is written must not be changed afterwards. An error of the target is raised by a later call. The target is
    closed, and the thread has ended, when the block is over.
    """
    writer = _Behind(target)
    try:
        yield writer
    finally:
        writer.close()


class _Behind:
    """See `behind`."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._waiting: queue.Queue[tuple[int, memoryview] | None] = queue.Queue(_BEHIND)
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="write", daemon=True)
        self._thread.start()

    def write(self, offset: int, data: memoryview) -> None:
        self._waiting.put((offset, data))
        self._raise_error()

    def finish(self) -> None:
        self._waiting.put(None)
        self._thread.join()
        self._raise_error()
        self._target.finish()

    def close(self) -> None:
        self._stopped.set()
        with suppress(queue.Full):  # then the thread looks for itself
            self._waiting.put_nowait(None)
        self._thread.join()
        self._target.close()

    def _work(self) -> None:
        while (piece := self._waiting.get()) and not self._stopped.is_set():
            try:
                if self._error is None:
                    self._target.write(*piece)
            except BaseException as error:  # noqa: BLE001 - raised again where the next piece comes from
                self._error = error  # and later pieces are taken and dropped, so that nobody waits

    def _raise_error(self) -> None:
        if self._error:
            raise self._error


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
