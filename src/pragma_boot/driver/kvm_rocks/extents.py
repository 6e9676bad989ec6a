"""Where a disk's data is: in a raw image between its holes, in an overlay above its image. In blocks, read lazily."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pragma_boot.errors import CommandError, DriverError
from pragma_boot.files import abandoned
from pragma_boot.model import Disk, DiskFormat, LocalDisk
from pragma_boot.run import run

BLOCK = 65536
"""Bytes; qcow2's usual cluster, and what `dd` on the other side is told."""

_COPY = "pragma-raw-"
_GAP = 16
"""Blocks: a shorter hole is sent rather than told."""
_PIECE = 64
"""Blocks that are read at once."""


@dataclass(frozen=True, slots=True)
class Extent:
    """*count* blocks from block *start* of the disk; their bytes are at *offset* of the file, or they are zeros."""

    start: int
    count: int
    offset: int | None


def raw_extents(path: Path) -> list[Extent]:
    """The parts of a raw image that hold data, in order. Raises DriverError when it cannot be read."""
    try:
        with path.open("rb") as file:
            spans = list(_data(file.fileno()))
    except OSError as error:
        raise _unreadable(path, error) from error
    found: list[tuple[int, int]] = []
    for begin, end in spans:
        first, last = begin // BLOCK, -(-end // BLOCK)
        if found and first - found[-1][1] < _GAP:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return [Extent(first, last - first, first * BLOCK) for first, last in found]


def overlay_extents(disk: Disk) -> list[Extent]:
    """What an overlay holds above its image. Raises DriverError when it cannot be read."""
    try:
        text = run(["qemu-img", "map", "--output=json", "-f", str(disk.format), disk.path]).text
    except CommandError as error:
        raise DriverError(
            f"the disk of {disk.node} cannot be read",
            details=error.details,
            resolution="see that its file is there and that no VM uses it, then repeat",
        ) from error
    found = []
    for entry in json.loads(text):
        if entry["depth"] == 0 and (entry["data"] or entry["zero"]):
            start, count = entry["start"] // BLOCK, -(-entry["length"] // BLOCK)
            found.append(Extent(start, count, entry["offset"] if entry["data"] and not entry["zero"] else None))
    return found


def read_blocks(path: Path, extent: Extent) -> Iterator[bytes]:
    """The bytes of an extent, always whole blocks: what is beyond the file's end is zeros."""
    with path.open("rb") as file:
        if extent.offset is not None:
            file.seek(extent.offset)
        left = extent.count * BLOCK
        while left:
            want = min(left, _PIECE * BLOCK)
            data = file.read(want) if extent.offset is not None else b""
            yield data.ljust(want, b"\0")
            left -= want


@contextlib.contextmanager
def as_raw(source: LocalDisk, scratch: Path) -> Iterator[Path]:
    """A raw, sparse file with the image's content: the image itself, or a copy in *scratch* for as long as needed.

    Copies of commands that were killed go before.
    """
    if source.format is DiskFormat.RAW:
        yield source.path
        return
    forget_abandoned(scratch)
    with tempfile.TemporaryDirectory(prefix=f"{_COPY}{os.getpid()}-", dir=scratch) as name:
        copy = Path(name, "image.raw")
        run(
            ["qemu-img", "convert", "-f", str(source.format), "-O", "raw", source.path, copy],
            timeout=7200,
            resolution=f"see that the image is sound and that there is space in {scratch}",
        )
        yield copy


def forget_abandoned(scratch: Path) -> None:
    """Remove the copies of commands that were killed: an image may be large."""
    for old in abandoned(scratch, _COPY):
        shutil.rmtree(old, ignore_errors=True)


def _data(descriptor: int) -> Iterator[tuple[int, int]]:
    size = os.fstat(descriptor).st_size
    at = 0
    while at < size:
        try:
            begin = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        at = os.lseek(descriptor, begin, os.SEEK_HOLE)
        yield begin, at


def _unreadable(path: Path, error: OSError) -> DriverError:
    return DriverError(
        f"cannot read the image {path}", details=error.strerror, resolution="see that it is there and may be read"
    )
