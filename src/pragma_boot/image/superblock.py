"""What is in a partition: ext file systems with their state, and the names of others.

Layout of the ext superblock: Linux Documentation/filesystems/ext4/super.rst; it begins 1024 bytes into the
partition. Read directly, because it decides which back end may touch the disk at all.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from pragma_boot.errors import GuestError
from pragma_boot.image.partition import Partition, read_at

_MAGIC = 0xEF53
_VALID, _ERRORS = 0x1, 0x2
_READABLE = 0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000
_META_BG, _64BIT = 0x10, 0x80  # incompat
_SPARSE_SUPER2 = 0x200  # compat
_SPARSE_SUPER = 0x1  # ro_compat
_MEND = "repair the image's file system with 'e2fsck -f', or build the image anew"
_NEEDS_RECOVERY = 0x4  # incompat
_ORPHANS_PRESENT = 0x10000  # ro_compat

# Features whose semantics debugfs keeps when it writes. Everything else (quota, bigalloc, encryption, inline data,
# MMP, an external journal, …) goes to the kernel in the appliance.
_COMPAT = 0x1 | 0x4 | 0x8 | 0x10 | 0x20 | 0x200 | 0x400 | 0x800 | 0x1000
_INCOMPAT = 0x2 | _NEEDS_RECOVERY | 0x10 | 0x40 | 0x80 | 0x200 | 0x2000 | 0x4000
_RO_COMPAT = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | 0x400 | _ORPHANS_PRESENT

_OTHERS = (
    (0, b"XFSB", "xfs"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (512, b"LABELONE", "LVM"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (0x1018, b"\xfc\x4e\x2b\xa9", "RAID"),
    (0, b"\x10\x20\xf5\xf2", "f2fs"),
    (0x400, b"\x10\x20\xf5\xf2", "f2fs"),
)
CLONES_CLASH = frozenset({"btrfs", "LVM", "RAID", "LUKS"})
"""Kinds whose copies cannot be seen by one kernel at the same time: they are told apart by a UUID only."""


@dataclass(frozen=True, slots=True)
class Superblock:
    """An ext file system's state.

    editable: all its features are such that debugfs may write to it.
    clean: unmounted in order: no journal to replay, no orphans, no recorded errors.
    """

    editable: bool
    clean: bool


def ext_superblock(device: BinaryIO, part: Partition) -> Superblock | None:
    """The ext superblock of a partition; None when there is none."""
    block = read_at(device, part.start + 1024, 1024)
    if len(block) < 1024 or struct.unpack_from("<H", block, 56)[0] != _MAGIC:
        return None
    (state,) = struct.unpack_from("<H", block, 58)
    compat, incompat, ro_compat = struct.unpack_from("<III", block, 92)
    (orphan,) = struct.unpack_from("<I", block, 232)
    return Superblock(
        editable=not (compat & ~_COMPAT or incompat & ~_INCOMPAT or ro_compat & ~_RO_COMPAT),
        clean=state & (_VALID | _ERRORS) == _VALID
        and not incompat & _NEEDS_RECOVERY
        and not ro_compat & _ORPHANS_PRESENT
        and not orphan,
    )


def other_kind(device: BinaryIO, part: Partition) -> str | None:
    """The name of what else may hold a root file system in a partition; None for nothing that we know."""
    for offset, magic, kind in _OTHERS:
        if read_at(device, part.start + offset, len(magic)) == magic:
            return kind
    return None


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of a file system, as its superblock tells them; all in bytes or in pieces."""

    block: int
    blocks: int
    first_block: int
    group_blocks: int
    group_inodes: int
    inodes: int
    inode: int
    descriptor: int
    first_meta: int
    sparse: bool
    backups: tuple[int, ...] | None

    @classmethod
    def of(cls, block: bytes) -> Geometry:
        """From the 1024 bytes of a superblock. Raises GuestError for what is none, or none that this can read."""
        (magic,) = struct.unpack_from("<H", block, 0x38)
        compat, incompat, ro_compat = struct.unpack_from("<III", block, 0x5C)
        if magic != _MAGIC or incompat & ~_READABLE:
            raise unreadable("a superblock", f"magic {magic:#x}, features {incompat:#x}")
        inodes, low, first, log, group_blocks, group_inodes = struct.unpack_from("<II12xII4xI4xI", block)
        revision, inode = struct.unpack_from("<I8xH", block, 0x4C)
        (descriptor,) = struct.unpack_from("<H", block, 0xFE) if incompat & _64BIT else (32,)
        (high,) = struct.unpack_from("<I", block, 0x150) if incompat & _64BIT else (0,)
        found = cls(
            block=1024 << min(log, 31),
            blocks=low | high << 32,
            first_block=first,
            group_blocks=group_blocks,
            group_inodes=group_inodes,
            inodes=inodes,
            inode=inode if revision else 128,
            descriptor=descriptor,
            first_meta=struct.unpack_from("<I", block, 0x104)[0] if incompat & _META_BG else 1 << 32,
            sparse=bool(ro_compat & _SPARSE_SUPER),
            backups=struct.unpack_from("<II", block, 0x24C) if compat & _SPARSE_SUPER2 else None,
        )
        found._check()
        return found

    def _check(self) -> None:
        if not (
            self.block <= 65536
            and 128 <= self.inode <= self.block
            and 32 <= self.descriptor <= self.block
            and self.group_blocks
            and self.group_inodes
        ):
            raise unreadable("a superblock", "impossible sizes")

    def descriptor_at(self, group: int) -> int:
        """Where a group's descriptor is, bytes from the file system's beginning."""
        each = self.block // self.descriptor
        number, index = divmod(group, each)
        place = max(self.first_block, 1024 // self.block) + 1 + number  # with bigalloc, block 0 of 1 KiB is the first
        if number >= max(self.first_meta, 1):
            first = number * each
            place = self.first_block + first * self.group_blocks + self._has_super(first)
        return place * self.block + index * self.descriptor

    def _has_super(self, group: int) -> bool:
        if self.backups is not None:
            return group in self.backups
        return not self.sparse or group == 1 or any(_is_power(group, root) for root in (3, 5, 7))


def unreadable(what: str, details: str) -> GuestError:
    """The error for a part of a file system that is damaged or not made for us."""
    return GuestError(f"{what} in an image cannot be read", details=details, resolution=_MEND)


def _is_power(number: int, root: int) -> bool:
    while number > 1 and number % root == 0:
        number //= root
    return number == 1
