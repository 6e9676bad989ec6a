"""Where a disk's root file system is, and which back end can edit it.

The first partition is `/` by the old rule; a whole-disk file system and the first partition that has an /etc are
accepted as well. What this cannot read (xfs, btrfs, LVM, …) is the appliance's to inspect.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pragma_boot.errors import GuestError
from pragma_boot.image.base import READ_LIMIT
from pragma_boot.image.extread import Reader
from pragma_boot.image.partition import Partition, disk_size, partitions
from pragma_boot.image.superblock import ext_superblock, other_kind
from pragma_boot.image.tree import Tree

_MEND = "build the image so that its first partition is the root file system, then put it into the repository anew"
_NO_VOLUMES = ("tmpfs", "swap", "nfs", "nfs4")
_EDITED = ("/etc", "/root", "/var", "/usr", "/opt", "/home")


@dataclass(frozen=True, slots=True)
class ExtRoot:
    """An ext root file system that debugfs can edit, when it is *clean*."""

    part: Partition
    clean: bool


@dataclass(frozen=True, slots=True)
class Foreign:
    """A disk for the appliance, by what *kinds* of volumes it has (``ext`` for one that debugfs should not edit)."""

    kinds: frozenset[str]


def probe(device: Path, name: str) -> ExtRoot | Foreign:
    """Look at a raw disk (or an export of one). *name* is for messages.

    Raises GuestError when it holds nothing that could be a root file system.
    """
    with device.open("rb") as disk:
        if disk_size(disk) == 0:
            raise GuestError(f"{name} is empty", resolution=_MEND)
        table = partitions(disk)
        candidates = [*table, Partition(0, 0, disk_size(disk))]
        ext = [(part, state) for part in candidates if (state := ext_superblock(disk, part))]
        kinds = _kinds(disk, candidates)
    for part, state in ext:
        with contextlib.closing(Reader(device, part.start)) as reader:
            tree = _root(reader)
            if not tree:
                continue
            if state.editable and not _mounts_more(tree):
                return ExtRoot(part, state.clean)
            return Foreign(frozenset({"ext"}))
    if any(not state.editable for _, state in ext):
        kinds |= {"ext"}
    if kinds:
        return Foreign(kinds)
    if not table and not ext:
        raise GuestError(f"{name} has no partitions and no file system", resolution=_MEND)
    raise GuestError(f"{name} has no root file system: no partition has an /etc", resolution=_MEND)


def _kinds(disk: BinaryIO, candidates: list[Partition]) -> frozenset[str]:
    return frozenset(kind for part in candidates if (kind := other_kind(disk, part)))


def _root(reader: Reader) -> Tree | None:
    """The file system, when it has an /etc."""
    try:
        tree = Tree(reader)
        node = tree.walk("/etc").node
    except GuestError:  # features that we do not know, or damage: another partition may do
        return None
    return tree if node and node.is_dir else None


def _mounts_more(tree: Tree) -> bool:
    """Whether fstab mounts other volumes over folders that we edit: then this file system alone is not enough."""
    fstab = tree.walk("/etc/fstab").node
    if not fstab or not fstab.inode or not fstab.inode.is_file or fstab.inode.size > READ_LIMIT:
        return False
    for line in tree.content(fstab.inode).decode(errors="replace").splitlines():
        words = line.split()
        if len(words) < 3 or words[0].startswith("#") or words[2] in _NO_VOLUMES:
            continue
        if any(words[1] == folder or words[1].startswith(f"{folder}/") for folder in _EDITED):
            return True
    return False
