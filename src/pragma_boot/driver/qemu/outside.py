"""The public side of a frontend: the way out and the forwarded ports, as the user's own processes have them.

QEMU's own network (slirp), or passt where QEMU was built without it, or where the site says so. Both translate
addresses: every frontend has the same one inside, and connections to its outside address's ports are passed on to it.

passt has no way from a guest to the services of this machine's loopback; slirp has, through the gateway's address. But
passt passes connections on to the address that it saw the guest send from last. A frontend forwards for its computes,
and some of their packets leave it untranslated (before its rules are loaded, or those that belong to no connection):
then its port 22 is a compute's.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from pragma_boot.run import run, which

AUTO, PASST, SLIRP = "auto", "passt", "slirp"
_START_LIMIT = 20.0


@dataclass(frozen=True, slots=True)
class Side:
    """What a frontend sees outside: its own address there, the gateway, and the resolver that is translated."""

    inside: IPv4Interface
    gateway: IPv4Address
    resolver: IPv4Address


def available(qemu: Path) -> Sequence[str]:
    """Which of the two there are on this machine, the better first."""
    helped = run([qemu, "-netdev", "help"], check=False, timeout=30)
    return [SLIRP] * ("user" in helped.text.split()) + [PASST] * (which("passt") is not None)


def chosen(wish: str, qemu: Path) -> str:
    """What *wish* (`auto`, `passt` or `slirp`) means on this machine."""
    return next(iter(available(qemu)), SLIRP) if wish == AUTO else wish


@contextlib.contextmanager
def backend(
    how: str, side: Side, address: IPv4Address, ports: Mapping[int, int]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """`-netdev`'s value for the public interface, and the descriptors that QEMU needs for it: open in the block.

    how: `passt` or `slirp`. Raises CommandError when passt cannot be started.
    """
    if how == SLIRP:
        yield _slirp(side, address, ports), ()
        return
    ours, theirs = socket.socketpair()
    with ours, theirs:
        run(_passt(side, address, ports, theirs.fileno()), keep=[theirs.fileno()], timeout=_START_LIMIT)
        theirs.close()
        yield f"socket,id=public,fd={ours.fileno()}", (ours.fileno(),)


def _passt(side: Side, address: IPv4Address, ports: Mapping[int, int], descriptor: int) -> list[str]:
    """passt's words; it goes to the background when all is set up, and ends with QEMU's end of its connection."""
    specs = [f"{address}/{outside}:{inside}" for inside, outside in ports.items()]
    return [
        *("passt", "--quiet", "--ipv4-only", "--fd", str(descriptor)),
        *("--address", str(side.inside.ip), "--netmask", str(side.inside.netmask), "--gateway", str(side.gateway)),
        *("--dns-forward", str(side.resolver), "--no-map-gw", "--no-dhcp"),
        *(word for spec in specs for word in ("--tcp-ports", spec)),
        *("--udp-ports", "none"),
    ]


def _slirp(side: Side, address: IPv4Address, ports: Mapping[int, int]) -> str:
    forwards = [f"hostfwd=tcp:{address}:{outside}-{side.inside.ip}:{inside}" for inside, outside in ports.items()]
    network = f"net={side.inside.network},host={side.gateway},dns={side.resolver}"
    return ",".join(["user", "id=public", "ipv6=off", network, f"dhcpstart={side.inside.ip}", *forwards])
