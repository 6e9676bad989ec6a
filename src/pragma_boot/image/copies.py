"""Editing ext disks where FUSE cannot be used: on copies of their file systems' metadata.

debugfs changes metadata and writes whole files; it never reads what is in a file. So it can work on a sparse copy that
has an image's metadata alone (`e2image -r`: some megabytes). The blocks that are different afterwards are written into
the node's overlay. What was neither metadata nor written stays a hole in the copy and is not looked at; debugfs writes
no block of zeros into files, so a block that was written is never taken for one that was not.

What is in files is read from a raw image itself; a qcow2 image, or an overlay that was edited before, is unpacked
beside the disks for that time.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pragma_boot.errors import GuestError
from pragma_boot.image.export import nbd_server
from pragma_boot.image.extread import Reader
from pragma_boot.image.nbd import Writer
from pragma_boot.image.partition import Partition, read_at
from pragma_boot.image.superblock import Geometry
from pragma_boot.model import DiskFormat
from pragma_boot.run import run

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Copied:
    """An overlay, and the raw file that has what it holds now, but for what is edited: *start* bytes in.

    Where that is not the image itself, `raw_copy` has made it. part: of the file system, in the overlay.
    """

    overlay: Path
    content: Path
    start: int
    part: Partition


def raw_copy(disk: Path, kind: DiskFormat, part: Partition | None, target: Path) -> None:
    """Copy what a disk, or one partition of it, holds into a raw, sparse file. Raises CommandError."""
    chain = {"driver": str(kind), "file": {"driver": "file", "filename": str(disk.absolute())}}
    whole = {"driver": "raw", "file": chain} | ({"offset": part.start, "size": part.size} if part else {})
    target.touch(0o600)
    mend = "see that the image is a sound disk image, and that there is space for a copy of it"
    run(["qemu-img", "convert", "-U", "-O", "raw", f"json:{json.dumps(whole)}", target], timeout=3600, resolution=mend)


class CopyReader(Reader):
    """Reads a disk as it will be: blocks that were changed from its copy, all others from its image."""

    def __init__(self, disk: Copied, before: Path, after: Path) -> None:
        super().__init__(after, 0)
        self._disk, self._before = disk, before
        self._size = _block_size(after)

    def anew(self) -> Reader:
        """Another one, which knows nothing yet of what it reads."""
        return CopyReader(self._disk, self._before, self.device)

    def _read(self, start: int, length: int) -> bytes:
        first, last = start // self._size, -(-(start + length) // self._size)
        blocks = (self._one(number * self._size) for number in range(first, last))
        at = start - first * self._size
        return b"".join(blocks)[at : at + length]

    def _one(self, offset: int) -> bytes:
        with self.device.open("rb", buffering=0) as now, self._before.open("rb", buffering=0) as was:
            data = os.pread(now.fileno(), self._size, offset)
            if data != os.pread(was.fileno(), self._size, offset):
                return data
        with self._disk.content.open("rb", buffering=0) as content:
            return os.pread(content.fileno(), self._size, self._disk.start + offset)

    def write_back(self, server: Path, export: str) -> None:
        """Write what was changed into the overlay, which *server* exports. Raises GuestError."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.connect(str(server))
                writer = Writer(connection, export)
                for offset, data in changes(self._before, self.device, self._size):
                    writer.write(self._disk.part.start + offset, data)
                writer.close()
        except OSError as error:
            raise GuestError(
                "a node's disk cannot be written",
                details=error.strerror or str(error),
                resolution="free some space where the disks are (diskdir)",
            ) from error


@contextlib.contextmanager
def copies(disks: Sequence[Copied], folder: Path, room: Path) -> Iterator[tuple[CopyReader, ...]]:
    """A file for each of *disks* in *room*, to be changed by debugfs: its reader's `device`.

    room: a private folder beside the disks: memory may be small where FUSE is missing (a container's /dev/shm), and
    what is secret in a copy is in the overlay, too. folder: a private folder whose path is short.

    When the block ends well, all that was written is in the overlays. Raises GuestError.
    """
    if not disks:
        yield ()
        return
    bases = list(dict.fromkeys((disk.content, disk.start) for disk in disks))
    pristine = {base: room / f"metadata-{number}" for number, base in enumerate(bases)}
    files = tuple(room / f"copy-{number}" for number in range(len(disks)))
    try:
        for (content, start), target in pristine.items():
            _metadata(content, start, target)
        for disk, file in zip(disks, files, strict=True):
            _copy(pristine[disk.content, disk.start], file)
        readers = tuple(
            CopyReader(disk, pristine[disk.content, disk.start], file) for disk, file in zip(disks, files, strict=True)
        )
        with nbd_server([disk.overlay for disk in disks], folder) as server:
            yield readers
            for number, reader in enumerate(readers):
                reader.write_back(server, f"disk{number}")
    finally:
        for made in (*files, *pristine.values()):
            made.unlink(missing_ok=True)


def _metadata(content: Path, start: int, target: Path) -> None:
    target.touch(0o600)
    mend = "repair the image's file system with 'e2fsck -f', or build the image anew"
    run(["e2image", "-r", "-o", str(start), content, target], timeout=600, resolution=mend)


def _copy(source: Path, target: Path) -> None:
    """Copy a sparse file; its holes stay holes."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with source.open("rb", buffering=0) as old, os.fdopen(descriptor, "wb", buffering=0) as new:
        new.truncate(source.stat().st_size)
        for start, end in extents(old.fileno()):
            for at in range(start, end, _PIECE):
                os.pwrite(new.fileno(), os.pread(old.fileno(), min(_PIECE, end - at), at), at)


def _block_size(copy: Path) -> int:
    with copy.open("rb") as file:
        return Geometry.of(read_at(file, 1024, 1024)).block


def changes(before: Path, after: Path, block: int) -> Iterator[tuple[int, bytes]]:
    """What is different in *after*, by offset, in whole blocks of *block* bytes; those that touch go together.

    A block is known or written as a whole, or not at all: what is beside a changed one may be unknown to us.
    """
    with before.open("rb", buffering=0) as old, after.open("rb", buffering=0) as new:
        for start, end in extents(new.fileno()):
            for at in range(start - start % block, end, _PIECE):
                size = min(_PIECE, end - at)
                was, now = os.pread(old.fileno(), size, at).ljust(size, b"\0"), os.pread(new.fileno(), size, at)
                if was != now:
                    yield from ((at + offset, data) for offset, data in _different(was, now, block))


def _different(was: bytes, now: bytes, block: int) -> Iterator[tuple[int, bytes]]:
    first: int | None = None
    for at in range(0, len(now) + block, block):
        differs = was[at : at + block] != now[at : at + block]
        if differs and first is None:
            first = at
        elif not differs and first is not None:
            yield first, now[first:at]
            first = None


def extents(descriptor: int) -> Iterator[tuple[int, int]]:
    """Where a sparse file has data: first byte, and the one after the last."""
    end = 0
    while True:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end
