"""The contract of disk stores: clones, and what is done to the files in them.

Reading (`Guest`) and changing (`Edit`) are apart on purpose: what an image *is* gets inspected once per image,
what a node *needs* is a list of plain edits (image.render, pure), and a store applies all edits of a disk in one go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pragma_boot.model import Disk, LocalDisk, LocalImage, NodeName, Role

READ_LIMIT = 4 * 1024 * 1024
"""`Guest.read` refuses larger files, bytes: images are untrusted."""


@dataclass(frozen=True, slots=True)
class Write:
    """Create or replace a regular file; owner root, missing parent folders are made (0755).

    group: number of its group in the guest. A symbolic link at *path* is replaced by the file, never followed.
    """

    path: str
    data: bytes
    mode: int = 0o644
    group: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """Move a regular file, symbolic link or (empty or not) folder; parents of *target* are made (0700).

    An older *target* is replaced. No error when *path* does not exist.
    """

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a file, link or whole folder; no error when it does not exist."""

    path: str


@dataclass(frozen=True, slots=True)
class Symlink:
    """Create or replace a symbolic link at *path* that says *target*; parents are made."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class MakeFolder:
    """Make a folder with *mode* (root:root); an existing one only gets the mode."""

    path: str
    mode: int = 0o755


Edit = Write | Move | Remove | Symlink | MakeFolder
"""Paths are absolute in the guest, without ``..``. Edits of one disk are applied in order."""


class Files(Protocol):
    """A root file system to look at: a disk's, or in our agent the running machine's own.

    Symbolic links in folders are resolved inside it; no path ever leaves it.
    """

    def exists(self, path: str) -> bool:
        """Whether *path* is there (following links)."""

    def is_dir(self, path: str) -> bool:
        """Whether *path* is a folder (following links)."""

    def listdir(self, path: str) -> tuple[str, ...]:
        """The sorted names in a folder; empty when it is not there."""

    def read(self, path: str) -> bytes:
        """A file's content. Raises GuestError when it is no readable file or larger than READ_LIMIT."""

    def readlink(self, path: str) -> str | None:
        """What the symbolic link at *path* says; None when there is none."""


class Guest(Files, Protocol):
    """The root file system of one disk, open for a while."""

    disk: Disk | LocalDisk

    def export(self, path: str, target: Path) -> None:
        """Copy a file of any size (a kernel, say) out to *target* on the host, following links. Raises GuestError."""

    def apply(self, edits: Sequence[Edit]) -> None:
        """Apply *edits* to the disk; on return they are in it (the guest must be open for writing).

        Raises GuestError when any edit failed or the file system is not in order afterwards; the disk is then
        to be thrown away.
        """


class DiskStore(Protocol):
    """Nodes' disks. Never changes a source disk; passes tests/contract/test_disk_store.py."""

    def clone(self, image: LocalImage, role: Role, cluster: str, node: NodeName) -> Disk:
        """Make a node's own disk from the image's; does not grow with the image's size. Replaces a leftover.

        Raises PragmaError (disk full, no permission); then nothing is left behind.
        """

    def edit(self, disks: Sequence[Disk]) -> AbstractContextManager[Sequence[Guest]]:
        """Open many disks for writing in one go; all are closed for sure when the block ends.

        Each guest may be used by a thread of its own. What a block that ended well has applied is on the disks; no
        disk may be in use by a running node meanwhile.

        Raises GuestError for a disk without partitions, without a root file system, or one that no back end opens.
        """

    def inspect(self, source: LocalDisk) -> AbstractContextManager[Guest]:
        """Open a source disk for reading only. Raises GuestError as `edit`."""

    def disks(self, cluster: str) -> Mapping[NodeName, LocalDisk]:
        """The disks of a cluster's nodes as they are now, for `inspect`; empty where they are not on this machine.

        None of them may be in use by a running node while it is looked into.
        """

    def backing_files(self) -> frozenset[Path]:
        """The files that the disks of all clusters stand on, running or not: none of them may be removed.

        Raises GuestError for a disk whose backing file cannot be told.
        """

    def way_to_edit(self) -> str:
        """How disks are edited on this machine, in words for a person."""

    def delete(self, cluster: str) -> None:
        """Remove every disk of a cluster; no error when there is none."""
