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
from fakes.cloud_site import cloud_site, clusters_of, settings_for
from fakes.cloudstack import Config, Credentials
from fakes.engine import CLUSTERS, LIBVIRT, QEMU, EmptyDisks, engine_room, leases, plan
from fakes.memory_cloud import MemoryCloudDriver
from fakes.rocks import PAUSE, VERSIONS, QuickRocks, rocks_settings
from pragma_boot import accel
from pragma_boot.config.settings import ClusterSettings
from pragma_boot.driver.base import Driver
from pragma_boot.driver.cloudstack.driver import CloudStackDriver
from pragma_boot.driver.kvm_rocks.driver import KvmRocksDriver
from pragma_boot.driver.libvirt.connection import connect
from pragma_boot.driver.libvirt.driver import LibvirtDriver
from pragma_boot.driver.memory import MemoryDriver
from pragma_boot.driver.qemu.driver import QemuDriver
from pragma_boot.errors import CapacityError, DriverError, NotAvailableError
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
    ProgressSink,
    Role,
    no_progress,
)
from pragma_boot.network.overlay import membership

A, B, C = ClusterName("drv-a"), ClusterName("drv-b"), ClusterName("drv-c")
COMPUTE = NodeName("compute-0")
ACTIVE, SHUTDOWN = NodeState.ACTIVE, NodeState.SHUTDOWN


@dataclass
class Rig:
    """A driver under test; *open* gives another one on the same engine, as the next command would have.

    others: what else runs there just now, for what is promised to it counts.
    settings: of the site; public addresses are leased from its pool.
    spoil: keeps a node of an allocation from starting, where a disk that is missing does not.
    """

    open: Callable[[ClusterSettings], Driver]
    disks: EmptyDisks
    state: StateFolder
    others: Callable[[], object] = lambda: None
    settings: ClusterSettings = CLUSTERS
    spoil: Callable[[NodeName], None] | None = None

    @property
    def driver(self) -> Driver:
        return self.open(self.settings)

    def leases(self, wanted: Plan, number: int = 0) -> Leases:
        if self.assigns:
            return replace(leases(wanted), public_ip=None, vlan=0, macs={})
        return replace(leases(wanted, number), public_ip=self.settings.public_ips[number])

    @property
    def assigns(self) -> bool:
        return self.driver.info.assigns_addresses

    def allocate(self, wanted: Plan, number: int = 0) -> Allocation:
        return self.driver.allocate(self.driver.fit(wanted), self.leases(wanted, number))

    def deploy(self, allocation: Allocation, progress: ProgressSink = no_progress) -> None:
        if self.driver.info.wants_disks:
            self.driver.deploy(allocation, self.disks.of(allocation), {}, progress)
        else:
            documents = {node.name: b"<vc/>" for node in allocation.nodes}
            self.driver.deploy(allocation, {}, {}, progress, documents)

    def boot(self, cluster: str, computes: int = 0, number: int = 0) -> Allocation:
        allocation = self.allocate(plan(cluster, computes), number)
        self.deploy(allocation)
        return allocation

    @property
    def host(self) -> HostCapacity:
        return self.driver.capacity().hosts[0]

    def states(self, cluster: ClusterName) -> dict[NodeName, NodeState]:
        return {name: status.state for name, status in self.driver.status(cluster).items()}


REAL_CLOUD = os.environ.get("PRAGMA_CS_URL", "")
"""A cloud of whoever runs the tests (docs/cloudstack.md)."""

ENGINES = [
    "memory",
    "memory-cloud",
    "cloudstack",
    *(["real-cloud"] if REAL_CLOUD else []),
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
    if request.param == "memory-cloud":
        yield on_memory_cloud(tmp_path_factory.mktemp("engine"))
        return
    if request.param == "cloudstack":
        yield from on_cloudstack(tmp_path_factory.mktemp("engine"))
        return
    if request.param == "real-cloud":
        yield on_real_cloud(tmp_path_factory.mktemp("engine"))
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


def on_memory_cloud(folder: Path) -> Rig:
    """The memory driver where images, addresses and sizes are the engine's."""
    state, unwilling = StateFolder(folder / "state"), set[str]()

    def refuse(step: str) -> None:
        if step.startswith("deploy") and step.rpartition(" ")[2] in unwilling:
            raise DriverError(f"cannot {step}")

    def another(settings: ClusterSettings) -> Driver:
        made = MemoryCloudDriver(state, settings, refuse)
        made.templates().publish("nothing", "http://images.example.org/nothing.img")
        return made

    return Rig(another, EmptyDisks(folder), state, spoil=lambda node: unwilling.add(str(node)))


def on_cloudstack(folder: Path) -> Iterator[Rig]:
    """A cloud that lets its users expunge; its time is its own."""
    with cloud_site(folder, config=Config(allow_user_expunge=True), public_ips=30, hosts=6) as site:
        for template in site.cloud.state.templates.values():
            template.name = "nothing" if template.name == "frontend" else template.name

        def spoil(node: NodeName) -> None:
            site.cloud.faults.add("fail", "startVirtualMachine", phase="execute", machine=f"{A}-{node}")

        yield Rig(lambda _: site.driver, EmptyDisks(folder), site.state, settings=CLUSTERS, spoil=spoil)


def on_real_cloud(folder: Path) -> Rig:
    keys = Credentials(os.environ["PRAGMA_CS_KEY"], os.environ["PRAGMA_CS_SECRET"])
    clusters, zone = clusters_of(CLUSTERS), os.environ.get("PRAGMA_CS_ZONE", "")
    settings = settings_for(REAL_CLOUD.rstrip("?&"), clusters, keys, zone=zone, timeout=60)
    state = StateFolder(folder / "state")

    def spoil(node: NodeName) -> None:
        pytest.skip(f"nothing keeps {node} of a real cloud from starting")

    return Rig(lambda _: CloudStackDriver(settings, state), EmptyDisks(folder), state, spoil=spoil)


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
    engine.deploy(allocation, told.append)
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
    if rig.assigns:
        pytest.skip("this engine assigns addresses itself")
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


def test_an_engine_that_assigns_addresses_says_all_of_them_and_runs_nothing(rig: Rig) -> None:
    if not rig.assigns:
        pytest.skip("this engine is told what was leased")
    wanted = plan(A, 2)
    allocation = rig.allocate(wanted)
    assert allocation.fqdn == rig.leases(wanted).fqdn
    nics = [nic for node in allocation.nodes for nic in node.nics]
    assert len({nic.mac for nic in nics}) == len({nic.address.ip for nic in nics}) == 4
    private = allocation.frontend.nic("private").address
    for node in allocation.computes:
        assert node.nic("private").gateway == private.ip
        assert node.nic("private").address.network == private.network
    public = allocation.frontend.nic("public")
    assert public.gateway in public.address.network
    assert not public.address.network.overlaps(private.network)
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


def test_an_overlay_of_the_engines_nodes_has_a_hub_that_others_reach(rig: Rig) -> None:
    if "ipop" not in rig.driver.info.options:
        pytest.skip("this engine has no overlays")
    allocation = rig.allocate(plan(A, 2))
    assert rig.driver.info.wants_disks  # keys travel on them
    assert allocation.frontend.nic("public").address.ip == allocation.public_ip
    information, members = membership.found(allocation, IPv4Network("172.20.4.0/22"))
    assert information.hub == allocation.public_ip
    at_home = {peer.endpoint for peer in members[allocation.frontend.name].peers if peer.endpoint}
    assert at_home == {f"{node.nic('private').address.ip}:51820" for node in allocation.computes}
    assert set(members) == {node.name for node in allocation.nodes}


def test_an_allocated_cluster_is_seen_and_holds_its_vlan(rig: Rig) -> None:
    allocation = rig.allocate(plan(A))
    assert rig.driver.survey()[A] == rig.driver.status(A)
    used = rig.driver.in_use()
    assert allocation.vlan in used.vlans or rig.assigns
    assert A in used.clusters


def test_allocating_twice_gives_the_same(rig: Rig) -> None:
    assert rig.allocate(plan(A)) == rig.allocate(plan(A))


def test_what_does_not_fit_is_refused_and_leaves_nothing(rig: Rig) -> None:
    with pytest.raises(CapacityError):
        rig.allocate(plan(A, cpus=100_000))
    with pytest.raises(CapacityError):
        rig.allocate(plan(A, memory_mib=10**9))
    assert A not in rig.driver.survey()


def test_a_plan_that_fits_is_the_engines_own_sizes(rig: Rig) -> None:
    fitted = rig.driver.fit(plan(A, 2))
    assert rig.driver.fit(fitted) == fitted
    assert [node.name for node in fitted.nodes] == [A, "compute-0", "compute-1"]
    assert all(node.cpus >= 1 and node.memory_mib >= 32 for node in fitted.nodes)


def test_templates_are_there_where_disks_are_not_wanted(rig: Rig) -> None:
    if rig.driver.info.wants_disks:
        with pytest.raises(NotAvailableError):
            rig.driver.templates()
    else:
        assert "nothing" in rig.driver.templates().ready()


def test_reserved_cpus_are_not_free(rig: Rig) -> None:
    if rig.assigns:
        pytest.skip("whose hosts they are is the engine's own affair")
    others, free = rig.others(), rig.host.cpus_free
    fewer = rig.open(replace(rig.settings, num_processors_reserved=1)).capacity().hosts[0].cpus_free
    assert fewer == free - CLUSTERS.cpu_overcommit or rig.others() != others


def test_deployed_nodes_run_and_hold_what_they_were_promised(rig: Rig, running: Running) -> None:
    assert rig.states(C) == {C: ACTIVE, "compute-0": ACTIVE, "compute-1": ACTIVE}
    before, after = running.before, rig.host
    promised = before.cpus_free - after.cpus_free, before.memory_free_mib - after.memory_free_mib
    nodes = running.allocation.nodes
    assert (
        promised == (sum(node.cpus for node in nodes), sum(node.memory_mib for node in nodes))
        or rig.others() != running.others
    )
    used = rig.driver.in_use()
    assert {nic.mac for node in running.allocation.nodes for nic in node.nics} <= used.macs
    assert running.allocation.public_ip in used.addresses


def test_the_frontend_starts_first_and_progress_tells_of_each(running: Running) -> None:
    assert running.told[0].subject == C
    assert {each.subject for each in running.told} == {C, "compute-0", "compute-1"}
    assert {each.phase for each in running.told} == {"boot"}


def test_each_node_has_a_console_log_that_a_new_boot_makes_anew(rig: Rig, running: Running) -> None:
    log = rig.driver.console_log(C, COMPUTE)
    if not rig.driver.info.has_console:  # the engine defines its machines itself: nobody says that there is one
        assert log is None
        return
    assert log is not None
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
    assert allocation.vlan not in used.vlans or rig.assigns
    assert not {nic.mac for nic in allocation.frontend.nics} & used.macs
    assert A not in rig.driver.survey()
    again = rig.boot(A, number=1)
    assert rig.driver.status(A)[NodeName(A)].public_ip == again.public_ip
    assert again.public_ip != allocation.public_ip or rig.assigns


def test_release_clears_up_after_a_deploy_that_failed_half_way(rig: Rig) -> None:
    allocation = rig.allocate(plan(A))
    missing = COMPUTE
    if rig.spoil:
        rig.spoil(missing)
        with pytest.raises(DriverError) as caught:
            rig.deploy(allocation)
    else:
        caught = deploy_without(rig, allocation, missing)
    assert missing in f"{caught.value.message} {caught.value.details}"
    assert rig.states(A)[NodeName(A)] is ACTIVE
    rig.driver.release(A)
    assert A not in rig.driver.survey()


def deploy_without(rig: Rig, allocation: Allocation, missing: NodeName) -> pytest.ExceptionInfo[DriverError]:
    disks = rig.disks.of(allocation)
    disks[missing] = replace(disks[missing], path=rig.disks.folder / "gone.qcow2")
    if isinstance(rig.driver, MemoryDriver):
        del disks[missing]  # it never opens one
    with pytest.raises(DriverError) as caught:
        rig.driver.deploy(allocation, disks, {})
    return caught


def test_clusters_do_not_touch_each_other(rig: Rig) -> None:
    rig.boot(A)
    rig.boot(B, number=1)
    rig.driver.shutdown(A, grace=0)
    assert set(rig.states(A).values()) == {SHUTDOWN}
    assert set(rig.states(B).values()) == {ACTIVE}
    rig.driver.release(A)
    assert rig.driver.survey().keys() & {A, B} == {B}
    assert set(rig.states(B).values()) == {ACTIVE}
