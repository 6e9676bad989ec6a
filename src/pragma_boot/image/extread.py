"""Reads ext2, ext3 and ext4 file systems: folders, files and links, straight from a raw disk and without a process.

Images are untrusted: every number is checked against the file system's size, every loop has a limit, and whatever
does not fit is a GuestError. Checksums are not verified: debugfs does that in all that it is about to change.
Layout: Linux Documentation/filesystems/ext4.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

from pragma_boot.errors import GuestError
from pragma_boot.image.superblock import Geometry, unreadable

ROOT_INODE = 2
_EXTENTS_FLAG, _INLINE_FLAG, _ENCRYPTED_FLAG = 0x80000, 0x10000000, 0x800
_EXTENT_MAGIC = 0xF30A
_EXTENT_DEPTH = 5
_UNWRITTEN = 0x8000
_FAST_LINK = 60
_LINK_LIMIT = 4096
_FOLDER_LIMIT = 16 * 1024 * 1024
_CHUNK = 1024 * 1024
_DIRENT = struct.Struct("<IHB")
_EXTENT = struct.Struct("<IHHI")
_INDEX = struct.Struct("<IIH")


@dataclass(frozen=True, slots=True)
class Inode:
    """A file's or folder's inode: number, type and permission bits, owner, group, size in bytes, and where it is."""

    number: int
    mode: int
    uid: int
    gid: int
    size: int
    flags: int = 0
    blocks: bytes = b""

    @property
    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)


Listing = dict[str, int]
"""A folder's entries but "." and "..": inode numbers by name."""


@dataclass(slots=True)
class Known:
    """What was read of a file system so far. Copies that nobody has changed yet may share it, threads too."""

    geometry: Geometry | None = None
    tables: dict[int, int] = field(default_factory=dict)
    inodes: dict[int, Inode] = field(default_factory=dict)
    listings: dict[int, Listing] = field(default_factory=dict)


class Reader:
    """Reads one ext file system, *offset* bytes from the beginning of *device* (a raw disk or an export).

    known: what other readers of the same content have found out already.
    The device is opened at the first read that needs it. All methods raise GuestError for what cannot be read.
    """

    def __init__(self, device: Path, offset: int, known: Known | None = None) -> None:
        self.device = device
        self._offset = offset
        self._known = known or Known()
        self._descriptor = -1

    def close(self) -> None:
        """Let go of the device; it is opened again when something more is read."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def inode(self, number: int) -> Inode:
        """The inode of that number."""
        known = self._known.inodes.get(number)
        if known is None:
            known = self._known.inodes[number] = self._inode(number)
        return known

    def listing(self, folder: Inode) -> Listing:
        """A folder's entries."""
        known = self._known.listings.get(folder.number)
        if known is None:
            if not folder.is_dir or folder.size > _FOLDER_LIMIT or folder.flags & _ENCRYPTED_FLAG:
                raise unreadable("a folder", f"inode {folder.number}, {folder.size} bytes, flags {folder.flags:#x}")
            known = self._known.listings[folder.number] = self._listing(folder)
        return known

    def content(self, inode: Inode) -> bytes:
        """A regular file's content, of its full size; the caller sees to it that this is not too much."""
        pieces = list(self.pieces(inode))
        data = b"".join(piece for _, piece in pieces)
        if len(data) == inode.size:
            return data
        whole = bytearray(inode.size)
        for start, piece in pieces:
            whole[start : start + len(piece)] = piece
        return bytes(whole)

    def link_target(self, inode: Inode) -> str:
        """What a symbolic link says."""
        if not inode.is_link or inode.size > _LINK_LIMIT:
            raise unreadable("a link", f"inode {inode.number}")
        fast = inode.size < _FAST_LINK and not inode.flags & _EXTENTS_FLAG
        data = inode.blocks[: inode.size] if fast else self.content(inode)
        return data.decode(errors="surrogateescape")

    def copy(self, inode: Inode, target: Path) -> None:
        """Copy a regular file's content to *target* on the host; its holes stay holes. Raises OSError for *target*."""
        with target.open("wb") as file:
            file.truncate(inode.size)
            for start, piece in self.pieces(inode):
                file.seek(start)
                file.write(piece)

    def pieces(self, inode: Inode) -> Iterator[tuple[int, bytes]]:
        """A file's content in order as (start, bytes), holes left out."""
        if inode.flags & (_INLINE_FLAG | _ENCRYPTED_FLAG):
            raise unreadable("a file", f"inode {inode.number} has flags {inode.flags:#x}")
        geometry = self._geometry()
        needed = -(-inode.size // geometry.block)
        step = _CHUNK // geometry.block
        for logical, physical, count in self._runs(inode, needed):
            for done in range(0, count, step):
                start = (logical + done) * geometry.block
                length = min(min(step, count - done) * geometry.block, inode.size - start)
                yield start, self._read((physical + done) * geometry.block, length)

    # --------------------------------------------------------------------------------------------------------- metadata

    def _geometry(self) -> Geometry:
        if self._known.geometry is None:
            self._known.geometry = Geometry.of(self._read(1024, 1024))
        return self._known.geometry

    def _inode(self, number: int) -> Inode:
        geometry = self._geometry()
        if not 0 < number <= geometry.inodes:
            raise unreadable("an inode", f"there is no number {number}")
        group, index = divmod(number - 1, geometry.group_inodes)
        at = self._table(group) * geometry.block + index * geometry.inode
        raw = self._read(at, 128)
        mode, uid, low, gid, flags = struct.unpack_from("<HHI16xH6xI", raw)
        high, uid_high, gid_high = struct.unpack_from("<I8xHH", raw, 0x6C)
        # The upper half is something else in the folders of old file systems.
        size = low | (high << 32 if stat.S_ISREG(mode) else 0)
        return Inode(number, mode, uid | uid_high << 16, gid | gid_high << 16, size, flags, raw[40:100])

    def _table(self, group: int) -> int:
        """The first block of a group's inodes."""
        known = self._known.tables.get(group)
        if known is None:
            geometry = self._geometry()
            raw = self._read(geometry.descriptor_at(group), geometry.descriptor)
            high = struct.unpack_from("<I", raw, 0x28)[0] if len(raw) >= 64 else 0
            known = self._known.tables[group] = self._block(struct.unpack_from("<I", raw, 8)[0] | high << 32)
        return known

    def _listing(self, folder: Inode) -> Listing:
        found: Listing = {}
        size = self._geometry().block
        for _, piece in self.pieces(folder):
            for start in range(0, len(piece), size):
                found |= _entries(piece[start : start + size])
        found.pop("..", None)
        if found.pop(".", None) != folder.number:
            raise unreadable("a folder", f"inode {folder.number} does not name itself")
        return found

    # ----------------------------------------------------------------------------------------------------------- blocks

    def _runs(self, inode: Inode, needed: int) -> Iterator[tuple[int, int, int]]:
        """The first *needed* blocks of a file that are not holes, in order: logical, physical, count."""
        ordered = 0
        runs = self._extents(inode.blocks, 0) if inode.flags & _EXTENTS_FLAG else self._mapped(inode.blocks, needed)
        for logical, physical, count in runs:
            if logical >= needed:
                return
            count = min(count, needed - logical)  # noqa: PLW2901
            if logical < ordered or not count:
                raise unreadable("a file", f"the extents of inode {inode.number} are in disorder")
            ordered = logical + count
            if physical:
                self._block(physical + count - 1)
                yield logical, self._block(physical), count

    def _extents(self, node: bytes, level: int) -> Iterator[tuple[int, int, int]]:
        magic, count, _, depth = struct.unpack_from("<HHHH", node)
        if magic != _EXTENT_MAGIC or 12 * (count + 1) > len(node) or depth + level > _EXTENT_DEPTH:
            raise unreadable("a file", "its extents make no sense")
        if level and not count:  # empty leaves could be many
            raise unreadable("a file", "it has an empty extent block")
        for at in range(12, 12 * (count + 1), 12):
            if depth:
                _, low, high = _INDEX.unpack_from(node, at)
                yield from self._extents(self._read_block(low | high << 32), level + 1)
            else:
                logical, length, high, low = _EXTENT.unpack_from(node, at)
                unwritten = length > _UNWRITTEN
                yield logical, 0 if unwritten else low | high << 32, length - (_UNWRITTEN if unwritten else 0)

    def _mapped(self, blocks: bytes, needed: int) -> Iterator[tuple[int, int, int]]:
        """Runs from a block map: twelve blocks, then a block, a block of blocks, … of numbers."""
        logical = run = first = 0
        for index, number in enumerate(struct.unpack("<15I", blocks)):
            for physical in self._leaves(number, max(0, index - 11), needed - logical):
                if run and physical == (first + run if first else 0):
                    run += 1
                else:
                    if run:
                        yield logical - run, first, run
                    first, run = physical, 1
                logical += 1
        if run:
            yield logical - run, first, run

    def _leaves(self, number: int, level: int, limit: int) -> Iterator[int]:
        """At most *limit* block numbers below an indirect block of that *level* (0: the number itself); holes are 0."""
        each = self._geometry().block // 4
        left = min(each**level, limit)
        if level == 0 or number == 0:
            yield from repeat(number, left)
            return
        for below in struct.unpack(f"<{each}I", self._read_block(number)):
            if left <= 0:
                return
            yield from self._leaves(below, level - 1, left)
            left -= each ** (level - 1)

    def _block(self, number: int) -> int:
        geometry = self._geometry()
        if not geometry.first_block <= number < geometry.blocks or not number:
            raise unreadable("a block", f"there is no block {number}")
        return number

    def _read_block(self, number: int) -> bytes:
        size = self._geometry().block
        return self._read(self._block(number) * size, size)

    def _read(self, start: int, length: int) -> bytes:
        """Exactly *length* bytes, *start* bytes into the file system."""
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self.device, os.O_RDONLY | os.O_CLOEXEC)
            data = os.pread(self._descriptor, length, self._offset + start)
        except OSError as error:
            raise unreadable("the disk", error.strerror or str(error)) from error
        if len(data) != length:
            raise unreadable("the disk", "it ends too early")
        return data


def _entries(block: bytes) -> Listing:
    """One block of a folder. Blocks of its index and checksums look like entries of inode 0."""
    found: Listing = {}
    at, end = 0, len(block)
    while at < end:
        if at + 8 > end:
            raise unreadable("a folder", "an entry ends outside its block")
        number, length, name_length = _DIRENT.unpack_from(block, at)
        if length in (0, 0xFFFF) and end == 65536:
            length = end
        if length < 8 + name_length or length < 12 or length % 4 or at + length > end:
            raise unreadable("a folder", "its entries make no sense")
        if number:
            name = block[at + 8 : at + 8 + name_length].decode(errors="surrogateescape")
            if not name or "\n" in name or "/" in name or "\0" in name:
                raise GuestError(f"odd file name {name!r}", resolution="remove or rename this file in the image")
            found[name] = number
        at += length
    return found
