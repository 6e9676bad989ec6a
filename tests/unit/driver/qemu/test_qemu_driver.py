"""The driver where no QEMU is needed: what it refuses, and what it knows of machines that share its folders."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from fakes.engine import QEMU, leases, plan
from pragma_boot.driver.qemu import driver as module
from pragma_boot.driver.qemu.driver import QemuDriver
from pragma_boot.driver.qemu.records import Folder, Machine
from pragma_boot.errors import DriverError, PreflightError
from pragma_boot.files import StateFolder
from pragma_boot.model import ClusterName, NodeName, NodeState

A = ClusterName("drv-a")


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")


@pytest.fixture
def driver(state: StateFolder) -> QemuDriver:
    return QemuDriver(QEMU, state)


def allocated(driver: QemuDriver, number: int = 0) -> Folder:
    wanted = plan(A, 1)
    held = replace(leases(wanted, number), public_ip=QEMU.clusters.public_ips[number])
    allocation = driver.allocate(wanted, held)
    folder = driver._folder(A)
    for node in allocation.nodes:
        folder.define(Machine(A, node.name, node.role, 1, 32, "tcg", "/d", "qcow2", "/b", "raw", {}, "/c"))
    return folder


def test_the_frontends_own_address_is_not_the_one_it_is_reached_at(driver: QemuDriver) -> None:
    wanted = plan(A)
    try:
        allocation = driver.allocate(wanted, replace(leases(wanted), public_ip=QEMU.clusters.public_ips[0]))
        assert str(allocation.frontend.nic("public").address) == "192.0.2.3/24"
        assert allocation.public_ip == QEMU.clusters.public_ips[0]
        assert allocation.dns == (IPv4Address("192.0.2.2"),)
        assert allocation.ports[22] > 1023
    finally:
        driver.release(A)


def test_two_sites_never_share_a_port(driver: QemuDriver, tmp_path: Path) -> None:
    other = QemuDriver(QEMU, StateFolder(tmp_path / "other"))
    try:
        found = []
        for each in (driver, other):
            allocated(each)
            found.append(each.status(A)[NodeName(A)])
        assert found[0].public_ip == found[1].public_ip
        assert found[0].ports != found[1].ports
        assert found[0].public_ip in other.in_use().addresses
    finally:
        driver.release(A)
        other.release(A)


def test_a_cluster_of_another_machine_is_seen_and_left_alone(driver: QemuDriver) -> None:
    folder = allocated(driver)
    note = folder.note()
    assert note
    driver.shutdown(A, grace=0)
    folder.write_note(replace(note, machine="another", host="login2"))
    assert {status.state for status in driver.survey()[A].values()} == {NodeState.UNKNOWN}
    assert {status.host for status in driver.status(A).values()} == {"login2"}
    for act in (lambda: driver.shutdown(A, grace=0), lambda: driver.start(A), lambda: driver.release(A)):
        with pytest.raises(DriverError, match="on login2"):
            act()
    folder.write_note(note)
    driver.release(A)
    assert not folder.path.exists()


def test_a_cluster_whose_note_is_lost_still_lists_and_goes(driver: QemuDriver) -> None:
    folder = allocated(driver)
    (folder.path / "cluster.json").unlink()
    assert set(driver.survey()[A]) == {A, "compute-0"}
    driver.shutdown(A, grace=0)
    with pytest.raises(DriverError, match="cannot be read"):
        driver.start(A)
    driver.release(A)
    assert A not in driver.survey()


def test_after_a_shutdown_nothing_runs_and_ports_that_were_taken_are_replaced(driver: QemuDriver) -> None:
    folder = allocated(driver)
    driver.shutdown(A, grace=0)
    before = driver.status(A)[NodeName(A)].ports
    from pragma_boot.driver.qemu import nodes, ports

    with ports.claim(QEMU.clusters.public_ips[0], (22,), {}) as others:
        assert others.ports == before
        assert nodes.start_switch(folder, (22,))
        assert driver.status(A)[NodeName(A)].ports == {22: before[22] + 1000}
        assert not nodes.start_switch(folder, (22,)), "it runs"
    driver.release(A)


def test_all_that_is_wrong_is_told_at_once(state: StateFolder, tmp_path: Path) -> None:
    wrong = replace(QEMU, outside="passt", clusters=replace(QEMU.clusters, public_ips=(IPv4Address("192.0.2.77"),)))
    blocked = tmp_path / "file/disks"
    blocked.parent.touch()
    with pytest.raises(PreflightError) as caught:
        QemuDriver(wrong, state, [blocked]).preflight()
    told = {fault.where for fault in caught.value.faults}
    assert {"public_ips", str(blocked)} <= told
    assert all(fault.mend for fault in caught.value.faults)


def test_memory_is_what_a_container_allows(tmp_path: Path) -> None:
    meminfo, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    meminfo.write_text("MemTotal:       16384000 kB\nMemFree: 1 kB\n")
    assert module._memory_mib(meminfo, limit) == 16000
    limit.write_text("max\n")
    assert module._memory_mib(meminfo, limit) == 16000
    limit.write_text(f"{2 << 30}\n")
    assert module._memory_mib(meminfo, limit) == 2048
