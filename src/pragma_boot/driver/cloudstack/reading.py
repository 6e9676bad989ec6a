"""What CloudStack's lists say, as values of ours. Rows are untrusted: what is missing or odd becomes a default."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from pragma_boot.driver.cloudstack.client import Client
from pragma_boot.model import Mac

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Port:
    """One network interface of a machine. Rows come in any order: only ids tell which is which."""

    id: str
    network: str
    mac: Mac
    address: IPv4Interface | None
    gateway: IPv4Address | None
    default: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine. name: its host name. outside: the address that is translated to it one to one."""

    id: str
    name: str
    state: str
    host: str
    cpus: int
    memory_mib: int
    ports: tuple[Port, ...]
    tags: Mapping[str, str]
    outside: str

    def port(self, network: str) -> Port | None:
        """The interface on a network."""
        return next((port for port in self.ports if port.network == network), None)


@dataclass(frozen=True, slots=True)
class Net:
    """A guest network. allows: whether nodes may reach out by default. offering: the network offering's id."""

    id: str
    name: str
    text: str
    kind: str
    state: str
    cidr: IPv4Network | None
    gateway: IPv4Address | None
    allows: bool
    offering: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Address:
    """A public address that the account holds. network: the guest network that it belongs to."""

    id: str
    ip: IPv4Address
    network: str
    source_nat: bool
    machine: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Size:
    """A service offering. speed: MHz. custom: the sizes are chosen; *cpus* and *memory_mib* are the most then.

    asks_speed: a custom one of which the speed is chosen, too.
    """

    id: str
    name: str
    cpus: int
    memory_mib: int
    speed: int = 0
    custom: bool = False
    least_cpus: int = 1
    least_memory_mib: int = 1
    asks_speed: bool = False


@dataclass(frozen=True, slots=True)
class NetworkOffering:
    """A network offering and what it serves."""

    id: str
    name: str
    state: str
    kind: str
    allows: bool
    services: frozenset[str]
    faults: tuple[str, ...] = field(default=())


MANY = 1 << 20
"""The most CPUs, or MiB, of an offering that names no bound."""


def machines(client: Client, **which: Any) -> list[Machine]:
    """Machines."""
    return [machine(row) for row in machine_rows(client, **which)]


def machine_rows(client: Client, **which: Any) -> list[dict[str, Any]]:
    """Rows of machines, without their statistics, which are slow."""
    return client.rows("listVirtualMachines", "virtualmachine", details=["min", "nics", "servoff"], **which)


def machine(row: Row) -> Machine:
    """A row of listVirtualMachines, or a job's result."""
    return Machine(
        id=_text(row, "id"),
        name=_text(row, "name"),
        state=_text(row, "state"),
        host=_text(row, "hostname"),
        cpus=_whole(row, "cpunumber"),
        memory_mib=_whole(row, "memory"),
        ports=tuple(map(_port, _list(row, "nic"))),
        tags=tags(row),
        outside=_text(row, "publicip"),
    )


def networks(client: Client, **which: Any) -> list[Net]:
    """Guest networks."""
    return [network(row) for row in client.rows("listNetworks", "network", **which)]


def network(row: Row) -> Net:
    """A row of listNetworks, or what createNetwork answers."""
    return Net(
        id=_text(row, "id"),
        name=_text(row, "name"),
        text=_text(row, "displaytext"),
        kind=_text(row, "type"),
        state=_text(row, "state"),
        cidr=_network(row.get("cidr")),
        gateway=_address(row.get("gateway")),
        allows=_true(row, "egressdefaultpolicy"),
        offering=_text(row, "networkofferingid"),
        tags=tags(row),
    )


def addresses(client: Client, **which: Any) -> list[Address]:
    """Public addresses of the account."""
    found = (address(row) for row in client.rows("listPublicIpAddresses", "publicipaddress", **which))
    return [each for each in found if each]


def address(row: Row) -> Address | None:
    """A row of listPublicIpAddresses, or what associateIpAddress ends in; None without an address."""
    ip = _address(row.get("ipaddress"))
    if ip is None:
        return None
    return Address(
        id=_text(row, "id"),
        ip=ip,
        network=_text(row, "associatednetworkid"),
        source_nat=_true(row, "issourcenat"),
        machine=_text(row, "virtualmachineid"),
        tags=tags(row),
    )


def sizes(rows: Iterable[Row]) -> list[Size]:
    """Service offerings of all three kinds (cloudstack.md b.8)."""
    return [_size(row) for row in rows]


def _size(row: Row) -> Size:
    bounds = row.get("serviceofferingdetails")
    bounds = bounds if isinstance(bounds, dict) else {}
    fixed = "cpunumber" in row and "memory" in row
    return Size(
        id=_text(row, "id"),
        name=_text(row, "name"),
        cpus=_whole(row, "cpunumber") or _whole(bounds, "maxcpunumber") or MANY,
        memory_mib=_whole(row, "memory") or _whole(bounds, "maxmemory") or MANY,
        speed=_whole(row, "cpuspeed"),
        custom=_true(row, "iscustomized") or not fixed,
        least_cpus=_whole(bounds, "mincpunumber") or 1,
        least_memory_mib=_whole(bounds, "minmemory") or 1,
        asks_speed=not fixed and "cpuspeed" not in row,
    )


def network_offering(row: Row) -> NetworkOffering:
    """A row of listNetworkOfferings; *faults*: why clusters cannot use it."""
    services = frozenset(_text(each, "name") for each in _list(row, "service"))
    faults = [f"its state is {_text(row, 'state')}"] if _text(row, "state") != "Enabled" else []
    if _text(row, "guestiptype") != "Isolated":
        faults.append(f"its networks are {_text(row, 'guestiptype')}, not Isolated")
    faults += [f"it is {word}" for key, word in (("forvpc", "for VPCs"), ("specifyvlan", "for VLANs by hand"))
               if _true(row, key)]  # fmt: skip
    if _text(row, "networkmode") == "ROUTED":
        faults.append("its networks are routed")
    missing = {"Dhcp", "UserData", "SourceNat"} - services
    if missing:
        faults.append(f"it lacks {', '.join(sorted(missing))}")
    elif not services & {"StaticNat", "PortForwarding"}:
        faults.append("it has neither StaticNat nor PortForwarding")
    return NetworkOffering(
        id=_text(row, "id"),
        name=_text(row, "name"),
        state=_text(row, "state"),
        kind=_text(row, "guestiptype"),
        allows=_true(row, "egressdefaultpolicy"),
        services=services,
        faults=tuple(faults),
    )


def tags(row: Row) -> dict[str, str]:
    """The tags of a row."""
    return {_text(each, "key"): _text(each, "value") for each in _list(row, "tags")}


def _port(row: Row) -> Port:
    ip, mask = _address(row.get("ipaddress")), _address(row.get("netmask"))
    return Port(
        id=_text(row, "id"),
        network=_text(row, "networkid"),
        mac=Mac(_text(row, "macaddress").lower()),
        address=IPv4Interface(f"{ip}/{mask}") if ip and mask else None,
        gateway=_address(row.get("gateway")),
        default=_true(row, "isdefault"),
    )


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    return value if isinstance(value, str) else "" if value is None else str(value)


def _whole(row: Row, key: str) -> int:
    with suppress(ValueError):
        return int(_text(row, key) or 0)
    return 0


def _true(row: Row, key: str) -> bool:
    return _text(row, key).lower() == "true"


def _list(row: Row, key: str) -> list[dict[str, Any]]:
    found = row.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _address(value: object) -> IPv4Address | None:
    try:
        return IPv4Address(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _network(value: object) -> IPv4Network | None:
    try:
        return IPv4Network(value, strict=False) if isinstance(value, str) else None
    except ValueError:
        return None
