"""The fast way to a disk's files: an ext file system that we read and debugfs edits, never mounted.

docs/adr/0005 says why this is safe enough and what it was measured against.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from pragma_boot.errors import GuestError
from pragma_boot.files import refused
from pragma_boot.image import debugfs
from pragma_boot.image.base import READ_LIMIT, Edit, Write
from pragma_boot.image.debugfs import quote
from pragma_boot.image.extplan import Plan, Planner
from pragma_boot.image.extread import Reader
from pragma_boot.image.partition import Partition
from pragma_boot.image.selinux import Labels
from pragma_boot.image.superblock import ext_superblock
from pragma_boot.image.tree import Tree
from pragma_boot.model import Disk, LocalDisk

EXPORT_LIMIT = 1024**3
"""`Guest.export` refuses larger files, bytes: a sparse file may claim any size."""
_MEND = "check the image with 'e2fsck -f'; if it is in order, report this as a bug of pragma_boot"


class ExtGuest:
    """A `Guest` on an ext file system.

    device: a raw disk: the source itself, or an overlay's export. part: where the file system is.
    folder: a private folder on the host for scripts and contents, removed by its owner.
    before: reads what the disk holds until its first edit, after: makes what reads it from then on, where something
    else than *device* does so better.
    """

    def __init__(
        self,
        disk: Disk | LocalDisk,
        device: Path,
        part: Partition,
        folder: Path,
        *,
        writable: bool = False,
        before: Reader | None = None,
        after: Callable[[], Reader] | None = None,
    ) -> None:
        self.disk = disk
        self._device = device
        self._part = part
        self._folder = folder
        self._writable = writable
        self._after = after or functools.partial(Reader, device, part.start)
        self._reader = before or self._after()
        self._tree: Tree | None = None

    @property
    def tree(self) -> Tree:
        """What is in the file system, as far as it was looked at."""
        if self._tree is None:
            self._tree = Tree(self._reader)
        return self._tree

    def close(self) -> None:
        """Let go of the device."""
        self._reader.close()

    def exists(self, path: str) -> bool:
        """See `Guest.exists`."""
        return self.tree.walk(path).node is not None

    def is_dir(self, path: str) -> bool:
        """See `Guest.is_dir`."""
        node = self.tree.walk(path).node
        return node is not None and node.is_dir

    def listdir(self, path: str) -> tuple[str, ...]:
        """See `Guest.listdir`."""
        node = self.tree.walk(path).node
        return tuple(self.tree.names(node)) if node and node.is_dir else ()

    def read(self, path: str) -> bytes:
        """See `Guest.read`."""
        node = self.tree.walk(path).node
        if not node or not node.inode or not node.inode.is_file:
            raise GuestError(f"{path} is no file in the image")
        if node.inode.size > READ_LIMIT:
            raise GuestError(f"{path} in the image is larger than {READ_LIMIT} bytes", resolution="mend the image")
        return self.tree.content(node.inode)

    def readlink(self, path: str) -> str | None:
        """See `Guest.readlink`."""
        node = self.tree.walk(path, follow=False).node
        return self.tree.link_target(node) if node and node.is_link else None

    def export(self, path: str, target: Path) -> None:
        """See `Guest.export`."""
        node = self.tree.walk(path).node
        if not node or not node.inode or not node.inode.is_file:
            raise GuestError(f"{path} is no file in the image")
        if node.inode.size > EXPORT_LIMIT:
            raise GuestError(f"{path} in the image is larger than {EXPORT_LIMIT} bytes", resolution="mend the image")
        try:
            self.tree.copy(node.inode, target)
        except OSError as error:
            raise refused("write", target, error) from error

    def apply(self, edits: Sequence[Edit]) -> None:
        """See `Guest.apply`."""
        if not self._writable:
            raise GuestError(f"{self.disk.path} is open for reading only")
        if not edits:
            return
        labels = Labels.of(self)
        if labels and not labels.known:
            edits = [*edits, Write("/.autorelabel", b"")]
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            folder = Path(name)
            try:
                plan = Planner(self.tree, folder).plan(edits)
                commands = plan.commands + (label_commands(labels, plan, folder) if labels else [])
                debugfs.edit(self._device, self._part.start, commands, folder)
            finally:
                self._look_anew()
        self._verify(plan)

    def _look_anew(self) -> None:
        """Read the disk itself from now on, and nothing that was read before."""
        self.close()
        self._reader = self._after()
        self._tree = None

    def _verify(self, plan: Plan) -> None:
        with self._device.open("r+b") as device:
            _flush(device)
            state = ext_superblock(device, self._part)
        if not state or not state.clean:
            raise GuestError("a node's file system is not in order after its edits", resolution=_MEND)
        for path, expected in plan.expected.items():
            node = self.tree.walk(path, follow=False).node
            found = node.inode if node else None
            if not (expected.matches(found) if expected else found is None):
                raise GuestError(f"{path} is not as written in a node's disk", details=str(found), resolution=_MEND)


def _flush(device: BinaryIO) -> None:
    """Have the export write what it still holds: a full host disk shows here, if not before."""
    try:
        os.fsync(device.fileno())
    except OSError as error:
        raise GuestError(
            "a node's disk cannot be written",
            details=error.strerror,
            resolution="free some space where the disks are (diskdir)",
        ) from error


def label_commands(labels: Labels, plan: Plan, folder: Path) -> list[str]:
    """The debugfs commands that give everything which *plan* makes its SELinux label; files for them in *folder*."""
    commands: list[str] = []
    for path, expected in plan.expected.items():
        label = labels.find(path, expected.mode) if expected else None
        if label:
            source = folder / f"label-{len(commands)}"
            source.write_bytes(label.encode() + b"\0")
            commands.append(f"ea_set -f {quote(str(source))} {quote(path)} security.selinux")
    return commands
