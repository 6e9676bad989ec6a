"""Looking things up in the site: host arguments, interfaces, addresses, clusters by their VLAN."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network

from .errors import AbortError, CrashError
from .model import Interface, Node, State, Vm


def node(state: State, name: str) -> Node:
    """The host of exactly this name."""
    return next(node for node in state.nodes if node.name == name)


def by_id(state: State, number: int | None) -> Node | None:
    """The host with this id; None when it was removed."""
    return next((node for node in state.nodes if node.id == number), None)


def interfaces(state: State, owner: Node) -> list[Interface]:
    """A host's interfaces in the order of their creation."""
    return [interface for interface in state.interfaces if interface.node == owner.id]


def resolve(state: State, names: Sequence[str]) -> list[Node]:
    """The hosts that arguments stand for, in the database's order; all when there are none. Aborts on unknown ones."""
    if not names:
        return list(state.nodes)
    wanted = {found.id for name in names for found in _meant(state, name)}
    return [node for node in state.nodes if node.id in wanted]


def one(state: State, name: str) -> Node:
    """The host that one argument stands for."""
    return resolve(state, [name])[0]


def _meant(state: State, name: str) -> list[Node]:
    lower = name.lower()
    if lower.startswith("select "):
        return []
    if lower.startswith("rack"):
        return _rack(state, lower)
    if same := [node for node in state.nodes if node.name.lower() == lower]:
        return same
    if lower == "localhost":
        return [node(state, state.frontend)]
    if "%" in name:
        pattern = lower.replace("%", "*").replace("_", "?")
        return [node for node in state.nodes if fnmatchcase(node.name.lower(), pattern)]
    appliance = next((appliance for appliance in state.appliances if appliance.name == lower), None)
    if appliance:
        return [node for node in state.nodes if node.membership == appliance.membership]
    return _by_address(state, lower) or _unknown(state, name)


def _rack(state: State, name: str) -> list[Node]:
    digits = name.removeprefix("rack")
    if not digits.isdigit():
        raise CrashError("ValueError", f"invalid literal for int() with base 10: '{digits}'")
    return [node for node in state.nodes if node.rack == int(digits)]


def _by_address(state: State, name: str) -> list[Node]:
    zones = [f".{subnet.dnszone}" for subnet in state.subnets if subnet.dnszone]
    shorter = {name.removesuffix(zone) for zone in zones}
    owners = {row.node for row in state.interfaces if name in (row.ip, row.mac) or (row.name or "").lower() in shorter}
    return [node for node in state.nodes if node.id in owners]


def _unknown(state: State, name: str) -> list[Node]:
    if name in state.dns or _is_address(name):
        raise AbortError(f'host "{name}" is not in cluster')
    raise AbortError(f'cannot resolve host "{name}"')


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def check_address(text: str) -> None:
    """Aborts unless *text* is an IPv4 address."""
    if not _is_address(text):
        raise AbortError(f"The ip address {text} is invalid")


def check_new_name(state: State, name: str) -> None:
    """Aborts where Rocks does not take *name* for a new host."""
    if any(name == appliance.name for appliance in state.appliances):
        raise AbortError(f"Hostname {name} can not be equal to an appliance name.")
    if re.fullmatch(r"rack\d+", name):
        raise AbortError(f"Hostname {name} can not be in the form of rack<number>.")
    if "." in name:
        raise AbortError(f"Hostname {name} can not contains any dot.")
    if any(node.name.lower() == name.lower() for node in state.nodes):
        raise AbortError(f"Node {name} already exists.\nSelect a different hostname, cabinet and/or rank value.")


def vm_of(node: Node, state: State) -> Vm:
    """The VM row of a host. Without one: a refusal, or with img-storage a crash."""
    if node.vm is None:
        if state.img_storage:
            raise CrashError("AttributeError", "'NoneType' object has no attribute 'physNode'")
        raise AbortError(f"host {node.name} is not a virtual host")
    return node.vm


def vms(nodes: Iterable[Node]) -> list[Node]:
    """The virtual ones of the hosts, as the join with their disks gives them: the oldest disk first."""
    virtual = [node for node in nodes if node.vm]
    return sorted(virtual, key=lambda node: min((disk.id for disk in node.vm.disks), default=node.id))  # type: ignore[union-attr]


def vlan_of(state: State, frontend: Node) -> int | None:
    """The VLAN that makes a virtual frontend's cluster: that of its private interface, unless 0 or none."""
    if not frontend.vm or frontend.membership != "Frontend":
        return None
    return next((row.vlan for row in interfaces(state, frontend) if row.subnet == "private" and row.vlan), None)


def members(state: State, frontend: Node) -> list[Node]:
    """Every VM on the frontend's VLAN, itself included, whoever made it: that is what Rocks calls a cluster."""
    vlan = vlan_of(state, frontend)
    if not vlan:
        return [frontend]
    on_it = {row.node for row in state.interfaces if row.vlan == vlan}
    return [node for node in state.nodes if node.vm and node.id in on_it]


def next_mac(state: State) -> str:
    """One more than the largest MAC in the site's range; reserves nothing."""
    try:
        base, mask = _number(state.attrs["vm_mac_base_addr"]), _number(state.attrs["vm_mac_base_addr_mask"])
    except KeyError:
        raise CrashError("AttributeError", "'NoneType' object has no attribute 'split'") from None
    taken = [_number(row.mac) for row in state.interfaces if row.mac and len(row.mac) <= 18]
    ours = [number for number in taken if number & mask == base & mask]
    octets = bytearray((max(ours) + 1 if ours else base).to_bytes(6, "big"))
    octets[0] = octets[0] & ~1 | 2
    return octets.hex(":")


def _number(mac: str) -> int:
    return int.from_bytes(bytes(int(octet, 16) for octet in mac.split(":")), "big")


def next_ip(state: State, subnet: str) -> str:
    """The highest free address of a network; reserves nothing."""
    found = next((row for row in state.subnets if row.name == subnet), None)
    if not found:
        raise AbortError(f'unknown network "{subnet}"')
    network = IPv4Network(f"{found.subnet}/{found.netmask}")
    taken = {row.ip for row in state.interfaces}
    first, last = int(network.network_address) + 1, int(network.broadcast_address) - 1
    for number in range(last, first - 1, -1):
        if str(IPv4Address(number)) not in taken:
            return str(IPv4Address(number))
    raise AbortError("No free IP address left")
