"""Addresses of an overlay: which network it takes, and who has which address in it. Pure.

The hub's frontend has the first host address, slot *i* the one *i* after it; the hub's own computes, which need no
slots, descend from the network's last host address.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Address, IPv4Network

from pragma_boot.errors import CapacityError, UsageError

SITE_WIDE = IPv4Network("172.16.0.0/12")
"""Where overlays take their networks: of the private ranges the one that sites use least."""

PREFIX = 22
SLOTS = 64
"""Slots of a new overlay, unless its hub says otherwise."""

Choose = Callable[[Sequence[IPv4Network]], IPv4Network]


def choose_network(avoid: Collection[IPv4Network], choose: Choose = secrets.choice) -> IPv4Network:
    """A random /22 of 172.16.0.0/12 that overlaps none of *avoid* (networks that the site or its nodes use).

    Random, so that two overlays that one site joins rarely have the same. choose: picks one of the free networks.
    Raises CapacityError when all are avoided.
    """
    free = [one for one in SITE_WIDE.subnets(new_prefix=PREFIX) if not any(one.overlaps(other) for other in avoid)]
    if not free:
        raise CapacityError(
            f"no /{PREFIX} of {SITE_WIDE} is free for an overlay",
            resolution="set overlay_cidr to a network that your sites do not use",
        )
    return choose(free)


def hub_address(network: IPv4Network) -> IPv4Address:
    """The hub's frontend's address: the first host address."""
    return network.network_address + 1


def slot_address(network: IPv4Network, slot: int) -> IPv4Address:
    """The address of a slot; slots count from 1. ValueError for a number that no slot has there."""
    address = hub_address(network) + slot
    if slot < 1 or address >= network.broadcast_address:
        raise ValueError(f"{network} has no slot {slot}")
    return address


def own_addresses(network: IPv4Network, count: int, slots: int = SLOTS) -> tuple[IPv4Address, ...]:
    """Addresses of the hub's own *count* computes: downwards from the network's last host address.

    Raises UsageError when the network has not room for them beside the hub and its *slots*.
    """
    room = network.num_addresses - 3 - slots  # network, broadcast, hub
    if count > room:
        raise UsageError(
            f"the overlay's network {network} has room for {max(room, 0)} compute nodes beside {slots} slots,"
            f" not for {count}",
            resolution="set overlay_cidr to a larger network",
        )
    return tuple(network.broadcast_address - 1 - step for step in range(count))
