"""What went wrong on Rocks sites before, numbered as in rocks.md 6: talking to Rocks, names, listings (1 to 18)."""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from fakes.engine import leases, plan
from fakes.rocks import VERSIONS, RocksBench, with_settings
from pragma_boot.cluster import naming
from pragma_boot.driver.kvm_rocks.reading import Reader
from pragma_boot.driver.kvm_rocks.transport import Rocks
from pragma_boot.errors import CapacityError, ClusterExistsError, DriverError, UsageError
from pragma_boot.model import ClusterName, ImageName, InUse, NodeState

Make = Callable[..., RocksBench]
NOISE = (
    "libvirt:  error : unable to connect\nWarning: Permanently added 'vm-container-0-0' to the list of known hosts\n"
)


def test_01_warnings_on_stderr_are_no_rows(make: Make) -> None:
    bench = make("6.2")
    bench.allocate("vc", 2)
    expected = bench.driver.survey()
    bench.site.faults({"match": "^list", "times": None, "noise": NOISE})
    assert bench.driver.survey() == expected
    bench.site.faults({"match": "^list", "times": None, "stray": "vm-container-0-1: down\n"})
    assert bench.driver.survey() == expected


def test_02_a_value_with_blanks_stays_one_word(bench: RocksBench) -> None:
    bench.allocate("vc", 2)
    (call,) = [call["argv"] for call in bench.site.calls() if call["argv"][0] == "add cluster"]
    (hosts,) = [word for word in call if word.startswith("container-hosts=")]
    assert len(hosts.split()) == 2


def test_03_every_call_is_by_the_configured_path(bench: RocksBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    bench.rocks = Rocks(bench.settings.rocks)
    bench.boot("vc", 1)
    assert bench.states("vc") == {"vc": NodeState.ACTIVE, "compute-0": NodeState.ACTIVE}


def test_04_a_command_is_one_word_so_that_no_host_is_taken_for_a_part_of_it(bench: RocksBench) -> None:
    bench.boot("vc", 1)
    bench.remove("vc")
    assert all(" " in words for words in bench.words())
    with bench.site.change() as state:
        next(node for node in state.nodes if node.name == "compute-0-0").name = "vm"
    assert "vm" in {host.name for host in Reader(bench.rocks).hosts()}


def test_05_each_failing_step_of_allocate_is_told(bench: RocksBench) -> None:
    for words in ("add cluster", "set host cpus", "set host vm"):
        with bench.leaves_nothing():
            bench.site.faults({"match": f"^{words}", "rc": 1, "stdout": "Error: no\n{host}\n"})
            with pytest.raises(DriverError, match="no"):
                bench.allocate("vc", 1, cpus=2)
            bench.site.faults()
            bench.remove("vc")


def test_05_a_call_that_hangs_is_ended_in_order(bench: RocksBench) -> None:
    bench.site.faults({"match": "report version", "hang": 60})
    with pytest.raises(DriverError, match="did not finish within"):
        Rocks(bench.settings.rocks).read("report version", limit=0.5)


def test_05_reads_that_crash_are_repeated_and_changes_are_not(bench: RocksBench) -> None:
    bench.allocate("vc", 1)
    bench.site.faults({"match": "^list cluster", "vanish": True, "times": 2})
    assert bench.states("vc")
    bench.site.forget_calls()
    bench.site.faults({"match": "^set host boot", "rc": 1, "stderr": "Traceback (most recent call last):\nOops\n"})
    with pytest.raises(DriverError, match="Oops"):
        bench.rocks.change("set host boot", "vc", parameters={"action": "os"})
    assert bench.words() == ["set host boot"]


@pytest.mark.parametrize("version", VERSIONS)
def test_06_a_site_with_one_container_has_capacity(make: Make, version: str) -> None:
    bench = make(version, containers=1)
    assert [host.host for host in bench.driver.capacity().hosts] == ["fiji", "vm-container-0-0"]
    bench.boot("vc", 2)


@pytest.mark.parametrize("version", VERSIONS)
def test_07_the_only_machine_of_a_site_is_known_by_its_name(make: Make, version: str) -> None:
    bench = make(version)
    allocation = bench.boot("solo", 0)
    assert set(Reader(bench.rocks).machines()) == {"solo"}
    assert bench.states("solo") == {"solo": NodeState.ACTIVE}
    assert allocation.frontend.host == "fiji"


def test_07_a_table_without_owners_is_not_given_to_whoever_asked(make: Make) -> None:
    bench = make("6.2")
    bench.allocate("other", 0)
    assert set(Reader(bench.rocks).machines(disks=True)) == {"other"}
    assert Reader(bench.rocks).cluster("vc") is None


@pytest.mark.parametrize("version", VERSIONS)
def test_08_a_network_is_found_where_it_is_the_only_one_told(make: Make, version: str) -> None:
    bench = make(version)
    bench.driver.preflight(["private"])


@pytest.mark.parametrize("version", VERSIONS)
def test_09_vc_does_not_touch_vc_2(make: Make, version: str) -> None:
    bench = make(version)
    bench.boot("vc", 2)
    bench.boot("vc-2", 1, number=1)
    assert set(bench.states("vc")) == {"vc", "compute-0", "compute-1"}
    assert set(bench.states("vc-2")) == {"vc-2", "compute-0"}
    bench.driver.shutdown(ClusterName("vc"), grace=0)
    bench.remove("vc")
    assert set(bench.states("vc-2").values()) == {NodeState.ACTIVE}
    assert bench.states("vc") == {}


def test_10_a_machine_that_does_not_run_holds_its_cpus(bench: RocksBench) -> None:
    def free() -> int:
        return sum(host.cpus_free for host in bench.driver.capacity().hosts)

    before = free()
    bench.allocate("vc", 2, cpus=3)
    assert before - free() == 9
    with bench.site.change() as state:
        state.domains = {"vm-container-0-0": {"vm-vc-0": "paused"}}
    assert before - free() == 9


def test_11_frontends_count_on_the_physical_frontend(bench: RocksBench) -> None:
    def free() -> int:
        return next(host.cpus_free for host in bench.driver.capacity().hosts if host.host == "fiji")

    before = free()
    bench.allocate("vc", 0, cpus=2)
    assert before - free() == 2


def test_12_containers_may_be_a_text_and_an_unknown_one_is_told(bench: RocksBench) -> None:
    bench.settings = with_containers(bench, "vm-container-0-1", "vm-container-0-2")
    hosts = {node.host for node in bench.allocate("vc", 4).computes}
    assert hosts == {"vm-container-0-1", "vm-container-0-2"}
    bench.settings = with_containers(bench, "vm-container-9-9")
    with pytest.raises(DriverError, match="'vm-container-9-9'"):
        bench.driver.capacity()


def test_12_a_full_container_gets_nothing_and_zero_computes_name_none(bench: RocksBench) -> None:
    with_settings(bench, cpu_overcommit=1, num_processors_reserved=14)
    with bench.site.change() as state:
        next(node for node in state.nodes if node.name == "fiji").cpus = 32
    assert {node.host for node in bench.allocate("full", 6).computes} == {
        "vm-container-0-0",
        "vm-container-0-1",
        "vm-container-0-2",
    }
    with bench.leaves_nothing(), pytest.raises(CapacityError):
        bench.allocate("more", 1, number=1)
    bench.allocate("alone", 0, number=2)
    call = [call["argv"] for call in bench.site.calls() if call["argv"][0] == "add cluster"][-1]
    assert not any(word.startswith("container-hosts") for word in call)


@pytest.mark.parametrize("version", VERSIONS)
def test_12_the_container_with_most_free_cpus_comes_first(make: Make, version: str) -> None:
    bench = make(version)
    hosts = []
    for number, cpus in enumerate((5, 3, 1)):
        hosts.append(bench.allocate(f"c{number}", 1, number, cpus=cpus).computes[0].host)
    assert sorted(hosts) == ["vm-container-0-0", "vm-container-0-1", "vm-container-0-2"]
    order = [node.host for node in bench.allocate("c3", 3, 3, cpus=2).computes]
    assert order[0] == hosts[2]
    assert hosts[0] not in order


def test_13_a_node_whose_container_does_not_answer_is_unknown_not_stopped(bench: RocksBench) -> None:
    bench.boot("vc", 1)
    bench.site.faults({"match": "status=true", "libvirt_down": ["vm-container-0-0"], "times": None})
    states = bench.states("vc")
    assert states["vc"] is NodeState.ACTIVE
    assert NodeState.UNKNOWN in states.values() or set(states.values()) == {NodeState.ACTIVE}


def test_14_a_vlan_is_used_also_where_options_stand_behind_it_and_zero_is_none(bench: RocksBench) -> None:
    bench.allocate("vc", 1)
    with bench.site.change() as state:
        for row in state.interfaces:
            row.options = "noreport some option"
    used = bench.driver.in_use().vlans
    assert used == {leases(plan("vc")).vlan}


def test_15_an_address_without_a_subnet_is_taken(bench: RocksBench) -> None:
    with bench.site.change() as state:
        row = next(row for row in state.interfaces if row.device == "eth1")
        row.subnet, row.ip = None, "198.51.100.10"
    assert IPv4Address("198.51.100.10") in bench.driver.in_use().addresses


def test_15_a_frontend_without_a_public_address_still_lists(bench: RocksBench) -> None:
    bench.allocate("vc", 1)
    with bench.site.change() as state:
        next(row for row in state.interfaces if row.ip == "198.51.100.10").ip = None
    assert {status.public_ip for status in bench.driver.survey()[ClusterName("vc")].values()} == {None}


@pytest.mark.parametrize("label", ["rack7", "rackspace", "compute", "nas-0-0", "selectric", "vm-vc-0", "a" * 60])
def test_16_a_name_from_dns_is_checked_before_it_is_used(bench: RocksBench, label: str) -> None:
    used = bench.driver.in_use()
    pool = (IPv4Address("198.51.100.10"),)

    def choose(wanted: str | None) -> naming.Identity:
        return naming.choose(
            ImageName("demo"),
            ClusterName(wanted) if wanted else None,
            pool,
            used=used,
            domain="internal",
            lookup=lambda _: f"{label}.example.org",
            refused=bench.driver.info.refused_names,
        )

    assert choose(None).cluster == "demo"
    if label not in used.clusters:
        with pytest.raises(UsageError, match="cannot name"):
            choose(label)


@pytest.mark.parametrize("image", ["rackspace", "vm-centos", "select", "x" * 56])
def test_16_an_image_whose_name_is_refused_still_gives_one(bench: RocksBench, image: str) -> None:
    refused, pool = bench.driver.info.refused_names, (IPv4Address("198.51.100.10"),)
    names = [f"vc-{image[:40]}", f"vc-{image[:40]}-2"]
    for taken, expected in ((set[str](), names[0]), ({names[0]}, names[1])):
        used = InUse(clusters=frozenset(map(ClusterName, taken)))
        chosen = naming.choose(
            ImageName(image), None, pool, used=used, domain="d", lookup=lambda _: None, refused=refused
        )
        assert chosen.cluster == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_17_a_database_that_is_down_is_no_empty_site(make: Make, version: str) -> None:
    bench = make(version)
    bench.site.faults({"db_down": True, "times": None})
    for ask in (bench.driver.in_use, bench.driver.capacity, bench.driver.survey):
        with pytest.raises(DriverError) as caught:
            ask()
        assert "mysql" in str(caught.value.resolution)
    with pytest.raises(DriverError):
        bench.allocate("vc", 1)
    bench.site.faults({"match": "^list host interface", "empty": True, "times": None})
    with pytest.raises(DriverError, match="not even of the physical frontend"):
        bench.driver.in_use()


@pytest.mark.parametrize("version", VERSIONS)
def test_18_the_state_of_a_single_cluster_is_its_state(make: Make, version: str) -> None:
    bench = make(version)
    bench.boot("vc", 1)
    assert set(bench.states("vc").values()) == {NodeState.ACTIVE}
    with bench.site.change() as state:
        state.nodes = [node for node in state.nodes if node.name != "compute-0-0"]
    assert {status.state for status in bench.driver.survey()[ClusterName("vc")].values()} == {NodeState.ACTIVE}


@pytest.mark.parametrize("version", VERSIONS)
def test_rows_in_any_order_give_the_same(make: Make, version: str) -> None:
    bench = make(version)
    bench.boot("vc", 2)
    bench.boot("vd", 1, number=1)
    expected = bench.driver.survey()
    for seed in range(3):
        bench.site.faults({"match": "^list", "times": None, "shuffle_rows": seed})
        assert bench.driver.survey() == expected


def test_a_name_that_rocks_has_is_refused_and_its_owner_keeps_it(bench: RocksBench) -> None:
    bench.site.call("add cluster", "198.51.100.77", "1", "fe-name=theirs", "cluster-naming=true", "vlan=99")
    before = bench.site.inventory()
    with pytest.raises(ClusterExistsError):
        bench.allocate("theirs", 1)
    bench.remove("theirs")
    assert bench.site.inventory() == before


def test_the_words_of_ssh_before_rocks_keep_arguments_whole(bench: RocksBench, tmp_path: Path) -> None:
    shell = tmp_path / "ssh"
    shell.write_text('#!/bin/sh\nshift\nexec sh -c "$*"\n')  # as ssh does on the other side
    shell.chmod(0o755)
    remote = Rocks((str(shell), "fiji", str(bench.site.rocks)))
    assert json.loads(remote.read("list host", "vm-container", parameters={"json": "true"}))


def with_containers(bench: RocksBench, *names: str):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    return replace(bench.settings, containers=names)
