"""Who can talk to whom: NAT, firewall and egress rules as packets would feel them."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from .hypervisor import Forward
from .model import Address, Machine, Network, Rule

if TYPE_CHECKING:
    from .cloud import Cloud

ELSEWHERE = "198.51.100.7"


def _covers(rule: Rule, protocol: str, port: int | None) -> bool:
    if rule.protocol not in (protocol, "all"):
        return False
    return rule.start is None or port is None or rule.start <= port <= (rule.end or rule.start)


def _within(ip: str, cidrs: list[str]) -> bool:
    return "0.0.0.0/0" in cidrs or any(ipaddress.ip_address(ip) in ipaddress.ip_network(one) for one in cidrs)


def _rules(cloud: Cloud, kind: str) -> list[Rule]:
    return [one for one in cloud.state.rules.values() if one.kind == kind and one.state == "Active" and not one.removed]


def can_reach(cloud: Cloud, machine: Machine, destination: str, protocol: str = "tcp", port: int | None = None) -> bool:
    """Whether a packet of *machine* gets to *destination*: a neighbour's address, or one outside of its networks.

    Outside, it leaves by the default NIC, and the network's policy counts: rules allow where the default is to deny,
    and block where the default is to allow.
    """
    if machine.state != "Running":
        return False
    for nic in machine.nics:
        network = cloud.state.networks[nic.networkid]
        if nic.ip and ipaddress.ip_address(destination) in ipaddress.ip_network(network.cidr):
            return destination == network.gateway or _neighbour(cloud, network, destination)
    first = next((nic for nic in machine.nics if nic.default), None)
    if first is None or first.ip is None:
        return False
    network = cloud.state.networks[first.networkid]
    if network.shared:
        return True
    matching = any(
        rule.networkid == network.id
        and _covers(rule, protocol, port)
        and _within(first.ip, rule.cidrs)
        and _within(destination, rule.destinations)
        for rule in _rules(cloud, "egress")
    )
    allowed = cloud.state.network_offerings[network.offeringid].egress_allow
    return network.state == "Implemented" and matching != allowed


def _neighbour(cloud: Cloud, network: Network, ip: str) -> bool:
    found = (one.nic_on(network.id) for one in cloud.state.machines.values() if one.state == "Running")
    return any(nic is not None and nic.ip == ip for nic in found)


def _behind(cloud: Cloud, address: Address, protocol: str, port: int) -> tuple[Machine, str, int] | None:
    """The machine that NAT leads to, the NIC's network and the port there."""
    if address.state != "Allocated" or address.networkid is None:
        return None
    if address.staticnat and address.vmid:
        return cloud.state.machines[address.vmid], address.networkid, port
    for rule in _rules(cloud, "pf"):
        if rule.addressid == address.id and _covers(rule, protocol, port) and rule.vmid:
            assert rule.start is not None and rule.private_start is not None
            return cloud.state.machines[rule.vmid], address.networkid, port - rule.start + rule.private_start
    return None


def reached(
    cloud: Cloud, ip: str, port: int, protocol: str = "tcp", *, source: str = ELSEWHERE, strict: bool = True
) -> tuple[Machine, int] | None:
    """Which machine answers at a public address, and on which port; strict: only if its NIC there is the default."""
    address = next((one for one in cloud.state.addresses.values() if one.ip == ip), None)
    found = _behind(cloud, address, protocol, port) if address else None
    if address is None or found is None:
        return None
    machine, networkid, inner = found
    nic = machine.nic_on(networkid)
    is_open = any(
        rule.addressid == address.id and _covers(rule, protocol, port) and _within(source, rule.cidrs)
        for rule in _rules(cloud, "fw")
    )
    up = machine.state == "Running" and cloud.state.networks[networkid].state == "Implemented"
    return (machine, inner) if is_open and up and nic and (nic.default or not strict) else None


def can_reach_public(cloud: Cloud, ip: str, port: int, protocol: str = "tcp", *, strict: bool = True) -> bool:
    return reached(cloud, ip, port, protocol, strict=strict) is not None


def forwards(cloud: Cloud) -> frozenset[Forward]:
    """All single ports that are open to everybody; guests set their own default routes, so any NIC does."""
    made = set()
    addresses = {one.id: one for one in cloud.state.addresses.values() if one.state == "Allocated"}
    for rule in _rules(cloud, "fw"):
        address = addresses.get(rule.addressid or "")
        if address is None or rule.start is None or rule.protocol == "icmp":
            continue
        for port in range(rule.start, min(rule.end or rule.start, rule.start + 99) + 1):
            found = reached(cloud, address.ip, port, rule.protocol, strict=False)
            nic = found[0].nic_on(address.networkid or "") if found else None
            if found and nic and nic.ip:
                made.add(Forward(address.ip, port, rule.protocol, nic.networkid, nic.ip, found[1]))
    return frozenset(made)
