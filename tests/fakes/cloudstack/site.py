"""The clouds that tests start from."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from .clock import EPOCH
from .model import (
    Account,
    Address,
    Host,
    Machine,
    Network,
    NetworkOffering,
    Nic,
    ServiceOffering,
    Template,
    Zone,
)
from .state import State

NAT_OFFERING = "DefaultIsolatedNetworkOfferingWithSourceNatService"
LIMITS = {
    "user_vm": 20,
    "public_ip": 20,
    "volume": 20,
    "snapshot": 20,
    "template": 20,
    "project": -1,
    "network": 20,
    "vpc": 20,
    "cpu": 40,
    "memory": 40960,
    "primary_storage": 200,
    "secondary_storage": 400,
}
"""The server's defaults, by its names of the resource types."""


@dataclass(frozen=True)
class Credentials:
    apikey: str
    secretkey: str


USER = Credentials("PLgmJ6APIKEY-user", "VDaACYb0SECRET-user")
ADMIN = Credentials("PLgmJ6APIKEY-admin", "VDaACYb0SECRET-admin")
FOREIGN = Credentials("PLgmJ6APIKEY-foreign", "VDaACYb0SECRET-foreign")


class _Ids:
    def __init__(self) -> None:
        self._rng = random.Random("cloudstack site")

    def __call__(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))


def default_site(
    *,
    public_ips: int = 5,
    vlans: int = 10,
    hosts: int = 2,
    host_cpus: int = 8,
    host_memory: int = 32768,
    first_ip: str = "203.0.113.10",
    limits: dict[str, int] | None = None,
    storage: int = 1000,
    templates: Sequence[str] = (),
) -> State:
    """zone1 (Advanced) and zone2, three accounts, offerings of every kind, templates of every trouble.

    host_memory: MB. limits: of the accounts that are not admin's, beside the server's defaults. storage: GiB.
    Templates ready in zone1: ``frontend`` and ``compute`` (community), ``featured``, ``twice`` (two of that name), not
    ready: ``slow``; only in zone2: ``elsewhere``. templates: further ones, community and ready in zone1.
    """
    ids, state = _Ids(), State()
    domain = ids()
    for name, keys, role in (("user", USER, "user"), ("admin", ADMIN, "admin"), ("foreign", FOREIGN, "user")):
        held = dict.fromkeys(LIMITS, -1) if role == "admin" else LIMITS | (limits or {})
        made = Account(ids(), name, keys.apikey, keys.secretkey, role, "ROOT", domain, ids(), True, held)
        state.accounts[made.id] = made
    zone = Zone(ids(), "zone1", vlans=list(range(1001, 1001 + vlans)), storage=storage)
    other = Zone(ids(), "zone2", vlans=list(range(2001, 2011)))
    state.zones = {one.id: one for one in (zone, other)}
    _offerings(state, ids)
    _templates(state, ids, zone, other, templates)
    for number in range(hosts):
        host = Host(ids(), f"host{number + 1}", zone.id, host_cpus, host_memory)
        state.hosts[host.id] = host
    start = tuple(int(part) for part in first_ip.split("."))
    for number in range(public_ips):
        last = start[3] + number
        ip = f"{start[0]}.{start[1]}.{start[2] + last // 256}.{last % 256}"
        address = Address(ids(), ip, zone.id)
        state.addresses[address.id] = address
    _foreign(state, ids, zone)
    return state


def _offerings(state: State, ids: _Ids) -> None:
    networks = [
        NetworkOffering(ids(), NAT_OFFERING, availability="Required"),
        NetworkOffering(ids(), "IsolatedEgressAllow", egress_allow=True, isdefault=False),
        NetworkOffering(ids(), "IsolatedVlan", specifyvlan=True, isdefault=False),
        NetworkOffering(ids(), "L2", guestiptype="L2", services=[]),
        NetworkOffering(ids(), "IsolatedDisabled", state="Disabled", isdefault=False),
        NetworkOffering(
            ids(), "IsolatedNoStaticNat", isdefault=False, services=["Dhcp", "Dns", "UserData", "Firewall", "Gateway",
            "SourceNat", "PortForwarding"]
        ),
        NetworkOffering(ids(), "IsolatedPersistent", persistent=True, isdefault=False),
        NetworkOffering(ids(), "SharedPlain", guestiptype="Shared", services=["Dhcp", "Dns", "UserData"]),
    ]  # fmt: skip
    sizes = [
        ServiceOffering(ids(), "Small", 1, 500, 512),
        ServiceOffering(ids(), "Medium", 1, 1000, 1024),
        ServiceOffering(ids(), "Large", 4, 1000, 8192),
        ServiceOffering(ids(), "CustomConstrained", None, 1000, None, [1, 8], [512, 16384]),
        ServiceOffering(ids(), "Custom"),
    ]
    for one in networks:
        one.created = EPOCH - 86400
        state.network_offerings[one.id] = one
    for size in sizes:
        size.created = EPOCH - 86400
        state.service_offerings[size.id] = size


def _templates(state: State, ids: _Ids, zone: Zone, other: Zone, more: Sequence[str]) -> None:
    admin = next(one.id for one in state.accounts.values() if one.admin)
    linux = ids()
    state.ostypes = {linux: "Other Linux (64-bit)", ids(): "Debian GNU/Linux 12 (64-bit)"}

    def add(name: str, zones: dict[str, float | None], age: float = 3600, featured: bool = False) -> None:
        made = Template(
            ids(), name, admin, zones, featured=featured, ostypeid=linux, displaytext=name, created=EPOCH - age
        )
        made.url = f"http://templates.example/{name}.qcow2"
        state.templates[made.id] = made

    add("frontend", {zone.id: 0.0, other.id: 0.0})
    add("compute", {zone.id: 0.0, other.id: 0.0})
    add("featured", {zone.id: 0.0}, featured=True)
    add("slow", {zone.id: None})
    add("twice", {zone.id: 0.0}, age=7200)
    add("twice", {zone.id: 0.0}, age=60)
    add("elsewhere", {other.id: 0.0})
    for name in more:
        add(name, {zone.id: 0.0})


def _foreign(state: State, ids: _Ids, zone: Zone) -> None:
    """Another account's machine, whose name begins as ours do."""
    owner = next(one.id for one in state.accounts.values() if one.name == "foreign")
    nat = next(one for one in state.network_offerings.values() if one.name == NAT_OFFERING)
    small = next(one for one in state.service_offerings.values() if one.name == "Small")
    template = next(one for one in state.templates.values() if one.name == "frontend")
    network = Network(
        ids(),
        "public",
        "public",
        owner,
        zone.id,
        nat.id,
        "Isolated",
        "10.1.1.0/24",
        "10.1.1.1",
        "foreign.cloud.internal",
    )
    state.networks[network.id] = network
    machine = Machine(
        ids(), "vc1x", "vc1x", owner, zone.id, template.id, small.id, 1, 500, 512, 3, created=EPOCH - 3600
    )
    machine.nics = [Nic(ids(), network.id, "10.1.1.17", "02:01:00:00:00:11", True, 0)]
    state.machines[machine.id] = machine


def shared_network(state: State, name: str, cidr: str, gateway: str) -> Network:
    """Add a network that all accounts may use and whose addresses are real ones."""
    offering = next(one for one in state.network_offerings.values() if one.guestiptype == "Shared")
    zone = next(iter(state.zones.values()))
    admin = next(one.id for one in state.accounts.values() if one.admin)
    ident = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
    made = Network(
        ident, name, name, admin, zone.id, offering.id, "Shared", cidr, gateway, "shared.internal", shared=True
    )
    made.requested_vlan, made.state = 99, "Setup"
    state.networks[ident] = made
    return made
