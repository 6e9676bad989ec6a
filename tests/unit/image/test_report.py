"""The report script, really run: by dash and by busybox, in a root folder of files that the kernel would provide."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import pytest

from fakes import images
from pragma_boot.image.inspect import inspect
from pragma_boot.image.render import edits
from pragma_boot.model import REPORT_MARK

SHELLS = [pytest.param(argv, id=argv[0]) for argv in (("dash",), ("busybox", "sh"), ("bash", "--posix"))]
FIB = "Main:\n  +-- 0.0.0.0/0 3 0 5\n"
TCP = "  sl  local_address rem_address   st tx_queue\n"
ROUTES = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


@dataclass
class Node:
    """A node in a folder; starts with everything in order, `break_`/`mend` change that."""

    root: Path
    shell: tuple[str, ...]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def tool(self, name: str, body: str) -> None:
        self.write(f"tools/{name}", f"#!/bin/sh\n{body}\n", 0o755)

    def start(self) -> None:
        environment = {"PRAGMA_ROOT": str(self.root), "PATH": f"{self.root}/tools"}
        argv = [shutil.which(self.shell[0]) or "", *self.shell[1:], str(self.root / "etc/pragma/report")]
        self.processes.append(
            subprocess.Popen(
                argv, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        )

    def lines(self) -> list[str]:
        return [line for line in (self.root / "dev/ttyS0").read_text().splitlines() if line]

    def wait_for(self, line: str) -> None:
        wanted, deadline = f"{REPORT_MARK} {line}", time.monotonic() + 20
        while wanted not in self.lines():
            assert time.monotonic() < deadline, f"no {wanted!r} in {self.lines()}"
            assert self.processes[-1].poll() is None, self.processes[-1].stdout.read()  # type: ignore[union-attr]
            time.sleep(0.02)

    def end(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):  # it ended, and all of its children
                os.killpg(process.pid, signal.SIGKILL)
            output = process.communicate()[0]
            assert output == b"", output


def make(root: Path, shell: tuple[str, ...], index: int) -> Node:
    cluster = images.allocation()
    member = cluster.nodes[index]
    guest = images.root("networkd")
    guest.apply(edits(inspect(guest), cluster, member, images.access(cluster), b"x"))
    node = Node(root, shell)
    for path in ("/etc/pragma/node", "/etc/pragma/report", "/etc/hosts", "/root/.ssh/authorized_keys"):
        node.write(path, guest.read(path).decode())
    if shell[0] == "busybox":  # it prefers its own ping to ours
        facts = guest.read("/etc/pragma/node").decode()
        node.write("/etc/pragma/node", facts.replace("frontend_ip=10.1.1.1", "frontend_ip=127.0.0.1"))
    node.write("/dev/ttyS0", "")
    node.write("/run/pragma-nat", "\n")
    node.write("/proc/uptime", "12.34 5.00\n")
    node.write("/proc/mounts", "/dev/vda1 / ext4 rw,relatime 0 0\n")
    node.write("/proc/sys/kernel/hostname", guest.read("/etc/hostname").decode())
    node.write("/proc/net/tcp", TCP + "   0: 00000000:0016 00000000:0000 0A 00000000:00000000\n")
    for number, nic in enumerate(member.nics):
        device = f"/sys/class/net/ens{number}"
        node.write(f"{device}/address", f"{nic.mac}\n")
        node.write(f"{device}/carrier", "1\n")
        node.write(f"{device}/device/vendor", "0x1af4\n")
    routes, addresses = ROUTES, FIB
    for number, nic in enumerate(member.nics):
        parts = [part.packed[::-1].hex().upper() for part in (nic.address.network[0], nic.address.netmask)]
        routes += f"ens{number}\t{parts[0]}\t00000000\t0001\t0\t0\t0\t{parts[1]}\t0\t0\t0\n"
        addresses += f"     |-- {nic.address.ip}\n        /32 host LOCAL\n"
    node.write("/proc/net/route", routes)
    node.write("/proc/net/fib_trie", addresses)
    tools = {"sleep": "exec /bin/sleep 0.05", "timeout": 'shift; exec "$@"', "bash": "exit 0", "ping": "exit 0"}
    for name, body in {**tools, "getent": "exit 0", "ssh": "exit 0"}.items():
        node.tool(name, body)
    return node


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    argv: tuple[str, ...] = request.param
    if not shutil.which(argv[0]):
        pytest.skip(f"no {argv[0]} here")
    return argv


@pytest.fixture
def frontend(tmp_path: Path, shell: tuple[str, ...]) -> Iterator[Node]:
    node = make(tmp_path, shell, 0)
    yield node
    node.end()


@pytest.fixture
def compute(tmp_path: Path, shell: tuple[str, ...]) -> Iterator[Node]:
    node = make(tmp_path, shell, 1)
    yield node
    node.end()


def test_a_node_in_order_says_ready_and_nothing_else(compute: Node) -> None:
    compute.start()
    compute.wait_for("compute-0 ready")
    assert set(compute.lines()) == {f"{REPORT_MARK} compute-0 ready"}


def test_a_frontend_in_order_says_ready_and_nothing_else(frontend: Node) -> None:
    frontend.start()
    frontend.wait_for("vc1 ready")
    assert set(frontend.lines()) == {f"{REPORT_MARK} vc1 ready"}


FAULTS = [
    ("/proc/sys/kernel/hostname", "localhost\n", "wrong-name"),
    ("/sys/class/net/ens0/address", "52:54:00:00:00:99\n", "no-device private"),
    ("/sys/class/net/ens0/carrier", "0\n", "no-carrier private"),
    ("/proc/net/fib_trie", FIB, "no-address 10.1.255.254"),
    ("/proc/net/route", ROUTES, "no-address 10.1.255.254"),
    ("/root/.ssh/authorized_keys", "# nothing\n", "no-key"),
    ("/proc/net/tcp", TCP, "no-sshd"),
    ("/proc/net/tcp", TCP + "   0: 00000000:0016 00000000:0000 01 0\n", "no-sshd"),
    ("/tools/getent", "#!/bin/sh\nexit 2\n", "no-frontend"),
]


@pytest.mark.parametrize(("path", "broken", "cause"), FAULTS)
def test_it_tells_what_it_waits_for_and_goes_on_when_it_came(compute: Node, path: str, broken: str, cause: str) -> None:
    file = compute.root / path.lstrip("/")
    good, mode = file.read_text(), file.stat().st_mode
    compute.write(path, broken, mode)
    compute.start()
    compute.wait_for(f"compute-0 waiting {cause}")
    compute.write(path, good, mode)
    compute.wait_for("compute-0 ready")
    assert len([line for line in compute.lines() if "waiting" in line]) == 1


def test_a_frontend_that_does_not_answer_is_waited_for(compute: Node) -> None:
    facts = (compute.root / "etc/pragma/node").read_text()
    compute.write("/etc/pragma/node", facts.replace("frontend_ip=127.0.0.1", "frontend_ip=240.0.0.1"))
    compute.tool("ping", "exit 1")
    compute.tool("bash", "exit 1")
    compute.start()
    compute.wait_for("compute-0 waiting no-frontend")
    compute.tool("bash", "exit 0")
    compute.wait_for("compute-0 ready")


def test_a_full_disk_is_told(compute: Node) -> None:
    (compute.root / "etc/pragma/space").symlink_to("/dev/full")
    compute.start()
    compute.wait_for("compute-0 waiting disk-full")
    (compute.root / "etc/pragma/space").unlink()
    compute.wait_for("compute-0 ready")


def test_a_read_only_root_is_not_a_full_disk(compute: Node) -> None:
    (compute.root / "etc/pragma/space").symlink_to("/dev/full")
    compute.write("/proc/mounts", "/dev/vda1 / squashfs ro 0 0\n")
    compute.start()
    compute.wait_for("compute-0 ready")


def test_the_frontend_names_the_compute_node_that_it_cannot_enter(frontend: Node) -> None:
    frontend.tool("ssh", f'case "$*" in *compute-1*) [ -e {frontend.root}/up ] ;; esac')
    frontend.start()
    frontend.wait_for("vc1 waiting no-compute compute-1")
    frontend.write("up", "")
    frontend.wait_for("vc1 ready")
    assert len([line for line in frontend.lines() if "waiting" in line]) == 1


def test_ssh_is_not_started_before_the_port_answers(frontend: Node) -> None:
    frontend.tool("bash", "exit 1")
    frontend.tool("ssh", f"echo $$ >> {frontend.root}/logins")
    frontend.start()
    frontend.wait_for("vc1 waiting no-compute compute-0")
    assert not (frontend.root / "logins").exists()
    frontend.tool("bash", "exit 0")
    frontend.wait_for("vc1 ready")
    assert len((frontend.root / "logins").read_text().split()) == 2


def test_more_computes_than_are_tried_at_once_all_get_their_turn(frontend: Node) -> None:
    names = [f"compute-{number}" for number in range(20)]
    facts = (frontend.root / "etc/pragma/node").read_text().splitlines()
    facts = [line for line in facts if not line.startswith("computes=")]
    facts.append(f"computes='{' '.join(f'{name},10.1.255.{200 - i}' for i, name in enumerate(names))}'")
    frontend.write("/etc/pragma/node", "\n".join(facts) + "\n")
    frontend.tool("ssh", f'case "$*" in *"root@compute-3 "*) [ -e {frontend.root}/up ] ;; esac')
    frontend.start()
    frontend.wait_for("vc1 waiting no-compute compute-3")
    frontend.write("up", "")
    frontend.wait_for("vc1 ready")


def test_a_frontend_waits_until_the_way_out_was_made(frontend: Node) -> None:
    (frontend.root / "run/pragma-nat").unlink()
    frontend.start()
    frontend.wait_for("vc1 waiting no-nat")
    frontend.write("/run/pragma-nat", "\n")
    frontend.wait_for("vc1 ready")


def test_a_frontend_alone_has_nobody_to_let_out(frontend: Node) -> None:
    (frontend.root / "run/pragma-nat").unlink()
    facts = (frontend.root / "etc/pragma/node").read_text()
    frontend.write("/etc/pragma/node", facts.replace("nat=/run/pragma-nat", "nat=''"))
    frontend.start()
    frontend.wait_for("vc1 ready")


def test_the_console_takes_over_where_there_is_no_serial_port(compute: Node) -> None:
    (compute.root / "dev/ttyS0").rename(compute.root / "dev/console")
    (compute.root / "dev/ttyS0").symlink_to("console.missing")
    compute.start()
    deadline = time.monotonic() + 20
    while "compute-0 ready" not in (compute.root / "dev/console").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_gives_up_after_half_an_hour(compute: Node) -> None:
    compute.write("/proc/net/tcp", TCP)
    compute.start()
    compute.wait_for("compute-0 waiting no-sshd")
    compute.write("/proc/uptime", "1813.00 5.00\n")
    assert compute.processes[0].wait(20) == 1


def test_each_start_reports_anew(compute: Node) -> None:
    compute.start()
    compute.wait_for("compute-0 ready")
    compute.write("/dev/ttyS0", "login: ")
    compute.start()
    compute.wait_for("compute-0 ready")


def test_without_getent_names_are_looked_up_in_hosts(tmp_path: Path) -> None:
    if not shutil.which("busybox"):
        pytest.skip("no busybox here")
    node = make(tmp_path, ("busybox", "sh"), 1)
    script = (node.root / "etc/pragma/report").read_text()
    node.write("/etc/pragma/report", script.replace("if has getent", "if has getent.missing"))
    hosts = (node.root / "etc/hosts").read_text()
    node.write("/etc/hosts", "127.0.0.1 localhost\n")
    node.start()
    node.wait_for("compute-0 waiting no-frontend")
    node.write("/etc/hosts", hosts)
    node.wait_for("compute-0 ready")
    node.end()


def test_the_script_starts_no_program_that_an_image_may_lack() -> None:
    text = resources.files("pragma_boot.image.render").joinpath("report.sh").read_text()
    for program in ("grep", "awk", "sed", "cut", "cat", "date", "ip ", "hostname "):
        assert not [line for line in text.splitlines() if line.strip().startswith(program)], program
    assert os.linesep.join(text.splitlines()) == text.rstrip("\n")


def test_a_member_of_an_overlay_waits_for_its_address_the_hub_and_the_names(frontend: Node) -> None:
    hub = "127.0.0.1" if frontend.shell[0] == "busybox" else "172.20.4.1"  # busybox prefers its own ping to ours
    with (frontend.root / "etc/pragma/node").open("a") as facts:
        facts.write(f"overlay=172.20.4.2\nhub={hub}\nlearnt=/run/pragma-names/learnt\n")
    frontend.start()
    frontend.wait_for("vc1 waiting no-overlay 172.20.4.2")
    if frontend.shell[0] != "busybox":
        frontend.tool("ping", f"[ -e {frontend.root}/up ]")
        frontend.tool("bash", "exit 1")
    table = frontend.root / "proc/net/fib_trie"
    table.write_text(table.read_text() + "     |-- 172.20.4.2\n        /32 host LOCAL\n")
    if frontend.shell[0] != "busybox":
        frontend.wait_for(f"vc1 waiting no-hub {hub}")
        frontend.write("up", "")
    frontend.wait_for("vc1 waiting no-names")
    frontend.write("/run/pragma-names/learnt", "")
    frontend.wait_for("vc1 ready")
