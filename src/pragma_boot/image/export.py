"""Overlays as raw files: one qemu-storage-daemon shows many qcow2 disks through FUSE, for as long as a block runs.

It connects to our socket only after all its exports stand, so nothing is polled; and it dies with us.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pragma_boot.errors import GuestError, PragmaError
from pragma_boot.image.partition import Partition
from pragma_boot.run import background, run, which

_START_LIMIT = 30.0
_SOCKET_LIMIT = 107  # bytes of a socket's path, unix(7)


def available() -> bool:
    """Whether this machine can export disks at all."""
    return os.access("/dev/fuse", os.R_OK | os.W_OK) and which("qemu-storage-daemon") is not None


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
    monitor = folder / "qmp"
    if len(str(monitor).encode()) > _SOCKET_LIMIT:
        raise PragmaError(f"the path {folder} is too long", resolution="choose a shorter temp_directory")
    for file in files:
        file.touch(0o600)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(str(monitor))
        listener.listen(1)
        stack.callback(_tidy, files, monitor)
        process = stack.enter_context(background(_command(disks, files, monitor)))
        connection = stack.enter_context(_connected(listener, process))
        connection.settimeout(_START_LIMIT)
        connection.recv(4096)  # the monitor's greeting: the main loop runs
        yield files
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


def _command(disks: Mapping[Path, Partition | None], files: Sequence[Path], monitor: Path) -> list[str]:
    command = ["qemu-storage-daemon"]  # which dies with us (run.background): it keeps the disks locked
    for number, ((disk, part), file) in enumerate(zip(disks.items(), files, strict=True)):
        # Nothing is flushed to the medium: a disk that its host's crash has caught half written is made anew.
        command += [
            "--blockdev", f"driver=qcow2,node-name=disk{number},cache.no-flush=on,"
            f"file.driver=file,file.filename={_escaped(disk)}",
            "--blockdev", f"driver=raw,node-name=node{number},file=disk{number}"
            + (f",offset={part.start},size={part.size}" if part else ""),
            "--export", f"type=fuse,id=export{number},node-name=node{number},writable=on,allow-other=off,"
            f"mountpoint={_escaped(file)}",
        ]  # fmt: skip
    return [*command, "--chardev", f"socket,id=monitor,path={_escaped(monitor)}", "--monitor", "chardev=monitor"]


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


def _tidy(files: Sequence[Path], monitor: Path) -> None:
    """Remove what the daemon leaves; one that had to be killed leaves its mounts behind, too."""
    unmount(monitor.parent)
    for file in files:
        file.unlink(missing_ok=True)
    monitor.unlink(missing_ok=True)
