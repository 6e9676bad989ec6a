"""Nodes' disks as qcow2 overlays in files: a clone is some 200 KiB, however large its image is."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pragma_boot.errors import GuestError, PragmaError
from pragma_boot.files import make_folder, unfinished
from pragma_boot.image.appliance import appliance
from pragma_boot.image.base import Guest
from pragma_boot.image.export import available, exports
from pragma_boot.image.ext import ExtGuest
from pragma_boot.image.partition import Partition
from pragma_boot.image.probe import ExtRoot, Foreign, mounts_more, probe
from pragma_boot.image.superblock import CLONES_CLASH
from pragma_boot.model import Disk, DiskFormat, LocalDisk, LocalImage, NodeName, Role
from pragma_boot.run import run

_SCRATCH = "pragma-edit-"


class FileDiskStore:
    """A `DiskStore` of ``DISKS/CLUSTER/NODE.qcow2`` files.

    disks_root: the folder of all disks (`diskdir`); QEMU's user must be able to go through its parents.
    accel: asked when a libguestfs appliance starts: ``kvm`` or ``tcg``.
    scratch: a folder for what lives as long as an edit; a short path, on a local file system.
    """

    def __init__(self, disks_root: Path, accel: Callable[[], str], scratch: Path | None = None) -> None:
        self._root = disks_root.absolute()
        self._accel = accel
        self._scratch = scratch or Path(tempfile.gettempdir())
        self._empty: dict[LocalDisk, bytes] = {}

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
            with unfinished(path, 0o600) as temporary:
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
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(self._scratch_folder())
            guests, foreign = self._open_ext(disks, folder, stack)
            if foreign:
                alone = any(kinds & CLONES_CLASH for kinds in foreign.values())
                slow = [disks[index] for index in foreign]
                opened = stack.enter_context(appliance(slow, self._accel, folder, alone=alone, writable=True))
                guests |= dict(zip(foreign, opened, strict=True))
            yield [guests[index] for index in range(len(disks))]

    @contextlib.contextmanager
    def inspect(self, source: LocalDisk) -> Iterator[Guest]:
        """See `DiskStore.inspect`.

        A raw, clean ext image is read as it is; others through an overlay that is thrown away, so that a journal
        can be replayed and qcow2 be read like raw.
        """
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(self._scratch_folder())
            guest: Guest | None = None
            if source.format is DiskFormat.RAW:
                guest = self._direct(source, folder)
            if guest is None:
                overlay = folder / "overlay.qcow2"
                overlay.touch(0o600)
                overlay.write_bytes(self._overlay(source))
                disk = Disk(NodeName("inspect"), overlay, DiskFormat.QCOW2, source)
                guests, foreign = self._open_ext([disk], folder, stack, shown=source)
                guest = guests.get(0)
                if foreign:
                    opened = appliance([source], self._accel, folder, alone=True, writable=False)
                    (guest,) = stack.enter_context(opened)
            assert guest is not None
            yield guest

    def delete(self, cluster: str) -> None:
        """See `DiskStore.delete`."""
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

    def _direct(self, source: LocalDisk, folder: Path) -> Guest | None:
        root = probe(source.path, str(source.path), folder)
        return ExtGuest(source, source.path, root.part, folder) if isinstance(root, ExtRoot) and root.clean else None

    def _open_ext(
        self, disks: Sequence[Disk], folder: Path, stack: contextlib.ExitStack, shown: LocalDisk | None = None
    ) -> tuple[dict[int, Guest], dict[int, frozenset[str]]]:
        """Guests for the disks that debugfs can edit, and the kinds of the others, by index.

        Opened in *stack*. shown: the read-only source that a guest tells as its disk.
        """
        if not available():
            return {}, dict.fromkeys(range(len(disks)), frozenset(CLONES_CLASH))
        guests: dict[int, Guest] = {}
        foreign: dict[int, frozenset[str]] = {}
        daemon = stack.enter_context(contextlib.ExitStack())
        devices = daemon.enter_context(exports([disk.path for disk in disks], folder))
        parts: dict[int, Partition] = {}
        for index, (disk, device) in enumerate(zip(disks, devices, strict=True)):
            found = _ext_part(disk, device, folder)
            if isinstance(found, Partition):
                parts[index] = found
            else:
                foreign[index] = found.kinds
        if foreign:  # their appliance needs these disks for itself
            daemon.close()
            fast = stack.enter_context(exports([disks[index].path for index in parts], folder))
            devices = tuple(dict(zip(parts, fast, strict=True)).get(index, Path()) for index in range(len(disks)))
        for index, part in parts.items():
            guests[index] = ExtGuest(shown or disks[index], devices[index], part, folder, writable=shown is None)
        return guests, foreign

    @contextlib.contextmanager
    def _scratch_folder(self) -> Iterator[Path]:
        """A private folder that is gone after the block; those of commands that were killed go with it."""
        make_folder(self._scratch, 0o755)
        for old in self._scratch.glob(f"{_SCRATCH}[0-9]*"):
            process = old.name.removeprefix(_SCRATCH).split("-")[0]
            if process.isdigit() and not Path("/proc", process).exists():
                shutil.rmtree(old, ignore_errors=True)
        prefix = f"{_SCRATCH}{os.getpid()}-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=self._scratch, ignore_cleanup_errors=True) as name:
            yield Path(name)


def _ext_part(disk: Disk, device: Path, folder: Path) -> Partition | Foreign:
    """The root partition of an exported disk, its journal replayed; Foreign for the appliance. Raises GuestError."""
    root = probe(device, str(disk.backing.path), folder)
    if isinstance(root, Foreign):
        return root
    if not root.clean:
        _replay(device, root.part, disk.backing.path)
    guest = ExtGuest(disk, device, root.part, folder)
    return Foreign(frozenset({"ext"})) if mounts_more(guest) else root.part


def _replay(device: Path, part: Partition, image: Path) -> None:
    """Do in user space what the node would do at boot: replay the journal, remove orphans (docs/adr/0005)."""
    done = run(["e2fsck", "-p", f"{device}?offset={part.start}"], check=False, timeout=3600)
    if done.status not in (0, 1):
        raise GuestError(
            f"the file system in {image} has errors",
            details=done.text.strip(),
            resolution="repair the image with 'e2fsck -f', or build it anew",
        )
