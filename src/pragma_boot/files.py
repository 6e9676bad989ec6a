"""Atomic writes, verified publishing and locks; and the names of the files and folders that we write.

Nothing unfinished ever has a final name: it is written beside its target, flushed, checked and then renamed.
`docs/state.md` says who writes and who reads each of them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pragma_boot.errors import ClusterBusyError, PragmaError

UNFINISHED = ".unfinished-"
"""Prefix of temporary files beside their target; anything so named may be removed when no command runs."""


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The site's state folder: what is where in it.

    ::

        site.db                       the site database (network.leases, cluster.store)
        locks/                        one lock file per cluster and per image, and `site.lock`
        clusters/NAME/                one cluster's folder, 0700
            vc-out/NODE.xml           what each node was given
            key, key.pub              the cluster's own ssh key
            console/NODE.log          serial console of each node
            boot/                     kernels and initrds that nodes are started by (ADR 2)
        disks/NAME/NODE.qcow2         the nodes' disks (or below `diskdir`)
        machines/NAME/                clusters of the driver `qemu`; driver.qemu.records says more
        accel.json                    whether KVM was proved to work since the machine started
    """

    root: Path

    @property
    def database(self) -> Path:
        """The site database."""
        return self.root / "site.db"

    @property
    def locks(self) -> Path:
        """Folder of all lock files."""
        return self.root / "locks"

    @property
    def accel(self) -> Path:
        """The cached answer to "does KVM work?"."""
        return self.root / "accel.json"

    @property
    def machines(self) -> Path:
        """Folder of the driver `qemu`."""
        return self.root / "machines"

    def cluster(self, name: str) -> Path:
        """The folder of one cluster."""
        return self.root / "clusters" / name

    def cluster_lock(self, name: str) -> Path:
        """The lock that every command which changes a cluster holds."""
        return self.locks / f"cluster-{name}.lock"

    def console(self, cluster: str, node: str) -> Path:
        """The serial console's log of one node."""
        return self.cluster(cluster) / "console" / f"{node}.log"


def make_folder(path: Path, mode: int = 0o755) -> Path:
    """Make a folder and its parents; *mode* is the new folder's, whatever the umask. Returns it.

    Raises PragmaError when it cannot be made.
    """
    try:
        existed = path.is_dir()
        path.mkdir(parents=True, exist_ok=True)
        if not existed:
            with contextlib.suppress(FileNotFoundError):  # removed again: as if it had been a moment later
                path.chmod(mode)
    except OSError as error:
        if isinstance(error, FileExistsError) and not _in_the_way(path):  # it was there, and was removed just now
            return make_folder(path, mode)
        raise refused("make the folder", path, error) from error
    return path


def _in_the_way(path: Path) -> bool:
    """Whether something there is no folder; one look, as folders may come and go."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISDIR(mode) and not path.is_dir()


def write_atomic(path: Path, data: bytes | str, mode: int = 0o644, *, durable: bool = True) -> None:
    """Replace *path* by *data* in one step: readers see the old content or the new, also after a crash.

    durable: see `unfinished`.

    Raises PragmaError (disk full, no permission); then the old file is as it was.
    """
    with unfinished(path, mode, durable=durable) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def unfinished(
    target: Path, mode: int = 0o644, *, verify: Callable[[Path], None] | None = None, durable: bool = True
) -> Iterator[Path]:
    """Give a temporary path beside *target*; publish it under the final name when the block ends well.

    verify: called with the complete temporary file before it is published; raises to refuse it.
    durable: wait until the medium has it. Not needed for what is made anew when the host has crashed meanwhile.

    When the block or *verify* raises, the temporary file is removed and *target* is untouched. OSErrors become
    PragmaErrors that name the target.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f"{UNFINISHED}{target.name[:50]}.", dir=target.parent)
        os.close(descriptor)
    except OSError as error:
        raise refused("write", target, error) from error
    temporary = Path(name)
    try:
        yield temporary
        if verify:
            verify(temporary)
        temporary.chmod(mode)
        if durable:
            _flush(temporary)
        temporary.replace(target)
        if durable:
            _flush(target.parent)
    except OSError as error:
        raise refused("write", target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def abandoned(folder: Path, prefix: str) -> Iterator[Path]:
    """The folders ``PREFIX<process>-…`` in *folder* whose process is no more: a command that was killed left them."""
    for path in folder.glob(f"{prefix}[0-9]*"):
        process = path.name.removeprefix(prefix).split("-")[0]
        if process.isdigit() and not Path("/proc", process).exists():
            yield path


@contextlib.contextmanager
def lock(path: Path, *, wait: float | None = None, busy: str = "", shared: bool = False) -> Iterator[None]:
    """Hold an advisory lock (flock) on *path*; the kernel lets go of it when the process dies.

    wait: seconds to wait for another holder; 0 not at all, None for ever.
    busy: what to say when it is held.

    The holder may remove the file: who waited for it then takes the new one.
    Raises ClusterBusyError when it is still held after *wait*.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    deadline = None if wait is None else time.monotonic() + wait
    while True:
        make_folder(path.parent, 0o755)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # whoever removed the last file of the folder has removed that, too
            continue
        except OSError as error:
            raise refused("lock", path, error) from error
        try:
            _acquire(descriptor, kind, deadline, busy or f"{path.name} is held")
            if not _is_at(descriptor, path):
                continue
            yield
            return
        finally:
            os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock at *path* just now. Never waits, changes nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def free_bytes(path: Path) -> int:
    """Free space for us on the file system of *path* or of its nearest existing parent."""
    while not path.exists():
        path = path.parent
    numbers = os.statvfs(path)
    return numbers.f_bavail * numbers.f_frsize


def _acquire(descriptor: int, kind: int, deadline: float | None, busy: str) -> None:
    if deadline is None:
        fcntl.flock(descriptor, kind)
        return
    # flock has no time limit of its own; another process's release is no event that we could wait for.
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise ClusterBusyError(
                    busy, resolution="wait until the other command has ended, or end it, then repeat"
                ) from None
            time.sleep(0.05)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot flush a folder
            raise
    finally:
        os.close(descriptor)


def refused(verb: str, path: Path, error: OSError) -> PragmaError:
    """The error for a file that the system does not let us *verb*, with the mend for the usual causes."""
    mend = {
        errno.ENOSPC: "free some space there, or choose another folder in the configuration",
        errno.EDQUOT: "free some of your quota, or choose another folder in the configuration",
        errno.EACCES: "run as a user who may write there, or choose another folder in the configuration",
        errno.EPERM: "run as a user who may write there, or choose another folder in the configuration",
        errno.EROFS: "the file system is read-only: choose another folder in the configuration",
    }.get(error.errno or 0)
    return PragmaError(f"cannot {verb} {path}", details=error.strerror or str(error), resolution=mend)
