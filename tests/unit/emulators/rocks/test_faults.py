"""Every fault that the emulator can inject, and which calls it meets."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from emulators.rocks.emulator.faults import VARIABLE
from emulators.rocks.site import RocksSite

ADD = ("add cluster", "198.202.88.60", "1", "fe-name=other", "cluster-naming=1", "vlan=7")
ADD_STEPS = [
    ("checked", []),
    ("vlan fiji", ["vlan fiji 7"]),
    ("frontend node", ["vlan fiji 7", "vm other"]),
    ("frontend", ["vlan fiji 7", "vm other"]),
    ("public", ["vlan fiji 7", "vm other"]),
    ("actions", ["vlan fiji 7", "vm other"]),
    ("vlan vm-container-0-0", ["vlan fiji 7", "vlan vm-container-0-0 7", "vm other"]),
    ("compute 0", ["vlan fiji 7", "vlan vm-container-0-0 7", "vm other", "vm vm-other-0"]),
    ("synced", ["vlan fiji 7", "vlan vm-container-0-0 7", "vm other", "vm vm-other-0"]),
]


def test_an_answer_before_the_command_keeps_it_from_running(site: RocksSite) -> None:
    site.faults({"match": "^add cluster", "rc": 3, "stdout": "out\n", "stderr": "err\n"})
    ran = site.call(*ADD)
    assert (ran.status, ran.out, ran.err, site.inventory()) == (3, "out\n", "err\n", [])


def test_an_answer_after_it_hides_what_was_done(site: RocksSite) -> None:
    site.faults({"match": "^add cluster", "rc": 1, "when": "after"})
    assert site.call(*ADD).status == 1
    assert "vm vm-other-0" in site.inventory()


def test_a_rule_acts_once_unless_told(site: RocksSite) -> None:
    site.faults({"rc": 7})
    assert [site.call("report version").status for _ in range(3)] == [7, 0, 0]
    site.faults({"rc": 7, "times": None})
    assert [site.call("report version").status for _ in range(3)] == [7, 7, 7]
    site.faults()
    assert site.call("report version").status == 0


def test_the_nth_call_is_met(site: RocksSite) -> None:
    site.faults({"rc": 7, "nth": 3})
    assert [site.call("report version").status for _ in range(4)] == [0, 0, 7, 0]
    site.faults({"rc": 7, "nth": 2, "match": "nextmac"})
    words = ["report version", "report vm nextmac", "report version", "report vm nextmac"]
    assert [site.call(word).status for word in words] == [0, 0, 0, 7]


def test_only_the_first_rule_acts_on_a_call(site: RocksSite) -> None:
    site.faults({"rc": 7}, {"rc": 8})
    assert [site.call("report version").status for _ in range(3)] == [7, 8, 0]


def test_rules_may_come_from_the_environment(site: RocksSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = json.dumps([{"rc": 7, "times": None}])
    monkeypatch.setenv(VARIABLE, rules)
    assert site.call("report version").status == 7
    (tmp_path / "rules").write_text(rules.replace("7", "8"))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "rules"))
    assert site.call("report version").status == 8


@pytest.mark.parametrize(("step", "left"), ADD_STEPS)
def test_add_cluster_aborted_at_a_step_leaves_what_was_done(site: RocksSite, step: str, left: list[str]) -> None:
    site.faults({"abort_at": step, "message": "no more"})
    ran = site.call(*ADD)
    assert (ran.status, "Error: no more" in ran.out.splitlines(), site.inventory()) == (1, True, left)


def test_remove_cluster_crashed_at_a_step_leaves_the_rest(cluster: RocksSite) -> None:
    cluster.faults({"crash_at": "host vm-myvc-0"})
    ran = cluster.call("remove cluster", "myvc")
    assert (ran.status, ran.err.splitlines()[-1]) == (1, "RuntimeError: injected failure")
    assert cluster.inventory() == ["vm myvc", "vm vm-myvc-1"]


def test_a_start_crashed_after_mapping_leaves_the_volume_mapped(cluster: RocksSite) -> None:
    cluster.call("set host vm nas", "vm-myvc-0", "nas=nas-0-0", "zpool=pragma")
    cluster.faults({"crash_at": "mapped"})
    assert cluster.call("start host vm", "vm-myvc-0").status == 1
    assert [volume.state for volume in cluster.state().volumes] == ["mapped"]
    assert cluster.state().domains == {}


def test_a_slow_call_is_slow(site: RocksSite) -> None:
    for effect in ("delay", "hang"):
        site.faults({effect: 0.2})
        start = time.monotonic()
        assert site.call("report version").status == 0
        assert time.monotonic() - start >= 0.2


def test_others_get_in_between_two_steps(site: RocksSite) -> None:
    thief = [str(site.rocks), "add host interface", "compute-0-0", "eth7", "mac=c6:ca:58:80:00:00"]
    site.faults({"match": "^add cluster", "at": "frontend addresses", "race": thief})
    assert site.call(*ADD).status == 0
    macs = [row.mac for row in site.state().interfaces]
    assert macs.count("c6:ca:58:80:00:00") == 2


def test_who_gets_in_between_does_not_get_what_is_not_his(site: RocksSite) -> None:
    other = [str(site.rocks), "add host interface", "fiji", "eth8"]
    site.faults({"match": "eth7", "at": "mac", "race": other})
    assert site.call("add host interface", "fiji", "eth7", "mac=c6:ca:58:80:00:07").status == 0
    assert [(row.device, row.mac) for row in site.state().interfaces][-2:] == [
        ("eth7", "c6:ca:58:80:00:07"),
        ("eth8", None),
    ]


def test_a_race_before_the_call_takes_what_was_free(site: RocksSite) -> None:
    thief = [str(site.rocks), "add cluster", "198.202.88.9", "0", "fe-name=thief", "cluster-naming=1", "vlan=7"]
    site.faults({"match": "^add cluster 198.202.88.60", "race": thief})
    assert site.call(*ADD).status == 0
    assert "thief" in site.call("list cluster", "other").out


def test_noise_does_not_hide_the_answer(site: RocksSite) -> None:
    site.faults({"noise": "libvirt:  warning\n", "stray": "vm-container-0-1: down\n"})
    ran = site.call("report version")
    assert (ran.status, ran.out, ran.err) == (0, "vm-container-0-1: down\n7.0\n", "libvirt:  warning\n")


@pytest.mark.parametrize("effect", ["lie_ok", "empty"])
def test_a_lie_is_silent_and_does_nothing(site: RocksSite, effect: str) -> None:
    site.faults({effect: True})
    ran = site.call(*ADD)
    assert (ran.status, ran.out, site.inventory()) == (0, "", [])


def test_without_database_some_commands_fail_and_some_say_nothing(site: RocksSite) -> None:
    site.faults({"db_down": True, "times": None})
    ran = site.call("list host", "fiji")
    assert (ran.status, ran.out.startswith("Error: Dabase error: (OperationalError)")) == (1, True)
    ran = site.call("list host interface")
    assert (ran.status, ran.out) == (0, "")


def test_libvirt_may_be_away_for_one_call(cluster: RocksSite) -> None:
    cluster.faults({"libvirt_down": ["fiji"]})
    words = ("list host vm", "myvc", "status=1", "output-col=status")
    assert [cluster.call(*words).out.split()[1] for _ in range(2)] == ["nostate-error", "nostate"]


def test_a_domain_may_vanish_under_a_status_query(cluster: RocksSite) -> None:
    cluster.faults({"vanish": True})
    assert "Domain not found" in cluster.call("list cluster", "status=1").err
    assert cluster.call("list cluster", "status=1").status == 0


def test_the_nas_may_refuse_or_not_be_there(site: RocksSite) -> None:
    add = ("add host storagemap", "nas-0-0", "pragma", "x-vol", "fiji", "10")
    site.faults({"nas_error": "Error attaching iSCSI target to compute node: x"}, {"undeliverable": True})
    assert "Error: Error attaching iSCSI target to compute node: x" in site.call(*add).out
    assert "Error: Message could not be delivered" in site.call(*add).out
    assert site.state().volumes == []


def test_the_nas_may_be_busy_for_a_while(site: RocksSite) -> None:
    site.call("add host storagemap", "nas-0-0", "pragma", "x-vol", "fiji", "10")
    site.faults({"nas_busy": 0.3})
    start = time.monotonic()
    assert site.call("remove host storagemap", "nas-0-0", "x-vol").status == 0
    assert time.monotonic() - start >= 0.3


def test_an_unmapping_may_get_lost(cluster: RocksSite) -> None:
    cluster.call("set host vm nas", "vm-myvc-0", "nas=nas-0-0", "zpool=pragma")
    cluster.call("start host vm", "vm-myvc-0")
    cluster.faults({"no_unmap": True})
    cluster.call("stop host vm", "vm-myvc-0")
    cluster.advance(1000)
    assert [volume.state for volume in cluster.state().volumes] == ["mapped"]


def test_shuffling_keeps_the_rows_of_an_owner_together(cluster: RocksSite) -> None:
    orders = set()
    for seed in range(6):
        cluster.faults({"shuffle_rows": seed})
        owners = [line.split()[0] for line in cluster.call("list host vm").out.splitlines()[1:]]
        at = owners.index("myvc:")
        assert owners[at + 1] == "myvc:"
        orders.add(tuple(owners))
    assert len(orders) > 1
