"""The site driver `kvm_rocks`: nodes are virtual hosts that Rocks runs in its VM containers."""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pragma_boot import files
from pragma_boot.config.settings import KvmRocksSettings
from pragma_boot.driver.base import NO_DOCUMENTS, NO_KERNELS, DriverInfo, no_templates
from pragma_boot.driver.kvm_rocks import names, status
from pragma_boot.driver.kvm_rocks.hosts import Hosts
from pragma_boot.driver.kvm_rocks.nas import Nas
from pragma_boot.driver.kvm_rocks.note import Notes
from pragma_boot.driver.kvm_rocks.power import Power, attempt, check_disks, raise_all, running
from pragma_boot.driver.kvm_rocks.reading import Reader
from pragma_boot.driver.kvm_rocks.transport import Rocks, together
from pragma_boot.files import StateFolder
from pragma_boot.model import (
    Allocation,
    Capacity,
    ClusterName,
    Disk,
    InUse,
    KernelBoot,
    Leases,
    Mac,
    NodeName,
    NodeStatus,
    Plan,
    ProgressSink,
    PublicSide,
    Templates,
    no_progress,
)

_GENTLE = (7,)
"""The first version whose `stop host vm` can ask a machine to shut down."""


class KvmRocksDriver:
    """Promises in driver.base. Keeps nothing between two calls but its words for `rocks` and `ssh`.

    scratch: a folder for raw copies of images that are not raw. pause: seconds between two looks at what Rocks does.
    rocks, ssh: the programs, where they are not the settings' ones.
    """

    info = DriverInfo(
        "kvm_rocks",
        assigns_macs=True,
        sends_disks=True,
        has_volumes=True,
        refused_names=names.REFUSED,
        options=frozenset({"add-iface", "enable-ent", "ipop"}),
    )

    def __init__(
        self,
        settings: KvmRocksSettings,
        state: StateFolder,
        scratch: Path,
        pause: float = 1.0,
        rocks: Rocks | None = None,
        *,
        ssh: Hosts | None = None,
    ) -> None:
        self._settings = settings
        self._state = state
        self._scratch = scratch
        self._pause = pause
        self._rocks = rocks or Rocks(settings.rocks)
        self._ssh = ssh or Hosts(settings.ssh)
        self._notes = Notes(state)

    def preflight(self, networks: Collection[str] = ()) -> None:
        """As in the contract."""
        from pragma_boot.driver.kvm_rocks import preflight  # noqa: PLC0415 - only `boot` and `check site` look

        preflight.check(self._settings, self._rocks, self._ssh, networks, root=os.geteuid() == 0)

    def set_up(self) -> tuple[str, ...]:
        """As in the contract: Rocks itself is the site."""
        return ()

    def tear_down(self) -> tuple[str, ...]:
        """As in the contract."""
        return ()

    def capacity(self) -> Capacity:
        """As in the contract."""
        from pragma_boot.driver.kvm_rocks.capacity import capacity  # noqa: PLC0415

        return capacity(self._settings, Reader(self._rocks), self._ssh)

    def in_use(self) -> InUse:
        """As in the contract. Every address, VLAN and MAC in Rocks' database is taken, and every host's name."""
        reader = Reader(self._rocks)
        hosts, interfaces, appliances = together(reader.hosts, reader.interfaces, reader.appliances)
        taken = {host.name for host in hosts} | appliances
        return InUse(
            addresses=frozenset(each.ip for each in interfaces if each.ip),
            vlans=frozenset(each.vlan for each in interfaces if each.vlan),
            macs=frozenset(Mac(each.mac) for each in interfaces if each.mac),
            clusters=frozenset(ClusterName(name) for name in taken),
        )

    def public_side(self) -> PublicSide:
        """As in the contract; the gateway answers DNS where the site names no resolvers."""
        clusters = self._settings.clusters
        return PublicSide(clusters.public_network, clusters.gw, clusters.dns or (clusters.gw,))

    def fit(self, plan: Plan) -> Plan:
        """As in the contract: nodes of any size can be had."""
        return plan

    def allocate(self, plan: Plan, leases: Leases) -> Allocation:
        """As in the contract. All nodes are defined in Rocks after it, and none runs."""
        from pragma_boot.driver.kvm_rocks.allocate import Allocator  # noqa: PLC0415

        with self._alone():
            allocator = Allocator(self._rocks, self._notes, self.public_side(), self._settings)
            return allocator.allocate(plan, leases, self.capacity)

    def deploy(
        self,
        allocation: Allocation,
        disks: Mapping[NodeName, Disk],
        kernels: Mapping[NodeName, KernelBoot],
        progress: ProgressSink = no_progress,
        documents: Mapping[NodeName, bytes] = NO_DOCUMENTS,
    ) -> None:
        """As in the contract. Disks are sent to the hosts first; volumes are on their NAS already."""
        from pragma_boot.driver.kvm_rocks.deploy import Deployment  # noqa: PLC0415
        from pragma_boot.driver.kvm_rocks.transfer import Shipper  # noqa: PLC0415

        power = self._power(allocation.cluster, progress)
        with Shipper(self._ssh, self._scratch) as shipper:
            Deployment(power, shipper, allocation, self._settings.clusters.diskdir).run(disks)

    def start(
        self,
        cluster: ClusterName,
        progress: ProgressSink = no_progress,
        kernels: Mapping[NodeName, KernelBoot] = NO_KERNELS,
    ) -> None:
        """As in the contract."""
        power, reader = self._power(cluster, progress), Reader(self._rocks)
        there = power.states()
        stopped = sorted(
            (name for name in there if there[name] != "active"), key=lambda name: names.order(cluster, name)
        )
        if not stopped:
            return
        machines, assigned = together(
            functools.partial(reader.machines, *stopped, disks=True), functools.partial(reader.assignments, *stopped)
        )
        failures = check_disks(self._ssh, machines.values(), assigned)
        raise_all(f"start {cluster}", failures)
        for some in ([name for name in stopped if name == cluster], [name for name in stopped if name != cluster]):
            raise_all(f"start {cluster}", power.start(some))
        raise_all(f"start {cluster}", power.confirm_running(stopped))

    def status(self, cluster: ClusterName) -> Mapping[NodeName, NodeStatus]:
        """As in the contract."""
        return status.of_cluster(Reader(self._rocks), self._notes, cluster)

    def survey(self) -> Mapping[ClusterName, Mapping[NodeName, NodeStatus]]:
        """As in the contract; whoever made them: Rocks knows no owners."""
        return status.of_all(Reader(self._rocks), self._notes)

    def console_log(self, cluster: ClusterName, node: NodeName) -> Path | None:
        """As in the contract: consoles are not logged."""
        return None

    def shutdown(self, cluster: ClusterName, *, grace: float, progress: ProgressSink = no_progress) -> None:
        """As in the contract. Rocks 6.2 cannot ask a machine to shut down: it is switched off."""
        reader, power = Reader(self._rocks), self._power(cluster, progress)
        found, version = together(functools.partial(reader.cluster, cluster, status=True), reader.version)
        if found is None:
            return
        power.stop(running(found), grace=grace, gently=version >= _GENTLE)
        nas = self.volumes()
        acts = {
            f"volume {name}-vol": functools.partial(nas.settle, place.nas, f"{name}-vol")
            for name, place in reader.assignments(*found.states).items()
        }
        raise_all(f"unmap the volumes of {cluster}", attempt(acts, self._settings.clusters.parallel))

    def release(self, cluster: ClusterName) -> None:
        """As in the contract; disks on the hosts and volumes are removed, too: only Rocks knows where they are."""
        from pragma_boot.driver.kvm_rocks.extents import forget_abandoned  # noqa: PLC0415
        from pragma_boot.driver.kvm_rocks.release import Release  # noqa: PLC0415

        forget_abandoned(self._scratch)
        with self._alone():
            Release(self._power(cluster, no_progress), self.volumes(), self._notes).run()

    def volumes(self) -> Nas:
        """As in the contract."""
        return Nas(self._rocks, self._ssh, self._state.locks, self._pause)

    def templates(self) -> Templates:
        """As in the contract."""
        raise no_templates(self.info)

    def _power(self, cluster: ClusterName, progress: ProgressSink) -> Power:
        return Power(self._rocks, self._ssh, cluster, self._settings.clusters.parallel, progress, self._pause)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One at a time: two `add cluster` at once give two machines the same MAC (rocks.md 3.7)."""
        with files.lock(self._state.locks / "rocks.lock"):
            yield
