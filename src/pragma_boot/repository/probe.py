"""What a disk file really is: its format is looked at, never believed.

A qcow2 header can make QEMU open any file of this host (backing file, external data file) and show it to a guest;
so headers are read here, by a reader with bounds, before QEMU sees the file. Fields: QEMU's docs/interop/qcow2.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pragma_boot.errors import ImageError
from pragma_boot.model import DiskFormat, LocalDisk, shorten

SIZE_LIMIT = 64 * 1024**4
"""The largest virtual size of a disk that we take, bytes."""

CHAIN_LIMIT = 4
"""How many backing files deep an image may be."""

QCOW2_MAGIC = b"QFI\xfb"
HEAD = 4096
"""So many bytes of a disk's begin tell its format."""

_COPY = "copy the image into the repository again"
_CONVERT = "convert it: qemu-img convert -O qcow2 OLD NEW"
_SECTOR = 512
_FOREIGN = (
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"BZh", "bzip2"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"KDMV", "VMDK"),
    (0, b"# Disk DescriptorFile", "VMDK"),
    (0, b"vhdxfile", "VHDX"),
    (0, b"conectix", "VHD"),
    (0, b"QED\x00", "QED"),
    (0x40, b"\x7f\x10\xda\xbe", "VDI"),
    (257, b"ustar", "tar"),
)
_PACKED = ("gzip", "xz", "bzip2", "zstd", "zip", "tar")
_FIRST_CLUSTER = 2 * 1024 * 1024  # at most: QEMU keeps extensions and the backing file's name in it
_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_FEATURES = struct.Struct(">QQQII")
_END, _DATA_FILE, _BACKING_FORMAT = 0, 0x44415441, 0xE2792ACA
_CORRUPT, _EXTERNAL_DATA = 1 << 1, 1 << 2
_KNOWN_FEATURES = 0b11111  # dirty, corrupt, external data file, compression type, extended L2 entries
_L1_LIMIT = 4 * 1024 * 1024  # entries; QEMU's own limit
_L1_OFFSET = 0x00FF_FFFF_FFFF_FE00


def probe(path: Path, roots: Sequence[Path], called: Path | None = None) -> LocalDisk:
    """Look at a disk file and say its real format and virtual size.

    roots: the folders (resolved) that its backing files must lie in. called: what errors call it, when *path* is
    only a temporary name.

    Raises ImageError when the file cannot be read, is no regular file, is empty or cut, is packed or of another
    program's format, is encrypted, or names a data file, or a backing file that is not a plain disk below *roots*.
    """
    return _probe(path, roots, called or path, CHAIN_LIMIT)


def _probe(path: Path, roots: Sequence[Path], called: Path, depth: int) -> LocalDisk:
    try:
        # O_NONBLOCK: a named pipe in the place of the disk must not make us wait
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise refused(called, "it is no regular file", "name a regular file in the vc-in document")
            head = file.read(HEAD)
            if not head.startswith(QCOW2_MAGIC):
                check_raw(called, head, status.st_size)
                return LocalDisk(path, DiskFormat.RAW, status.st_size)
            head += file.read(_FIRST_CLUSTER - HEAD)
            header = _Header.read(called, head)
            _check_tables(called, file, header, status.st_size)
    except OSError as error:
        raise refused(called, error.strerror or str(error), "mend the file or its permissions") from error
    if header.backing:
        _probe(_backing(path, header.backing, roots, called, depth), roots, called, depth - 1)
    return LocalDisk(path, DiskFormat.QCOW2, header.size)


def check_raw(path: Path, head: bytes, size: int) -> None:
    """Whether a raw disk of that size that begins with *head* is one. Raises ImageError about *path* as `probe`."""
    if size == 0:
        raise refused(path, "it is empty", _COPY)
    for offset, magic, name in _FOREIGN:
        if head[offset:].startswith(magic):
            if name in _PACKED:
                mend = 'unpack it, or say <file type="gzip"> in the vc-in document if it is gzip'
            else:
                mend = _CONVERT
            raise refused(path, f"it is a {name} file, no raw or qcow2 disk", mend)
    if size % _SECTOR:
        raise refused(path, f"its size, {size} bytes, is no multiple of {_SECTOR}: a part of it is missing", _COPY)
    if size > SIZE_LIMIT:
        raise refused(path, f"it is larger than {SIZE_LIMIT // 1024**4} TiB", "use a smaller disk")


@dataclass(frozen=True, slots=True)
class _Header:
    """The fields of a qcow2 header that we use, within their bounds. backing: the backing file's name or empty."""

    size: int
    cluster_bits: int
    l1_entries: int
    l1_offset: int
    backing: str

    @classmethod
    def read(cls, path: Path, head: bytes) -> _Header:
        if len(head) < _HEADER.size:
            raise refused(path, "its qcow2 header is cut", _COPY)
        fields = _HEADER.unpack_from(head)
        version, backing_offset, backing_size, cluster_bits, size, encryption, l1_entries, l1_offset = fields[1:9]
        if version not in (2, 3):
            raise refused(path, f"qcow2 version {version} is unknown", _CONVERT)
        if encryption:
            raise refused(path, "it is encrypted", _CONVERT)
        if not 9 <= cluster_bits <= 21 or not 0 < size <= SIZE_LIMIT or size % _SECTOR or l1_entries > _L1_LIMIT:
            raise refused(path, "its qcow2 header makes no sense", _COPY)
        header_length = _check_features(path, head) if version == 3 else _HEADER.size
        _check_extensions(path, head, header_length)
        backing = _backing_name(path, head, backing_offset, backing_size)
        return cls(size, cluster_bits, l1_entries, l1_offset, backing)


def _check_features(path: Path, head: bytes) -> int:
    """Refuse what QEMU would, or what opens other files; returns the header's length."""
    if len(head) < _HEADER.size + _FEATURES.size:
        raise refused(path, "its qcow2 header is cut", _COPY)
    incompatible, _, _, _, length = _FEATURES.unpack_from(head, _HEADER.size)
    if incompatible & _EXTERNAL_DATA:
        raise _external(path)
    if incompatible & _CORRUPT:
        raise refused(path, "it is marked as corrupt", f"repair it: qemu-img check -r all {path}")
    if incompatible & ~_KNOWN_FEATURES:
        raise refused(path, "it uses unknown qcow2 features", _CONVERT)
    if not _HEADER.size + _FEATURES.size <= length <= len(head):
        raise refused(path, "its qcow2 header makes no sense", _COPY)
    return int(length)


def _check_extensions(path: Path, head: bytes, offset: int) -> None:
    """Refuse an image that names a data file."""
    while offset + 8 <= len(head):
        kind, length = struct.unpack_from(">II", head, offset)
        if kind == _END:
            return
        if kind == _DATA_FILE:
            raise _external(path)
        offset += 8 + (length + 7) // 8 * 8


def _external(path: Path) -> ImageError:
    return refused(path, "it keeps its data in another file", _CONVERT)


def _backing_name(path: Path, head: bytes, offset: int, size: int) -> str:
    if not offset:
        return ""
    if not 0 < size <= 1023 or offset + size > len(head):
        raise refused(path, "its backing file's name makes no sense", _COPY)
    return os.fsdecode(head[offset : offset + size])


def _check_tables(path: Path, file: BinaryIO, header: _Header, size: int) -> None:
    """Find a cut image: its first-level table and all tables that this names must lie in the file."""
    covered = header.l1_entries << (2 * header.cluster_bits - 3)
    complete = header.l1_offset + 8 * header.l1_entries <= size and covered >= header.size
    if complete:
        file.seek(header.l1_offset)
        table = file.read(8 * header.l1_entries)
        cluster = 1 << header.cluster_bits
        entries = struct.unpack(f">{len(table) // 8}Q", table[: len(table) // 8 * 8])
        complete = all((entry & _L1_OFFSET) + cluster <= size for entry in entries if entry & _L1_OFFSET)
    if not complete:
        raise refused(path, "a part of it is missing", _COPY)


def _backing(path: Path, name: str, roots: Sequence[Path], called: Path, depth: int) -> Path:
    """Where a backing file is; it must be a plain file below *roots*."""
    mend = f"make it independent: {_CONVERT.removeprefix('convert it: ')}"
    if re.match(r"[A-Za-z0-9+.-]+:", name) or "\0" in name:
        raise refused(called, f"its backing file {shorten(name)!r} is no plain file", mend)
    if depth == 0:
        raise refused(called, f"its chain of backing files is longer than {CHAIN_LIMIT}", mend)
    return inside(path.parent / name, roots, called, mend)


def inside(path: Path, roots: Sequence[Path], of: Path, mend: str) -> Path:
    """Resolve *path* and give it back when it lies below one of *roots*.

    Raises ImageError about *of* (with *mend*) when it does not, is missing, or is a loop of links.
    """
    try:
        resolved = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise refused(of, f"{path} is missing", mend) from error
    if not any(resolved.is_relative_to(root) for root in roots):
        raise refused(of, f"{path} lies outside of the repository", mend)
    return resolved


def refused(path: Path, why: str, mend: str) -> ImageError:
    """The error for a file of an image that we do not take."""
    return ImageError(f"the image file {path} cannot be used", details=why, resolution=mend)
