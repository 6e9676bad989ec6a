"""Machines, their user data and sizes, and what servers do that nobody would expect (cloudstack.md c.4)."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.cloud_site import boot, cloud_site, wish
from fakes.cloudstack import (
    USER,
    Config,
    assert_clean,
)
from fakes.engine import plan
from pragma_boot.errors import CapacityError, DriverError
from pragma_boot.model import ClusterName, Leases, NodeState

LAB = ClusterName("lab")


def test_documents_of_24_kib_reach_every_node(tmp_path: Path) -> None:
    """I#8415, terraform#269: what is sent with GET has 4 KiB at most."""
    with cloud_site(tmp_path) as site:
        boot(site, size=24576)
        for name in ("lab", "lab-compute-0"):
            data = base64.b64decode(site.cloud.machine(name).userdata)
            assert len(data) == 24576
        assert {entry.method for entry in site.cloud.log} == {"POST"}


def test_no_document_is_ever_logged(tmp_path: Path, logged: list[str]) -> None:
    with cloud_site(tmp_path) as site:
        boot(site)
    told = "\n".join(logged)
    assert base64.b64encode(b"<vc name='lab'/>").decode()[:12] not in told
    assert "<vc" not in told
    assert USER.secretkey not in told


def test_the_order_of_interfaces_in_answers_means_nothing(tmp_path: Path) -> None:
    for seed in range(4):
        with cloud_site(tmp_path / str(seed)) as site:
            site.cloud.rng.seed(seed)
            allocation = boot(site)
            nics = {nic.networkid: nic for nic in site.cloud.machine("lab").nics}
            private = next(net for net in site.cloud.state.networks.values() if net.name == "pragma-lab-private")
            assert allocation.frontend.nic("private").mac == nics[private.id].mac


@pytest.mark.parametrize("version", ["4.11.3.0", "4.17.2.0", "4.19.1.0", "4.23.0.0"])
def test_a_whole_life_on_every_version(tmp_path: Path, version: str) -> None:
    """Old servers ignore parameters that they do not know, and find names by their parts (knife-cloudstack#97)."""
    with cloud_site(tmp_path, config=Config(version=version, allow_user_expunge=True), public_ips=9) as site:
        before = site.cloud.snapshot()
        boot(site, wish("lab"))
        boot(site, wish("lab-2"))
        site.driver.shutdown(LAB, grace=1)
        assert {each.state for each in site.driver.status(ClusterName("lab-2")).values()} == {NodeState.ACTIVE}
        site.driver.start(LAB)
        assert len(site.driver.status(LAB)) == 2
        for cluster in ("lab", "lab-2"):
            site.driver.release(ClusterName(cluster))
        assert_clean(site.cloud, "user", before)


def test_lists_of_machines_spare_their_statistics(tmp_path: Path) -> None:
    """I#8975: they are slow."""
    with cloud_site(tmp_path) as site:
        boot(site)
        asked = [entry.params for entry in site.cloud.log if entry.command == "listVirtualMachines"]
        assert {params.get("details") for params in asked} == {"min,nics,servoff"}


def test_custom_offerings_crash_nothing_and_are_told_their_sizes(tmp_path: Path) -> None:
    """The old driver died of the first custom offering that it saw."""
    with cloud_site(tmp_path, more={"offerings": ("CustomConstrained",)}) as site:
        allocation = boot(site, replace(wish(), nodes=plan("lab", 1, cpus=3, memory_mib=2000).nodes))
        assert [(node.cpus, node.memory_mib) for node in allocation.nodes] == [(3, 2000), (3, 2000)]
        machine = site.cloud.machine("lab")
        assert (machine.cpus, machine.memory) == (3, 2000)
    with cloud_site(tmp_path / "two", more={"offerings": ("Custom",)}) as site:
        allocation = boot(site, replace(wish(), nodes=plan("lab", 1, cpus=3, memory_mib=2000).nodes))
        assert site.cloud.machine("lab-compute-0").speed == 1000


def test_a_start_that_finds_no_host_is_a_matter_of_room(tmp_path: Path) -> None:
    with cloud_site(tmp_path, hosts=1, host_cpus=1) as site:
        before = site.cloud.snapshot()
        with pytest.raises(CapacityError) as caught:
            boot(site, wish(computes=2))
        assert "compute" in (caught.value.details or "")
        site.driver.release(LAB)
        assert_clean(site.cloud, "user", before)


def test_all_failures_of_starts_are_told(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        for number in (0, 1):
            machine = f"lab-compute-{number}"
            site.cloud.faults.add("fail", "startVirtualMachine", phase="execute", machine=machine, text="broken")
        with pytest.raises(DriverError) as caught:
            boot(site, wish(computes=2))
        assert "compute-0" in (caught.value.details or "")
        assert "compute-1" in (caught.value.details or "")


def test_nodes_are_kept_apart_where_that_is_wanted(tmp_path: Path) -> None:
    with cloud_site(tmp_path, more={"anti_affinity": True}) as site:
        before = site.cloud.snapshot()
        boot(site)
        (group,) = site.cloud.state.groups.values()
        assert group.kind == "non-strict host anti-affinity"
        assert site.cloud.machine("lab").affinity == [group.id]
        site.driver.release(LAB)
        assert_clean(site.cloud, "user", before)


def test_a_machine_that_does_not_stop_when_asked_to_is_switched_off(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        boot(site)
        site.cloud.faults.add("fail", "stopVirtualMachine", phase="execute", machine="lab-compute-0")
        site.driver.shutdown(LAB, grace=5)
        assert {each.state for each in site.driver.status(LAB).values()} == {NodeState.SHUTDOWN}
        assert [entry.params.get("forced") for entry in site.cloud.log if entry.command == "stopVirtualMachine"].count(
            "true"
        ) == 1


def test_a_machine_that_does_not_hear_is_switched_off_after_its_time(tmp_path: Path) -> None:
    """The cloud carries out one job of a machine after the other: what it does with ours is its own matter."""
    with cloud_site(tmp_path) as site:
        boot(site)
        site.cloud.faults.add("hang", "stopVirtualMachine", phase="execute", machine="lab-compute-0")
        began = site.cloud.clock.now()
        with pytest.raises(DriverError, match="stopVirtualMachine goes on"):
            site.driver.shutdown(LAB, grace=30)
        forced = [entry for entry in site.cloud.log if entry.params.get("forced") == "true"]
        assert forced[0].time - began < 60


def test_a_machine_that_was_started_by_somebody_else_runs(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        boot(site)
        site.driver.shutdown(LAB, grace=5)
        site.cloud.faults.add("power", "startVirtualMachine", machine="lab", text="Running")
        site.driver.start(LAB)
        assert {each.state for each in site.driver.status(LAB).values()} == {NodeState.ACTIVE}


def test_a_sporadic_401_is_no_end(tmp_path: Path) -> None:
    """I#11394."""
    with cloud_site(tmp_path) as site:
        for command in ("deployVirtualMachine", "listZones", "startVirtualMachine"):
            site.cloud.faults.add("error", command, code=401, text="unable to verify user credentials")
        boot(site)


def test_repeating_what_was_cut_off_makes_no_second_of_anything(tmp_path: Path) -> None:
    """CAPC#447: tags and egress rules that are there already are refused."""
    with cloud_site(tmp_path) as site:
        driver, wanted = site.driver, wish()
        lease = Leases(LAB, None, "lab.example.org", 0, {})
        first = driver.allocate(driver.fit(wanted), lease)
        assert site.driver.allocate(site.driver.fit(wanted), lease) == first
        asked = [entry.command for entry in site.cloud.log]
        assert asked.count("createEgressFirewallRule") == 1
        assert asked.count("deployVirtualMachine") == 2
        assert asked.count("createNetwork") == 2
