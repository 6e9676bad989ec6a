"""What every driver promises (driver/base.py): one suite, the in-memory driver first, then real libvirt."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fakes.engine import CLUSTERS, LIBVIRT, EmptyDisks, leases, plan
from pragma_boot.config.settings import ClusterSettings
from pragma_boot.driver.base import Driver
from pragma_boot.driver.libvirt.driver import LibvirtDriver
from pragma_boot.driver.memory import MemoryDriver
from pragma_boot.errors import CapacityError, DriverError
from pragma_boot.files import StateFolder
from pragma_boot.model import Allocation, ClusterName, NodeName, NodeState, Plan, Progress, Role

A, B = ClusterName("drv-a"), ClusterName("drv-b")
COMPUTE = NodeName("compute-0")
ACTIVE, SHUTDOWN = NodeState.ACTIVE, NodeState.SHUTDOWN


@dataclass
class Rig:
    """A driver under test; *open* gives another one on the same engine, as the next command would have."""

    open: Callable[[ClusterSettings], Driver]
    disks: EmptyDisks
    state: StateFolder

    @property
    def driver(self) -> Driver:
        return self.open(CLUSTERS)

    def allocate(self, wanted: Plan, number: int = 0) -> Allocation:
        return self.driver.allocate(wanted, leases(wanted, number))

    def boot(self, cluster: str, computes: int = 1, number: int = 0) -> Allocation:
        allocation = self.allocate(plan(cluster, computes), number)
        self.driver.deploy(allocation, self.disks.of(allocation), {})
        return allocation

    def states(self, cluster: ClusterName) -> dict[NodeName, NodeState]:
        return {name: status.state for name, status in self.driver.status(cluster).items()}


@pytest.fixture(scope="module", params=["memory", pytest.param("libvirt", marks=pytest.mark.live)])
def engine(request: pytest.FixtureRequest) -> Iterator[Rig]:
    folder = Path(tempfile.mkdtemp(prefix="drv-", dir="/var/tmp"))
    folder.chmod(0o755)  # QEMU runs as its own user
    state = StateFolder(folder / "state")
    if request.param == "memory":
        yield Rig(lambda settings: MemoryDriver(state, settings), EmptyDisks(folder), state)
    else:
        if os.geteuid():
            pytest.skip("needs root")
        made = LibvirtDriver(LIBVIRT, state)
        yield Rig(
            lambda settings: (
                made if settings is CLUSTERS else LibvirtDriver(replace(LIBVIRT, clusters=settings), state)
            ),
            EmptyDisks(folder),
            state,
        )
        made.tear_down()
    shutil.rmtree(folder)


@pytest.fixture
def rig(engine: Rig) -> Iterator[Rig]:
    yield engine
    for cluster in (A, B):
        engine.driver.release(cluster)
    assert not {A, B} & engine.driver.survey().keys()


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
    held = leases(wanted)
    allocation = rig.allocate(wanted)
    assert (allocation.public_ip, allocation.vlan, allocation.fqdn) == (held.public_ip, held.vlan, held.fqdn)
    assert [str(node.nics[0].address) for node in allocation.nodes] == [
        "10.1.1.1/16",
        "10.1.255.254/16",
        "10.1.255.253/16",
    ]
    assert {node.name: {nic.network: nic.mac for nic in node.nics} for node in allocation.nodes} == held.macs
    assert str(allocation.frontend.nic("public").gateway) == "198.51.100.1"
    assert str(allocation.computes[0].nics[0].gateway) == "10.1.1.1"
    assert rig.driver.status(A) == {}


def test_an_allocated_cluster_is_seen_and_holds_its_vlan(rig: Rig) -> None:
    allocation = rig.allocate(plan(A))
    assert rig.driver.survey()[A] == {}
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
    free = rig.driver.capacity().hosts[0].cpus_free
    fewer = rig.open(replace(CLUSTERS, num_processors_reserved=1)).capacity().hosts[0].cpus_free
    assert fewer == free - CLUSTERS.cpu_overcommit


def test_deployed_nodes_run_and_hold_what_they_were_promised(rig: Rig) -> None:
    before = rig.driver.capacity().hosts[0]
    allocation = rig.boot(A, 2)
    assert rig.states(A) == {A: ACTIVE, "compute-0": ACTIVE, "compute-1": ACTIVE}
    after = rig.driver.capacity().hosts[0]
    assert before.cpus_free - after.cpus_free == 3
    assert before.memory_free_mib - after.memory_free_mib == 3 * 32
    used = rig.driver.in_use()
    assert {nic.mac for node in allocation.nodes for nic in node.nics} <= used.macs
    assert allocation.public_ip in used.addresses


def test_what_is_known_of_a_node_comes_from_the_engine_alone(rig: Rig) -> None:
    allocation = rig.boot(A)
    shutil.rmtree(rig.state.cluster(A))
    for seen in (rig.driver.survey()[A], rig.driver.status(A)):
        assert seen[NodeName(A)].role is Role.FRONTEND
        assert seen[COMPUTE].role is Role.COMPUTE
        assert {status.host for status in seen.values()} == {allocation.frontend.host}
        assert {status.image for status in seen.values()} == {"nothing"}
        assert seen[NodeName(A)].public_ip == allocation.public_ip


def test_the_frontend_starts_first_and_progress_tells_of_each(rig: Rig) -> None:
    told: list[Progress] = []
    allocation = rig.allocate(plan(A, 2))
    rig.driver.deploy(allocation, rig.disks.of(allocation), {}, told.append)
    assert told[0].subject == A
    assert {each.subject for each in told} == {A, "compute-0", "compute-1"}
    assert {each.phase for each in told} == {"boot"}


def test_each_node_has_a_console_log_that_a_new_boot_makes_anew(rig: Rig) -> None:
    log = rig.driver.console_log(A, COMPUTE)
    assert log
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("of an older boot")
    rig.boot(A)
    assert "older" not in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


def test_shutdown_stops_all_and_start_brings_them_back(rig: Rig) -> None:
    rig.boot(A)
    capacity = rig.driver.capacity()
    rig.driver.shutdown(A, grace=0.3)
    assert set(rig.states(A).values()) == {SHUTDOWN}
    rig.driver.shutdown(A, grace=0.3)
    assert rig.driver.capacity() == capacity, "what is shut down keeps its room"
    rig.driver.start(A)
    rig.driver.start(A)
    assert set(rig.states(A).values()) == {ACTIVE}


def test_release_of_running_nodes_leaves_nothing_and_may_be_repeated(rig: Rig) -> None:
    before = rig.driver.in_use()
    rig.boot(A)
    rig.driver.release(A)
    rig.driver.release(A)
    assert rig.driver.in_use().vlans == before.vlans
    assert rig.driver.in_use().macs == before.macs
    assert A not in rig.driver.survey()


def test_release_clears_up_after_a_deploy_that_failed_half_way(rig: Rig) -> None:
    allocation = rig.allocate(plan(A, 2))
    disks = rig.disks.of(allocation)
    missing = NodeName("compute-1")
    disks[missing] = replace(disks[missing], path=rig.disks.folder / "gone.qcow2")
    if isinstance(rig.driver, MemoryDriver):
        del disks[missing]  # it never opens one
    with pytest.raises(DriverError) as caught:
        rig.driver.deploy(allocation, disks, {})
    assert "compute-1" in f"{caught.value.message} {caught.value.details}"
    assert rig.states(A)[NodeName(A)] is ACTIVE
    rig.driver.release(A)
    assert A not in rig.driver.survey()


def test_a_name_can_be_used_again_after_release(rig: Rig) -> None:
    rig.boot(A)
    rig.driver.release(A)
    allocation = rig.boot(A, number=1)
    assert rig.driver.status(A)[NodeName(A)].public_ip == allocation.public_ip


def test_clusters_do_not_touch_each_other(rig: Rig) -> None:
    rig.boot(A)
    rig.boot(B, number=1)
    rig.driver.shutdown(A, grace=0)
    assert set(rig.states(A).values()) == {SHUTDOWN}
    assert set(rig.states(B).values()) == {ACTIVE}
    rig.driver.release(A)
    assert rig.driver.survey().keys() & {A, B} == {B}
    assert set(rig.states(B).values()) == {ACTIVE}
