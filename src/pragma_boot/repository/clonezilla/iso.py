"""Finds files in an ISO 9660 image without unpacking it: each is a list of extents (repositories.md 3.8).

Names are those of Rock Ridge, else of Joliet, else plain ones. Files above 4 GiB have several extents (level 3).
Every number is a stranger's: places outside the image, directories that loop and endless continuations are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pragma_boot.errors import ImageError
from pragma_boot.repository.clonezilla.source import Content, Source, cut, read_at, refused

BLOCK = 2048
DIRECTORY_LIMIT = 8 * 1024 * 1024
"""The largest directory that is read, bytes: some 60,000 files."""

_FIRST_DESCRIPTOR, _DESCRIPTORS = 16, 64
_PRIMARY, _SUPPLEMENTARY, _END = 1, 2, 255
_JOLIET = (b"%/@", b"%/C", b"%/E")
_IS_DIRECTORY, _MORE_EXTENTS = 0x02, 0x80
_CONTINUATIONS = 32
_NAME_LIMIT = 1024
_MAKE_AGAIN = "copy the ISO again; if it stays so, make it anew with xorriso"


@dataclass(slots=True)
class Entry:
    """A file or directory of the image; extents are (offset, length) in bytes."""

    name: str
    is_directory: bool
    extents: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Record:
    """A directory record with its System Use area's say about it. name: None for `.` and `..`."""

    name: str | None
    flags: int
    extent: tuple[int, int]


class Iso:
    """An open image. Raises ImageError when *source* is no ISO 9660 image, or breaks the limits."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._skip = 0
        self._joliet = False
        self._root, supplementary = self._descriptors()
        self._rock_ridge = self._find_rock_ridge()
        if supplementary and not self._rock_ridge:
            self._root, self._joliet = supplementary, True

    def find(self, *path: str) -> Entry | None:
        """The directory or file of that path below the root; None when there is none."""
        here = Entry("", True, [self._root])
        seen = {self._root}
        for name in path:
            found = next((entry for entry in self.list(here) if entry.name == name), None)
            if found is None or (found.is_directory and not seen.isdisjoint(found.extents)):
                return None
            seen.update(found.extents)
            here = found
        return here

    def list(self, directory: Entry) -> list[Entry]:
        """What is in a directory, in its order; nothing for a file. Records of one file's extents are joined."""
        entries: list[Entry] = []
        more = False
        for record in self._records(directory):
            if record.name is None:
                continue
            if more and entries[-1].name == record.name:
                entries[-1].extents.append(record.extent)
            elif more:
                raise self._broken(f"extents of {entries[-1].name!r} are missing")
            else:
                entries.append(Entry(record.name, bool(record.flags & _IS_DIRECTORY), [record.extent]))
            more = bool(record.flags & _MORE_EXTENTS)
        if more:
            raise self._broken(f"extents of {entries[-1].name!r} are missing")
        return entries

    def content(self, entry: Entry) -> Content:
        """A file of the image. Raises ImageError when a part of it lies behind the end of an image cut short."""
        for offset, length in entry.extents:
            if offset + length > self._source.size:
                raise cut(self._source.name)
        return Content(f"{self._source.name}: {entry.name}", self._source, tuple(entry.extents))

    # ----------------------------------------------------------------------------------------------- volume descriptors

    def _descriptors(self) -> tuple[tuple[int, int], tuple[int, int] | None]:
        """The root directories: the primary one, and that of Joliet if there is one."""
        primary = joliet = None
        for number in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + _DESCRIPTORS):
            if (number + 1) * BLOCK > self._source.size:
                break
            data = read_at(self._source, number * BLOCK, BLOCK)
            if data[1:6] != b"CD001" or data[0] == _END:
                break
            if data[0] == _PRIMARY and primary is None:
                primary = self._root_of(data)
            elif data[0] == _SUPPLEMENTARY and data[88:91] in _JOLIET:
                joliet = self._root_of(data)
        if primary is None:
            raise refused(self._source.name, "it is no ISO 9660 image", "name the right file, or copy it again")
        return primary, joliet

    def _root_of(self, descriptor: bytes) -> tuple[int, int]:
        if struct.unpack_from("<H", descriptor, 128) != (BLOCK,):
            raise self._broken("its blocks do not have 2048 bytes")
        return _extent(descriptor[156:190])

    def _find_rock_ridge(self) -> bool:
        """Whether the root's first record begins the System Use Sharing Protocol; notes the bytes to skip."""
        offset, length = self._root
        if not length or offset + BLOCK > self._source.size:
            raise cut(self._source.name)
        first = read_at(self._source, offset, BLOCK)
        area = _system_use(first[: first[0]])
        if area[:2] != b"SP" or area[4:6] != b"\xbe\xef":
            return False
        self._skip = area[6]
        return True

    # ------------------------------------------------------------------------------------------------ directory records

    def _records(self, directory: Entry) -> Iterator[_Record]:
        if not directory.is_directory:
            return
        if sum(length for _, length in directory.extents) > DIRECTORY_LIMIT:
            raise self._broken(f"the directory {directory.name!r} is larger than {DIRECTORY_LIMIT // 1024**2} MiB")
        for offset, length in directory.extents:
            if offset + length > self._source.size:
                raise cut(self._source.name)
            data = read_at(self._source, offset, length)
            for start in range(0, len(data), BLOCK):  # a record never crosses a block's end
                yield from self._block(data[start : start + BLOCK])

    def _block(self, block: bytes) -> Iterator[_Record]:
        at = 0
        while at < len(block) and block[at]:
            record = block[at : at + block[at]]
            if len(record) < 34 or len(record) != block[at] or 33 + record[32] > len(record):
                raise self._broken("a directory record makes no sense")
            if record[26] or record[27]:
                raise self._broken("an interleaved file is in it")
            yield _Record(self._name(record), record[25], _extent(record))
            at += block[at]

    def _name(self, record: bytes) -> str | None:
        raw = record[33 : 33 + record[32]]
        if raw in (b"\0", b"\1"):
            return None
        if self._joliet:
            return raw.decode("utf-16-be", errors="replace").removesuffix(";1")
        if self._rock_ridge:
            name = self._rock_ridge_name(_system_use(record)[self._skip :])
            if name:
                return name
        return raw.decode("ascii", errors="replace").removesuffix(";1").removesuffix(".").lower()

    def _rock_ridge_name(self, area: bytes) -> str:
        """The NM entries of a System Use area and of its continuations, joined."""
        name = b""
        for _ in range(_CONTINUATIONS):
            following = None
            for kind, entry in _entries(area):
                if kind == b"NM" and not entry[4] & 0x06:
                    name += entry[5:]
                elif kind == b"CE" and len(entry) >= 28:
                    block, offset, length = (struct.unpack_from("<I", entry, place)[0] for place in (4, 12, 20))
                    following = (block * BLOCK + offset, length)
                elif kind == b"ZF":
                    raise self._broken("its files are compressed by zisofs")
            if following is None or len(name) > _NAME_LIMIT:
                break
            if following[1] > BLOCK or sum(following) > self._source.size:
                raise self._broken("a name continues outside of it")
            area = read_at(self._source, *following)
        else:
            raise self._broken("a name continues without end")
        return name[:_NAME_LIMIT].decode(errors="replace")

    def _broken(self, why: str) -> ImageError:
        return refused(self._source.name, f"its ISO 9660 file system is broken: {why}", _MAKE_AGAIN)


def _extent(record: bytes) -> tuple[int, int]:
    """(offset, length) in bytes; an extended attribute record before the data is skipped."""
    block, size = struct.unpack_from("<I4xI", record, 2)
    return (block + record[1]) * BLOCK, size


def _system_use(record: bytes) -> bytes:
    length = record[32]
    return record[33 + length + (1 - length % 2) :]


def _entries(area: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The (signature, entry) pairs of a System Use area, as far as their lengths make sense."""
    at = 0
    while at + 5 <= len(area) and 5 <= area[at + 2] <= len(area) - at:
        kind = area[at : at + 2]
        if kind == b"ST":
            return
        yield kind, area[at : at + area[at + 2]]
        at += area[at + 2]
