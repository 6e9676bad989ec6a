"""How a frontend is reached: by an address of its own, else by ports of the public network's (cloudstack.md c.2)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from pragma_boot.driver.cloudstack import names, reading
from pragma_boot.driver.cloudstack.client import ApiError
from pragma_boot.driver.cloudstack.cloud import Cloud
from pragma_boot.driver.cloudstack.crew import Task, carried_out, done_once
from pragma_boot.driver.cloudstack.reading import Address, Machine, Net
from pragma_boot.errors import CapacityError, DriverError
from pragma_boot.model import ClusterName

_log = logging.getLogger(__name__)

_NONE_LEFT = (533, 535)
_CONFLICT = 537
_OTHER_PORTS = 20000
"""Where another cluster has a port already, ours is that much higher, or the next that is free."""


@dataclass(frozen=True, slots=True)
class Outside:
    """Where a frontend is reached. ports: as in `Allocation`. own: the id of an address that it has for itself."""

    ip: IPv4Address
    ports: Mapping[int, int] = field(default_factory=dict)
    own: str = ""


def address(cloud: Cloud, cluster: ClusterName, net: Net) -> Task[Address | None]:
    """An address for this cluster alone, tagged and with its ports open; None where there is none to be had.

    The first address of a network becomes its source NAT, which all its clusters share: that stays with the network.
    """
    if net.kind != "Isolated" or "StaticNat" not in cloud.offering.services:
        return None
    found = next(iter(_known(cloud, cluster)), None)
    if found is None:
        try:
            found = yield from _take(cloud, cluster, net)
        except ApiError as error:
            if error.code not in _NONE_LEFT:
                raise
            _log.info("no address is left for %s alone: %s", cluster, error.text)
            cloud.journal.note(cluster, before=None)
            return None
    cloud.journal.note(cluster, address=found.id, before=None)
    if names.OWNER not in found.tags:
        marks = names.marks(cluster, cloud.owner, names.PUBLIC_IP)
        yield from cloud.tag("PublicIpAddress", [found.id], marks)
    for port in cloud.settings.ports if "Firewall" in cloud.offering.services else ():
        yield from _open(cloud, found, port)
    return found


def source_nat(cloud: Cloud, net: Net) -> Task[None]:
    """Have the network hold its own address before anybody asks for one, and so that a shortage shows now.

    To be called with `Cloud.alone` where others use the network. Raises CapacityError.
    """
    if "SourceNat" not in cloud.offering.services or _source_nat(cloud, net):
        return
    try:
        yield from carried_out(
            cloud.client, "associateIpAddress", lambda: _row(_source_nat(cloud, net)), networkid=net.id
        )
    except ApiError as error:
        if error.code not in _NONE_LEFT:
            raise
        raise CapacityError(
            f"the cloud has no public address for network {net.name}",
            details=error.text,
            resolution="clean clusters that are no longer needed, or have the account's limit raised",
        ) from error


def translate(cloud: Cloud, found: Address, frontend: Machine) -> Outside:
    """Lead an address to the frontend. Raises DriverError."""

    def there() -> dict[str, Any] | None:
        now = cloud.address(found.id)
        return {} if now and now.machine == frontend.id else None

    if there() is None:
        done_once(cloud.client, "enableStaticNat", there, ipaddressid=found.id, virtualmachineid=frontend.id)
    return Outside(found.ip, own=found.id)


def forward(cloud: Cloud, net: Net, frontend: Machine) -> Task[Outside]:
    """Lead ports of the network's own address to the frontend: the same where they are free, else others."""
    shared = _source_nat(cloud, net)
    if shared is None or "PortForwarding" not in cloud.offering.services:
        raise CapacityError(
            "the cloud has no public address left",
            resolution="clean clusters that are no longer needed, or have the account's limit raised",
        )
    ports: dict[int, int] = {}
    for port in cloud.settings.ports:
        ports[port] = yield from _forward_one(cloud, shared, frontend, port)
    return Outside(shared.ip, {inner: outer for inner, outer in ports.items() if inner != outer})


def forwarded(cloud: Cloud, shared: Address, machine: str) -> list[dict[str, Any]]:
    """The port forwarding rules of an address that lead to a machine."""
    return [row for row in _rules(cloud, shared) if row.get("virtualmachineid") == machine]


def shared_address(cloud: Cloud, net: Net) -> Address | None:
    """The public network's own address."""
    return _source_nat(cloud, net)


def strays(cloud: Cloud, net: str, before: tuple[str, ...]) -> list[Address]:
    """Addresses that came to a network after *before* was looked up, and that nobody has claimed."""
    noted = cloud.journal.addresses()
    return [
        each
        for each in reading.addresses(cloud.client, associatednetworkid=net)
        if not (each.source_nat or each.id in before or each.id in noted or names.OWNER in each.tags)
    ]


def is_still_of(cloud: Cloud, cluster: ClusterName, noted: Address) -> bool:
    """Whether an address that the cluster's note names is the cluster's yet: its id stays when others get it."""
    if names.OWNER in noted.tags:
        return names.is_ours(noted.tags, cluster, cloud.owner)
    return noted.id not in cloud.journal.addresses(but=cluster)


def _known(cloud: Cloud, cluster: ClusterName) -> list[Address]:
    note = cloud.journal.read(cluster)
    noted = cloud.address(note.address) if note and note.address else None
    return [noted] if noted and is_still_of(cloud, cluster, noted) else cloud.addresses(cluster)


def _take(cloud: Cloud, cluster: ClusterName, net: Net) -> Task[Address]:
    """Ask for an address. One cluster of the site does so at a time: an answer that is lost tells nobody's name."""
    with cloud.alone():
        before = tuple(each.id for each in reading.addresses(cloud.client, associatednetworkid=net.id))
        cloud.journal.note(cluster, before=before)

        def look() -> dict[str, Any] | None:
            found = strays(cloud, net.id, before)
            return _row(found[0]) if len(found) == 1 else None

        def noted(ident: str) -> None:
            cloud.journal.note(cluster, address=ident)

        result = yield from carried_out(cloud.client, "associateIpAddress", look, made=noted, networkid=net.id)
    row = result.get("ipaddress")
    found = reading.address(row if isinstance(row, dict) else result)
    if found is None or found.source_nat:
        raise DriverError("the cloud gave no address that can be translated", resolution="repeat")
    return found


def _open(cloud: Cloud, found: Address, port: int) -> Task[None]:
    def there() -> dict[str, Any] | None:
        rows = cloud.client.rows("listFirewallRules", "firewallrule", ipaddressid=found.id)
        return next((row for row in rows if str(row.get("startport")) == str(port)), None)

    try:
        yield from carried_out(
            cloud.client,
            "createFirewallRule",
            there,
            ipaddressid=found.id,
            protocol="tcp",
            startport=port,
            endport=port,
            cidrlist="0.0.0.0/0",
        )
    except ApiError as error:
        if error.code != _CONFLICT or there() is None:
            raise


def _forward_one(cloud: Cloud, shared: Address, frontend: Machine, port: int) -> Task[int]:
    mine = next(
        (row for row in forwarded(cloud, shared, frontend.id) if str(row.get("privateport")) == str(port)), None
    )
    if mine:
        return int(mine["publicport"])
    for wanted in _candidates(port, {str(row.get("publicport")) for row in _rules(cloud, shared)}):

        def there(wanted: int = wanted) -> dict[str, Any] | None:
            rows = forwarded(cloud, shared, frontend.id)
            return next((row for row in rows if str(row.get("publicport")) == str(wanted)), None)

        try:
            yield from carried_out(
                cloud.client,
                "createPortForwardingRule",
                there,
                ipaddressid=shared.id,
                protocol="tcp",
                privateport=port,
                publicport=wanted,
                virtualmachineid=frontend.id,
                openfirewall=True,
            )
            return wanted
        except ApiError as error:
            if error.code != _CONFLICT:
                raise
    raise CapacityError(f"all ports of {shared.ip} are in use", resolution="clean clusters that are no longer needed")


def _candidates(port: int, taken: set[str]) -> Iterator[int]:
    others = range(port + _OTHER_PORTS, min(port + _OTHER_PORTS + 2000, 65536))
    return (wanted for wanted in (port, *others) if str(wanted) not in taken)


def _rules(cloud: Cloud, shared: Address) -> list[dict[str, Any]]:
    return cloud.client.rows("listPortForwardingRules", "portforwardingrule", ipaddressid=shared.id)


def _source_nat(cloud: Cloud, net: Net) -> Address | None:
    found = reading.addresses(cloud.client, associatednetworkid=net.id)
    return next((each for each in found if each.source_nat), None)


def _row(found: Address | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"id": found.id, "ipaddress": str(found.ip), "associatednetworkid": found.network,
            "issourcenat": found.source_nat}  # fmt: skip
