"""A driver that runs nothing: the contract's first implementation, for tests of everything above it.

Its "engine" is one JSON file, so that what a killed process left is there for the next one. Each change to it is one
step; *before_step* is called with the step's words before each (``deploy demo: start compute-0``) and may raise, or
end the process, to try what happens then.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from pragma_boot import files
from pragma_boot.config.settings import ClusterSettings
from pragma_boot.driver import placing
from pragma_boot.driver.base import NO_DOCUMENTS, NO_KERNELS, DriverInfo, no_templates, no_volumes
from pragma_boot.errors import DriverError
from pragma_boot.files import StateFolder
from pragma_boot.model import (
    PRIVATE,
    PUBLIC,
    REPORT_MARK,
    Allocation,
    Capacity,
    ClusterName,
    Disk,
    HostCapacity,
    InUse,
    KernelBoot,
    Leases,
    Mac,
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

_Engine = dict[str, dict[str, Any]]
"""Cluster → {"vlan", "public_ip", "image", "nodes": {node → {"role", "state", "host", "cpus", "memory", "macs", …}}}.

extra: name and address on each further network.
"""


def _go_on(_step: str) -> None:
    return


class MemoryDriver:
    """Promises in driver.base.

    hosts: name → (CPUs, memory in MiB). silent: nodes that never report to be ready on their console.
    """

    info = DriverInfo(
        "memory", has_console=True, direct_kernel=True, options=frozenset({"add-iface", "enable-ent", "ipop"})
    )

    def __init__(
        self,
        state: StateFolder,
        clusters: ClusterSettings,
        *,
        hosts: Mapping[str, tuple[int, int]] | None = None,
        before_step: Callable[[str], None] = _go_on,
        silent: frozenset[NodeName] = frozenset(),
    ) -> None:
        self._state = state
        self._clusters = clusters
        self._hosts = hosts or {"memory": (64, 262144)}
        self._before_step = before_step
        self._silent = silent

    @property
    def file(self) -> Path:
        """The engine's memory."""
        return self._state.root / "memory-driver.json"

    def preflight(self, networks: Collection[str] = ()) -> None:
        """Nothing can be wrong with it."""

    def set_up(self) -> tuple[str, ...]:
        """Nothing outlives its clusters."""
        return ()

    def tear_down(self) -> tuple[str, ...]:
        """Its memory goes with the state folder."""
        self.file.unlink(missing_ok=True)
        return ()

    def capacity(self) -> Capacity:
        """What *hosts* have, less what all nodes take."""
        taken = [node for cluster in self._read().values() for node in cluster["nodes"].values()]
        found = []
        for host, (cpus, memory) in self._hosts.items():
            mine = [node for node in taken if node["host"] == host]
            usable = max(cpus - self._clusters.num_processors_reserved, 0) * self._clusters.cpu_overcommit
            free = usable - sum(node["cpus"] for node in mine)
            left = memory - sum(node["memory"] for node in mine)
            found.append(HostCapacity(host, cpus, max(free, 0), memory, max(left, 0)))
        return Capacity(tuple(found))

    def in_use(self) -> InUse:
        """What the engine's clusters hold."""
        engine = self._read()
        nodes = [node for cluster in engine.values() for node in cluster["nodes"].values()]
        return InUse(
            addresses=frozenset(IPv4Address(cluster["public_ip"]) for cluster in engine.values()),
            vlans=frozenset(cluster["vlan"] for cluster in engine.values()),
            macs=frozenset(Mac(mac) for node in nodes for mac in node["macs"]),
            clusters=frozenset(ClusterName(name) for name in engine),
            extra=frozenset((name, IPv4Address(address)) for node in nodes for name, address in node["extra"]),
        )

    def public_side(self) -> PublicSide:
        """As in the settings; the gateway answers DNS where these name no resolvers."""
        clusters = self._clusters
        return PublicSide(clusters.public_network, clusters.gw, clusters.dns or (clusters.gw,))

    def fit(self, plan: Plan) -> Plan:
        """As in the contract: nodes of any size can be had."""
        return plan

    def allocate(self, plan: Plan, leases: Leases) -> Allocation:
        """As in the contract."""
        hosts = placing.place(plan, self.capacity())
        allocation = placing.allocation(plan, leases, self.public_side(), hosts)
        self._set_aside(allocation)
        return allocation

    def _set_aside(self, allocation: Allocation) -> None:
        with self._step(f"allocate {allocation.cluster}: network") as engine:
            kept = engine.get(allocation.cluster, {"nodes": {}})["nodes"]
            engine[allocation.cluster] = {
                "vlan": allocation.vlan,
                "public_ip": str(allocation.public_ip),
                "image": allocation.image,
                "nodes": kept,
            }

    def deploy(
        self,
        allocation: Allocation,
        disks: Mapping[NodeName, Disk],
        kernels: Mapping[NodeName, KernelBoot],
        progress: ProgressSink = no_progress,
        documents: Mapping[NodeName, bytes] = NO_DOCUMENTS,
    ) -> None:
        """As in the contract; a node whose disk (or document) is missing fails, as a real one would."""
        cluster = allocation.cluster
        what, given = ("disk", disks) if self.info.wants_disks else ("document", documents)
        for node in allocation.nodes:
            progress(Progress("boot", node.name, "starting"))
            if node.name not in given:
                raise DriverError(f"cannot start {node.name}: it has no {what}", resolution=f"make its {what} first")
            with self._step(f"deploy {cluster}: define {node.name}") as engine:
                engine[cluster]["nodes"][node.name] = _record(node)
            files.make_folder(self._state.console(cluster, node.name).parent)
            files.write_atomic(self._state.console(cluster, node.name), b"", 0o600)
            self._run(cluster, node.name, f"deploy {cluster}: start {node.name}")

    def start(
        self,
        cluster: ClusterName,
        progress: ProgressSink = no_progress,
        kernels: Mapping[NodeName, KernelBoot] = NO_KERNELS,
    ) -> None:
        """As in the contract."""
        for node, status in self.status(cluster).items():
            if status.state is not NodeState.ACTIVE:
                progress(Progress("boot", node, "starting"))
                self._run(cluster, node, f"start {cluster}: {node}")

    def status(self, cluster: ClusterName) -> Mapping[NodeName, NodeStatus]:
        """As in the contract."""
        return self.survey().get(cluster, {})

    def survey(self) -> Mapping[ClusterName, Mapping[NodeName, NodeStatus]]:
        """As in the contract."""
        return {ClusterName(name): _statuses(cluster) for name, cluster in self._read().items()}

    def console_log(self, cluster: ClusterName, node: NodeName) -> Path | None:
        """As in the contract."""
        return self._state.console(cluster, node)

    def shutdown(self, cluster: ClusterName, *, grace: float, progress: ProgressSink = no_progress) -> None:
        """As in the contract; its nodes never need the grace."""
        for node, status in self.status(cluster).items():
            if status.state is not NodeState.SHUTDOWN:
                self.set_state(cluster, node, NodeState.SHUTDOWN, f"shutdown {cluster}: {node}")
                progress(Progress("boot", node, "stopped"))

    def release(self, cluster: ClusterName) -> None:
        """As in the contract."""
        for node in self.status(cluster):
            with self._step(f"release {cluster}: {node}") as engine:
                engine.get(cluster, {"nodes": {}})["nodes"].pop(node, None)
        if cluster in self._read():
            with self._step(f"release {cluster}: network") as engine:
                engine.pop(cluster, None)

    def volumes(self) -> Volumes:
        """As in the contract."""
        raise no_volumes(self.info)

    def templates(self) -> Templates:
        """As in the contract."""
        raise no_templates(self.info)

    def set_state(self, cluster: ClusterName, node: NodeName, state: NodeState, step: str = "") -> None:
        """Say what has become of a node: for tests, `crashed` for instance."""
        with self._step(step or f"set {cluster}: {node} {state}") as engine:
            engine[cluster]["nodes"][node]["state"] = state.value

    def _run(self, cluster: ClusterName, node: NodeName, step: str) -> None:
        self.set_state(cluster, node, NodeState.ACTIVE, step)
        if node not in self._silent:
            with self._state.console(cluster, node).open("a") as console:
                console.write(f"{REPORT_MARK} {node} ready\n")

    @contextmanager
    def _step(self, words: str) -> Iterator[_Engine]:
        """One change of the engine, whole or not at all, also beside other processes."""
        self._before_step(words)
        with files.lock(self._state.locks / "memory-driver.lock"):
            engine = self._read()
            yield engine
            files.write_atomic(self.file, json.dumps(engine, indent=1))

    def _read(self) -> _Engine:
        try:
            engine: _Engine = json.loads(self.file.read_text())
        except FileNotFoundError:
            return {}
        return engine


def _record(node: NodeAllocation) -> dict[str, Any]:
    return {
        "role": node.role.value,
        "state": NodeState.SHUTDOWN.value,
        "host": node.host,
        "cpus": node.cpus,
        "memory": node.memory_mib,
        "macs": [nic.mac for nic in node.nics],
        "extra": [(nic.network, str(nic.address.ip)) for nic in node.nics if nic.network not in (PRIVATE, PUBLIC)],
    }


def _statuses(cluster: dict[str, Any]) -> dict[NodeName, NodeStatus]:
    return {
        NodeName(name): NodeStatus(
            name=NodeName(name),
            role=Role(node["role"]),
            state=NodeState(node["state"]),
            host=node["host"],
            public_ip=IPv4Address(cluster["public_ip"]),
            image=cluster["image"],
        )
        for name, node in cluster["nodes"].items()
    }
