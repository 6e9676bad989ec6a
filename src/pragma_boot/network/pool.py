"""Choosing from pools: addresses, VLANs and MACs. Pure: what is taken comes in, what to take goes out."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network

from pragma_boot.errors import CapacityError
from pragma_boot.model import Mac

MAC_PREFIX = "52:54:00"
"""QEMU's prefix; the locally administered bit (0x02 of the first byte) is set in it."""


def free_addresses(pool: Iterable[IPv4Address], taken: Collection[IPv4Address]) -> Iterator[IPv4Address]:
    """The pool's addresses that nobody holds, in the pool's order."""
    return (address for address in pool if address not in taken)


def free_vlan(pool: Collection[int], taken: Collection[int]) -> int:
    """The first VLAN id of *pool* that is not *taken*. Raises CapacityError when all are."""
    for vlan in pool:
        if vlan not in taken:
            return vlan
    raise CapacityError(
        f"all {len(pool)} VLANs of the site are in use",
        resolution="clean a cluster that is no longer needed ('pragma list cluster'), or add ids to 'vlans'",
    )


def free_run(network: IPv4Network, count: int, taken: Iterable[IPv4Address]) -> IPv4Address | None:
    """The lowest host address of *network* that begins *count* free ones in a row; None when there are not so many."""
    start, last = int(network.network_address) + 1, int(network.broadcast_address) - 1
    for held in sorted(int(address) for address in taken if address in network):
        if held - start >= count:
            break
        start = max(start, held + 1)
    return IPv4Address(start) if start + count - 1 <= last else None


def new_mac(taken: Collection[Mac], random: Callable[[int], bytes] = os.urandom) -> Mac:
    """A locally administered MAC that is not *taken*; *random* gives that many bytes."""
    while True:
        mac = Mac(":".join([MAC_PREFIX, *(f"{byte:02x}" for byte in random(3))]))
        if mac not in taken:
            return mac
