"""The cloud on a port and on the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3

from fakes.cloudstack import USER, Client, Clock, Cloud, Server, serving
from fakes.cloudstack.wire import sign

TESTS = Path(__file__).parents[3]


@pytest.fixture
def http() -> urllib3.PoolManager:
    return urllib3.PoolManager(retries=False, timeout=10)


def _control(http: urllib3.PoolManager, server: Server, what: str, method: str = "GET", body: bytes = b"") -> Any:
    url = server.url.replace("/client/api", f"/__fake__/{what}")
    return http.request(method, url, body=body)


def test_get_post_and_nothing_else(http: urllib3.PoolManager) -> None:
    with serving() as server:
        pairs = Client(server.cloud).signed("listZones")
        assert http.request("GET", server.url, fields=pairs).json()["listzonesresponse"]["count"] == 2
        form = urlencode(pairs)
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        posted = http.request("POST", f"{server.url}?", body=form, headers=kind)
        assert posted.json()["listzonesresponse"]["count"] == 2
        assert posted.headers["Content-Type"] == "application/json; charset=UTF-8"
        assert [http.request(method, server.url).status for method in ("PUT", "DELETE")] == [405, 405]
        assert http.request("GET", server.url.replace("client", "other")).status == 404


def test_lost_answers_are_closed_connections(http: urllib3.PoolManager) -> None:
    with serving() as server:
        server.cloud.faults.add("lost")
        with pytest.raises(urllib3.exceptions.ProtocolError):
            http.request("GET", server.url, fields=Client(server.cloud).signed("listZones"))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_server_that_does_not_answer(http: urllib3.PoolManager, when: str) -> None:
    with serving() as server:
        server.cloud.faults.add("hang", "registerUserData", when=when)
        pairs = Client(server.cloud).signed("registerUserData", name="a", userdata="QUJD")
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            http.request("GET", server.url, fields=pairs, timeout=0.1)
        assert len(server.cloud.state.userdata) == (1 if when == "after" else 0)


def test_faults_state_log_and_time_from_outside(http: urllib3.PoolManager) -> None:
    with serving() as server:
        rule = {"action": "error", "command": "listZones", "code": 530, "text": "no luck"}
        assert _control(http, server, "faults", "POST", json.dumps(rule).encode()).json()["nth"] == 1
        assert _control(http, server, "faults", "POST", b'{"action": "eror"}').status == 400
        assert http.request("GET", server.url, fields=Client(server.cloud).signed("listZones")).status == 530
        (entry,) = _control(http, server, "log").json()
        assert (entry["command"], entry["status"], entry["params"]["apikey"]) == ("listZones", 530, "***")
        before = server.cloud.clock.now()
        assert _control(http, server, "advance?s=60").json()["now"] == before + 60
        assert _control(http, server, "state").json()["machines"]
        assert _control(http, server, "faults").json()[0]["struck"] == 1
        assert _control(http, server, "violations").json() == []
        assert _control(http, server, "nonsense").status == 404


def test_a_running_clock_ends_jobs_by_itself() -> None:
    cloud = Cloud(clock=Clock(speed=500))
    with serving(cloud):
        client = Client(cloud)
        zone = client.ok("listZones", name="zone1")["zone"][0]["id"]
        offering = client.ok("listNetworkOfferings", guestiptype="Isolated")["networkoffering"][0]["id"]
        network = client.ok("createNetwork", name="a", zoneid=zone, networkofferingid=offering)["network"]["id"]
        job = client.job("deleteNetwork", id=network)
        for _ in range(100):
            if client.result(job)["jobstatus"]:
                break
            cloud.clock.advance(0.1)
        assert client.result(job)["jobstatus"] == 1


def test_the_command_line_keeps_its_state(tmp_path: Path, http: urllib3.PoolManager) -> None:
    saved = tmp_path / "cloud.json"
    command = [sys.executable, "-m", "fakes.cloudstack", "--port", "0", "--state", str(saved), "--expunge"]
    for name, known in (("a", []), ("b", ["a"])):
        with subprocess.Popen(
            command, cwd=TESTS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(3)]
            url = lines[2].split()[1]

            def ask(url: str = url, **params: str) -> Any:
                pairs = {"apikey": USER.apikey, "response": "json", **params}
                return http.request(
                    "POST", url, body=urlencode({**pairs, "signature": sign(pairs.items(), USER.secretkey)})
                ).json()

            found = ask(command="listNetworks")["listnetworksresponse"].get("network", [])
            assert [one["name"] for one in found] == known
            zone = ask(command="listZones")["listzonesresponse"]["zone"][0]["id"]
            offering = ask(command="listNetworkOfferings")["listnetworkofferingsresponse"]["networkoffering"][0]["id"]
            ask(command="createNetwork", name=name, zoneid=zone, networkofferingid=offering)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0


def test_the_command_line_takes_libvirt(tmp_path: Path) -> None:
    pytest.importorskip("libvirt", reason="the bindings of libvirt are not installed")
    command = [sys.executable, "-m", "fakes.cloudstack", "--port", "0", "--libvirt", "cs", "--accel", "tcg"]
    refused = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=False)
    assert (refused.returncode, "--libvirt needs --folder" in refused.stderr) == (2, True)
    command += ["--uri", "test:///default", "--folder", str(tmp_path), "--disk", "mine=/images/mine.img"]
    env = {**os.environ, "PYTHONPATH": str(TESTS.parent / "src")}
    with subprocess.Popen(
        command, cwd=TESTS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as run:
        assert run.stdout is not None
        assert [run.stdout.readline().partition(":")[0] for _ in range(3)] == ["user", "admin", "url"]
        run.send_signal(signal.SIGINT)
        assert run.wait(10) == 0
