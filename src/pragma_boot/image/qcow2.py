"""Nodes' disks as qcow2 overlays in files: a clone is some 200 KiB, however large its image is."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from pragma_boot.errors import GuestError, PragmaError
from pragma_boot.files import UNFINISHED, abandoned, make_folder, unfinished
from pragma_boot.image.appliance import appliance
from pragma_boot.image.base import Guest
from pragma_boot.image.export import available, exports, unmount
from pragma_boot.image.ext import ExtGuest
from pragma_boot.image.extread import Known, Reader
from pragma_boot.image.partition import Partition, disk_size
from pragma_boot.image.probe import ExtRoot, Foreign, probe
from pragma_boot.image.superblock import CLONES_CLASH, ext_superblock
from pragma_boot.model import Disk, DiskFormat, LocalDisk, LocalImage, NodeName, Role
from pragma_boot.run import run

_SCRATCH = "pragma-edit-"
_ROOM = f"{UNFINISHED}{_SCRATCH}"
_HEADER = struct.Struct(">4sIQIIQ")  # magic, version, backing file's offset and length, cluster bits, virtual size
_NAME_LIMIT = 1023  # QEMU's own
_FIRST_CLUSTER = 2 * 1024 * 1024  # at most; the backing file's name is in it


class FileDiskStore:
    """A `DiskStore` of ``DISKS/CLUSTER/NODE.qcow2`` files.

    disks_root: the folder of all disks (`diskdir`); QEMU's user must be able to go through its parents.
    accel: asked when a libguestfs appliance starts: ``kvm`` or ``tcg``.
    scratch: a folder for what lives as long as an edit, the nodes' secrets among it; a short path. By default it is
    one in memory: there secrets never reach a medium, and many small files cost nothing.
    fuse: asked whether FUSE can be used.
    """

    def __init__(
        self,
        disks_root: Path,
        accel: Callable[[], str],
        scratch: Path | None = None,
        fuse: Callable[[], bool] = available,
    ) -> None:
        self._root = disks_root.absolute()
        self._accel = accel
        self._fuse = functools.cache(fuse)
        self._scratch = scratch or default_scratch()
        self._empty: dict[LocalDisk, bytes] = {}
        self._roots: dict[LocalDisk, ExtRoot | Foreign] = {}
        self._known: dict[LocalDisk, Known] = {}

    def clone(self, image: LocalImage, role: Role, cluster: str, node: NodeName) -> Disk:
        """See `DiskStore.clone`. The overlay is 0600: libvirt gives it to QEMU's user while the node runs."""
        source = image.for_role(role)
        folder = self._folder(cluster)
        path = folder / f"{node}.qcow2"
        # Others may go through, not look: QEMU runs as a user of its own.
        fresh = not folder.is_dir()
        try:
            make_folder(make_folder(self._root, 0o711) / cluster, 0o711)
            data = self._overlay(source)
            with unfinished(path, 0o600, durable=False) as temporary:  # as are the edits: see export
                temporary.write_bytes(data)
        except BaseException:
            if fresh:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise
        return Disk(node, path, DiskFormat.QCOW2, source)

    @contextlib.contextmanager
    def edit(self, disks: Sequence[Disk]) -> Iterator[Sequence[Guest]]:
        """See `DiskStore.edit`."""
        roots = [self._root_of(disk.backing) for disk in disks]
        fast = [(disk, root) for disk, root in zip(disks, roots, strict=True) if isinstance(root, ExtRoot)]
        slow = [(disk, root) for disk, root in zip(disks, roots, strict=True) if isinstance(root, Foreign)]
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(self._scratch_folder())
            guests: dict[NodeName, Guest] = {}
            devices = self._devices(fast, folder, stack)
            for (disk, root), (device, after) in zip(fast, devices, strict=True):
                before = None
                if not (self._is_new(disk) and root.clean):
                    make_clean(device, disk.backing.path)
                elif after is None or disk.backing.format is DiskFormat.RAW:
                    before = self._reader(disk.backing, device, root)
                opened = ExtGuest(disk, device, root.part.alone, folder, writable=True, before=before, after=after)
                guests[disk.node] = stack.enter_context(contextlib.closing(opened))
            alone = any(root.kinds & CLONES_CLASH for _, root in slow)
            foreign = appliance([disk for disk, _ in slow], self._accel, folder, alone=alone, writable=True)
            for guest in stack.enter_context(foreign):
                guests[cast(Disk, guest.disk).node] = guest
            yield [guests[disk.node] for disk in disks]

    @contextlib.contextmanager
    def inspect(self, source: LocalDisk) -> Iterator[Guest]:
        """See `DiskStore.inspect`.

        A raw, clean ext image is read as it is; others through an overlay that is thrown away, so that a journal
        can be replayed and qcow2 be read like raw.
        """
        root = self._root_of(source)
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(self._scratch_folder())
            if isinstance(root, Foreign):
                opened = appliance([source], self._accel, folder, alone=True, writable=False)
                (guest,) = stack.enter_context(opened)
                yield guest
                return
            device, part = source.path, root.part
            if source.format is not DiskFormat.RAW or not root.clean:
                device, part = stack.enter_context(self._thrown_away(source, folder, part)), part.alone
                make_clean(device, source.path)
            before = self._reader(source, device, root) if root.clean else None
            yield stack.enter_context(contextlib.closing(ExtGuest(source, device, part, folder, before=before)))

    def disks(self, cluster: str) -> Mapping[NodeName, LocalDisk]:
        """See `DiskStore.disks`."""
        found = {}
        for path in sorted(self._folder(cluster).glob("*.qcow2")):
            told = header(path)
            if told:
                found[NodeName(path.stem)] = LocalDisk(path, DiskFormat.QCOW2, told.size)
        return found

    def backing_files(self) -> frozenset[Path]:
        """See `DiskStore.backing_files`."""
        found = (header(disk) for disk in self._root.glob("*/*.qcow2"))
        return frozenset(each.backing for each in found if each and each.backing)

    def delete(self, cluster: str) -> None:
        """See `DiskStore.delete`."""
        self._sweep()
        folder = self._folder(cluster)
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise PragmaError(
                f"cannot remove the disks in {folder}",
                details=str(error),
                resolution="see that you may write there and that no VM uses them, then repeat",
            ) from error

    def _sweep(self) -> None:
        """Remove the scratch folders of commands that were killed: nodes' secrets are in them."""
        for old in (*abandoned(self._scratch, _SCRATCH), *abandoned(self._root, _ROOM)):
            unmount(old)
            shutil.rmtree(old, ignore_errors=True)

    def _folder(self, cluster: str) -> Path:
        if not cluster or cluster in (".", "..") or "/" in cluster:
            raise PragmaError(f"{cluster!r} is no cluster's name")
        return self._root / cluster

    def _overlay(self, source: LocalDisk) -> bytes:
        """An empty overlay's content. It names its image but not itself: all nodes' are the same bytes."""
        if source not in self._empty:
            with self._scratch_folder() as folder:
                made = folder / "empty.qcow2"
                run(
                    ["qemu-img", "create", "-q", "-f", "qcow2", "-F", str(source.format),
                     "-b", source.path.absolute(), made],
                    resolution="see that the image is a sound disk image and that there is space for it",
                )  # fmt: skip
                self._empty[source] = made.read_bytes()
        return self._empty[source]

    def _root_of(self, source: LocalDisk) -> ExtRoot | Foreign:
        """Where the root file system of an image, and so of all its clones, is. Looked at once per image."""
        if source not in self._roots:
            with contextlib.ExitStack() as stack:
                folder = stack.enter_context(self._scratch_folder())
                if source.format is DiskFormat.RAW:
                    self._roots[source] = probe(source.path, str(source.path))
                else:
                    device = stack.enter_context(self._thrown_away(source, folder))
                    self._roots[source] = probe(device, str(source.path))
        return self._roots[source]

    def _devices(
        self, disks: Sequence[tuple[Disk, ExtRoot]], folder: Path, stack: contextlib.ExitStack
    ) -> list[tuple[Path, Callable[[], Reader] | None]]:
        """The file systems of *disks* as raw, writable files until *stack* ends; and what reads them better."""
        if self._fuse():
            files = stack.enter_context(exports({disk.path: root.part for disk, root in disks}, folder))
            return [(file, None) for file in files]
        from pragma_boot.image.copies import Copied, copies, raw_copy  # noqa: PLC0415 - most machines have FUSE

        wanted = []
        for disk, root in disks:
            content, start = disk.backing.path, root.part.start
            if disk.backing.format is not DiskFormat.RAW or not self._is_new(disk):
                content, start = stack.enter_context(self._room()) / "content", 0
                raw_copy(disk.path, disk.format, root.part, content)
            wanted.append(Copied(disk.path, content, start, root.part))
        return [
            (reader.device, reader.anew)
            for reader in stack.enter_context(copies(wanted, folder, stack.enter_context(self._room())))
        ]

    def way_to_edit(self) -> str:
        """See `DiskStore.way_to_edit`."""
        if self._fuse():
            return "nodes' disks are edited through FUSE"
        return (
            "nodes' disks are edited on copies of their metadata, as FUSE cannot be used here: as quick with raw ext"
            " images, slower with qcow2 ones"
        )

    def _is_new(self, disk: Disk) -> bool:
        """Whether nothing was written to a clone yet."""
        empty = self._overlay(disk.backing)
        try:
            return disk.path.stat().st_size == len(empty) and disk.path.read_bytes() == empty
        except OSError:
            return False

    def _reader(self, source: LocalDisk, device: Path, root: ExtRoot) -> Reader:
        """For a clean image or a new clone of it: these are alike, so each folder is read once for all of them."""
        known = self._known.setdefault(source, Known())
        if source.format is DiskFormat.RAW:
            return Reader(source.path, root.part.start, known)
        return Reader(device, 0, known)

    @contextlib.contextmanager
    def _thrown_away(self, source: LocalDisk, folder: Path, part: Partition | None = None) -> Iterator[Path]:
        """An image, or one partition of it, as a raw, writable file, whose changes are lost after the block."""
        if not self._fuse():
            from pragma_boot.image.copies import raw_copy  # noqa: PLC0415 - most machines have FUSE

            with self._room() as room:
                raw_copy(source.path, source.format, part, room / "disk")
                yield room / "disk"
            return
        overlay = folder / "overlay.qcow2"
        overlay.touch(0o600)
        overlay.write_bytes(self._overlay(source))
        with exports({overlay: part}, folder) as (device,):
            yield device

    @contextlib.contextmanager
    def _room(self) -> Iterator[Path]:
        """A private folder beside the disks, for what may be as large as they; gone after the block."""
        make_folder(self._root, 0o711)
        prefix = f"{_ROOM}{os.getpid()}-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=self._root, ignore_cleanup_errors=True) as name:
            yield Path(name)

    @contextlib.contextmanager
    def _scratch_folder(self) -> Iterator[Path]:
        """A private folder that is gone after the block; those of commands that were killed go with it."""
        make_folder(self._scratch, 0o755)
        self._sweep()
        prefix = f"{_SCRATCH}{os.getpid()}-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=self._scratch, ignore_cleanup_errors=True) as name:
            yield Path(name)


def default_scratch() -> Path:
    """A folder in memory that we may write to; the system's temporary folder where there is none."""
    memory = (Path("/dev/shm"), Path("/run"))  # noqa: S108 - only private folders with random names are made there
    return next((path for path in memory if os.access(path, os.W_OK | os.X_OK)), Path(tempfile.gettempdir()))


class Header(NamedTuple):
    """What a qcow2 file says of itself: the file that it stands on, or None, and its virtual size in bytes."""

    backing: Path | None
    size: int


def header(disk: Path) -> Header | None:
    """The header of an overlay of ours; None when it is gone by now. Raises GuestError when it makes no sense."""
    try:
        with disk.open("rb") as file:
            magic, _, offset, length, _, size = _HEADER.unpack(file.read(_HEADER.size))
            file.seek(offset)
            name = os.fsdecode(file.read(length))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, struct.error) as error:
        raise _no_qcow2(disk, str(error)) from error
    if magic != b"QFI\xfb" or length > _NAME_LIMIT or len(os.fsencode(name)) != length:
        raise _no_qcow2(disk, "its header makes no sense")
    return Header(disk.parent / name if offset else None, size)


def _no_qcow2(disk: Path, why: str) -> GuestError:
    return GuestError(
        f"it cannot be told which image {disk} stands on",
        details=why,
        resolution="run as the user who may read it; 'pragma clean' removes the disks of a broken cluster",
    )


def make_clean(device: Path, image: Path) -> None:
    """Do in user space what a node would do at boot, where needed: replay the journal, remove orphans (ADR 6).

    Raises GuestError when the file system has errors that this does not mend. *image* is for the message.
    """
    with device.open("rb") as disk:
        state = ext_superblock(disk, Partition(0, 0, disk_size(disk)))
    if state and state.clean:
        return
    done = run(["e2fsck", "-p", device], check=False, timeout=3600)
    if done.status not in (0, 1):
        raise GuestError(
            f"the file system in {image} has errors",
            details=done.text.strip(),
            resolution="repair the image with 'e2fsck -f', or build it anew",
        )
