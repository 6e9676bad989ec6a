"""Asynchronous jobs (contract a.6; e.4 points 5 and 6)."""

from __future__ import annotations

import pytest

from fakes.cloudstack import Cloud, Refused
from fakes.cloudstack.scene import Scene


def test_an_object_is_there_before_its_job_has_begun(scene: Scene) -> None:
    made = scene.user.ok("deployVirtualMachine", **scene.wanted("vc1", scene.network(), startvm=False))
    assert set(made) == {"id", "jobid"}
    (row,) = scene.user.ok("listVirtualMachines", id=made["id"])["virtualmachine"]
    assert (row["state"], row["jobid"], row["jobstatus"]) == ("Stopped", made["jobid"], 0)
    pending = scene.user.result(made["jobid"])
    assert (pending["jobstatus"], pending["jobresultcode"]) == (0, 0)
    assert not {"jobresult", "jobresulttype", "completed"} & set(pending)
    assert (pending["jobinstancetype"], pending["jobinstanceid"]) == ("VirtualMachine", made["id"])


def test_a_result_holds_the_object_with_a_job_that_seems_to_run(scene: Scene) -> None:
    made = scene.user.ok("deployVirtualMachine", **scene.wanted("vc1", scene.network(), startvm=False))
    scene.cloud.settle()
    row = scene.user.result(made["jobid"])
    assert (row["jobstatus"], row["jobresultcode"], row["jobresulttype"]) == (1, 0, "object")
    assert row["jobresult"]["virtualmachine"]["jobstatus"] == 0
    assert "jobstatus" not in scene.user.ok("listVirtualMachines", id=made["id"])["virtualmachine"][0]


def test_a_failed_job_has_code_and_text_only(scene: Scene) -> None:
    machine = scene.machine("vc1", scene.network(), startvm=True)
    job = scene.user.job("startVirtualMachine", id=machine["id"])
    scene.cloud.settle()
    row = scene.user.result(job)
    assert (row["jobstatus"], row["jobresultcode"]) == (2, 431)
    text = f"The virtual machine {machine['id']} (vc1) is already running"
    assert row["jobresult"] == {"errorcode": 431, "errortext": text}


def test_a_restart_of_the_server_fails_jobs_without_a_result(scene: Scene) -> None:
    machine = scene.machine("vc1", scene.network())
    job = scene.user.job("startVirtualMachine", id=machine["id"])
    waiting = scene.user.job("stopVirtualMachine", id=machine["id"])
    scene.cloud.faults.add("restart")
    row = scene.user.result(job)
    assert (row["jobstatus"], row["jobresultcode"], "jobresult" in row) == (2, 530, False)
    assert scene.user.result(waiting)["jobstatus"] == 2
    assert scene.cloud.machine("vc1").state == "Stopped"
    assert scene.cloud.engine.unfinished() == []


def test_jobs_of_others_and_jobs_of_old(scene: Scene) -> None:
    job = scene.user.job("deleteNetwork", id=scene.network()["id"])
    with pytest.raises(Refused, match="531: Account <foreign> is not authorized to see job id=1"):
        scene.foreign.result(job)
    assert scene.user.ok("listAsyncJobs")["asyncjobs"][0]["jobid"] == job
    assert scene.foreign.ok("listAsyncJobs") == {}
    scene.cloud.advance(86400 + 700)
    with pytest.raises(Refused, match=r"431.*jobid"):
        scene.user.result(job)


def test_a_job_is_found_by_what_it_works_on(scene: Scene) -> None:
    network = scene.network()
    job = scene.user.job("deleteNetwork", id=network["id"])
    found = scene.user.ok("queryAsyncJobResult", resourceid=network["id"], resourcetype="Network")
    assert found["jobid"] == job


def test_jobs_of_a_network_run_one_by_one(scene: Scene) -> None:
    network = scene.network()
    jobs = [scene.user.job("associateIpAddress", networkid=network["id"]) for _ in range(3)]
    ends = []
    for second in (0.5, 1, 1):
        scene.cloud.advance(second)
        assert len(scene.cloud.engine.running(f"network:{network['id']}")) == 1
        ends.append([scene.user.result(job)["jobstatus"] for job in jobs])
    assert ends == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]


def test_jobs_of_a_machine_run_one_by_one_and_of_two_side_by_side(scene: Scene) -> None:
    network = scene.network()
    one, two = (scene.machine(name, network) for name in ("vc1", "vc2"))
    scene.start(one)
    jobs = [
        scene.user.job("stopVirtualMachine", id=one["id"]),
        scene.user.job("startVirtualMachine", id=one["id"]),
        scene.user.job("startVirtualMachine", id=two["id"]),
    ]
    scene.cloud.advance(1)
    assert [scene.user.result(job)["jobstatus"] for job in jobs] == [1, 0, 1]
    scene.cloud.settle()
    assert scene.cloud.machine("vc1").state == "Running"


def test_a_job_that_takes_too_long_is_cancelled(scene: Scene) -> None:
    machine = scene.machine("vc1", scene.network())
    scene.cloud.faults.add("hang", "startVirtualMachine", phase="execute")
    job = scene.user.job("startVirtualMachine", id=machine["id"])
    scene.cloud.advance(3500)
    assert scene.user.result(job)["jobstatus"] == 0
    scene.cloud.advance(200)
    row = scene.user.result(job)
    assert (row["jobstatus"], "jobresult" in row) == (2, False)


def test_polls_may_be_late() -> None:
    scene = Scene(Cloud(delays={"poll_jitter": 5.0}))
    job = scene.user.job("deleteNetwork", id=scene.network()["id"])
    scene.cloud.settle()
    assert scene.user.result(job)["jobstatus"] == 0
    scene.cloud.sleep(5)
    assert scene.user.result(job)["jobstatus"] == 1


def test_the_same_seed_gives_the_same_cloud() -> None:
    def addresses(seed: int) -> list[str]:
        scene = Scene(Cloud(seed=seed, delays={"default": (1.0, 3.0)}))
        network = scene.network()
        return [scene.machine(f"n{number}", network)["nic"][0]["ipaddress"] for number in range(4)]

    assert addresses(1) == addresses(1) != addresses(2)
