"""The site driver `qemu`: nodes are QEMU processes of the caller's own; clusters without root."""

from __future__ import annotations

import functools
import logging
import os
import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Interface
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pragma_boot import accel, files
from pragma_boot.config.settings import QemuSettings
from pragma_boot.driver import placing
from pragma_boot.driver.acts import Act, attempt, frontend_first, raise_failures, side_by_side
from pragma_boot.driver.base import NO_DOCUMENTS, NO_KERNELS, DriverInfo, no_templates, no_volumes
from pragma_boot.driver.qemu import records
from pragma_boot.driver.qemu.records import ClusterNote, Folder, Machine
from pragma_boot.errors import DriverError
from pragma_boot.files import StateFolder
from pragma_boot.model import (
    PRIVATE,
    PUBLIC,
    Allocation,
    Capacity,
    ClusterName,
    Disk,
    HostCapacity,
    InUse,
    KernelBoot,
    Leases,
    Nic,
    NodeAllocation,
    NodeName,
    NodeState,
    NodeStatus,
    Plan,
    Progress,
    ProgressSink,
    PublicSide,
    Role,
    Templates,
    Volumes,
    no_progress,
)

if TYPE_CHECKING:
    from pragma_boot.driver.qemu.outside import Side

_log = logging.getLogger(__name__)

_MEMINFO = Path("/proc/meminfo")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


class QemuDriver:
    """Promises in driver.base. Its engine: `StateFolder.machines`, and the processes that hold locks there."""

    info = DriverInfo("qemu", has_console=True, direct_kernel=True)

    def __init__(self, settings: QemuSettings, state: StateFolder, folders: Sequence[Path] = ()) -> None:
        self._settings = settings
        self._state = state
        self._folders = tuple(folders)

    @property
    def _host(self) -> str:
        return platform.node() or "localhost"

    @functools.cached_property
    def _side(self) -> Side:
        """The public network as it is inside of every cluster: the same addresses in each, nobody else's."""
        from pragma_boot.driver.qemu.outside import Side  # noqa: PLC0415 - listing does without it

        clusters = self._settings.clusters
        resolver, inside = islice((each for each in clusters.public_network.hosts() if each != clusters.gw), 2)
        return Side(IPv4Interface((inside, clusters.public_network.prefixlen)), clusters.gw, resolver)

    def _folder(self, cluster: ClusterName) -> Folder:
        return Folder(self._state.machines / cluster)

    def preflight(self, networks: Collection[str] = ()) -> None:
        """As in the contract."""
        from pragma_boot.driver.qemu import preflight  # noqa: PLC0415 - only `boot` and `check site` look

        preflight.check(self._settings, self._state, self._folders)

    def set_up(self) -> tuple[str, ...]:
        """As in the contract: there is nothing that clusters share."""
        return ()

    def tear_down(self) -> tuple[str, ...]:
        """As in the contract."""
        return ()

    def capacity(self) -> Capacity:
        """As in the contract: of what this process may use; other users' nodes are not known."""
        machines = [machine for folder in records.all_folders(self._state.machines) for machine in folder.machines()]
        clusters = self._settings.clusters
        cpus, memory = len(os.sched_getaffinity(0)), _memory_mib()
        usable = max(cpus - clusters.num_processors_reserved, 0) * clusters.cpu_overcommit
        host = HostCapacity(
            host=self._host,
            cpus=cpus,
            cpus_free=max(usable - sum(machine.cpus for machine in machines), 0),
            memory_mib=memory,
            memory_free_mib=max(memory - sum(machine.memory_mib for machine in machines), 0),
        )
        return Capacity((host,))

    def in_use(self) -> InUse:
        """As in the contract: what our folders say, and the addresses that anybody on this machine listens at."""
        from pragma_boot.driver.qemu import ports  # noqa: PLC0415 - listing does without it

        folders = records.all_folders(self._state.machines)
        notes = [note for folder in folders if (note := folder.note())]
        machines = [machine for folder in folders for machine in folder.machines()]
        return InUse(
            addresses=ports.used_addresses() | {note.public_ip for note in notes},
            vlans=frozenset(note.vlan for note in notes),
            macs=frozenset(mac for machine in machines for mac in machine.macs.values()),
            clusters=frozenset(folder.cluster for folder in folders),
        )

    def public_side(self) -> PublicSide:
        """As in the contract; QEMU or passt answers DNS where the site names no resolvers."""
        clusters = self._settings.clusters
        side = self._side
        return PublicSide(clusters.public_network, clusters.gw, clusters.dns or (side.resolver,), side.inside.ip)

    def fit(self, plan: Plan) -> Plan:
        """As in the contract."""
        return plan

    def allocate(self, plan: Plan, leases: Leases) -> Allocation:
        """As in the contract. Starts the cluster's switch, which holds its ports from now on."""
        hosts = placing.place(plan, self.capacity())
        made = _with_mtu(placing.allocation(plan, leases, self.public_side(), hosts))
        assert made.public_ip is not None
        folder = self._folder(plan.cluster)
        self._check_here(folder)
        note = ClusterNote(
            cluster=made.cluster, image=made.image, fqdn=made.fqdn, public_ip=made.public_ip, vlan=made.vlan,
            machine=records.this_machine(), host=self._host,
        )  # fmt: skip
        old = folder.note()
        folder.make(replace(note, ports=old.ports if old and old.public_ip == note.public_ip else {}))
        self._connect(folder)
        known = folder.note()
        return replace(made, ports=known.ports if known else {})

    def deploy(
        self,
        allocation: Allocation,
        disks: Mapping[NodeName, Disk],
        kernels: Mapping[NodeName, KernelBoot],
        progress: ProgressSink = no_progress,
        documents: Mapping[NodeName, bytes] = NO_DOCUMENTS,
    ) -> None:
        """As in the contract."""
        how = accel.works(self._state, self._settings.accel)
        folder = self._folder(allocation.cluster)

        def launch(node: NodeAllocation) -> None:
            progress(Progress("boot", node.name, "starting"))
            machine = self._machine(allocation, node, disks[node.name], how)
            folder.define(machine)
            self._start(folder, machine, kernels.get(node.name))

        acts = {node.name: functools.partial(launch, node) for node in allocation.nodes}
        name = allocation.frontend.name
        frontend_first(f"start {allocation.cluster}", name, acts, self._settings.clusters.parallel)

    def start(
        self,
        cluster: ClusterName,
        progress: ProgressSink = no_progress,
        kernels: Mapping[NodeName, KernelBoot] = NO_KERNELS,
    ) -> None:
        """As in the contract; nodes that run are connected again to a private network that had died.

        Ports that others have taken meanwhile are replaced: `status` tells which hold now.
        """
        folder = self._folder(cluster)
        machines = {machine.node: machine for machine in folder.machines()}
        if not machines:
            return
        self._check_here(folder)
        anew = self._connect(folder)

        def start(machine: Machine) -> None:
            from pragma_boot.driver.qemu import nodes  # noqa: PLC0415 - listing does without it

            progress(Progress("boot", machine.node, "starting"))
            state = nodes.state(folder, machine.node)
            if state is NodeState.CRASHED:
                nodes.stop(folder, machine.node)
            elif state is not NodeState.SHUTDOWN and anew:
                nodes.plug(folder, machine)
            if state is NodeState.PAUSED:
                nodes.resume(folder, machine.node)
            self._start(folder, machine, kernels.get(machine.node))

        acts = {node: functools.partial(start, machine) for node, machine in machines.items()}
        frontend_first(f"start {cluster}", NodeName(cluster), acts, self._settings.clusters.parallel)

    def status(self, cluster: ClusterName) -> Mapping[NodeName, NodeStatus]:
        """As in the contract."""
        return self._statuses(self._folder(cluster))

    def survey(self) -> Mapping[ClusterName, Mapping[NodeName, NodeStatus]]:
        """As in the contract."""
        return {folder.cluster: self._statuses(folder) for folder in records.all_folders(self._state.machines)}

    def console_log(self, cluster: ClusterName, node: NodeName) -> Path | None:
        """As in the contract."""
        return self._state.console(cluster, node)

    def shutdown(self, cluster: ClusterName, *, grace: float, progress: ProgressSink = no_progress) -> None:
        """As in the contract: the power button, then the plug; nothing of the cluster runs any more."""
        from pragma_boot.driver.qemu import nodes  # noqa: PLC0415 - listing does without it

        folder = self._folder(cluster)
        self._check_here(folder)
        running = [node for node, path in folder.locks() if files.is_locked(path)]
        able = [node for node in running if nodes.state(folder, node) is NodeState.ACTIVE]
        left = dict.fromkeys(running)
        for node in nodes.ask_to_stop(folder, able, grace):
            progress(Progress("boot", node, "stopped"))
            del left[node]
        for node in left if grace > 0 else ():
            _log.warning("%s did not stop within %g seconds; it is forced to", node, grace)
        acts: dict[NodeName, Act] = {node: functools.partial(nodes.stop, folder, node) for node in left}
        side_by_side(f"stop {cluster}", acts, self._settings.clusters.parallel)
        nodes.stop_switch(folder)

    def release(self, cluster: ClusterName) -> None:
        """As in the contract."""
        from pragma_boot.driver.qemu import nodes  # noqa: PLC0415 - listing does without it

        folder = self._folder(cluster)
        self._check_here(folder)
        acts: dict[str, Act] = {str(node): functools.partial(nodes.stop, folder, node) for node, _ in folder.locks()}
        acts["its private network"] = functools.partial(nodes.stop_switch, folder)
        failures = attempt(acts, self._settings.clusters.parallel)
        raise_failures(f"remove {cluster}", failures, len(acts))
        folder.remove()

    def volumes(self) -> Volumes:
        """As in the contract."""
        raise no_volumes(self.info)

    def templates(self) -> Templates:
        """As in the contract."""
        raise no_templates(self.info)

    def _connect(self, folder: Folder) -> bool:
        """The cluster's private network runs afterwards; True when it was started just now."""
        from pragma_boot.driver.qemu import nodes  # noqa: PLC0415 - listing does without it

        return nodes.start_switch(folder, self._settings.ports)

    def _start(self, folder: Folder, machine: Machine, kernel: KernelBoot | None) -> None:
        from pragma_boot.driver.qemu import nodes  # noqa: PLC0415 - listing does without it

        qemu = accel.emulator()
        if qemu is None:
            raise DriverError("no QEMU system emulator is installed", resolution="'pragma check site' says which")
        nodes.start(folder, machine, qemu, side=self._side, wish=self._settings.outside, kernel=kernel)

    def _machine(self, allocation: Allocation, node: NodeAllocation, disk: Disk, how: str) -> Machine:
        log = self._state.console(allocation.cluster, node.name)
        files.make_folder(log.parent, 0o700)
        files.write_atomic(log, b"", 0o600)
        return Machine(
            cluster=allocation.cluster,
            node=node.name,
            role=node.role,
            cpus=node.cpus,
            memory_mib=node.memory_mib,
            accel=how,
            disk=str(disk.path.absolute()),
            disk_format=disk.format.value,
            backing=str(disk.backing.path.absolute()),
            backing_format=disk.backing.format.value,
            macs={nic.network: nic.mac for nic in node.nics if nic.network in (PRIVATE, PUBLIC)},
            console=str(log.absolute()),
        )

    def _statuses(self, folder: Folder) -> dict[NodeName, NodeStatus]:
        """The nodes of one cluster: of one that lives on another machine nothing more can be said from here."""
        from pragma_boot.driver.qemu import nodes  # noqa: PLC0415 - only where there are clusters

        note = folder.note()
        here = _is_here(note)
        return {
            machine.node: NodeStatus(
                name=machine.node,
                role=machine.role,
                state=nodes.state(folder, machine.node) if here else NodeState.UNKNOWN,
                host=note.host if note else self._host,
                public_ip=note.public_ip if note else None,
                image=note.image if note else "",
                ports=note.ports if note and machine.role is Role.FRONTEND else {},
            )
            for machine in folder.machines()
        }

    def _check_here(self, folder: Folder) -> None:
        """Raise DriverError for a cluster of another machine that shares our folders."""
        note = folder.note()
        if note and not _is_here(note):
            raise DriverError(
                f"cluster {folder.cluster} is on {note.host}, not on this machine",
                resolution=f"log in to {note.host} and repeat this there",
            )


def _with_mtu(made: Allocation) -> Allocation:
    """The allocation with the private network's own MTU."""
    from pragma_boot.driver.qemu.command import LAN_MTU  # noqa: PLC0415 - listing does without it

    def large(nic: Nic) -> Nic:
        return replace(nic, mtu=LAN_MTU) if nic.network == PRIVATE else nic

    return replace(made, nodes=tuple(replace(node, nics=tuple(map(large, node.nics))) for node in made.nodes))


def _is_here(note: ClusterNote | None) -> bool:
    return note is None or not note.machine or note.machine == records.this_machine()


def _memory_mib(meminfo: Path = _MEMINFO, limit: Path = _CGROUP_LIMIT) -> int:
    """What there is, or what a container allows of it."""
    found = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemTotal:"))
    there = int(found.split()[1]) // 1024
    try:
        return min(there, int(limit.read_text()) >> 20)
    except (OSError, ValueError):
        return there
