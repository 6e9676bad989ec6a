"""What every driver promises (driver/base.py): one suite, the in-memory driver first, then real libvirt."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from emulators.rocks.site import RocksSite
from fakes.engine import CLUSTERS, LIBVIRT, QEMU, EmptyDisks, engine_room, leases, plan
from fakes.rocks import PAUSE, VERSIONS, QuickRocks, rocks_settings
from pragma_boot import accel
from pragma_boot.config.settings import ClusterSettings
from pragma_boot.driver.base import Driver
from pragma_boot.driver.kvm_rocks.driver import KvmRocksDriver
from pragma_boot.driver.libvirt.connection import connect
from pragma_boot.driver.libvirt.driver import LibvirtDriver
from pragma_boot.driver.memory import MemoryDriver
from pragma_boot.driver.qemu.driver import QemuDriver
from pragma_boot.errors import CapacityError, DriverError
from pragma_boot.files import StateFolder
from pragma_boot.model import (
    Allocation,
    ClusterName,
    ExtraNetwork,
    HostCapacity,
    Leases,
    NodeName,
    NodeState,
    Plan,
    Progress,
    Role,
)

A, B, C = ClusterName("drv-a"), ClusterName("drv-b"), ClusterName("drv-c")
COMPUTE = NodeName("compute-0")
ACTIVE, SHUTDOWN = NodeState.ACTIVE, NodeState.SHUTDOWN


@dataclass
class Rig:
    """A driver under test; *open* gives another one on the same engine, as the next command would have.

    others: what else runs there just now, for what is promised to it counts.
    settings: of the site; public addresses are leased from its pool.
    """

    open: Callable[[ClusterSettings], Driver]
    disks: EmptyDisks
    state: StateFolder
    others: Callable[[], object] = lambda: None
    settings: ClusterSettings = CLUSTERS

    @property
    def driver(self) -> Driver:
        return self.open(self.settings)

    def leases(self, wanted: Plan, number: int = 0) -> Leases:
        return replace(leases(wanted, number), public_ip=self.settings.public_ips[number])

    def allocate(self, wanted: Plan, number: int = 0) -> Allocation:
        return self.driver.allocate(wanted, self.leases(wanted, number))

    def boot(self, cluster: str, computes: int = 0, number: int = 0) -> Allocation:
        allocation = self.allocate(plan(cluster, computes), number)
        self.driver.deploy(allocation, self.disks.of(allocation), {})
        return allocation

    @property
    def host(self) -> HostCapacity:
        return self.driver.capacity().hosts[0]

    def states(self, cluster: ClusterName) -> dict[NodeName, NodeState]:
        return {name: status.state for name, status in self.driver.status(cluster).items()}


ENGINES = [
    "memory",
    *(f"rocks-{version}" for version in VERSIONS),
    *(pytest.param(engine, marks=pytest.mark.live) for engine in ("qemu", "libvirt")),
]


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    if request.param == "memory":
        folder = tmp_path_factory.mktemp("engine")
        state = StateFolder(folder / "state")
        yield Rig(lambda settings: MemoryDriver(state, settings), EmptyDisks(folder), state)
        return
    if request.param.startswith("rocks-"):
        yield on_rocks(tmp_path_factory.mktemp("engine"), request.param.removeprefix("rocks-"))
        return
    if request.param == "qemu":
        yield from on_qemu(tmp_path_factory.mktemp("engine"))
        return
    if os.geteuid():
        pytest.skip("needs root")
    with engine_room() as folder:
        yield from on_libvirt(folder)


def on_rocks(folder: Path, version: str) -> Rig:
    """A site whose one container has all nodes."""
    site = RocksSite.create(folder / "site", version, containers=1)
    site.call("add network", "openflow", "subnet=10.103.0.0", "netmask=255.255.255.240")
    state, only = StateFolder(folder / "state"), "vm-container-0-0"

    def another(settings: ClusterSettings) -> Driver:
        found = rocks_settings(site, settings, containers=(only,), frontend=only)
        return KvmRocksDriver(found, state, folder, PAUSE, QuickRocks(site))

    return Rig(another, EmptyDisks(folder), state)


def on_qemu(folder: Path) -> Iterator[Rig]:
    """Processes of whoever runs this: root or not."""
    if accel.emulator() is None:
        pytest.skip("needs QEMU")
    state = StateFolder(folder / "state")

    def another(settings: ClusterSettings) -> Driver:
        return QemuDriver(replace(QEMU, clusters=settings), state)

    yield Rig(another, EmptyDisks(folder), state, settings=QEMU.clusters)
    assert not list(state.machines.iterdir())


def on_libvirt(folder: Path) -> Iterator[Rig]:
    state = StateFolder(folder / "state")
    made = LibvirtDriver(LIBVIRT, state)

    def another(settings: ClusterSettings) -> Driver:
        return made if settings is CLUSTERS else LibvirtDriver(replace(LIBVIRT, clusters=settings), state)

    def others() -> object:
        with closing(connect(LIBVIRT.hosts[0])) as libvirt:
            active = 1  # VIR_CONNECT_LIST_DOMAINS_ACTIVE
            found = {(domain.name(), domain.ID()) for domain in libvirt.listAllDomains(active)}
        return {each for each in found if not each[0].startswith((f"{A}.", f"{B}.", f"{C}."))}

    for cluster in (A, B, C):
        made.release(cluster)
    yield Rig(another, EmptyDisks(folder), state, others)
    made.tear_down()


@pytest.fixture
def rig(engine: Rig) -> Iterator[Rig]:
    yield engine
    for cluster in (A, B):
        engine.driver.release(cluster)
    assert not {A, B} & engine.driver.survey().keys()


@dataclass
class Running:
    """A cluster of three that runs, and what was seen before and while it was started. Nobody changes it."""

    allocation: Allocation
    before: HostCapacity
    others: object
    told: list[Progress]


@pytest.fixture(scope="module")
def running(engine: Rig) -> Iterator[Running]:
    log = engine.driver.console_log(C, COMPUTE)
    assert bool(log) == engine.driver.info.has_console
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("of an older boot")
    others, before = engine.others(), engine.host
    allocation = engine.allocate(plan(C, 2), number=2)
    told: list[Progress] = []
    engine.driver.deploy(allocation, engine.disks.of(allocation), {}, told.append)
    yield Running(allocation, before, others, told)
    engine.driver.release(C)


def test_nothing_is_known_of_a_cluster_that_never_was(rig: Rig) -> None:
    driver = rig.driver
    assert driver.status(A) == {}
    driver.start(A)
    driver.shutdown(A, grace=0)
    driver.release(A)
    assert A not in driver.survey()
    assert A not in driver.in_use().clusters


def test_an_allocation_holds_what_was_leased_and_runs_nothing(rig: Rig) -> None:
    wanted = plan(A, 2)
    held = rig.leases(wanted)
    allocation = rig.allocate(wanted)
    assert (allocation.public_ip, allocation.vlan, allocation.fqdn) == (held.public_ip, held.vlan, held.fqdn)
    assert [str(node.nics[0].address) for node in allocation.nodes] == [
        "10.1.1.1/16",
        "10.1.255.254/16",
        "10.1.255.253/16",
    ]
    macs = {node.name: {nic.network: nic.mac for nic in node.nics} for node in allocation.nodes}
    assert macs == held.macs or rig.driver.info.assigns_macs
    assert len({nic.mac for node in allocation.nodes for nic in node.nics}) == 4
    assert allocation.frontend.nic("public").gateway == rig.settings.gw
    assert str(allocation.computes[0].nics[0].gateway) == "10.1.1.1"
    assert ACTIVE not in rig.states(A).values()


def test_every_node_is_on_the_further_networks_of_the_plan(rig: Rig) -> None:
    driver = rig.open(replace(rig.settings, additional_interfaces={"openflow": "ovs"}))
    if not driver.info.options >= {"add-iface", "enable-ent"}:
        pytest.skip("this engine has no further networks")
    openflow = ExtraNetwork("openflow", IPv4Network("10.103.0.0/28"), IPv4Address("10.103.0.3"), 1450)
    wanted = replace(plan(A, 2), extra=(openflow,))
    allocation = driver.allocate(wanted, rig.leases(wanted))
    nics = [node.nics[-1] for node in allocation.nodes]
    assert {(nic.network, nic.mtu, nic.gateway) for nic in nics} == {("openflow", 1450, None)}
    assert [str(nic.address) for nic in nics] == ["10.103.0.3/28", "10.103.0.4/28", "10.103.0.5/28"]
    assert len({nic.mac for node in allocation.nodes for nic in node.nics}) == 7


def test_an_allocated_cluster_is_seen_and_holds_its_vlan(rig: Rig) -> None:
    allocation = rig.allocate(plan(A))
    assert rig.driver.survey()[A] == rig.driver.status(A)
    used = rig.driver.in_use()
    assert allocation.vlan in used.vlans
    assert A in used.clusters


def test_allocating_twice_gives_the_same(rig: Rig) -> None:
    assert rig.allocate(plan(A)) == rig.allocate(plan(A))


def test_what_does_not_fit_is_refused_and_leaves_nothing(rig: Rig) -> None:
    with pytest.raises(CapacityError):
        rig.allocate(plan(A, cpus=100_000))
    with pytest.raises(CapacityError):
        rig.allocate(plan(A, memory_mib=10**9))
    assert A not in rig.driver.survey()


def test_reserved_cpus_are_not_free(rig: Rig) -> None:
    others, free = rig.others(), rig.host.cpus_free
    fewer = rig.open(replace(rig.settings, num_processors_reserved=1)).capacity().hosts[0].cpus_free
    assert fewer == free - CLUSTERS.cpu_overcommit or rig.others() != others


def test_deployed_nodes_run_and_hold_what_they_were_promised(rig: Rig, running: Running) -> None:
    assert rig.states(C) == {C: ACTIVE, "compute-0": ACTIVE, "compute-1": ACTIVE}
    before, after = running.before, rig.host
    promised = before.cpus_free - after.cpus_free, before.memory_free_mib - after.memory_free_mib
    assert promised == (3, 3 * 32) or rig.others() != running.others
    used = rig.driver.in_use()
    assert {nic.mac for node in running.allocation.nodes for nic in node.nics} <= used.macs
    assert running.allocation.public_ip in used.addresses


def test_the_frontend_starts_first_and_progress_tells_of_each(running: Running) -> None:
    assert running.told[0].subject == C
    assert {each.subject for each in running.told} == {C, "compute-0", "compute-1"}
    assert {each.phase for each in running.told} == {"boot"}


def test_each_node_has_a_console_log_that_a_new_boot_makes_anew(rig: Rig, running: Running) -> None:
    log = rig.driver.console_log(C, COMPUTE)
    if not log:
        pytest.skip("this engine logs no console")
    assert "older" not in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


def test_what_is_known_of_a_node_comes_from_the_engine_alone(rig: Rig, running: Running) -> None:
    shutil.rmtree(rig.state.cluster(C), ignore_errors=True)
    for seen in (rig.driver.survey()[C], rig.driver.status(C)):
        assert seen[NodeName(C)].role is Role.FRONTEND
        assert seen[COMPUTE].role is Role.COMPUTE
        assert {status.host for status in seen.values()} == {running.allocation.frontend.host}
        assert {status.image for status in seen.values()} == {"nothing"}
        assert seen[NodeName(C)].public_ip == running.allocation.public_ip


def test_shutdown_stops_all_and_start_brings_them_back(rig: Rig) -> None:
    rig.boot(A, 1)
    others, capacity = rig.others(), rig.host
    rig.driver.shutdown(A, grace=0.3)
    assert set(rig.states(A).values()) == {SHUTDOWN}
    rig.driver.shutdown(A, grace=0.3)
    assert rig.host == capacity or rig.others() != others, "what is shut down keeps its room"
    rig.driver.start(A)
    rig.driver.start(A)
    assert set(rig.states(A).values()) == {ACTIVE}


def test_release_of_running_nodes_leaves_nothing_and_the_name_can_be_used_again(rig: Rig) -> None:
    allocation = rig.boot(A)
    rig.driver.release(A)
    rig.driver.release(A)
    used = rig.driver.in_use()
    assert allocation.vlan not in used.vlans
    assert not {nic.mac for nic in allocation.frontend.nics} & used.macs
    assert A not in rig.driver.survey()
    again = rig.boot(A, number=1)
    assert rig.driver.status(A)[NodeName(A)].public_ip == again.public_ip != allocation.public_ip


def test_release_clears_up_after_a_deploy_that_failed_half_way(rig: Rig) -> None:
    allocation = rig.allocate(plan(A))
    disks = rig.disks.of(allocation)
    missing = COMPUTE
    disks[missing] = replace(disks[missing], path=rig.disks.folder / "gone.qcow2")
    if isinstance(rig.driver, MemoryDriver):
        del disks[missing]  # it never opens one
    with pytest.raises(DriverError) as caught:
        rig.driver.deploy(allocation, disks, {})
    assert missing in f"{caught.value.message} {caught.value.details}"
    assert rig.states(A)[NodeName(A)] is ACTIVE
    rig.driver.release(A)
    assert A not in rig.driver.survey()


def test_clusters_do_not_touch_each_other(rig: Rig) -> None:
    rig.boot(A)
    rig.boot(B, number=1)
    rig.driver.shutdown(A, grace=0)
    assert set(rig.states(A).values()) == {SHUTDOWN}
    assert set(rig.states(B).values()) == {ACTIVE}
    rig.driver.release(A)
    assert rig.driver.survey().keys() & {A, B} == {B}
    assert set(rig.states(B).values()) == {ACTIVE}
