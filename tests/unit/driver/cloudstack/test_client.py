"""The client against the fake server: envelopes, errors, patience, pages, and what it never tells."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.cloud_site import clock_of, cloud_site
from fakes.cloudstack import USER, Cloud, Config, Server
from pragma_boot.driver.cloudstack.client import ApiError, Client, Clock, LostAnswerError, UnsentError
from pragma_boot.driver.cloudstack.crew import Crew, Job, Task, UnknownOutcomeError, ask, carried_out, done_once, submit
from pragma_boot.errors import DriverError


@pytest.fixture
def server() -> Iterator[Server]:
    cloud = Cloud(config=Config(enforce_post_and_timestamps=True), delays={"default": 1.0, "implement": 1.0})
    made = Server(cloud)
    made.start()
    yield made
    made.close()
    cloud.check()


@pytest.fixture
def client(server: Server) -> Client:
    return Client(server.url, USER.apikey, USER.secretkey, timeout=5, clock=clock_of(server.cloud))


def sent(server: Server, command: str) -> int:
    return sum(entry.command == command for entry in server.cloud.log)


def test_everything_is_posted_and_signed_as_the_strictest_server_wants(client: Client, server: Server) -> None:
    assert client.read("listCapabilities")["capability"]["cloudstackversion"]
    assert {entry.method for entry in server.cloud.log} == {"POST"}


@pytest.mark.parametrize("value", ["tilde~", "star*", "plus+and blank", "ümlaut", "100%", "a/b=c&d"])
def test_any_value_can_be_signed(client: Client, value: str) -> None:
    assert client.read("listNetworks", keyword=value) == {}


def test_an_empty_list_has_neither_count_nor_rows(client: Client) -> None:
    assert client.rows("listAffinityGroups", "affinitygroup") == []


def test_pages_are_as_large_as_the_server_allows(client: Client, server: Server) -> None:
    server.cloud.config.default_page_size = 3
    assert len(client.rows("listServiceOfferings", "serviceoffering", issystem=False)) == 5


def test_a_count_that_is_wrong_misleads_nobody(client: Client, server: Server) -> None:
    server.cloud.config.default_page_size = 2
    server.cloud.faults.add("count", "listServiceOfferings", times=-1, code=1000)
    assert len(client.rows("listServiceOfferings", "serviceoffering", issystem=False)) == 5


@pytest.mark.parametrize(
    ("action", "more"),
    [
        ("lost", {}),
        ("drop", {}),
        ("body", {"code": 502}),
        ("body", {"code": 504, "body": ""}),
        ("rate", {"seconds": 5}),
        ("error", {"code": 503, "text": "Maintenance or Shutdown has been initiated on this management server."}),
        ("error", {"code": 530, "text": "Internal error"}),
        ("error", {"code": 401, "text": "unable to verify user credentials and/or request signature"}),
    ],
)
def test_a_read_is_repeated(client: Client, server: Server, action: str, more: dict[str, object]) -> None:
    server.cloud.faults.add(action, "listZones", **more)
    assert client.rows("listZones", "zone")
    assert sent(server, "listZones") == 2


def test_a_read_is_given_up_in_the_end(client: Client, server: Server) -> None:
    server.cloud.faults.add("body", "listZones", times=-1)
    with pytest.raises(DriverError, match="none of CloudStack's"):
        client.rows("listZones", "zone")
    assert sent(server, "listZones") == 6


def test_a_write_is_repeated_where_the_server_did_nothing(client: Client, server: Server) -> None:
    server.cloud.faults.add("rate", "createAffinityGroup", seconds=7)
    before = server.cloud.clock.now()
    client.write("createAffinityGroup", name="g", type="host anti-affinity")
    assert sent(server, "createAffinityGroup") == 2
    assert server.cloud.clock.now() - before >= 7


@pytest.mark.parametrize("action", ["lost", "drop", "body"])
def test_a_write_whose_answer_is_lost_is_not_repeated(client: Client, server: Server, action: str) -> None:
    server.cloud.faults.add(action, "createAffinityGroup", code=502)
    with pytest.raises(LostAnswerError):
        client.write("createAffinityGroup", name="g", type="host anti-affinity")
    assert sent(server, "createAffinityGroup") == 1


def test_a_refusal_has_the_servers_words_and_a_mend(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        client.read("listTemplates", templatefilter="all")
    assert caught.value.code == 431
    assert "Filter all can be specified by admin only" in (caught.value.details or "")
    assert caught.value.resolution


def test_wrong_keys_name_all_causes(server: Server) -> None:
    wrong = Client(server.url, USER.apikey, "wrong", clock=clock_of(server.cloud))
    with pytest.raises(ApiError) as caught:
        wrong.read("listZones")
    assert caught.value.code == 401
    assert "secretkey" in (caught.value.resolution or "")
    assert "clock" in (caught.value.resolution or "")


def test_a_command_that_the_role_lacks_is_refused(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        client.read("listCapacity")
    assert caught.value.code == 401


def test_a_server_that_is_not_there_was_asked_nothing() -> None:
    passed = [0.0]

    def pause(seconds: float) -> None:
        passed[0] += seconds

    client = Client("http://127.0.0.1:9/client/api", "k", "s", clock=Clock(now=lambda: passed[0], pause=pause))
    with pytest.raises(UnsentError) as caught:
        client.write("createNetwork", name="n")
    assert 10 < passed[0] < 60
    assert "127.0.0.1:9" in caught.value.message


def test_no_secret_is_ever_told(client: Client, server: Server, logged: list[str]) -> None:
    secret = "PHZjPnNlY3JldDwvdmM+"
    server.cloud.faults.add("error", "updateVirtualMachine", code=431)
    with pytest.raises(ApiError) as caught:
        client.write("updateVirtualMachine", id="x", userdata=secret, password="hunter22")
    logging.getLogger("pragma_boot").debug("%s %s", caught.value.message, caught.value.details)
    told = "\n".join(logged) + str(caught.value.__cause__)
    for word in (secret, "hunter22", USER.apikey, USER.secretkey, "signature="):
        assert word not in told
    assert "updateVirtualMachine id=x" in told


# ----------------------------------------------------------------------------------------------------------------- jobs


def group(client: Client, name: str) -> Task[str]:
    def look() -> dict[str, object] | None:
        rows = client.rows("listAffinityGroups", "affinitygroup")
        return next((row for row in rows if row["name"] == name), None)

    made: list[str] = []
    yield from carried_out(client, "createAffinityGroup", look, made=made.append, name=name, type="host anti-affinity")
    return made[0]


def test_jobs_run_side_by_side_and_one_loop_asks_for_all(client: Client, server: Server) -> None:
    tasks = {str(number): (lambda number=number: group(client, f"g{number}")) for number in range(8)}
    before = server.cloud.clock.now()
    outcome = Crew(client, 4).run(tasks)  # type: ignore[arg-type]
    assert not outcome.failures
    assert len(set(outcome.results.values())) == 8
    assert server.cloud.clock.now() - before < 8 * 1.0


def test_the_state_inside_a_result_is_not_the_jobs(client: Client, server: Server) -> None:
    job = submit(client, "createAffinityGroup", name="g", type="host anti-affinity")
    assert ask(client, job) is None
    server.cloud.settle()
    assert ask(client, job) is not None


def test_a_job_that_failed_says_why(client: Client, server: Server) -> None:
    server.cloud.faults.add("fail", "createAffinityGroup", phase="execute", code=533, text="no host")
    with pytest.raises(ApiError) as caught:
        Crew(client, 2).one(group(client, "g"))
    assert (caught.value.code, caught.value.text) == (533, "no host")


def test_a_job_that_ended_without_a_word_is_looked_for(client: Client, server: Server) -> None:
    server.cloud.faults.add("restart", "createAffinityGroup", when="after")
    assert Crew(client, 2).one(group(client, "g"))
    assert sent(server, "createAffinityGroup") == 1


def test_a_job_that_never_ends_is_given_up(client: Client, server: Server) -> None:
    server.cloud.faults.add("hang", "deleteAffinityGroup", phase="execute")
    ident = Crew(client, 2).one(group(client, "g"))

    def task() -> Task[None]:
        yield from carried_out(client, "deleteAffinityGroup", lambda: None, limit=60, id=ident)

    with pytest.raises(UnknownOutcomeError, match="more than 60 seconds"):
        Crew(client, 2).one(task())


@pytest.mark.parametrize(("action", "asked"), [("lost", 1), ("drop", 2)])
def test_what_a_lost_request_did_is_looked_for_before_it_is_repeated(
    client: Client, server: Server, action: str, asked: int
) -> None:
    server.cloud.faults.add(action, "createAffinityGroup")
    assert Crew(client, 2).one(group(client, "g"))
    assert sent(server, "createAffinityGroup") == asked
    assert len(client.rows("listAffinityGroups", "affinitygroup")) == 1


def test_a_request_that_is_lost_twice_is_an_error(client: Client, server: Server) -> None:
    server.cloud.faults.add("drop", "createAffinityGroup", times=2)
    with pytest.raises(LostAnswerError):
        Crew(client, 2).one(group(client, "g"))
    with pytest.raises(LostAnswerError):
        server.cloud.faults.add("drop", "updateVirtualMachine", times=2)
        done_once(client, "updateVirtualMachine", lambda: None, id="x")


def test_the_first_failure_keeps_others_from_beginning(client: Client, server: Server) -> None:
    server.cloud.faults.add("error", "createAffinityGroup", code=535, text="limit")
    tasks = {str(number): (lambda number=number: group(client, f"g{number}")) for number in range(6)}
    outcome = Crew(client, 1).run(tasks)  # type: ignore[arg-type]
    assert list(outcome.failures) == ["0"]
    assert outcome.left == ["1", "2", "3", "4", "5"]
    server.cloud.faults.add("error", "createAffinityGroup", code=535, text="limit")
    outcome = Crew(client, 1).run(tasks, go_on=True)  # type: ignore[arg-type]
    assert len(outcome.results) == 5


def test_an_unknown_job_is_an_error(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        ask(client, Job("5c1f0d1e-0000-0000-0000-000000000000", "x"))
    assert caught.value.code == 431


def test_a_driver_works_over_http(tmp_path: Path) -> None:
    with cloud_site(tmp_path, over_http=True) as site:
        site.driver.preflight()
        assert site.driver.survey() == {}


def test_an_interrupt_ends_pauses_and_waits_for_requests_alone(server: Server) -> None:
    client = Client(server.url, USER.apikey, USER.secretkey, clock=Clock(wall=server.cloud.clock.now))
    asleep = threading.Event()

    def task() -> Task[None]:
        yield from ()
        asleep.set()
        client.pause(60)

    def interrupt() -> None:
        asleep.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        Crew(client, 2).run({"sleeps": task})
    assert time.monotonic() - started < 30
    assert client.read("listCapabilities"), "what comes next, an undo, works as ever"
