"""The one seam to libvirt's bindings: loading them, connecting, and its errors in our words.

Everything here and beside it may raise DriverError with a mend that follows from libvirt's error *code*.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
from collections.abc import Collection, Iterator
from types import ModuleType
from typing import Any, cast

from pragma_boot.errors import DriverError

_log = logging.getLogger(__name__)

Connection = Any
"""A ``libvirt.virConnect``; the bindings have no types."""

_START = "start the daemon: systemctl enable --now libvirtd (or, without systemd: virtlogd -d; libvirtd -d)"
_BUS = "run as root, or start what libvirtd asks about users: systemctl start dbus polkit, and then libvirtd anew"
_JOIN = "run as root, or join the group: usermod -aG libvirt USER, then log in again"


@functools.cache
def bindings() -> ModuleType:
    """libvirt's Python module, quiet and ready for events. Raises DriverError when it is not installed."""
    try:
        import libvirt  # noqa: PLC0415 - commands that need no engine do without it
    except ImportError as error:
        raise DriverError(
            "libvirt's Python bindings are not installed for this Python",
            details=str(error),
            resolution="install them: apt install python3-libvirt, or dnf install python3-libvirt;"
            " in a virtual environment of its own: pip install 'pragma-boot[libvirt]'",
        ) from error
    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # else it writes to standard error itself
    libvirt.virEventRegisterDefaultImpl()  # before the first connection; events are run where they are waited for
    return cast(ModuleType, libvirt)


def connect(uri: str) -> Connection:
    """Open *uri* for reading and writing. Raises DriverError: not installed, not running, no permission."""
    libvirt = bindings()
    with explained(f"connect to {uri}"):
        return libvirt.open(uri)


@contextlib.contextmanager
def explained(doing: str, ignore: Collection[str] = ()) -> Iterator[None]:
    """Turn libvirt's errors in the block into a DriverError "cannot *doing*".

    ignore: names of error codes (``VIR_ERR_NO_DOMAIN``) that end the block without an error.
    """
    libvirt = bindings()
    try:
        yield
    except libvirt.libvirtError as error:
        if is_code(error, *ignore):
            return
        said = str(error).strip()
        _log.debug("cannot %s: libvirt error %s: %s", doing, error.get_error_code(), said)
        raise DriverError(f"cannot {doing}", details=said, resolution=_mend(error)) from error


def is_code(error: BaseException, *names: str) -> bool:
    """Whether a ``libvirtError`` has one of the codes of these names."""
    libvirt = bindings()
    code = error.get_error_code() if isinstance(error, libvirt.libvirtError) else None
    return code is not None and code in {getattr(libvirt, name, None) for name in names}


def _mend(error: Any) -> str:
    """What to do next, by libvirt's error code (and, for system errors, by errno)."""
    for names, mend in _MENDS.items():
        if is_code(error, *names):
            return mend
    if is_code(error, "VIR_ERR_SYSTEM_ERROR", "VIR_ERR_OPERATION_FAILED"):
        known = _by_origin(error).get(error.get_int1() or 0)
        if known:
            return known
    if error.get_error_domain() == bindings().VIR_FROM_DBUS:
        return _BUS
    return "'pragma check site' looks for the usual causes; libvirt's own log says more (journalctl -u libvirtd)"


def _by_origin(error: Any) -> dict[int, str]:
    """The mends by errno: the same number means one thing on the way to the daemon, and another inside of it."""
    libvirt = bindings()
    origin = {libvirt.VIR_FROM_RPC: _ON_THE_WAY, libvirt.VIR_FROM_CGROUP: _CONTROL_GROUPS}
    return origin.get(error.get_error_domain(), {}) | _RESOURCES


_MENDS = {
    ("VIR_ERR_AUTH_FAILED", "VIR_ERR_AUTH_DENIED", "VIR_ERR_AUTH_UNAVAILABLE", "VIR_ERR_AUTH_CANCELLED"): _JOIN,
    ("VIR_ERR_ACCESS_DENIED",): _JOIN,
    ("VIR_ERR_NO_CONNECT", "VIR_ERR_CONFIG_UNSUPPORTED", "VIR_ERR_NO_SUPPORT"): (
        "install libvirt's QEMU driver and QEMU: apt install libvirt-daemon-system qemu-system-x86,"
        " or dnf install libvirt-daemon-kvm qemu-kvm"
    ),
    ("VIR_ERR_INVALID_CONN", "VIR_ERR_RPC"): f"the connection broke; {_START}",
    ("VIR_ERR_NO_NETWORK",): "create the site's networks: pragma init",
    ("VIR_ERR_NO_MEMORY",): "the host has not enough free memory: stop something, or use less with mem=MB",
    ("VIR_ERR_OPERATION_TIMEOUT", "VIR_ERR_AGENT_UNRESPONSIVE"): "the host is busy: repeat in a while",
}

_ON_THE_WAY = {
    errno.ENOENT: _START,
    errno.ECONNREFUSED: _START,
    errno.EACCES: _JOIN,
    errno.EPERM: _JOIN,
}
_CONTROL_GROUPS = dict.fromkeys(
    (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS),
    "libvirtd cannot use the host's control groups: look whether they are mounted as when it was started"
    " (findmnt -R /sys/fs/cgroup), mount them again, or restart libvirtd",
)
_RESOURCES = {
    errno.ENOSPC: "free some disk space on the host",
    errno.ENOMEM: "the host has not enough free memory: stop something, or use less with mem=MB",
}
