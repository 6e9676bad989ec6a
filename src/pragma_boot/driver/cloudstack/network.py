"""A cluster's private network, and the public one that an account's clusters share (cloudstack.md c.2)."""

from __future__ import annotations

import itertools
import logging
import uuid
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from pragma_boot.driver.cloudstack import names, reading
from pragma_boot.driver.cloudstack.cloud import Cloud
from pragma_boot.driver.cloudstack.crew import Task, carried_out, done_once
from pragma_boot.driver.cloudstack.reading import Net
from pragma_boot.errors import CapacityError, DriverError
from pragma_boot.model import ClusterName, Plan

_log = logging.getLogger(__name__)

_TRIES = 256
_FIRST_COMPUTE = 10
"""Computes have addresses from the tenth on: whoever reads them sees which is which."""
_LARGEST = 22
"""The shortest prefix that users may ask for, by default."""


def private(cloud: Cloud, plan: Plan, public: Net) -> Net:
    """The cluster's private network, made if it is not there. Raises DriverError or CapacityError."""
    found = find_private(cloud, plan.cluster)
    if found is None:
        note = cloud.journal.note(plan.cluster, nonce=uuid.uuid4().hex)
        text = _text(plan.cluster, note.nonce)
        wanted = _free(plan, public, [net.cidr for net in reading.networks(cloud.client) if net.cidr])

        def look() -> dict[str, Any] | None:
            return next((row for row in _rows(cloud) if row.get("displaytext") == text), None)

        answer = done_once(
            cloud.client,
            "createNetwork",
            look,
            name=f"pragma-{plan.cluster}-private",
            displaytext=text,
            networkofferingid=cloud.offering.id,
            zoneid=cloud.zone_id,
            gateway=str(wanted[1]),
            netmask=str(wanted.netmask),
        )
        found = reading.network(answer.get("network", answer))
    cloud.journal.note(plan.cluster, private=found.id)
    return found


def find_private(cloud: Cloud, cluster: ClusterName) -> Net | None:
    """The cluster's private network, by the journal, its tags, or what stands in its description."""
    note = cloud.journal.read(cluster)
    if note and note.private:
        return cloud.network(note.private)
    tagged = [net for net in cloud.networks(cluster) if net.tags.get(names.ROLE) == names.PRIVATE_NET]
    if tagged:
        return tagged[0]
    if note and note.nonce:
        text = _text(cluster, note.nonce)
        return next((net for net in reading.networks(cloud.client) if net.text == text), None)
    return None


def public(cloud: Cloud) -> Net:
    """The network of the public side: what the settings name, else the account's `public`, made if it is not there.

    To be called with `Cloud.alone`. Raises DriverError.
    """
    found = find_public(cloud)
    if found:
        return found
    text = f"pragma public network, {cloud.owner} {uuid.uuid4().hex}"

    def look() -> dict[str, Any] | None:
        return next((row for row in _rows(cloud) if row.get("displaytext") == text), None)

    answer = done_once(
        cloud.client,
        "createNetwork",
        look,
        name=names.PUBLIC,
        displaytext=text,
        networkofferingid=cloud.offering.id,
        zoneid=cloud.zone_id,
    )
    made = reading.network(answer.get("network", answer))
    _log.info("made the network %s, %s", made.name, made.id)
    return made


def find_public(cloud: Cloud) -> Net | None:
    """The network of the public side. Raises DriverError when the settings name one that cannot be it."""
    wanted = cloud.settings.public_network
    rows = [net for net in reading.networks(cloud.client, zoneid=cloud.zone_id) if net.name or net.id]
    if wanted:
        named = [net for net in rows if wanted in (net.id, net.name)]
        if len(named) != 1 or named[0].kind not in ("Isolated", "Shared"):
            raise DriverError(
                f"public_network {wanted!r} is {'no isolated or shared network' if named else 'not there'}"
                if len(named) < 2
                else f"there are {len(named)} networks {wanted!r}",
                details="networks: " + ", ".join(sorted(f"{net.name} ({net.id})" for net in rows)),
                resolution="set public_network in cloudstack.conf to the name or id of one",
            )
        return named[0]
    own = [net for net in rows if net.name == names.PUBLIC and net.kind == "Isolated"]
    return min(own, key=lambda net: (net.tags.get(names.OWNER) != cloud.owner, net.id), default=None)


def is_ours(cloud: Cloud, net: Net) -> bool:
    """Whether this site made the public network (and may so remove it)."""
    return net.tags.get(names.OWNER) == cloud.owner or net.text.startswith(f"pragma public network, {cloud.owner} ")


def open_public(cloud: Cloud, net: Net) -> Task[None]:
    """Tag a public network of ours, and let nodes reach out through it where nothing may by default.

    To be called with `Cloud.alone`. A rule *allows* there; where everything may reach out by default it would block
    (cloudstack.md b.18).
    """
    if net.kind != "Isolated":
        return
    if not is_ours(cloud, net):
        if not net.allows and not _egress(cloud, net):
            _log.warning("network %s lets nothing out, and it is not ours to change", net.name)
        return
    if names.ROLE not in net.tags:
        mark = [{"key": names.OWNER, "value": cloud.owner}, {"key": names.ROLE, "value": names.PUBLIC_NET}]
        yield from cloud.tag("Network", [net.id], mark)
    if not net.allows and "Firewall" in cloud.offering.services and not _egress(cloud, net):
        yield from carried_out(
            cloud.client,
            "createEgressFirewallRule",
            lambda: next(iter(_egress(cloud, net)), None),
            networkid=net.id,
            protocol="all",
        )


def private_addresses(plan: Plan, net: Net) -> list[IPv4Interface]:
    """Each node's address in the private network: the frontend's is the plan's, computes have those from .10 on.

    Raises CapacityError.
    """
    assert net.cidr
    cidr, length = net.cidr, net.cidr.prefixlen
    offset = int(plan.private_network.ip) - int(plan.private_network.network.network_address)
    frontend = cidr[offset] if 1 < offset < cidr.num_addresses - 1 else cidr[2]
    taken = {frontend, net.gateway}
    last = cidr.num_addresses - 1
    free = (cidr[number] for number in range(_FIRST_COMPUTE, last) if cidr[number] not in taken)
    computes = list(itertools.islice(free, len(plan.computes)))
    if len(computes) < len(plan.computes):
        raise _too_small(plan, cidr)
    return [IPv4Interface((address, length)) for address in (frontend, *computes)]


def _free(plan: Plan, public: Net, taken: list[IPv4Network]) -> IPv4Network:
    """The plan's network or the first after it that nobody else has; it never lies over the public one."""
    length = plan.private_network.network.prefixlen
    while length > 8 and (1 << (32 - length)) < len(plan.nodes) + _FIRST_COMPUTE + 2:
        length -= 1
    if length < _LARGEST:
        length = max(length, min(_LARGEST, 32 - (len(plan.nodes) + _FIRST_COMPUTE + 1).bit_length()))
    first = None
    for net in itertools.islice(_from(plan.private_network.network, length), _TRIES):
        if public.cidr and net.overlaps(public.cidr):
            continue
        if not _overlaps(net, taken):
            return net
        first = first or net  # others may have it, too: only the frontend is in two networks
    if first is None:
        raise _too_small(plan, plan.private_network.network)
    return first


def _from(first: IPv4Network, length: int) -> Iterator[IPv4Network]:
    start = int(IPv4Network((first.network_address, length), strict=False).network_address)
    for number in itertools.count():
        address = start + (number << (32 - length))
        if address >= 1 << 32:
            return
        yield IPv4Network((IPv4Address(address), length))


def _overlaps(net: IPv4Network, others: Iterable[IPv4Network]) -> bool:
    return any(net.overlaps(other) for other in others)


def _too_small(plan: Plan, network: IPv4Network) -> CapacityError:
    return CapacityError(
        f"the private network {network} has no room for {len(plan.nodes)} nodes",
        resolution="set a larger private_network in cloudstack.conf, or ask for fewer and larger nodes",
    )


def _text(cluster: ClusterName, nonce: str) -> str:
    return f"pragma cluster {cluster}, {nonce}"


def _rows(cloud: Cloud) -> list[dict[str, Any]]:
    return cloud.client.rows("listNetworks", "network")


def _egress(cloud: Cloud, net: Net) -> list[dict[str, Any]]:
    return cloud.client.rows("listEgressFirewallRules", "firewallrule", networkid=net.id)
