"""What is in a partition: ext file systems with their state, and the names of others.

Layout of the ext superblock: Linux Documentation/filesystems/ext4/super.rst; it begins 1024 bytes into the
partition. Read directly, because it decides which back end may touch the disk at all.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from pragma_boot.image.partition import Partition, read_at

_MAGIC = 0xEF53
_VALID, _ERRORS = 0x1, 0x2
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
