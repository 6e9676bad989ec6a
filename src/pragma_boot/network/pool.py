"""Choosing from pools: addresses, VLANs and MACs. Pure: what is taken comes in, what to take goes out."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Interface

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


def new_mac(taken: Collection[Mac], random: Callable[[int], bytes] = secrets.token_bytes) -> Mac:
    """A locally administered MAC that is not *taken*; *random* gives that many bytes."""
    while True:
        mac = Mac(":".join([MAC_PREFIX, *(f"{byte:02x}" for byte in random(3))]))
        if mac not in taken:
            return mac


def compute_addresses(frontend: IPv4Interface, count: int) -> tuple[IPv4Interface, ...]:
    """Private addresses of *count* compute nodes: downwards from the network's last host address.

    With the default 10.1.1.1/16 these are 10.1.255.254, 10.1.255.253, … (guest.md 3.1). The frontend's own address is
    left out. Raises CapacityError when the network is too small.
    """
    network = frontend.network
    last = int(network.broadcast_address) - 1
    free = network.num_addresses - 3  # network, broadcast, frontend
    if count > free:
        raise CapacityError(
            f"the private network {network} has room for {max(free, 0)} compute nodes, not for {count}",
            resolution="set a larger 'private_network', or more 'cpus_per_node'",
        )
    candidates = (IPv4Address(last - step) for step in range(count + 1))
    chosen = [address for address in candidates if address != frontend.ip][:count]
    return tuple(IPv4Interface((address, network.prefixlen)) for address in chosen)
