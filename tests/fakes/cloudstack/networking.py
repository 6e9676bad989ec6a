"""Networks and addresses: how they come up, what they hold, how they go."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from .errors import ApiError, bad
from .hypervisor import HypervisorError
from .jobs import Until
from .model import Address, Machine, Network, Router

if TYPE_CHECKING:
    from .cloud import Cloud
    from .registry import Work

NO_ADDRESS = "Insufficient address capacity"
ACTIVE = ("Running", "Starting", "Stopping", "Migrating")


def machines_on(cloud: Cloud, network: Network) -> list[Machine]:
    """Machines that hold a NIC of it: all that are not expunged."""
    return [one for one in cloud.state.machines.values() if not one.removed and one.nic_on(network.id)]


def addresses_of(cloud: Cloud, network: Network) -> list[Address]:
    return [one for one in cloud.state.addresses.values() if one.networkid == network.id]


def router_of(cloud: Cloud, network: Network) -> Router | None:
    return next((one for one in cloud.state.routers.values() if one.networkid == network.id), None)


def guest_ip(cloud: Cloud, network: Network, wanted: str | None) -> str | None:
    """A free address, or *wanted*; raises 530 (533 of old servers) as a shortage. None: the network gives none."""
    if network.kind == "L2":
        return None
    subnet = ipaddress.ip_network(network.cidr)
    taken = {nic.ip for one in machines_on(cloud, network) for nic in one.nics if nic.networkid == network.id}
    taken |= {network.gateway, str(subnet.network_address), str(subnet.broadcast_address)}
    if wanted is None:
        free = [str(one) for one in subnet.hosts() if str(one) not in taken]
        if free:
            return cloud.rng.choice(free)
    elif _address(wanted) in subnet and wanted not in taken:
        return wanted
    raise shortage(cloud, f"Unable to acquire Guest IP address for network {network.name}")


def shortage(cloud: Cloud, text: str) -> ApiError:
    """What an allocation that finds no room is answered."""
    if cloud.config.since("4.20"):
        return ApiError(530, text, masked=True)
    return ApiError(533, text)


def _address(text: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        raise bad(f"Invalid IP address {text}") from None


def implement(cloud: Cloud, network: Network) -> Work:
    """Wire and router come up with the first machine; the others wait for it."""
    while network.state == "Implementing":
        yield Until(lambda: network.state != "Implementing")
    if network.state == "Implemented":
        return None
    if network.removed:
        raise ApiError(530, f"Unable to find network {network.id}")
    network.state = "Implementing"
    network.stuck = network.stuck or cloud.stuck
    try:
        yield cloud.delay("implement")
        if network.stuck:
            yield Until(lambda: False)
        _bring_up(cloud, network)
    except ApiError:
        if not network.stuck:
            network.state, network.vlan = "Shutdown", None
        raise
    return None


def _bring_up(cloud: Cloud, network: Network) -> None:
    zone = cloud.state.zones[network.zoneid]
    held = {one.vlan for one in cloud.state.networks.values() if not one.removed and one.zoneid == zone.id}
    free = [vlan for vlan in zone.vlans if vlan not in held]
    if network.requested_vlan is None and not free:
        raise ApiError(533, f"Unable to allocate vnet as a part of network {network.name} implement")
    offering = cloud.state.network_offerings[network.offeringid]
    if "SourceNat" in offering.services and not any(one.sourcenat for one in addresses_of(cloud, network)):
        take(cloud, network, network.account).state = "Allocated"
    network.vlan = network.requested_vlan or cloud.rng.choice(free)
    try:
        cloud.hypervisor.network_up(network)
    except HypervisorError as error:
        raise ApiError(534, f"Unable to start the virtual router of {network.name}: {error}") from error
    if router_of(cloud, network) is None:
        router = Router(cloud.new_id(), network.id, cloud.router_ip(network))
        cloud.state.routers[router.id] = router
    network.state, network.free_since = "Implemented", None


def shut_down(cloud: Cloud, network: Network) -> None:
    """Router and wire go; the source NAT address stays."""
    router = router_of(cloud, network)
    if router is not None:
        del cloud.state.routers[router.id]
    cloud.hypervisor.network_down(network)
    network.state = "Allocated" if network.requested_vlan is None else "Setup"
    network.vlan = network.free_since = None


def take(cloud: Cloud, network: Network, account: str, wanted: str | None = None) -> Address:
    """A public address for *network*: its source NAT where it has none yet."""
    now = cloud.engine.now
    free = [
        one
        for one in cloud.state.addresses.values()
        if one.zoneid == network.zoneid
        and one.state == "Free"
        and wanted in (None, one.ip)
        and not (one.quarantine and one.quarantine[0] > now and one.quarantine[1] != account)
    ]
    if not free:
        raise ApiError(533, NO_ADDRESS if wanted is None else "Unable to find available public IP addresses")
    chosen = cloud.rng.choice(free)
    offering = cloud.state.network_offerings[network.offeringid]
    first = not any(one.sourcenat for one in addresses_of(cloud, network))
    chosen.state, chosen.account, chosen.networkid, chosen.allocated = "Allocating", account, network.id, now
    chosen.sourcenat = first and network.kind == "Isolated" and "SourceNat" in offering.services
    chosen.quarantine = []
    return chosen


def release(cloud: Cloud, address: Address) -> None:
    """The address is free again, its rules are gone; tags stay on its row."""
    for rule in [one for one in cloud.state.rules.values() if one.addressid == address.id]:
        forget_rule(cloud, rule.id)
    if cloud.config.ip_quarantine:
        address.quarantine = [cloud.engine.now + cloud.config.ip_quarantine, address.account]
    address.state, address.account, address.networkid, address.allocated = "Free", None, None, None
    address.sourcenat = address.staticnat = False
    address.vmid = address.vmip = None


def forget_rule(cloud: Cloud, ident: str) -> None:
    cloud.state.rules[ident].removed = True
    drop_tags(cloud, ident)


def drop_tags(cloud: Cloud, resourceid: str) -> None:
    for tag in [one for one in cloud.state.tags.values() if one.resourceid == resourceid]:
        del cloud.state.tags[tag.id]


def deleted(cloud: Cloud, network: Network) -> Work:
    """The job of deleteNetwork; every refusal has the same text."""
    yield cloud.delay("deleteNetwork")
    failed = ApiError(530, "Failed to delete network")
    if network.removed:
        return None
    if machines_on(cloud, network) or network.state == "Implementing":
        raise failed
    if network.state in ("Implemented", "Shutdown"):
        network.state = "Shutdown"
        yield cloud.delay("shutdown")
        if machines_on(cloud, network) or network.state != "Shutdown":  # somebody came meanwhile
            raise failed
        shut_down(cloud, network)
    for rule in [one for one in cloud.state.rules.values() if one.networkid == network.id and not one.removed]:
        forget_rule(cloud, rule.id)
    for address in addresses_of(cloud, network):
        release(cloud, address)
    drop_tags(cloud, network.id)
    network.state, network.removed = "Destroy", True
    return None


def implement_now(cloud: Cloud, network: Network) -> None:
    """As createNetwork does for an offering whose networks are always up."""
    network.state = "Implementing"
    try:
        _bring_up(cloud, network)
    except ApiError:
        network.state = "Shutdown"
        raise
