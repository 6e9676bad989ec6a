"""What the caller may do on this host: run clusters of the system's libvirt, or only processes of their own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pragma_boot.errors import PragmaError

_CAP_NET_ADMIN = 12
_WHOLE = ["0", "0", "4294967295"]

Connect = Callable[[], object]
"""Connects to the system's libvirt; raises PragmaError."""


def connect_to_system() -> object:
    """The system's libvirt. Raises DriverError."""
    from pragma_boot.driver.libvirt.connection import connect  # noqa: PLC0415 - no other command needs it here

    return connect("qemu:///system")


def why_no_system(
    connect: Connect = connect_to_system,
    *,
    root: bool | None = None,
    proc: Path = Path("/proc/self"),
    tap: Path = Path("/dev/net/tun"),
) -> str:
    """Why clusters cannot be the system's for this caller, in words for a person; empty when they can.

    Root may mend what is missing, a libvirt that does not run for example: for root only that counts which no
    package mends. root: whether the caller is. proc, tap: what the kernel says of us, and its device for taps.
    """
    if (os.geteuid() == 0) if root is None else root:
        if not _may_administer_networks(proc):
            return "bridges cannot be made here: the capability CAP_NET_ADMIN is missing"
        if not _opens(tap):
            return f"bridges have no taps here: {tap} cannot be opened"
        if _whole_machine(proc):
            return ""
    try:
        connect()
    except PragmaError as error:
        return f"qemu:///system may not be used: {(error.details or error.message).splitlines()[0]}"
    return ""


def _may_administer_networks(proc: Path) -> bool:
    line = next((line for line in _lines(proc / "status") if line.startswith("CapEff:")), "CapEff: 0")
    return bool(int(line.split()[1], 16) >> _CAP_NET_ADMIN & 1)


def _whole_machine(proc: Path) -> bool:
    """Whether we are not in a user namespace, whose root is somebody else outside of it."""
    return [line.split() for line in _lines(proc / "uid_map")] in ([_WHOLE], [])


def _opens(device: Path) -> bool:
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
