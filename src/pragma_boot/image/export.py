"""Overlays as raw files: one qemu-storage-daemon shows many qcow2 disks through FUSE, for as long as a block runs.

It connects to our socket only after all its exports stand, so nothing is polled; and it dies with us.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pragma_boot.errors import GuestError, PragmaError
from pragma_boot.image.partition import Partition
from pragma_boot.run import background, run, which

FUSE = Path("/dev/fuse")
_FUSE_NUMBER = os.makedev(10, 229)
_CAP_SYS_ADMIN = 21
_START_LIMIT = 30.0
_SOCKET_LIMIT = 107  # bytes of a socket's path, unix(7)


def available(device: Path = FUSE, proc: Path = Path("/proc/self")) -> bool:
    """Whether we may mount by FUSE here, and have what does it.

    That the device is there is not enough: without the right to mount, libfuse needs fusermount3 to become root, which
    neither a process that may not gain rights nor one without that right in its bounds can have happen.
    """
    if not (_is_fuse(device) and which("qemu-storage-daemon")):
        return False
    may = {name: value for name, _, value in (line.partition(":") for line in _status(proc))}
    if _has(may.get("CapEff", "0"), _CAP_SYS_ADMIN):
        return True
    helper = which("fusermount3")
    if helper is None or int(may.get("NoNewPrivs", "0")) or not _has(may.get("CapBnd", "0"), _CAP_SYS_ADMIN):
        return False
    found = helper.stat()
    return bool(found.st_mode & stat.S_ISUID) and found.st_uid == 0


def _is_fuse(device: Path) -> bool:
    try:
        found = device.stat()
    except OSError:
        return False
    is_it = stat.S_ISCHR(found.st_mode) and found.st_rdev == _FUSE_NUMBER
    return is_it and os.access(device, os.R_OK | os.W_OK)


def _status(proc: Path) -> list[str]:
    try:
        return (proc / "status").read_text().splitlines()
    except OSError:
        return []


def _has(mask: str, capability: int) -> bool:
    return bool(int(mask, 16) >> capability & 1)


@contextlib.contextmanager
def exports(disks: Mapping[Path, Partition | None], folder: Path) -> Iterator[tuple[Path, ...]]:
    """Show qcow2 *disks*, or one partition of each, as raw, writable files in *folder* (private), in order.

    Partitions have files of their own because e2fsck forgets its ``?offset`` after it has replayed a journal.

    After the block the files are gone and all that was written is in the disks. Raises GuestError when a disk is no
    qcow2 file, is in use, or the daemon does not come up within 30 seconds.
    """
    if not disks:
        yield ()
        return
    files = tuple(folder / f"disk-{number}" for number in range(len(disks)))
    for file in files:
        file.touch(0o600)
    with contextlib.ExitStack() as stack:
        stack.callback(_tidy, files)
        stack.enter_context(_daemon(_fuse_words(disks, files), folder))
        yield files


@contextlib.contextmanager
def nbd_server(disks: Sequence[Path], folder: Path) -> Iterator[Path]:
    """Serve qcow2 *disks* on a socket in *folder* (private), as the exports `disk0`, `disk1`, …; one client at a time.

    As to its end and errors it is like `exports`.
    """
    server = folder / "nbd"
    words = ["--nbd-server", f"addr.type=unix,addr.path={_escaped(server)}"]
    for number, disk in enumerate(disks):
        words += _disk_words(number, disk)
        words += ["--export", f"type=nbd,id=export{number},node-name=disk{number},name=disk{number},writable=on"]
    with contextlib.ExitStack() as stack:
        stack.callback(server.unlink, missing_ok=True)
        stack.enter_context(_daemon(words, folder))
        yield server


@contextlib.contextmanager
def _daemon(words: Sequence[str], folder: Path) -> Iterator[None]:
    """Have a storage daemon run, told by *words*, while the block does; all is written when the block ends well."""
    monitor = folder / "qmp"
    if len(str(monitor).encode()) > _SOCKET_LIMIT:
        raise PragmaError(f"the path {folder} is too long", resolution="choose a shorter temp_directory")
    control = ["--chardev", f"socket,id=monitor,path={_escaped(monitor)}", "--monitor", "chardev=monitor"]
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(str(monitor))
        listener.listen(1)
        stack.callback(monitor.unlink, missing_ok=True)
        # it dies with us (run.background): it keeps the disks locked
        process = stack.enter_context(background(["qemu-storage-daemon", *words, *control]))
        connection = stack.enter_context(_connected(listener, process))
        connection.settimeout(_START_LIMIT)
        connection.recv(4096)  # the monitor's greeting: the main loop runs
        yield
        _quit(connection, process)


def _quit(connection: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """Have the daemon write what it holds, and wait until it has ended. Raises GuestError when it is not there."""
    try:
        connection.sendall(b'{"execute": "qmp_capabilities"}{"execute": "quit"}')
        while connection.recv(4096):
            pass
        if process.stderr:  # readable when it says something, or has ended
            select.select([process.stderr], [], [], _START_LIMIT)
    except OSError as error:
        raise GuestError(
            "qemu-storage-daemon did not end in order",
            details=error.strerror or str(error),
            resolution="see the system's log for why it died, then repeat",
        ) from error


def _disk_words(number: int, disk: Path) -> list[str]:
    # Nothing is flushed to the medium: a disk that its host's crash has caught half written is made anew.
    how = f"driver=qcow2,node-name=disk{number},cache.no-flush=on"
    return ["--blockdev", f"{how},file.driver=file,file.filename={_escaped(disk)}"]


def _fuse_words(disks: Mapping[Path, Partition | None], files: Sequence[Path]) -> list[str]:
    words: list[str] = []
    for number, ((disk, part), file) in enumerate(zip(disks.items(), files, strict=True)):
        words += [
            *_disk_words(number, disk),
            "--blockdev", f"driver=raw,node-name=node{number},file=disk{number}"
            + (f",offset={part.start},size={part.size}" if part else ""),
            "--export", f"type=fuse,id=export{number},node-name=node{number},writable=on,allow-other=off,"
            f"mountpoint={_escaped(file)}",
        ]  # fmt: skip
    return words


def _escaped(path: Path) -> str:
    """A path in QEMU's ``key=value,…`` syntax, where a comma is written twice."""
    return str(path.absolute()).replace(",", ",,")


def _connected(listener: socket.socket, process: subprocess.Popen[bytes]) -> socket.socket:
    """The daemon's connection; its standard error ends when it dies instead."""
    assert process.stderr is not None
    said = b""
    while True:
        told = process.stderr.fileno()
        ready, _, _ = select.select([listener.fileno(), told], [], [], _START_LIMIT)
        if listener.fileno() in ready:
            return listener.accept()[0]
        more = os.read(told, 4096) if ready else b""
        said += more
        if not more:
            raise GuestError(
                "a node's disk cannot be opened",
                details=said.decode(errors="replace").strip() or "qemu-storage-daemon gave no answer",
                resolution="see that no running VM uses the disk and that the image is a sound disk image",
            )


def unmount(folder: Path) -> None:
    """Take away what a daemon that was killed left mounted in *folder*; no error when there is nothing."""
    mounted = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    places = [fields[1] for fields in map(str.split, mounted.splitlines()) if fields[1].startswith(f"{folder}/")]
    tool = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
    for place in places if which(tool[0]) else ():
        run([*tool, place], check=False)


def _tidy(files: Sequence[Path]) -> None:
    """Remove what the daemon leaves; one that had to be killed leaves its mounts behind, too."""
    unmount(files[0].parent)
    for file in files:
        file.unlink(missing_ok=True)
