"""Who is what in an overlay: keys, addresses and peers of a cluster's nodes, of the hub's and of one that joins. Pure.

Hub and spokes: the hub's frontend knows every slot before anybody has it, all other nodes know the hub's frontend
alone, and it passes packets on. So clusters join without anything being changed at the hub (guest.md 6.7).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from pragma_boot.errors import UsageError
from pragma_boot.model import (
    PRIVATE,
    PUBLIC,
    Allocation,
    NodeName,
    OverlayMember,
    OverlayPeer,
    overlay_name,
)
from pragma_boot.network.overlay import addresses, keys
from pragma_boot.network.overlay.information import PORT, JoinInformation

OVERHEAD = 80
"""Bytes that WireGuard adds to a packet over IPv6; over IPv4 they are 60."""

KEEPALIVE = 25
"""Seconds: shorter than the memory of any usual address translation for UDP."""

Members = Mapping[NodeName, OverlayMember]


def found(
    allocation: Allocation,
    network: IPv4Network,
    *,
    slots: int = addresses.SLOTS,
    entropy: keys.Entropy = secrets.token_bytes,
) -> tuple[JoinInformation, Members]:
    """A new overlay of addresses in *network* with that cluster as its hub: what to publish, and its own nodes' parts.

    Raises UsageError when *network* has not room for *slots* beside the cluster's own nodes.
    """
    own = addresses.own_addresses(network, len(allocation.computes), slots)
    seed, preshared = keys.new_seed(entropy), keys.new_preshared(entropy)
    pairs = {node.name: keys.new_key(entropy) for node in allocation.nodes}
    placed = {allocation.frontend.name: addresses.hub_address(network)}
    placed |= {node.name: address for node, address in zip(allocation.computes, own, strict=True)}
    private = {node.name: f"{node.nic(PRIVATE).address.ip}:{PORT}" for node in allocation.nodes}
    frontend = allocation.frontend.name
    known = [
        OverlayPeer(keys.slot_key(seed, slot).public, preshared, _host(addresses.slot_address(network, slot)))
        for slot in range(1, slots + 1)
    ]
    known += [
        OverlayPeer(pairs[node.name].public, preshared, _host(placed[node.name]), private[node.name])
        for node in allocation.computes
    ]
    hub = OverlayPeer(pairs[frontend].public, preshared, network, private[frontend])
    members = {
        name: OverlayMember(
            _in(network, placed[name]), pair.private, tuple(known) if name == frontend else (hub,), PORT
        )
        for name, pair in pairs.items()
    }
    information = JoinInformation(
        network=network,
        hub=allocation.public_ip,
        hub_key=pairs[frontend].public,
        preshared=preshared,
        seed=seed,
        slots=slots,
        mtu=allocation.frontend.nic(PUBLIC).mtu - OVERHEAD,
        names={address: overlay_name(allocation.cluster, name) for name, address in placed.items()},
    )
    return information, members


def join(allocation: Allocation, information: JoinInformation, slots: Sequence[int]) -> Members:
    """The parts of a cluster's nodes that have got these *slots*, in the nodes' order.

    Raises UsageError for a slot that the overlay has not.
    """
    network = information.network
    hub = OverlayPeer(
        information.hub_key,
        information.preshared,
        network,
        f"{information.hub}:{information.port}",
        KEEPALIVE,
    )
    if wrong := [slot for slot in slots if not 1 <= slot <= information.slots]:
        raise UsageError(
            f"the overlay has no slot {wrong[0]}: it has {information.slots}",
            resolution="choose another first= in the URL, or boot fewer nodes",
        )
    return {
        node.name: OverlayMember(
            _in(network, addresses.slot_address(network, slot)), keys.slot_key(information.seed, slot).private, (hub,)
        )
        for node, slot in zip(allocation.nodes, slots, strict=True)
    }


def names_seed(seed: bytes) -> bytes:
    """From an overlay's seed, that of the ssh key by which frontends tell the hub their names: 32 bytes, secret."""
    return hmac.digest(seed, b"names", hashlib.sha256)


def _in(network: IPv4Network, address: IPv4Address) -> IPv4Interface:
    return IPv4Interface((address, network.prefixlen))


def _host(address: IPv4Address) -> IPv4Network:
    return IPv4Network(address)
