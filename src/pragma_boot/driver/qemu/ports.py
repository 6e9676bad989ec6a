"""Ports of loopback addresses that clusters are reached at: free ones, and never the same for two clusters.

Users of one machine know nothing of each other's sites. So a port is *claimed*, before anything listens there, by a
name among the abstract Unix sockets, which all users of a network namespace share as they share its loopback; the
kernel gives a name to one process only and takes it back when that ends.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from pragma_boot.errors import DriverError

_LISTENERS = Path("/proc/net/tcp")
_NAMES = Path("/proc/net/unix")
_LISTEN = "0A"
_NAME = "pragma_boot/{}:{}"
_CLAIM = re.compile(r"@pragma_boot/([0-9.]+):\d+$")
_PRIVILEGED = 1024
_EPHEMERAL = 32768
"""From here on the kernel gives ports to outgoing connections."""
_SHIFT, _STEP = 10_000, 1000


@dataclass(frozen=True)
class Claims:
    """Ports that are ours while *held* is open: guest port → outside port."""

    ports: Mapping[int, int]
    held: tuple[socket.socket, ...]


@contextlib.contextmanager
def claim(address: IPv4Address, wanted: Iterable[int], before: Mapping[int, int]) -> Iterator[Claims]:
    """Claim a free port of *address* for each guest port; whoever inherits `Claims.held` goes on holding them.

    before: what was chosen earlier, and is taken again where it is free. Raises DriverError when nothing is free, or
    the address is none of this machine's.
    """
    with contextlib.ExitStack() as stack:
        chosen: dict[int, int] = {}
        held = []
        for inside in wanted:
            first = [before[inside]] if inside in before else []
            for outside in itertools.chain(first, _candidates(inside)):
                name = _claimed(address, outside) if outside not in chosen.values() else None
                if name:
                    stack.enter_context(contextlib.closing(name))
                    if is_free(address, outside):
                        chosen[inside] = outside
                        held.append(name)
                        break
            else:
                raise DriverError(
                    f"no port of {address} is free for port {inside} of the frontend",
                    resolution="name other addresses in public_ips, or clean clusters that are no longer needed",
                )
        yield Claims(chosen, tuple(held))


def is_free(address: IPv4Address, port: int) -> bool:
    """Whether nobody listens there just now. Raises DriverError for an address that is not this machine's."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have just ended do not count
        try:
            probe.bind((str(address), port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise DriverError(
                    f"{address} is no address of this machine",
                    details=error.strerror,
                    resolution="name addresses of the loopback network in public_ips; in a network namespace of your"
                    " own, start that first: ip link set lo up",
                ) from error
            return False
    return True


def used_addresses(listeners: Path = _LISTENERS, names: Path = _NAMES) -> frozenset[IPv4Address]:
    """The addresses of this machine that somebody listens at, or has claimed a port of; whoever it is."""
    found = set()
    for line in _lines(listeners)[1:]:
        words = line.split()
        if len(words) > 3 and words[3] == _LISTEN:
            found.add(IPv4Address(bytes.fromhex(words[1].partition(":")[0])[::-1]))
    for line in _lines(names):
        claimed = _CLAIM.search(line)
        if claimed:
            with contextlib.suppress(ValueError):
                found.add(IPv4Address(claimed[1]))
    return frozenset(found - {IPv4Address(0)})


def _candidates(inside: int) -> Iterator[int]:
    """Ports to try: the guest's own where anybody may have it, else that plus 10000; then further ones."""
    first = inside if inside >= _PRIVILEGED else inside + _SHIFT
    yield first
    yield from range(first + _STEP, _EPHEMERAL, _STEP)
    yield from range(_SHIFT, _EPHEMERAL)


def _claimed(address: IPv4Address, port: int) -> socket.socket | None:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind("\0" + _NAME.format(address, port))
    except OSError:
        made.close()
        return None
    return made


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
