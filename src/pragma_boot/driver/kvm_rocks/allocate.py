"""Set a cluster aside: `add cluster`, what it cannot say, and a look at what came of it (rocks.md 7.3)."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pragma_boot.config.settings import KvmRocksSettings
from pragma_boot.driver import placing
from pragma_boot.driver.kvm_rocks.names import machine_of
from pragma_boot.driver.kvm_rocks.note import Note, Notes
from pragma_boot.driver.kvm_rocks.reading import Interface, Machine, Reader
from pragma_boot.driver.kvm_rocks.transport import Rocks, together
from pragma_boot.errors import ClusterExistsError, DriverError
from pragma_boot.model import (
    PRIVATE,
    PUBLIC,
    Allocation,
    Capacity,
    Leases,
    Mac,
    NodeName,
    NodeSpec,
    Plan,
    PublicSide,
    Role,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Allocator:
    """Adds one cluster. To be used under the lock of the site's Rocks: it has no reservations of its own."""

    rocks: Rocks
    notes: Notes
    side: PublicSide
    settings: KvmRocksSettings

    def allocate(self, plan: Plan, leases: Leases, capacity: Callable[[], Capacity]) -> Allocation:
        """The contract's `allocate`. Repeated for a cluster that stands already, it reads it again.

        Raises CapacityError (nothing was asked of Rocks), ClusterExistsError or DriverError.
        """
        reader = Reader(self.rocks)
        hosts, interfaces, room = together(reader.hosts, reader.interfaces, capacity)
        taken = {host.name for host in hosts}
        machines = [machine_of(plan.cluster, node.name) for node in plan.nodes]
        note = self.notes.read(plan.cluster)
        if note and note.asked and plan.cluster in taken and _is_it(plan, leases, interfaces):
            return self._verified(reader, plan, leases)
        self.notes.write(plan.cluster, Note())
        _refuse_what_is_taken(leases, taken.intersection(machines), interfaces)
        places = placing.place(plan, room)
        asked = Note(asked=True, vlan=leases.vlan, public_ip=str(leases.public_ip), image=plan.image)
        self.notes.write(plan.cluster, asked)
        self._add(plan, leases, places)
        together(*self._adjustments(plan))
        self._add_interfaces(plan, leases)
        return self._verified(reader, plan, leases, places)

    def _add(self, plan: Plan, leases: Leases, places: Mapping[NodeName, str]) -> None:
        parameters: dict[str, str | int] = {
            "fe-name": plan.cluster,
            "cluster-naming": "true",
            "vlan": leases.vlan,
        }
        if self.settings.frontend_container:
            parameters["fe-container"] = self.settings.frontend_container
        if plan.computes:
            parameters["cpus-per-compute"] = _usual(node.cpus for node in plan.computes)
            parameters["mem-per-compute"] = _usual(node.memory_mib for node in plan.computes)
            parameters["container-hosts"] = " ".join(places[node.name] for node in plan.computes)
        self.rocks.change("add cluster", str(leases.public_ip), str(len(plan.computes)), parameters=parameters)

    def _adjustments(self, plan: Plan) -> list[Callable[[], object]]:
        """What `add cluster` has no parameter for: the frontend's size, and nodes that differ from the others."""
        cpus = _usual(node.cpus for node in plan.computes)
        memory = _usual(node.memory_mib for node in plan.computes)
        change = self.rocks.change
        wanted: list[Callable[[], object]] = []
        for node in plan.nodes:
            name = machine_of(plan.cluster, node.name)
            frontend = node.role is Role.FRONTEND
            if frontend or node.memory_mib != memory:
                wanted.append(functools.partial(change, "set host vm", name, parameters={"mem": node.memory_mib}))
            if node.cpus != (1 if frontend else cpus):
                wanted.append(functools.partial(change, "set host cpus", name, parameters={"cpus": node.cpus}))
        return wanted

    def _add_interfaces(self, plan: Plan, leases: Leases) -> None:
        """Interfaces on further networks, with leased MACs: `report vm nextmac` gives two askers the same.

        One `sync config` for all; no `sync host network`: the nodes do not run (rocks.md 3.5).
        """
        for net in plan.extra:
            device = self.settings.clusters.networks[net.name].interface
            for node in plan.nodes:
                words = (machine_of(plan.cluster, node.name), device)
                parameters = {"subnet": net.name, "mac": leases.macs[node.name][net.name]}
                self.rocks.change("add host interface", *words, parameters=parameters)
        if plan.extra:
            self.rocks.change("sync config")

    def _verified(
        self, reader: Reader, plan: Plan, leases: Leases, places: Mapping[NodeName, str] | None = None
    ) -> Allocation:
        """Read back what Rocks made: an exit status of 0 says little. Raises DriverError for anything else."""
        names = [machine_of(plan.cluster, node.name) for node in plan.nodes]
        cluster, machines, all_interfaces = together(
            functools.partial(reader.cluster, plan.cluster),
            functools.partial(reader.machines, *names),
            reader.interfaces,
        )
        interfaces = [each for each in all_interfaces if each.host in names]
        if cluster is None or sorted(cluster.states) != sorted(names):
            seen = ", ".join(cluster.states) if cluster else "nothing"
            raise _differs(plan, f"its nodes are {seen}, not {', '.join(names)}")
        for node in plan.nodes:
            _check_size(plan, node, machines.get(machine_of(plan.cluster, node.name)))
        hosts = {node.name: machines[machine_of(plan.cluster, node.name)].host for node in plan.nodes}
        wrong = [name for name, host in hosts.items() if places and places[name] != host]
        if wrong:
            raise _differs(plan, f"{wrong[0]} is on {hosts[wrong[0]]!r}")
        mine = [each for each in interfaces if each.host == plan.cluster]
        if not any(each.ip == leases.public_ip for each in mine):
            raise _differs(plan, f"its frontend does not have {leases.public_ip}")
        _refuse_what_others_have(plan, interfaces, [each for each in all_interfaces if each.host not in names])
        macs = {node.name: _macs(plan, node, leases.vlan, interfaces) for node in plan.nodes}
        return placing.allocation(plan, replace(leases, macs=macs), self.side, hosts)


def _is_it(plan: Plan, leases: Leases, interfaces: Iterable[Interface]) -> bool:
    mine = [each for each in interfaces if each.host == plan.cluster]
    return any(each.vlan == leases.vlan for each in mine) and any(each.ip == leases.public_ip for each in mine)


def _refuse_what_is_taken(leases: Leases, names: Iterable[str], interfaces: Sequence[Interface]) -> None:
    """Rocks itself checks none of this (rocks.md 3.7)."""
    if names:
        raise ClusterExistsError(
            f"Rocks has hosts called {', '.join(sorted(names))} already",
            resolution="choose another name with name=, or remove them: rocks remove host NAME",
        )
    for each in interfaces:
        if each.ip == leases.public_ip or each.vlan == leases.vlan:
            what = f"the address {each.ip}" if each.ip == leases.public_ip else f"VLAN {leases.vlan}"
            raise DriverError(f"{what} is in use by {each.host} already", resolution="repeat: another is taken then")


def _refuse_what_others_have(plan: Plan, mine: Sequence[Interface], others: Iterable[Interface]) -> None:
    """Whoever adds a cluster by hand at the same moment gets the same MACs and addresses (rocks.md 3.7)."""
    macs, addresses = {each.mac for each in mine}, {each.ip for each in mine}
    vlans = {each.vlan for each in mine}
    for each in others:
        for what, theirs in (("MAC", each.mac in macs and each.mac), ("address", each.ip in addresses and each.ip)):
            if theirs:
                raise _differs(plan, f"{each.host} got the same {what} {theirs} at the same moment")
        if each.vlan in vlans and each.vlan and not each.carries_vlan:
            raise _differs(plan, f"{each.host} got the same VLAN {each.vlan} at the same moment")


def _macs(plan: Plan, node: NodeSpec, vlan: int, interfaces: Iterable[Interface]) -> dict[str, Mac]:
    """The MACs that Rocks gave: eth0 is private (and on the VLAN), a frontend's eth1 public."""
    name = machine_of(plan.cluster, node.name)
    mine = {each.device: each for each in interfaces if each.host == name}
    private, public = mine.get("eth0"), mine.get("eth1")
    if not private or not private.mac or private.vlan != vlan:
        raise _differs(plan, f"{node.name} is not on VLAN {vlan}")
    macs = {PRIVATE: private.mac}
    if node.role is Role.FRONTEND:
        if not public or not public.mac:
            raise _differs(plan, "its frontend has no second interface")
        macs[PUBLIC] = public.mac
    for net in plan.extra:
        mac = next((each.mac for each in interfaces if each.host == name and each.subnet == net.name), None)
        if mac is None:  # an unknown network is taken without a word
            raise _differs(plan, f"{node.name} is not on network {net.name}")
        macs[net.name] = mac
    return macs


def _check_size(plan: Plan, node: NodeSpec, machine: Machine | None) -> None:
    if machine is None or (machine.cpus, machine.memory_mib) != (node.cpus, node.memory_mib):
        seen = f"{machine.cpus} CPUs and {machine.memory_mib} MiB" if machine else "nothing"
        raise _differs(plan, f"{node.name} has {seen}, not {node.cpus} CPUs and {node.memory_mib} MiB")


def _usual(values: Iterable[int]) -> int:
    counted = Counter(values).most_common(1)
    return counted[0][0] if counted else 1


def _differs(plan: Plan, what: str) -> DriverError:
    return DriverError(
        f"Rocks did not make cluster {plan.cluster} as it was asked to",
        details=what,
        resolution="see the log file for what 'rocks add cluster' said, then repeat",
    )
