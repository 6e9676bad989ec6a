"""A cluster's part in an overlay (`enable-ipop-server=`, `enable-ipop-client=`), from the wish to its nodes' keys.

What can be refused is refused before anything is made: an image without WireGuard, a hub that never appears, networks
that overlap. What is taken at the exchange is recorded first, so that an undo, or `clean` after a kill, gives it back.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, IPv4Network

from pragma_boot.cluster import undo
from pragma_boot.cluster.site import Site
from pragma_boot.cluster.store import OverlayRecord
from pragma_boot.errors import ExchangeError, Fault, JoinInformationError, NotAvailableError, PreflightError, UsageError
from pragma_boot.model import (
    OVERLAY,
    Allocation,
    Image,
    LocalImage,
    Overlay,
    ProgressSink,
    overlay_name,
)
from pragma_boot.network.overlay import addresses, membership
from pragma_boot.network.overlay.exchange import Exchange
from pragma_boot.network.overlay.information import JoinInformation
from pragma_boot.network.overlay.opening import open_exchange
from pragma_boot.network.overlay.wait import wait_for

_log = logging.getLogger(__name__)

SERVER, CLIENT = "enable-ipop-server", "enable-ipop-client"
FEATURE = "ipop"
"""What `DriverInfo.options` calls the two."""

_TAKEN = (OVERLAY, "wg0")
"""Names that a further network must not have beside an overlay: its hosts' names, and its interface."""


@dataclass(frozen=True, slots=True)
class Joining:
    """A boot that is about to take part. information: what its hub has published, where it is not the hub itself."""

    exchange: Exchange
    information: JoinInformation | None = None


def wished(options: Mapping[str, str]) -> Exchange | None:
    """The exchange that a boot's *options* name; None where they name none.

    Raises UsageError for both options at once, and for what is no exchange's URL.
    """
    if SERVER in options and CLIENT in options:
        raise UsageError(
            f"{SERVER}= and {CLIENT}= exclude each other",
            resolution=f"a cluster founds an overlay ({SERVER}=) or joins another's ({CLIENT}=)",
        )
    url = options.get(SERVER) or options.get(CLIENT)
    return open_exchange(url) if url else None


def check(site: Site, options: Mapping[str, str], image: Image) -> None:
    """What of a boot's wish can be refused without fetching an image or waiting; changes nothing."""
    if wished(options) is None:
        return
    _check_networks(_networks(site, image), site.settings.clusters.overlay_cidr)
    local = site.repository.cached(image)
    if local:
        check_image(site, local)


def look(site: Site, options: Mapping[str, str], image: Image, progress: ProgressSink) -> Joining | None:
    """All of it: the image (it is fetched), the exchange, and, for a cluster that joins, the hub (it is waited for).

    None for a boot that names no exchange. Raises UsageError, NotAvailableError, PreflightError (the image) or
    ExchangeError.
    """
    exchange = wished(options)
    if exchange is None:
        return None
    check_image(site, site.repository.fetch(image, progress))
    if SERVER in options:
        _check_networks(_networks(site, image), site.settings.clusters.overlay_cidr)
        _check_vacant(exchange)
        return Joining(exchange)
    information = wait_for(exchange, progress, image.name, limit=site.settings.clusters.ipop_timeout)
    _check_networks(_networks(site, image), information.network)
    return Joining(exchange, information)


def check_image(site: Site, image: LocalImage) -> None:
    """Raise PreflightError with all that keeps nodes of an image out of an overlay, each with its mend."""
    from pragma_boot.image.inspect import inspect  # noqa: PLC0415 - other boots do it later
    from pragma_boot.image.wireguard import faults, with_wireguard  # noqa: PLC0415

    found: list[Fault] = []
    for source in {image.frontend, image.compute}:
        with site.disks.inspect(source) as guest:
            found += faults(guest, with_wireguard(guest, inspect(guest)))
    if found:
        raise PreflightError(
            f"nodes of the image {image.image.name} cannot be in an overlay", list(dict.fromkeys(found))
        )


def take_part(site: Site, joining: Joining | None, allocation: Allocation, steps: undo.Undo) -> Allocation:
    """The allocation with the nodes' keys and addresses, after all of it was published, or claimed.

    Raises ExchangeError, CapacityError (no free slots) or UsageError (a name that is taken); the undo gives back.
    """
    if joining is None:
        return allocation
    network = joining.information.network if joining.information else site.settings.clusters.overlay_cidr
    _check_further(allocation, network)
    steps.before(undo.leave_overlay(site, allocation.cluster))
    found = _found if joining.information is None else _join
    information, members = found(site, joining, allocation)
    from pragma_boot.image.access import derived_pair  # noqa: PLC0415 - slow to import

    overlay = Overlay(
        hub=addresses.hub_address(information.network),
        mtu=information.mtu,
        members=members,
        names_key=derived_pair(membership.names_seed(information.seed), "pragma-overlay"),
    )
    for node, member in members.items():
        _log.info("Overlay: %s has %s", overlay_name(allocation.cluster, node), member.address.ip)
    return replace(allocation, overlay=overlay)


def _found(site: Site, joining: Joining, allocation: Allocation) -> tuple[JoinInformation, membership.Members]:
    network = site.settings.clusters.overlay_cidr or addresses.choose_network(_taken(site, allocation))
    information, members = membership.found(allocation, network)
    _check_vacant(joining.exchange)  # once more: another may have come while names and hosts were chosen
    _record(site, joining, allocation, information, members)
    joining.exchange.publish(information)
    _log.info("Published how to join the overlay %s at %s", network, joining.exchange.shown)
    return information, members


def _join(site: Site, joining: Joining, allocation: Allocation) -> tuple[JoinInformation, membership.Members]:
    information = joining.information
    assert information is not None
    names = [overlay_name(allocation.cluster, node.name) for node in allocation.nodes]
    _check_names(joining, information, names)
    held = _record(site, joining, allocation, information)
    members = membership.join(allocation, information, joining.exchange.claim(held.holder, names))
    site.store.record_overlay(allocation.cluster, replace(held, addresses=_addresses(members)))
    _log.info("Joined the overlay %s of %s", information.network, joining.exchange.shown)
    return information, members


def _record(
    site: Site,
    joining: Joining,
    allocation: Allocation,
    information: JoinInformation,
    members: membership.Members | None = None,
) -> OverlayRecord:
    """Note what is about to be taken at the exchange, before it is."""
    # Another site's cluster may have both the same name and, behind address translation, the same address.
    holder = f"{allocation.cluster}@{allocation.public_ip}:{secrets.token_hex(4)}"
    held = OverlayRecord(
        ticket=joining.exchange.ticket,
        holder=holder,
        hub_key="" if joining.information else information.hub_key,
        network=information.network,
        addresses=_addresses(members or {}),
    )
    site.store.record_overlay(allocation.cluster, held)
    return held


def _addresses(members: membership.Members) -> dict[str, IPv4Interface]:
    return {name: member.address for name, member in members.items()}


def _check_vacant(exchange: Exchange) -> None:
    """Refuse to take another hub's place: who has joined it would be cut off from who joins later."""
    try:
        there = exchange.fetch()
    except JoinInformationError:
        return  # something older, of another program perhaps; it is replaced
    if there:
        raise ExchangeError(
            f"another cluster has published its overlay {there.network} at {exchange.shown}",
            resolution="choose another URL, or clean the cluster that is its hub; if that is gone without a trace,"
            " remove what is published there",
        )


def _check_names(joining: Joining, information: JoinInformation, names: Collection[str]) -> None:
    known = {*information.names.values(), *(member.name for member in joining.exchange.members().values())}
    if taken := known.intersection(names):
        raise UsageError(
            f"the overlay has another node called {min(taken)}", resolution="give the cluster another name (name=)"
        )


def _check_further(allocation: Allocation, overlay: IPv4Network | None) -> None:
    """Refuse networks of the cluster that do not go with an overlay, as far as only an allocation shows them."""
    names = {nic.network for nic in allocation.frontend.nics}
    if wrong := names.intersection(_TAKEN):
        raise NotAvailableError(
            f"a node cannot be in an overlay and on the network {min(wrong)}: the names clash",
            resolution="leave one of the two out, or rename the network in additional_interfaces",
        )
    _check_networks({f"network {nic.network}": nic.address.network for nic in allocation.frontend.nics}, overlay)


def _check_networks(networks: Mapping[str, IPv4Network], overlay: IPv4Network | None) -> None:
    for what, network in networks.items():
        if overlay and overlay.overlaps(network):
            raise NotAvailableError(
                f"the overlay's network {overlay} overlaps {network}, the {what} of this site",
                resolution="have the overlay's hub booted with another 'overlay_cidr', or change the site's network",
            )


def _networks(site: Site, image: Image) -> dict[str, IPv4Network]:
    """All networks that nodes of this site may be on, by what they are called in a message."""
    settings = site.settings.clusters
    private = image.private_network or settings.private_network
    found = {"private network": private.network, "public network": site.driver.public_side().network}
    return found | {f"network {name}": network.cidr for name, network in settings.networks.items() if network.cidr}


def _taken(site: Site, allocation: Allocation) -> tuple[IPv4Network, ...]:
    """All networks that a new overlay of this site leaves alone."""
    further = (network.cidr for network in site.settings.clusters.networks.values() if network.cidr)
    return (*further, *(nic.address.network for nic in allocation.frontend.nics))
