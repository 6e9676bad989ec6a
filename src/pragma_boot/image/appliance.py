"""The sure way to a disk's files: libguestfs, whose own small VM mounts what debugfs must not touch.

All disks share one appliance, unless their volumes are told apart by a UUID alone (btrfs, LVM): copies of one image
would be taken for each other then, so each such disk has its turn alone. See guestfs(3).
"""

from __future__ import annotations

import contextlib
import logging
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pragma_boot.errors import GuestError
from pragma_boot.image.base import READ_LIMIT, Edit, MakeFolder, Move, Remove, Symlink, Write
from pragma_boot.image.selinux import Labels
from pragma_boot.image.tree import parts_of
from pragma_boot.model import Disk, LocalDisk

_log = logging.getLogger(__name__)
_DRIVES = 64
_MEND = "see that the image boots and its file systems are in order; the log file has the details"


@contextlib.contextmanager
def appliance(
    disks: Sequence[Disk | LocalDisk], accel: Callable[[], str], folder: Path, *, alone: bool, writable: bool
) -> Iterator[tuple[ApplianceGuest, ...]]:
    """Open *disks* in a libguestfs appliance, which starts at the first use of a guest.

    accel: ``kvm`` or ``tcg``: libguestfs left to choose hangs where /dev/kvm opens but does not work.
    folder: private, for scratch files. alone: one disk at a time.

    Raises GuestError when libguestfs is missing. Whatever happens in the block, the appliance has ended after it.
    """
    size = 1 if alone else _DRIVES
    groups = [disks[start : start + size] for start in range(0, len(disks), size)]
    session = _Session(groups, accel, folder, writable=writable)
    try:
        yield tuple(ApplianceGuest(disk, session) for disk in disks)
        session.close()
    finally:
        session.abandon()


class _Session:
    """At most one appliance with one group of disks, and at most one of their root file systems mounted."""

    def __init__(
        self, groups: Sequence[Sequence[Disk | LocalDisk]], accel: Callable[[], str], folder: Path, *, writable: bool
    ) -> None:
        self._groups = groups
        self._accel = accel
        self.folder = folder
        self.writable = writable
        self.lock = threading.RLock()
        self._handle: Any = None
        self._group: Sequence[Disk | LocalDisk] = ()
        self._roots: tuple[str, ...] = ()
        self._mounted: Disk | LocalDisk | None = None

    def select(self, disk: Disk | LocalDisk) -> Any:
        """The handle, with *disk*'s file systems mounted. Raises GuestError."""
        if self._mounted is disk:
            return self._handle
        with _told(f"cannot open {disk.path} in the libguestfs appliance"):
            if disk not in self._group:
                self.close()
                self._launch(next(group for group in self._groups if disk in group))
            self._handle.umount_all()
            self._mounted = None
            self._mount(disk)
        self._mounted = disk
        return self._handle

    def close(self) -> None:
        """End the appliance in order: everything is on the disks then. Raises GuestError when it is not."""
        handle, self._handle, self._group, self._mounted = self._handle, None, (), None
        if handle:
            try:
                with _told("the libguestfs appliance did not end in order"):
                    handle.shutdown()
            finally:
                handle.close()

    def abandon(self) -> None:
        """End the appliance in any case; for blocks that have failed already."""
        if self._handle:
            self._handle.close()
            self._handle = None

    def _launch(self, group: Sequence[Disk | LocalDisk]) -> None:
        handle = _new_handle()
        self._handle = handle
        handle.set_backend("direct")
        if self._accel() != "kvm":
            handle.set_backend_setting("force_tcg", "1")
        for disk in group:
            # A disk that its host's crash has caught half written is made anew: nothing needs flushing.
            handle.add_drive_opts(
                str(disk.path), format=str(disk.format), readonly=not self.writable, cachemode="unsafe"
            )
        handle.launch()
        self._group = group
        self._roots = tuple(handle.inspect_os())

    def _mount(self, disk: Disk | LocalDisk) -> None:
        own = self._handle.list_devices()[self._group.index(disk)]
        roots = [root for root in self._roots if _drive(root) in (own, None)]
        if len(roots) != 1:
            found = "no operating system" if not roots else f"{len(roots)} operating systems"
            raise GuestError(f"{disk.path} has {found} on it", resolution="build the image with exactly one root")
        points = self._handle.inspect_get_mountpoints(roots[0])
        for point, device in sorted(points.items(), key=lambda item: len(item[0])):
            # An fstab that names volumes by UUID finds any of the clones: the one on this drive is meant.
            drive = _drive(device)
            device = own + device[len(drive) :] if drive else device  # noqa: PLW2901
            options = "nouuid" if self._handle.vfs_type(device) == "xfs" else ""
            try:
                self._handle.mount_options(options, device, point)
            except RuntimeError as error:
                if point == "/":
                    raise
                _log.warning("%s: %s is not mounted while it is edited: %s", disk.path, point, error)


class ApplianceGuest:
    """A `Guest` in a libguestfs appliance."""

    def __init__(self, disk: Disk | LocalDisk, session: _Session) -> None:
        self.disk = disk
        self._session = session

    def exists(self, path: str) -> bool:
        """See `Guest.exists`."""
        with self._open() as handle:
            return bool(handle.exists(path))

    def is_dir(self, path: str) -> bool:
        """See `Guest.is_dir`."""
        with self._open() as handle:
            return bool(handle.is_dir(path, followsymlinks=True))

    def listdir(self, path: str) -> tuple[str, ...]:
        """See `Guest.listdir`."""
        with self._open() as handle:
            return tuple(sorted(handle.ls(path))) if handle.is_dir(path, followsymlinks=True) else ()

    def read(self, path: str) -> bytes:
        """See `Guest.read`."""
        with self._open() as handle:
            if not handle.is_file(path, followsymlinks=True):
                raise GuestError(f"{path} is no file in the image")
            if handle.filesize(path) > READ_LIMIT:
                raise GuestError(f"{path} in the image is larger than {READ_LIMIT} bytes", resolution="mend the image")
            return bytes(handle.read_file(path))

    def readlink(self, path: str) -> str | None:
        """See `Guest.readlink`."""
        with self._open() as handle:
            return str(handle.readlink(path)) if handle.is_symlink(path) else None

    def export(self, path: str, target: Path) -> None:
        """See `Guest.export`."""
        with self._open() as handle:
            if not handle.is_file(path, followsymlinks=True):
                raise GuestError(f"{path} is no file in the image")
            handle.download(path, str(target))

    def apply(self, edits: Sequence[Edit]) -> None:
        """See `Guest.apply`."""
        if not self._session.writable:
            raise GuestError(f"{self.disk.path} is open for reading only")
        with self._open() as handle:  # for all of it: mounting another thread's disk in between takes long
            self._apply(handle, edits)

    def _apply(self, handle: Any, edits: Sequence[Edit]) -> None:
        labels = Labels.of(self)
        if labels and not labels.known:
            edits = [*edits, Write("/.autorelabel", b"")]
        editor = _Editor(handle, self._session.folder)
        for edit in edits:
            editor.edit(edit)
        for path in editor.made if labels else ():
            if handle.exists(path) and (label := labels.find(path, handle.lstatns(path)["st_mode"])):  # type: ignore[union-attr]
                handle.lsetxattr("security.selinux", label, len(label), path)
        handle.sync()

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        with self._session.lock:
            handle = self._session.select(self.disk)
            with _told(f"cannot work on the files of {self.disk.path}"):
                yield handle


class _Editor:
    """Applies edits through a handle. `rm -rf` and `mv` of libguestfs follow absolute links in folders out of the
    image (into the appliance), so every parent is resolved first."""

    def __init__(self, handle: Any, folder: Path) -> None:
        self._handle = handle
        self._folder = folder
        self.made: list[str] = []

    def edit(self, edit: Edit) -> None:
        """Apply one edit; raises GuestError or RuntimeError."""
        match edit:
            case Write():
                path = self._vacant(edit.path)
                with tempfile.NamedTemporaryFile(dir=self._folder) as source:
                    source.write(edit.data)
                    source.flush()
                    self._handle.upload(source.name, path)
                self._handle.chmod(edit.mode, path)
                if edit.group:
                    self._handle.chown(0, edit.group, path)
                self.made.append(path)
            case Symlink():
                path = self._vacant(edit.path)
                self._handle.ln_s(edit.target, path)
                self.made.append(path)
            case Remove():
                if there := self._place(edit.path):
                    self._handle.rm_rf(there)
            case Move():
                self._move(edit)
            case MakeFolder():
                self._folders(edit.path, 0o755)
                self._handle.chmod(edit.mode, edit.path)

    def _move(self, edit: Move) -> None:
        source = self._place(edit.path)
        if not source:
            return
        if f"{edit.target}/".startswith(f"{edit.path}/"):
            raise GuestError(f"{edit.path} cannot be moved into itself")
        parent = self._folders(str(PurePosixPath(edit.target).parent), 0o700)
        target = str(PurePosixPath(parent) / PurePosixPath(edit.target).name)
        self._handle.rm_rf(target)
        self._handle.mv(source, target)

    def _place(self, path: str) -> str | None:
        """*path* with its folders resolved; None when nothing is there (a dangling link is something)."""
        names = parts_of(path)
        parent = "/" + "/".join(names[:-1])
        if not names or not self._handle.is_dir(parent, followsymlinks=True):
            return None
        if names[-1] not in self._handle.ls(parent):
            return None
        return str(PurePosixPath(self._handle.realpath(parent)) / names[-1])

    def _vacant(self, path: str) -> str:
        """The resolved *path*, whose parents are there and where nothing is any more."""
        there = self._place(path)
        if there and self._handle.is_dir(there):
            raise GuestError(f"{path} in the image is a folder where a file is needed", resolution="mend the image")
        if there:
            self._handle.rm_f(there)
        parent = self._folders(str(PurePosixPath(path).parent), 0o755)
        return str(PurePosixPath(parent) / PurePosixPath(path).name)

    def _folders(self, path: str, mode: int) -> str:
        """The resolved folder *path*, made with *mode* where it (or a parent) is missing."""
        so_far = "/"
        for name in parts_of(path):
            following = str(PurePosixPath(so_far) / name)
            if not self._handle.is_dir(following, followsymlinks=True):
                self._handle.mkdir_mode(following, mode)
                self.made.append(following)
            so_far = self._handle.realpath(following)
        return so_far


@contextlib.contextmanager
def _told(message: str) -> Iterator[None]:
    """The bindings know one exception only, a RuntimeError with libguestfs's message."""
    try:
        yield
    except RuntimeError as error:
        raise GuestError(message, details=str(error), resolution=_MEND) from error


def _new_handle() -> Any:
    try:
        import guestfs  # noqa: PLC0415 - needed for few images, and not on every system
    except ImportError as error:
        raise GuestError(
            "this image needs libguestfs, and its Python bindings are not installed",
            details=str(error),
            resolution="install python3-guestfs (Debian, Ubuntu) or python3-libguestfs (Fedora, EL), and run pragma"
            " with the system's python3",
        ) from error
    return guestfs.GuestFS(python_return_dict=True, close_on_exit=False)


def _drive(device: str) -> str | None:
    """``/dev/sda`` for a partition of it; None for what is on no drive of its own (LVM, RAID)."""
    found = re.match(r"(?:btrfsvol:)?(/dev/[shv]d[a-z]+)\d*(?:/|$)", device)
    return found.group(1) if found else None
