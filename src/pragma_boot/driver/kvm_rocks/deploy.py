"""Bring a cluster's disks to its hosts and start it: the frontend first, the computes side by side."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pragma_boot.driver.kvm_rocks.names import machine_of
from pragma_boot.driver.kvm_rocks.power import Failures, Power, attempt, check_disks, raise_all
from pragma_boot.driver.kvm_rocks.reading import Assignment, Machine, Reader
from pragma_boot.driver.kvm_rocks.transfer import Parcel, Shipper
from pragma_boot.driver.kvm_rocks.transport import together
from pragma_boot.errors import DriverError
from pragma_boot.model import Allocation, Disk, NodeName, Progress

_GB = 10**9
"""What Rocks counts disks in."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One `deploy`. diskdir: a folder for all disks; None leaves them where Rocks wants them."""

    power: Power
    shipper: Shipper
    allocation: Allocation
    diskdir: Path | None

    def run(self, disks: Mapping[NodeName, Disk]) -> None:
        """Raises DriverError that names every node that failed; the others run then."""
        names = {machine_of(self.allocation.cluster, node.name): node.name for node in self.allocation.nodes}
        reader = Reader(self.power.rocks)
        machines, assigned = together(
            functools.partial(reader.machines, *names, disks=True), functools.partial(reader.assignments, *names)
        )
        machines = self._placed(machines, assigned, disks, names)
        self._boot_from_disk(reader, list(names))
        groups = self._groups(machines, assigned, disks, names)
        self._start(list(names), machines, assigned, groups)

    def _placed(
        self,
        machines: dict[str, Machine],
        assigned: Mapping[str, Assignment],
        disks: Mapping[NodeName, Disk],
        names: Mapping[str, NodeName],
    ) -> dict[str, Machine]:
        """Tell Rocks where the disks are to be, where it thinks otherwise: a call for each node then."""
        placed = dict(machines)
        acts = {}
        for name, machine in machines.items():
            if name in assigned:
                continue
            path = str(self.diskdir / f"{name}.vda") if self.diskdir else machine.file
            if path is None:
                raise DriverError(
                    f"the disk of {name} is no file", resolution="look at 'rocks list host vm showdisks=1'"
                )
            if path != machine.file:
                disk = f"file:{path},vda,virtio"
                size = -(-disks[names[name]].backing.size // _GB) if names[name] in disks else 1
                change = functools.partial(self.power.rocks.change, "set host vm", name)
                acts[name] = functools.partial(change, parameters={"disk": disk, "disksize": max(size, 1)})
                placed[name] = replace(machine, disks=(disk, *machine.disks[1:]))
        raise_all(f"place the disks of {self.allocation.cluster}", attempt(acts, self.power.parallel))
        return placed

    def _boot_from_disk(self, reader: Reader, names: Sequence[str]) -> None:
        """Else a frontend would start the installer (rocks.md 3.10)."""
        self.power.rocks.change("set host boot", *names, parameters={"action": "os"})
        actions = reader.boot_actions(*names)
        wrong = [name for name in names if actions.get(name) != "os"]
        if wrong:
            raise DriverError(
                f"{wrong[0]} would boot {actions.get(wrong[0]) or 'nothing'!r}, not its disk",
                resolution=f"look at 'rocks list host boot {wrong[0]}', then repeat",
            )

    def _groups(
        self,
        machines: Mapping[str, Machine],
        assigned: Mapping[str, Assignment],
        disks: Mapping[NodeName, Disk],
        names: Mapping[str, NodeName],
    ) -> dict[str, list[Parcel]]:
        """What is to be sent, by host; the frontend's host first."""
        groups: dict[str, list[Parcel]] = {}
        for name, node in names.items():
            if name in assigned:
                continue
            if node not in disks:
                raise DriverError(f"cannot start {node}: it has no disk", resolution="prepare its disk first")
            parcel = Parcel(disks[node], machines[name].file or "")
            groups.setdefault(machines[name].host, []).append(parcel)
        return groups

    def _start(
        self,
        names: Sequence[str],
        machines: Mapping[str, Machine],
        assigned: Mapping[str, Assignment],
        groups: Mapping[str, Sequence[Parcel]],
    ) -> None:
        doing = f"start {self.allocation.cluster}"
        frontend, computes = names[0], list(names[1:])
        home = machines[frontend].host

        def begin() -> Failures:
            failures = self._ship([home] if home in groups else [], groups)
            return failures | self._launch([frontend], machines, assigned, failures)

        # The frontend starts as soon as its disk is there; the others' disks travel meanwhile.
        failures, shipped = together(begin, lambda: self._ship([host for host in groups if host != home], groups))
        if frontend in failures:
            raise_all(doing, {frontend: failures[frontend]})
        failures |= shipped
        failures |= self._launch(computes, machines, assigned, failures)
        started = [name for name in names if name not in failures]
        failures |= self.power.confirm_running(started)
        raise_all(doing, {self._both(name): error for name, error in failures.items()})

    def _ship(self, hosts: Sequence[str], groups: Mapping[str, Sequence[Parcel]]) -> Failures:
        cluster = self.allocation.cluster
        found: Failures = {}

        def ship(host: str) -> None:
            for parcel in groups[host]:
                self.power.progress(Progress("boot", parcel.disk.node, f"sending the disk to {host}"))
            failed = self.shipper.send(host, groups[host])
            found.update({machine_of(cluster, node): error for node, error in failed.items()})

        attempt({host: functools.partial(ship, host) for host in hosts}, self.power.parallel)
        return found

    def _launch(
        self,
        names: Sequence[str],
        machines: Mapping[str, Machine],
        assigned: Mapping[str, Assignment],
        failed: Failures,
    ) -> Failures:
        able = [name for name in names if name not in failed]
        failures = check_disks(self.power.ssh, [machines[name] for name in able], assigned)
        return failures | self.power.start([name for name in able if name not in failures])

    def _both(self, machine: str) -> str:
        nodes = {machine_of(self.allocation.cluster, node.name): node.name for node in self.allocation.nodes}
        return f"{nodes[machine]} ({machine})"
