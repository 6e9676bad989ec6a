"""Waiting for nodes, with real files, real inotify and real sockets; a thread plays the guests."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pragma_boot.cluster.ready import Watched, wait_until_ready
from pragma_boot.errors import DriverError, NotReadyError
from pragma_boot.model import NodeName, NodeState, NodeStatus, Progress, Role

LOCAL = IPv4Address("127.0.0.1")


class Engine:
    """The engine's word on nodes; states may be changed while somebody waits."""

    def __init__(self) -> None:
        self.states: dict[NodeName, NodeState] = {}
        self.fails = False

    def __call__(self) -> Mapping[NodeName, NodeStatus]:
        if self.fails:
            raise DriverError("cannot be reached")
        return {name: NodeStatus(name, Role.COMPUTE, state) for name, state in self.states.items()}


class Site:
    """Some watched nodes with logs in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "console"
        self.folder.mkdir()
        self.engine = Engine()
        self.seen: list[Progress] = []
        self.nodes: list[Watched] = []
        self.threads: list[threading.Timer] = []

    def add(self, name: str, **what: object) -> Watched:
        node = Watched(NodeName(name), Role.COMPUTE, self.folder / f"{name}.log")
        node = replace(node, **what)  # type: ignore[arg-type]
        self.nodes.append(node)
        self.engine.states[node.node] = NodeState.ACTIVE
        return node

    def say(self, name: str, text: str) -> None:
        with (self.folder / f"{name}.log").open("a") as log:
            log.write(text)

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        thread = threading.Timer(seconds, action)
        self.threads.append(thread)
        thread.start()

    def wait(self, timeout: float = 10) -> float:
        started = time.monotonic()
        wait_until_ready(self.nodes, timeout=timeout, status=self.engine, progress=self.seen.append, accel="tcg")
        return time.monotonic() - started

    def fails(self, timeout: float = 10) -> tuple[NotReadyError, float]:
        started = time.monotonic()
        with pytest.raises(NotReadyError) as caught:
            self.wait(timeout)
        return caught.value, time.monotonic() - started


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    for thread in made.threads:
        thread.join()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind((str(LOCAL), 0))
        yield listening


def answer(server: socket.socket, data: bytes) -> None:
    server.listen()
    server.settimeout(5)
    connection, _ = server.accept()
    with connection:
        connection.sendall(data)


def test_returns_as_soon_as_the_last_node_reports(site: Site) -> None:
    site.add("fe")
    site.add("compute-0")
    site.later(0.1, lambda: site.say("fe", "booting\r\npragma-node: fe waiting no-sshd\r\n"))
    site.later(0.2, lambda: site.say("compute-0", "pragma-node: compute-0 ready\r\n"))
    site.later(0.4, lambda: site.say("fe", "pragma-node: fe ready\r\n"))
    assert 0.35 < site.wait() < 1.5  # events, not polls: the next look would be at 2 s


def test_progress_tells_each_step_once(site: Site) -> None:
    site.add("fe")
    site.say("fe", "SeaBIOS\n" + "pragma-node: fe waiting no-sshd\n" * 3 + "pragma-node: fe ready\n")
    site.wait()
    assert [step.phase for step in site.seen] == ["boot", "ready", "ready"]
    assert "ssh server" in site.seen[1].text
    assert site.seen[2].text.startswith("ready in ")


def test_logs_and_their_folder_may_appear_later(site: Site) -> None:
    folder = site.folder.parent / "late"
    site.add("fe", log=folder / "fe.log")

    def appear() -> None:
        folder.mkdir()
        (folder / "fe.log").write_text("pragma-node: fe ready\n")

    site.later(0.2, appear)
    assert site.wait() < 1.5


def test_a_report_of_an_earlier_start_does_not_count(site: Site) -> None:
    old = "pragma-node: fe ready\n"
    site.say("fe", old)
    site.add("fe", offset=len(old))
    error, _ = site.fails(timeout=0.3)
    assert "fe not ready after" in error.message


@pytest.mark.parametrize(
    "line", ["pragma-node: other ready", "pragma-node: fe-1 ready", "pragma-node: fe ready or not"]
)
def test_a_foreign_or_malformed_report_is_ignored(site: Site, line: str) -> None:
    site.add("fe")
    site.say("fe", line + "\n")
    error, _ = site.fails(timeout=0.3)
    assert "has not reported anything" in error.message


def test_kernel_text_before_a_report_on_its_line_does_no_harm(site: Site) -> None:
    site.add("fe")
    site.say("fe", "[ 3.2] some driver text pragma-node: fe ready\r\n")
    site.wait()


def test_a_restarted_node_is_not_ready_until_it_says_so_again(site: Site) -> None:
    site.add("fe")
    site.add("compute-0")
    site.say("fe", "pragma-node: fe ready\npragma-node: fe waiting no-sshd\n")
    site.say("compute-0", "pragma-node: compute-0 ready\n")
    error, _ = site.fails(timeout=0.3)
    assert "no ssh server" in error.message


def test_a_panic_ends_the_wait_at_once_with_the_consoles_end(site: Site) -> None:
    site.add("fe")
    site.add("compute-0")
    site.later(0.1, lambda: site.say("compute-0", "[    1.0] Kernel panic - not syncing: Attempted to kill init!\r\n"))
    site.later(0.3, lambda: site.say("compute-0", "[    1.1] ---[ end Kernel panic ]---\r\n"))
    error, seconds = site.fails(timeout=60)
    assert seconds < 3
    assert "compute-0 cannot become ready: its kernel panicked" in error.message
    assert "| [    1.1] ---[ end Kernel panic ]---" in (error.details or "")
    assert error.resolution


def test_a_node_that_switched_itself_off_ends_the_wait(site: Site) -> None:
    site.add("fe")
    site.later(0.1, lambda: site.say("fe", "[    3.1] reboot: Power down\r\n"))
    site.later(0.2, lambda: site.engine.states.update({NodeName("fe"): NodeState.SHUTDOWN}))
    error, seconds = site.fails(timeout=60)
    assert seconds < 5
    assert "switched itself off" in error.message


def test_a_ready_node_that_dies_while_others_are_waited_for_is_noticed(site: Site) -> None:
    site.add("fe")
    site.add("compute-0")
    site.say("fe", "pragma-node: fe ready\n")
    site.later(0.2, lambda: site.engine.states.pop(NodeName("fe")))
    error, _ = site.fails(timeout=60)
    assert "fe cannot become ready: its virtual machine is gone" in error.message


def test_at_the_deadline_every_late_node_is_accounted_for(site: Site) -> None:
    for name in ("fe", "compute-0", "compute-1"):
        site.add(name)
    site.say("fe", "pragma-node: fe ready\n")
    site.say("compute-0", "hello\npragma-node: compute-0 waiting no-carrier private\n")
    error, seconds = site.fails(timeout=0.5)
    assert 0.5 <= seconds < 1.5
    assert error.message.startswith("2 of 3 nodes not ready")
    assert "compute-0: its interface private has no carrier" in (error.details or "")
    assert "compute-1: it runs but has printed nothing" in (error.details or "")
    assert "fe:" not in (error.details or "")


def test_a_node_that_cannot_report_is_ready_with_its_ssh_banner(site: Site, server: socket.socket) -> None:
    site.add("fe", reports=False, banner=LOCAL, port=server.getsockname()[1])
    site.later(0.2, lambda: answer(server, b"please wait\r\nSSH-2.0-OpenSSH_9.2\r\n"))
    assert 0.2 < site.wait() < 2  # refused at first, tried again


def test_a_port_that_talks_something_else_is_not_ready(site: Site, server: socket.socket) -> None:
    site.add("fe", reports=False, banner=LOCAL, port=server.getsockname()[1])
    server.listen()
    site.later(0.0, lambda: answer(server, b"220 smtp\r\n"))
    error, _ = site.fails(timeout=0.4)
    assert "ssh port does not answer (no ssh banner)" in error.message


def test_a_refused_port_is_told(site: Site, server: socket.socket) -> None:
    site.add("fe", reports=False, banner=LOCAL, port=server.getsockname()[1])
    error, _ = site.fails(timeout=0.3)
    assert "(refused)" in error.message


def test_a_banner_does_not_stand_in_for_a_reporter(site: Site, server: socket.socket) -> None:
    server.listen()
    site.add("fe", banner=LOCAL, port=server.getsockname()[1])
    site.fails(timeout=0.3)


def test_a_node_that_can_only_be_seen_running_is_ready_when_it_runs(site: Site) -> None:
    site.add("compute-0", reports=False)
    assert site.wait() < 1
    site.add("compute-1", reports=True, log=None)
    assert site.wait() < 1


def test_an_engine_that_cannot_be_asked_for_a_while_is_no_failure(site: Site) -> None:
    site.engine.fails = True
    site.add("fe")
    site.later(0.2, lambda: site.say("fe", "pragma-node: fe ready\n"))
    site.wait()


def test_a_guest_that_floods_its_console_does_not_stop_the_others(site: Site) -> None:
    site.add("fe")
    site.add("compute-0")
    site.say("fe", "x" * 5_000_000)
    site.say("compute-0", "pragma-node: compute-0 ready\n")
    site.later(0.3, lambda: site.say("fe", "\npragma-node: fe ready\n"))
    assert site.wait(timeout=30) < 1.8


def test_a_byte_by_byte_console_costs_little_cpu(site: Site) -> None:
    site.add("fe")

    def type_slowly() -> None:
        with (site.folder / "fe.log").open("a", buffering=1) as log:
            for _ in range(2000):
                log.write("x")
                log.flush()
        site.say("fe", "\npragma-node: fe ready\n")

    site.later(0.1, type_slowly)
    site.wait()
    assert sum(step.phase == "boot" for step in site.seen) == 1
