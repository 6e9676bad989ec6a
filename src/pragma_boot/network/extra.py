"""Further networks of the site for a cluster (`add-iface=`, `enable-ent=`): what was asked for, and what it gets. Pure.

A wish names a network and, after a colon, where its addresses begin: ``openflow:10.103.0.1/28`` begins with .1, the
frontend's; ``openflow:10.103.0.0/16``, a network as a whole, and ``openflow`` alone, with the site's own `cidr`, begin
where enough addresses in a row are free.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from pragma_boot.config.settings import SiteNetwork
from pragma_boot.errors import CapacityError, NotAvailableError, UsageError
from pragma_boot.model import ExtraNetwork, shorten
from pragma_boot.network import pool

ADD, ENT = "add-iface", "enable-ent"

NAMES = "up to 15 of a-z, 0-9 and '_', a letter first, and not lo, all, default or local"
"""What `can_name` accepts, in words."""

MOST = 8
"""Further networks of one cluster."""

_TAG = re.compile(r"[a-z][a-z0-9_]{0,14}")
_RESERVED = ("lo", "all", "default", "local")
"""Names that an interface, the kernel's settings of interfaces, or hosts in every cluster have already."""

_EXAMPLE = "openflow:10.103.0.1/28"


@dataclass(frozen=True, slots=True)
class Wish:
    """One network that was asked for. start: its first address and mask, or a network as a whole; None: the site's."""

    network: str
    start: IPv4Interface | None
    option: str = ADD


def can_name(network: str) -> bool:
    """Whether nodes can be on a network of that name: it is an XML tag and an interface's name in them."""
    return _TAG.fullmatch(network) is not None and network not in _RESERVED


def wishes(options: Mapping[str, str], ent: Mapping[str, str]) -> tuple[Wish, ...]:
    """What `add-iface` and `enable-ent` among *options* ask for. ent: the setting of that name.

    Raises UsageError for what cannot be read and for a network that is named twice; NotAvailableError for ENT at a
    site without it.
    """
    found = [_wish(word.strip()) for word in options[ADD].split(",")] if ADD in options else []
    if ENT in options:
        if not ent:
            raise NotAvailableError(
                "this site has no ENT", resolution=f"boot without {ENT}=, or set 'ent' in the driver's configuration"
            )
        start = None if options[ENT] == "yes" else _start(options[ENT], ENT)
        found.append(Wish(ent["subnet_name"], start, ENT))
    names = [wish.network for wish in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(
            f"network {twice} is asked for twice", resolution="name each network once: a node has one interface on it"
        )
    if len(found) > MOST:
        raise UsageError(f"{len(found)} further networks are too many", resolution=f"name at most {MOST}")
    return tuple(found)


def check(wanted: Collection[Wish], site: Mapping[str, SiteNetwork]) -> None:
    """Raise NotAvailableError or UsageError for what can be refused without knowing which addresses are free."""
    for wish in wanted:
        network = _find(wish, site)
        block = _block(wish, network)
        if wish.start and network.cidr and not block.subnet_of(network.cidr):
            raise UsageError(
                f"{wish.start} is not within {network.cidr}, the site's addresses on {wish.network}",
                resolution=f"choose one of these, or leave it out ({ADD}={wish.network})",
            )
        if block.is_loopback or block.is_multicast or block.is_link_local or block.is_unspecified:
            raise UsageError(f"{block} holds no addresses for nodes", resolution=f"write one like {_EXAMPLE}")


def choose(
    wanted: Collection[Wish],
    site: Mapping[str, SiteNetwork],
    *,
    nodes: int,
    taken: Collection[tuple[str, IPv4Address]],
    others: Mapping[str, IPv4Network],
) -> tuple[ExtraNetwork, ...]:
    """The networks of a cluster of that many *nodes*, each with its first address; *taken* are left alone.

    others: by what they are called in a message, the networks that the nodes are on anyway.
    Raises as `check`; UsageError for a network that overlaps another of the cluster's; CapacityError when there is no
    room, or when one of the addresses that were named is taken.
    """
    check(wanted, site)
    known = dict(others)
    chosen = []
    for wish in wanted:
        network = site[wish.network]
        block = _block(wish, network)
        _check_overlap(wish, block, known)
        known[f"network {wish.network}"] = block
        held = [address for name, address in taken if name == wish.network]
        first = _first(wish, block, nodes, held)
        chosen.append(ExtraNetwork(wish.network, block, first, network.nodes_mtu))
    return tuple(chosen)


def _wish(word: str) -> Wish:
    name, colon, rest = word.partition(":")
    if not name:
        raise UsageError(f"{ADD} has a network without a name", resolution=f"write {ADD}={_EXAMPLE}")
    return Wish(name, _start(rest, ADD) if colon else None)


def _start(text: str, option: str) -> IPv4Interface:
    try:
        if "/" in text:
            return IPv4Interface(text)
    except ValueError:
        pass  # told below
    raise UsageError(
        f"{option} names no address with a prefix length: {shorten(text)!r}",
        resolution=f"give the first address and the prefix length ({_EXAMPLE})",
    )


def _find(wish: Wish, site: Mapping[str, SiteNetwork]) -> SiteNetwork:
    if wish.network not in site:
        raise NotAvailableError(
            f"this site has no network {shorten(wish.network)!r} for clusters",
            details=f"it has: {', '.join(site)}" if site else None,
            resolution=f"choose one of: {', '.join(site)}" if site else f"boot without {wish.option}=",
        )
    if not can_name(wish.network):
        raise NotAvailableError(
            f"nodes cannot be on the network {wish.network!r}: its name cannot be an interface's",
            resolution=f"name it in additional_interfaces with {NAMES}",
        )
    return site[wish.network]


def _block(wish: Wish, network: SiteNetwork) -> IPv4Network:
    if wish.start:
        return wish.start.network
    if network.cidr:
        return network.cidr
    raise UsageError(
        f"{wish.option} says no addresses, and the site has none of its own on {wish.network}",
        resolution=f"give the first address and the prefix length ({_EXAMPLE}), or set 'cidr' of {wish.network} in"
        " additional_interfaces",
    )


def _check_overlap(wish: Wish, block: IPv4Network, known: Mapping[str, IPv4Network]) -> None:
    for what, other in known.items():
        if block.overlaps(other):
            raise UsageError(
                f"{block} of network {wish.network} overlaps {other}, the cluster's {what}",
                resolution="choose other addresses: a node tells its networks apart by them",
            )


def _first(wish: Wish, block: IPv4Network, nodes: int, held: Collection[IPv4Address]) -> IPv4Address:
    """Where the cluster's addresses begin: as wished, or the first place with room."""
    free = pool.free_run(block, nodes, held)
    if wish.start is None or wish.start.ip == block.network_address:
        if free is None:
            raise CapacityError(
                f"{block} of network {wish.network} has no {nodes} free addresses in a row",
                details=f"{len(held)} addresses on {wish.network} are taken",
                resolution="boot fewer nodes, or clean clusters that are no longer needed",
            )
        return free
    first, last = wish.start.ip, int(wish.start.ip) + nodes - 1
    mend = f"begin with {free}/{block.prefixlen}" if free else "boot fewer nodes, or choose a larger network"
    if last >= int(block.broadcast_address):
        raise CapacityError(f"{wish.start} has no room for {nodes} nodes: {block} ends before", resolution=mend)
    if lost := [address for address in held if int(first) <= int(address) <= last]:
        raise CapacityError(f"{min(lost)} on network {wish.network} is taken by another cluster", resolution=mend)
    return first
