"""The site driver `libvirt`: nodes are domains of the host's libvirt."""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path
from typing import TYPE_CHECKING

from pragma_boot import accel, files
from pragma_boot.config.settings import LibvirtSettings
from pragma_boot.driver import placing
from pragma_boot.driver.acts import Act, attempt, frontend_first, raise_failures, side_by_side
from pragma_boot.driver.base import NO_DOCUMENTS, NO_KERNELS, DriverInfo, no_templates, no_volumes
from pragma_boot.driver.libvirt import domains, marks, networks
from pragma_boot.driver.libvirt.connection import Connection, connect, explained
from pragma_boot.driver.libvirt.domains import Found
from pragma_boot.driver.libvirt.marks import Marks
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
    Mac,
    NodeAllocation,
    NodeName,
    NodeStatus,
    Plan,
    Progress,
    ProgressSink,
    PublicSide,
    Templates,
    Volumes,
    no_progress,
)

if TYPE_CHECKING:
    from pragma_boot.driver.libvirt.documents import Domain, Interface

_log = logging.getLogger(__name__)


class LibvirtDriver:
    """Promises in driver.base. One connection, opened when first needed and kept; folders: what QEMU must reach."""

    info = DriverInfo(
        "libvirt", has_console=True, direct_kernel=True, options=frozenset({"add-iface", "enable-ent", "ipop"})
    )

    def __init__(self, settings: LibvirtSettings, state: StateFolder, folders: Sequence[Path] = ()) -> None:
        self._settings = settings
        self._state = state
        self._folders = tuple(folders)

    @functools.cached_property
    def _connection(self) -> Connection:
        return connect(self._host)

    @property
    def _site(self) -> str:
        """What tells our machines from those of another site on this host."""
        return str(self._state.root)

    @property
    def _host(self) -> str:
        return self._settings.hosts[0]

    @property
    def _parallel(self) -> int:
        return self._settings.clusters.parallel

    @property
    def _gateway(self) -> IPv4Interface:
        """The public network's gateway: in a NAT network that is the host itself."""
        clusters = self._settings.clusters
        return IPv4Interface((clusters.gw, clusters.public_network.prefixlen))

    def preflight(self, networks: Collection[str] = ()) -> None:
        """As in the contract."""
        from pragma_boot.driver.libvirt import preflight  # noqa: PLC0415 - only `boot` and `check site` look

        preflight.check(self._settings, self._state, self._folders, networks)

    def set_up(self) -> tuple[str, ...]:
        """As in the contract: the NAT network, where the settings want one."""
        made = networks.ensure_public(self._connection, self._site, self._settings.public, self._gateway)
        return (f"made the NAT network {self._settings.public.name}, {self._gateway}",) if made else ()

    def tear_down(self) -> tuple[str, ...]:
        """As in the contract."""
        if not networks.remove_public(self._connection, self._site, self._settings.public):
            return ()
        return (f"removed the NAT network {self._settings.public.name}",)

    def capacity(self) -> Capacity:
        """As in the contract: nothing is promised twice, and no host has less than nothing."""
        with explained(f"ask {self._host} for its CPUs and memory"):
            _model, _node_memory, cpus, *_rest = self._connection.getInfo()
            memory = self._connection.getMemoryStats(-1)["total"] // 1024  # all of it, also what was added later
        used_cpus, used_memory = domains.taken(self._connection, self._site)
        clusters = self._settings.clusters
        usable = max(cpus - clusters.num_processors_reserved, 0) * clusters.cpu_overcommit
        host = HostCapacity(
            host=self._host,
            cpus=cpus,
            cpus_free=max(usable - used_cpus, 0),
            memory_mib=memory,
            memory_free_mib=max(memory - used_memory, 0),
        )
        return Capacity((host,))

    def in_use(self) -> InUse:
        """As in the contract: from the metadata of our domains and networks, and from everybody's XML."""
        macs, ours = domains.macs_and_marks(self._connection)
        network_marks, addresses = networks.marks_and_addresses(self._connection)
        ours += network_marks
        return InUse(
            addresses=frozenset(addresses | domains.public_addresses(ours)),
            vlans=frozenset(each.vlan for each in ours if each.vlan is not None),
            macs=frozenset(Mac(mac) for mac in macs),
            clusters=frozenset(each.cluster for each in ours),
            extra=frozenset(address for each in ours for address in each.extra),
        )

    def public_side(self) -> PublicSide:
        """As in the contract; the gateway answers DNS where the site names no resolvers."""
        clusters = self._settings.clusters
        return PublicSide(clusters.public_network, clusters.gw, clusters.dns or (clusters.gw,))

    def fit(self, plan: Plan) -> Plan:
        """As in the contract: nodes of any size can be had."""
        return plan

    def allocate(self, plan: Plan, leases: Leases) -> Allocation:
        """As in the contract. Makes the cluster's private network, and the public one where it is missing."""
        hosts = placing.place(plan, self.capacity())
        allocation = placing.allocation(plan, leases, self.public_side(), hosts)
        self.set_up()
        networks.ensure_private(self._connection, _marks(self._site, allocation))
        return allocation

    def deploy(
        self,
        allocation: Allocation,
        disks: Mapping[NodeName, Disk],
        kernels: Mapping[NodeName, KernelBoot],
        progress: ProgressSink = no_progress,
        documents: Mapping[NodeName, bytes] = NO_DOCUMENTS,
    ) -> None:
        """As in the contract."""
        from pragma_boot.driver.libvirt import preflight  # noqa: PLC0415 - listing does without it

        how = accel.works(self._state, self._settings.accel)
        connection = self._connection
        preflight.check_reach(preflight.qemu_user(connection), disks.values(), kernels.values())

        def launch(node: NodeAllocation) -> None:
            progress(Progress("boot", node.name, "starting"))
            domain = self._domain(allocation, node, disks[node.name], how)
            domains.launch(connection, domain, kernels.get(node.name))

        acts = {node.name: functools.partial(launch, node) for node in allocation.nodes}
        frontend_first(f"start {allocation.cluster}", allocation.frontend.name, acts, self._parallel)

    def start(
        self,
        cluster: ClusterName,
        progress: ProgressSink = no_progress,
        kernels: Mapping[NodeName, KernelBoot] = NO_KERNELS,
    ) -> None:
        """As in the contract; after a restart of the host the networks are started, too."""
        found = domains.find(self._connection, self._site, cluster)
        if not found:
            return
        self.set_up()
        mine = next(filter(None, map(domains.read_marks, found)), None)
        if mine:
            networks.ensure_private(self._connection, replace(mine, node=NodeName(""), role="", extra=()))

        def start(each: Found) -> None:
            progress(Progress("boot", each.node, "starting"))
            domains.start(self._connection, each, kernels.get(each.node))

        acts = {each.node: functools.partial(start, each) for each in found}
        frontend_first(f"start {cluster}", NodeName(cluster), acts, self._parallel)

    def status(self, cluster: ClusterName) -> Mapping[NodeName, NodeStatus]:
        """As in the contract."""
        return self._statuses(domains.find(self._connection, self._site, cluster)).get(cluster, {})

    def survey(self) -> Mapping[ClusterName, Mapping[NodeName, NodeStatus]]:
        """As in the contract. A cluster of which only a network is left has no nodes."""
        statuses = self._statuses(domains.find(self._connection, self._site))
        return {cluster: {} for cluster in networks.clusters(self._connection, self._site)} | statuses

    def console_log(self, cluster: ClusterName, node: NodeName) -> Path | None:
        """As in the contract."""
        return self._state.console(cluster, node)

    def shutdown(self, cluster: ClusterName, *, grace: float, progress: ProgressSink = no_progress) -> None:
        """As in the contract: the power button, then the plug."""
        running = [each for each in domains.find(self._connection, self._site, cluster) if each.runs]
        left = {each.node: each for each in running}
        for each in domains.ask_to_stop(self._connection, running, grace):
            progress(Progress("boot", each.node, "stopped"))
            del left[each.node]
        for node in left if grace > 0 else ():
            _log.warning("%s did not stop within %g seconds; it is forced to", node, grace)
        acts = {node: functools.partial(domains.stop, each) for node, each in left.items()}
        side_by_side(f"stop {cluster}", acts, self._parallel)

    def release(self, cluster: ClusterName) -> None:
        """As in the contract."""
        acts: dict[str, Act] = {
            each.node: functools.partial(domains.remove, each)
            for each in domains.find(self._connection, self._site, cluster)
        }
        failures = attempt(acts, self._parallel)
        failures |= attempt(
            {"its private network": functools.partial(networks.remove_private, self._connection, self._site, cluster)},
            self._parallel,
        )
        raise_failures(f"remove {cluster}", failures, len(acts) + 1)

    def volumes(self) -> Volumes:
        """As in the contract."""
        raise no_volumes(self.info)

    def templates(self) -> Templates:
        """As in the contract."""
        raise no_templates(self.info)

    def _domain(self, allocation: Allocation, node: NodeAllocation, disk: Disk, how: str) -> Domain:
        from pragma_boot.driver.libvirt.documents import Domain  # noqa: PLC0415 - listing does without documents

        log = self._state.console(allocation.cluster, node.name)
        files.make_folder(log.parent, 0o700)
        files.write_atomic(log, b"", 0o600)  # ours, so that we may read what libvirt's log daemon appends
        return Domain(
            marks=_marks(self._site, allocation, node),
            cpus=node.cpus,
            memory_mib=node.memory_mib,
            accel=how,
            disk=disk,
            interfaces=tuple(self._interface(allocation.cluster, nic.network, nic.mac) for nic in node.nics),
            console=log,
        )

    def _interface(self, cluster: ClusterName, network: str, mac: Mac) -> Interface:
        from pragma_boot.driver.libvirt import bridges  # noqa: PLC0415 - listing does without documents
        from pragma_boot.driver.libvirt.documents import Interface  # noqa: PLC0415

        if network == PRIVATE:
            return Interface(mac, network=marks.network_name(cluster))
        if network != PUBLIC:
            return bridges.interface(self._settings.clusters.networks[network], mac)
        public = self._settings.public
        return Interface(
            mac,
            network=public.name if public.kind == "nat" else "",
            bridge=public.name if public.kind == "bridge" else "",
        )

    def _statuses(self, found: Iterable[Found]) -> dict[ClusterName, dict[NodeName, NodeStatus]]:
        """Statuses by cluster; the metadata of one node (the first) tells for all: they share it."""
        statuses: dict[ClusterName, dict[NodeName, NodeStatus]] = {}
        known: dict[ClusterName, Marks | None] = {}
        for each in found:
            if not known.get(each.cluster):
                known[each.cluster] = domains.read_marks(each)
            mine = known[each.cluster]
            statuses.setdefault(each.cluster, {})[each.node] = NodeStatus(
                name=each.node,
                role=marks.role_of(each.cluster, each.node),
                state=each.state,
                host=self._host,
                public_ip=mine.public_ip if mine else None,
                image=mine.image if mine else "",
            )
        return statuses


def _marks(site: str, allocation: Allocation, node: NodeAllocation | None = None) -> Marks:
    """What a node, or without one the cluster's network, carries."""
    nics = node.nics if node else ()
    return Marks(
        site=site,
        cluster=allocation.cluster,
        node=node.name if node else NodeName(""),
        role=node.role.value if node else "",
        image=allocation.image,
        fqdn=allocation.fqdn,
        public_ip=allocation.public_ip,
        vlan=allocation.vlan,
        extra=tuple((nic.network, nic.address.ip) for nic in nics if nic.network not in (PRIVATE, PUBLIC)),
    )
