"""What can go wrong on demand (e.5), and how tests see what is left (snapshot, restore, assert_clean)."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from fakes.cloudstack import Cloud, Config, Leftover, Refused, assert_clean, leftovers
from fakes.cloudstack.scene import Row, Scene
from fakes.cloudstack.state import State


@pytest.fixture
def network(scene: Scene) -> Row:
    return scene.network()


def test_the_nth_matching_request_gets_an_error_and_nothing_is_run(scene: Scene) -> None:
    scene.cloud.faults.add("error", "create.*", nth=2, code=530, text="no luck")
    scene.network("a")
    scene.user.ok("listZones")
    with pytest.raises(Refused, match="530: no luck"):
        scene.network("b", "10.6.0.1")
    scene.network("c", "10.7.0.1")
    assert [one["name"] for one in scene.user.ok("listNetworks")["network"]] == ["a", "c"]


def test_faults_by_parameters_and_for_ever(scene: Scene) -> None:
    scene.cloud.faults.add("error", "listZones", params={"name": "zone2"}, times=-1, code=503)
    scene.user.ok("listZones", name="zone1")
    for _ in range(3):
        with pytest.raises(Refused, match="503"):
            scene.user.ok("listZones", name="zone2")
    scene.cloud.faults.clear()
    scene.user.ok("listZones", name="zone2")


def test_a_lost_answer_was_run_and_a_dropped_request_was_not(scene: Scene, network: Row) -> None:
    scene.cloud.faults.add("lost", "deployVirtualMachine")
    assert scene.user.send("deployVirtualMachine", **scene.wanted("vc1", network)).dropped
    assert scene.cloud.machine("vc1").name == "vc1"
    scene.cloud.faults.add("drop", "deployVirtualMachine")
    assert scene.user.send("deployVirtualMachine", **scene.wanted("vc2", network)).dropped
    with pytest.raises(KeyError):
        scene.cloud.machine("vc2")


def test_a_request_that_is_run_twice(scene: Scene) -> None:
    scene.cloud.faults.add("twice", "createNetwork")
    scene.network("a")
    assert scene.user.ok("listNetworks")["count"] == 2


def test_pages_of_a_proxy_wrong_types_and_counts(scene: Scene) -> None:
    scene.cloud.faults.add("body", code=502)
    answer = scene.user.send("listZones")
    assert (answer.status, answer.headers["Content-Type"], answer.body[:6]) == (502, "text/html", b"<html>")
    scene.cloud.faults.add("type", content_type="text/javascript")
    assert scene.user.send("listZones").headers["Content-Type"] == "text/javascript"
    scene.cloud.faults.add("count", code=3)
    assert scene.user.ok("listZones")["count"] == 5
    scene.cloud.faults.add("rate", seconds=2.5)
    with pytest.raises(Refused, match=r"429: .*please retry after \[2500\] ms."):
        scene.user.ok("listZones")


def test_a_slow_answer_takes_the_clouds_time(scene: Scene) -> None:
    before = scene.cloud.clock.now()
    scene.cloud.faults.add("slow", seconds=30)
    scene.user.ok("listZones")
    assert scene.cloud.clock.now() == before + 30


def test_an_answer_may_always_take_its_time() -> None:
    scene = Scene(Cloud(delays={"answer:createNetwork": 7.0}))
    before = scene.cloud.clock.now()
    scene.network()
    assert scene.cloud.clock.now() == before + 7


def test_faults_of_the_create_phase_come_after_the_checks(scene: Scene, network: Row) -> None:
    scene.cloud.faults.add("error", "deployVirtualMachine", phase="create", code=533, text="no room")
    with pytest.raises(Refused, match="431"):
        scene.user.ok("deployVirtualMachine", name="vc1")
    with pytest.raises(Refused, match="533: no room"):
        scene.machine("vc1", network)


def test_jobs_fail_before_and_after_their_work(scene: Scene, network: Row) -> None:
    one, two = scene.machine("vc1", network), scene.machine("vc2", network)
    scene.cloud.faults.add("fail", phase="execute", machine="vc2", code=534, text="agent lost")
    scene.cloud.faults.add("fail", phase="execute", machine="vc1", when="after", text="too late")
    scene.user.job("startVirtualMachine", id=one["id"])
    with pytest.raises(Refused, match="534: agent lost"):
        scene.start(two)
    assert (scene.cloud.machine("vc1").state, scene.cloud.machine("vc2").state) == ("Running", "Stopped")
    assert {job.code for job in scene.state.jobs.values() if job.command == "startVirtualMachine"} == {530, 534}


def test_a_deploy_job_that_fails_leaves_an_error_only_when_it_should_start(scene: Scene, network: Row) -> None:
    for name, start, state in (("vc1", True, "Error"), ("vc2", False, "Stopped")):
        scene.cloud.faults.add("fail", "deployVirtualMachine", phase="execute", machine=name)
        with pytest.raises(Refused):
            scene.machine(name, network, startvm=start)
        assert scene.cloud.machine(name).state == state


def test_a_job_may_die_without_a_word(scene: Scene, network: Row) -> None:
    machine = scene.machine("vc1", network)
    for when, state in (("before", "Stopped"), ("after", "Running")):
        scene.cloud.faults.add("die", "startVirtualMachine", phase="execute", when=when)
        job = scene.user.job("startVirtualMachine", id=machine["id"])
        scene.cloud.settle()
        row = scene.user.result(job)
        assert (row["jobstatus"], row["jobresultcode"], "jobresult" in row) == (2, 530, False)
        assert scene.cloud.machine("vc1").state == state


def test_slow_jobs_and_hanging_ones_block_their_queue(scene: Scene, network: Row) -> None:
    machine = scene.machine("vc1", network)
    scene.cloud.faults.add("slow", "startVirtualMachine", phase="execute", seconds=100)
    job = scene.user.job("startVirtualMachine", id=machine["id"])
    scene.cloud.advance(50)
    assert scene.user.result(job)["jobstatus"] == 0
    scene.cloud.settle()
    assert scene.user.result(job)["jobstatus"] == 1
    scene.cloud.faults.add("hang", "stopVirtualMachine", phase="execute")
    for command in ("stopVirtualMachine", "destroyVirtualMachine"):
        job = scene.user.job(command, id=machine["id"])
    scene.cloud.advance(3000)
    assert scene.user.result(job)["jobstatus"] == 0
    with pytest.raises(AssertionError, match="jobs that never end"):
        scene.cloud.settle(10)


def test_things_that_happen_beside(scene: Scene, network: Row) -> None:
    machine, address = scene.machine("vc1", network), scene.spare(network)
    now = scene.cloud.clock.now()
    scene.cloud.faults.add("jump", seconds=300)
    scene.cloud.faults.add("steal", text=address["ipaddress"])
    scene.cloud.faults.add("full", seconds=1)
    assert len(scene.user.ok("listPublicIpAddresses")["publicipaddress"]) == 1
    assert scene.cloud.clock.now() == now + 300
    scene.cloud.faults.add("jump", seconds=700)
    with pytest.raises(Refused, match="401"):  # its signature has run out on the way
        scene.user.ok("listZones")
    with pytest.raises(Refused, match="533"):
        scene.start(machine)
    scene.cloud.faults.add("full")
    scene.start(machine)


def test_no_fault_has_a_typo() -> None:
    cloud = Cloud()
    for given in ({"action": "eror"}, {"action": "drop", "phase": "execute"}, {"action": "fail", "phase": "later"}):
        with pytest.raises(ValueError, match="no such fault"):
            cloud.faults.add(**given)
    with pytest.raises(ValueError, match="only jobs and power have a machine"):
        cloud.faults.add("error", machine="vc1")


def _cluster(scene: Scene) -> None:
    """What a client may leave behind: a bit of everything."""
    network = scene.network()
    machine = scene.machine("vc1", network, startvm=True)
    scene.tag("UserVm", machine["id"], "k", "v")
    address = scene.spare(network)
    scene.user.done("createFirewallRule", ipaddressid=address["id"], protocol="tcp", startport=22)
    scene.user.done("createAffinityGroup", name="vc1", type="host affinity")


def test_what_is_left_is_told_exactly() -> None:
    scene = Scene(Cloud(config=Config(allow_user_expunge=True)))
    before = scene.cloud.snapshot()
    _cluster(scene)
    left = leftovers(scene.cloud, "user", before)
    assert [one.kind for one in left] == ["addresses", "addresses", "groups", "machines", "networks", "rules", "tags"]
    machine = scene.cloud.machine("vc1")
    assert Leftover("machines", machine.id, "vc1", "Running") in left
    with pytest.raises(AssertionError, match=f"machines vc1 {machine.id} Running"):
        assert_clean(scene.cloud, "user", before)
    scene.user.done("destroyVirtualMachine", id=machine.id)
    assert Leftover("machines", machine.id, "vc1", "Destroyed") in leftovers(scene.cloud, "user", before)
    scene.user.done("expungeVirtualMachine", id=machine.id)
    scene.user.done("deleteNetwork", id=scene.id("networks", "private"))
    scene.user.done("deleteAffinityGroup", name="vc1")
    assert_clean(scene.cloud, "user", before)


def test_what_belongs_to_others_may_not_be_touched(scene: Scene) -> None:
    before = scene.cloud.snapshot()
    machine = scene.cloud.machine("vc1x")
    scene.foreign.ok("updateVirtualMachine", id=machine.id, displayname="changed")
    with pytest.raises(AssertionError, match=f"machines vc1x {machine.id}: displayname was vc1x, is changed"):
        assert_clean(scene.cloud, "user", before)
    scene.admin.done("destroyVirtualMachine", id=machine.id, expunge=True)
    with pytest.raises(AssertionError, match=r"vc1x .* is gone"):
        assert_clean(scene.cloud, "user", before)


def test_a_cloud_goes_back_to_a_snapshot(scene: Scene) -> None:
    _cluster(scene)
    job = scene.user.job("stopVirtualMachine", id=scene.cloud.machine("vc1").id)
    saved = scene.cloud.snapshot()
    scene.user.done("destroyVirtualMachine", id=scene.cloud.machine("vc1").id)
    scene.cloud.restore(saved)
    assert scene.user.ok("listVirtualMachines")["count"] == 1
    row = scene.user.result(job)
    assert (row["jobstatus"], "jobresult" in row) == (2, False)
    scene.cloud.restore(saved)  # a snapshot may be used again


def test_a_state_survives_as_json(scene: Scene) -> None:
    _cluster(scene)
    saved = scene.cloud.snapshot()
    again = State.from_json(json.loads(json.dumps(saved.to_json())))
    assert again == saved
    other = Scene(Cloud(again))
    other.cloud.tick()
    (row,) = other.user.ok("listVirtualMachines")["virtualmachine"]
    assert (row["name"], row["state"]) == ("vc1", "Running")
    other.user.done("stopVirtualMachine", id=row["id"])
    other.start(row)


@pytest.mark.parametrize("action", ["error", "lost", "drop"])
def test_a_fault_at_every_call_in_turn(action: str) -> None:
    """The way in which clients test their roll-back: every call of a scenario goes wrong once."""
    calls = 0
    while True:
        calls += 1
        scene = Scene(Cloud(config=Config(allow_user_expunge=True)))
        fault = scene.cloud.faults.add(action, nth=calls)
        with suppress(Refused, ConnectionError):
            _cluster(scene)
        scene.cloud.faults.clear()
        scene.cloud.settle()
        scene.cloud.check()
        if not fault.struck:
            break
    assert calls == len(scene.cloud.log) + 1 > 10
