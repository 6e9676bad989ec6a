"""Nodes' disks on volumes of the site (zvols of a NAS), beside those in files.

A volume is a clone on its NAS, made without copying. To be edited it becomes a block device of this machine for a
while; the edits go into an overlay above it first and are written down when all of them are well, so that every way
of editing that files have serves volumes, too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pragma_boot.files import abandoned
from pragma_boot.image.base import DiskStore, Guest
from pragma_boot.image.qcow2 import FileDiskStore, default_scratch
from pragma_boot.model import (
    ClusterName,
    Disk,
    DiskFormat,
    FileSource,
    Image,
    ImageName,
    LocalDisk,
    LocalImage,
    NodeImage,
    NodeName,
    Packing,
    Role,
    Volumes,
)
from pragma_boot.run import run

_SCRATCH = "pragma-volumes-"


class VolumeDiskStore:
    """A `DiskStore` of volumes, for images that are volumes, and of *files* for the others.

    volumes: what makes and maps them. accel: as for `FileDiskStore`.
    """

    def __init__(self, files: DiskStore, volumes: Volumes, accel: Callable[[], str]) -> None:
        self._files = files
        self._volumes = volumes
        self._accel = accel

    def clone(self, image: LocalImage, role: Role, cluster: str, node: NodeName) -> Disk:
        """See `DiskStore.clone`; the engine is told that the node uses the volume."""
        source = image.for_role(role)
        if source.volume is None:
            return self._files.clone(image, role, cluster, node)
        volume, size = self._volumes.clone(source.volume, ClusterName(cluster), node)
        path = Path("/", volume.host or "", volume.pool, volume.volume)
        return Disk(node, path, DiskFormat.RAW, LocalDisk(path, DiskFormat.RAW, size, source.volume), volume)

    @contextlib.contextmanager
    def edit(self, disks: Sequence[Disk]) -> Iterator[Sequence[Guest]]:
        """See `DiskStore.edit`. After the block no volume is mapped; one whose edits failed is as it was."""
        on_files = [disk for disk in disks if disk.volume is None]
        on_volumes = [disk for disk in disks if disk.volume is not None]
        with contextlib.ExitStack() as stack:
            guests = dict(zip(_names(on_files), stack.enter_context(self._files.edit(on_files)), strict=True))
            if on_volumes:
                found = stack.enter_context(self._edit_volumes(on_volumes))
                guests |= dict(zip(_names(on_volumes), found, strict=True))
            yield [guests[disk.node] for disk in disks]

    @contextlib.contextmanager
    def inspect(self, source: LocalDisk) -> Iterator[Guest]:
        """See `DiskStore.inspect`: a clone of a volume is looked at, never the volume itself."""
        if source.volume is None:
            with self._files.inspect(source) as guest:
                yield guest
            return
        with contextlib.ExitStack() as stack:
            device, size = stack.enter_context(self._volumes.look(source.volume))
            store = stack.enter_context(self._scratch())
            yield stack.enter_context(store.inspect(LocalDisk(device, DiskFormat.RAW, size)))

    def delete(self, cluster: str) -> None:
        """See `DiskStore.delete`. Volumes go when the engine releases their nodes: it alone knows which they are."""
        self._files.delete(cluster)

    def disks(self, cluster: str) -> Mapping[NodeName, LocalDisk]:
        """See `DiskStore.disks`: volumes are on the NAS, files are sent away."""
        return {}

    def backing_files(self) -> frozenset[Path]:
        """See `DiskStore.backing_files`: volumes stand on no file."""
        return self._files.backing_files()

    def way_to_edit(self) -> str:
        """See `DiskStore.way_to_edit`."""
        return self._files.way_to_edit()

    @contextlib.contextmanager
    def _edit_volumes(self, disks: Sequence[Disk]) -> Iterator[Sequence[Guest]]:
        with contextlib.ExitStack() as stack:
            # A store for this once: what it has found out about a device is wrong for the next volume there.
            store = stack.enter_context(self._scratch())
            overlays = []
            for disk in disks:
                assert disk.volume is not None
                device = stack.enter_context(self._volumes.mapped(disk.volume, disk.backing.size))
                source = LocalDisk(device, DiskFormat.RAW, disk.backing.size)
                overlays.append(store.clone(_alone(source), Role.FRONTEND, "volumes", disk.node))
            with store.edit(overlays) as guests:
                yield guests
            for overlay in overlays:
                run(
                    ["qemu-img", "commit", "-q", "-f", "qcow2", overlay.path],
                    timeout=600,
                    resolution="see that the NAS answers, then boot again",
                )

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[FileDiskStore]:
        scratch = default_scratch()
        for old in abandoned(scratch, _SCRATCH):  # nodes' secrets are in them
            shutil.rmtree(old, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{os.getpid()}-", dir=scratch) as folder:
            yield FileDiskStore(Path(folder, "disks"), self._accel)


def _alone(source: LocalDisk) -> LocalImage:
    part = NodeImage(FileSource(source.path.name, Packing.RAW, (source.path.name,)))
    image = Image(ImageName("volume"), "", str(source.path), source.path.parent, part)
    return LocalImage(image, source, source)


def _names(disks: Sequence[Disk]) -> list[NodeName]:
    return [disk.node for disk in disks]
