"""How nodes of an overlay learn names: the script itself, under the shells of small and large systems."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from importlib import resources
from ipaddress import IPv4Network
from pathlib import Path

import pytest

NETWORK = IPv4Network("172.20.4.0/22")
HUB = "172.20.4.1"
KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIHVzZXIta2V5LXBsYWNlaG9sZGVyLW9ubHkAAAAA"[:68].ljust(68, "A")
SHELLS = {"dash": ["dash"], "busybox": ["busybox", "sh"], "bash": ["bash"]}
NODES = {
    "hub": {"hub": HUB, "compute-0.hub": "172.20.7.254"},
    "far": {"far": "172.20.4.2", "compute-0.far": "172.20.4.3"},
    "late": {"late": "172.20.4.4"},
}
SSH = """#!/bin/sh
# Runs the command in the root folder of the node that is named, as its sshd would.
for word; do
    case $word in
        root@{hub}) root=hub command=serve ;;
        root@compute-0) root=compute-0.${{PRAGMA_ROOT##*/}} command=take ;;
    esac
done
[ -e "{folder}/$root" ] || exit 255
PRAGMA_ROOT={folder}/$root exec {shell} {folder}/$root/etc/pragma/names $command
"""


class World:
    """Root folders of nodes; ssh between them runs the script in another's."""

    def __init__(self, folder: Path, shell: str) -> None:
        self.folder, self.shell = folder, SHELLS[shell]
        tools = folder / "bin"
        tools.mkdir()
        text = SSH.format(hub=HUB, folder=folder, shell=" ".join(self.shell))
        (tools / "ssh").write_text(text)
        (tools / "ssh").chmod(0o755)
        self.env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}

    def add(self, cluster: str) -> None:
        for node in NODES[cluster]:
            root = self.folder / node
            for name in ("etc/pragma", "etc/ssh", "run"):
                (root / name).mkdir(parents=True)
            script = resources.files("pragma_boot.image.render").joinpath("names.sh").read_bytes()
            (root / "etc/pragma/names").write_bytes(script)
            computes = "compute-0" if node == cluster and len(NODES[cluster]) > 1 else ""
            facts = f"hub={HUB}\nnetwork={int(NETWORK[0])}\nmask={int(NETWORK.netmask)}\ncomputes='{computes}'\n"
            (root / "etc/pragma/names.conf").write_text(facts)
            own = "".join(f"{address} {name}.overlay {KEY}\n" for name, address in NODES[cluster].items())
            (root / "etc/pragma/names.own").write_text(own)
            (root / "etc/hosts").write_text("127.0.0.1 localhost\n")

    def run(self, node: str, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        script = self.folder / node / "etc/pragma/names"
        env = {**self.env, "PRAGMA_ROOT": str(self.folder / node)}
        return subprocess.run(
            [*self.shell, script, *words], input=given, capture_output=True, text=True, env=env, check=False, timeout=60
        )

    def sync(self, node: str) -> None:
        """One exchange of a frontend with the hub: its loop, until it has learnt."""
        learnt = self.folder / node / "run/pragma-names/learnt"
        learnt.unlink(missing_ok=True)
        env = {**self.env, "PRAGMA_ROOT": str(self.folder / node)}
        with subprocess.Popen([*self.shell, self.folder / node / "etc/pragma/names", "sync"], env=env) as loop:
            try:
                assert eventually(learnt.exists)
                assert eventually(lambda: not (self.folder / node / "run/pragma-names/sharing").is_symlink())
                time.sleep(0.3)
            finally:
                loop.kill()

    def hosts(self, node: str) -> dict[str, str]:
        lines = (self.folder / node / "etc/hosts").read_text().splitlines()
        return {line.split()[1]: line.split()[0] for line in lines if ".overlay" in line and line[0] != "#"}


def eventually(true: Callable[[], bool], limit: float = 20) -> bool:
    end = time.monotonic() + limit
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def names(*clusters: str) -> dict[str, str]:
    return {f"{node}.overlay": address for name in clusters for node, address in NODES[name].items()}


@pytest.fixture(params=SHELLS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if not shutil.which(SHELLS[request.param][0]):
        pytest.skip(f"{request.param} is not installed")
    made = World(tmp_path, request.param)
    made.add("hub")
    made.add("far")
    return made


def told(cluster: str) -> str:
    return "".join(f"{address} {node}.overlay {KEY}\n" for node, address in NODES[cluster].items()) + "end\n"


def test_every_node_of_every_cluster_learns_every_others_name(world: World) -> None:
    world.sync("far")
    assert eventually(lambda: world.hosts("compute-0.hub") == names("far"))
    assert eventually(lambda: world.hosts("compute-0.far") == names("hub"))
    assert world.hosts("hub") == names("far")
    assert world.hosts("far") == names("hub")
    world.add("late")
    world.sync("late")
    assert world.hosts("late") == names("hub", "far")
    assert eventually(lambda: world.hosts("compute-0.hub") == names("far", "late"))
    world.sync("far")
    assert eventually(lambda: world.hosts("compute-0.far") == names("hub", "late"))
    known = (world.folder / "compute-0.far/etc/ssh/ssh_known_hosts").read_text()
    assert f"late.overlay,172.20.4.4 ssh-ed25519 {KEY}\n" in known


def test_a_cluster_that_is_gone_is_forgotten_by_all_after_a_day(world: World) -> None:
    world.sync("far")
    known = world.folder / "hub/etc/pragma/names.known"
    known.write_text(
        "".join(f"{int(time.time()) - 90000} {line.partition(' ')[2]}\n" for line in known.read_text().splitlines())
    )
    world.add("late")
    world.sync("late")
    assert world.hosts("late") == names("hub")
    assert world.hosts("hub") == names("late")


BAD = (
    f"10.1.1.1 evil.overlay {KEY}",
    f"172.20.8.1 evil.overlay {KEY}",
    f"172.20.4.9 www.example.org {KEY}",
    f"172.20.4.9 overlay {KEY}",
    f"172.20.4.9 .overlay {KEY}",
    f"172.20.4.9 hub.overlay {KEY}",
    f"172.20.4.9 far.overlay {KEY}",
    f"172.20.4.9 e_vil.overlay {KEY}",
    f"172.20.4.9 EVIL.overlay {KEY}",
    f"172.20.4.9 {'e' * 150}.overlay {KEY}",
    f"172.20.4.9 evil.overlay {KEY} more",
    "172.20.4.9 evil.overlay ssh-rsa",
    "172.20.4.9 evil.overlay $(reboot)",
    f"172.20.4.9 ev\\il.overlay {KEY}",
    f"172.20.4.09 evil.overlay {KEY}",
    f"172.20.4.256 evil.overlay {KEY}",
    f"172.20.4 evil.overlay {KEY}",
    f"172.20.4.9.9 evil.overlay {KEY}",
    "",
)


def test_what_comes_in_is_not_believed(world: World) -> None:
    world.run("hub", "serve", given=told("far"))
    files = [world.folder / "hub/etc" / name for name in ("hosts", "ssh/ssh_known_hosts")]
    before = [path.read_text() for path in files]
    own = f"172.20.4.1 evil.overlay {KEY}"  # the hub's own address: told by everybody who has learnt it
    ran = world.run("hub", "serve", given="\n".join((*BAD, own, "end\n")))
    assert ran.returncode == 0
    assert ran.stderr.count("refused") == len(BAD)
    assert [path.read_text() for path in files] == before


@pytest.mark.parametrize("given", ["", "172.20.4.2 far.overlay -\n", f"172.20.4.2 far.overlay {KEY}"])
def test_what_was_cut_short_changes_nothing(world: World, given: str) -> None:
    assert world.run("hub", "serve", given=given).returncode == 1
    assert world.hosts("hub") == {}


def test_too_much_is_refused(world: World) -> None:
    lines = "".join(f"172.20.4.9 n{number}.overlay -\n" for number in range(1025))
    assert world.run("hub", "serve", given=f"{lines}end\n").returncode == 1
    assert world.hosts("hub") == {}


def test_a_node_that_comes_back_elsewhere_has_its_name_again(world: World) -> None:
    """Its slot was another's meanwhile: after a while without a word from the old one the name is free."""
    world.run("hub", "serve", given="172.20.4.2 far.overlay -\nend\n")
    world.run("hub", "serve", given="172.20.4.9 far.overlay -\nend\n")
    assert world.hosts("hub") == {"far.overlay": "172.20.4.2"}
    known = world.folder / "hub/etc/pragma/names.known"
    known.write_text(f"{int(time.time()) - 400} 172.20.4.2 far.overlay -\n")
    world.run("hub", "serve", given="172.20.4.9 far.overlay -\nend\n")
    assert world.hosts("hub") == {"far.overlay": "172.20.4.9"}


def test_an_address_has_the_name_that_was_told_last(world: World) -> None:
    for name in ("one", "two"):
        world.run("hub", "serve", given=f"172.20.4.9 {name}.overlay -\nend\n")
    assert world.hosts("hub") == {"two.overlay": "172.20.4.9"}


def test_other_lines_stay_as_they_are_and_nothing_is_written_twice(world: World) -> None:
    hosts = world.folder / "hub/etc/hosts"
    world.run("hub", "serve", given=told("far"))
    first = hosts.stat().st_ino
    assert hosts.read_text().startswith("127.0.0.1 localhost\n# BEGIN pragma overlay\n")
    world.run("hub", "serve", given=told("far"))
    assert hosts.stat().st_ino == first


def test_a_lock_that_a_dead_process_left_holds_nobody_up(world: World) -> None:
    (world.folder / "hub/run/pragma-names").mkdir()
    (world.folder / "hub/run/pragma-names/learning").symlink_to("999999999")
    assert world.run("hub", "serve", given=told("far")).returncode == 0
    assert world.hosts("hub") == names("far")


def test_two_frontends_at_the_same_time_are_both_heard(world: World) -> None:
    env = {**world.env, "PRAGMA_ROOT": str(world.folder / "hub")}
    argv = [*world.shell, world.folder / "hub/etc/pragma/names", "serve"]
    running = [
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True) for _ in range(4)
    ]
    for number, process in enumerate(running):
        assert process.stdin
        process.stdin.write(f"172.20.4.{20 + number} n{number}.overlay -\nend\n")
        process.stdin.close()
    for process in running:
        process.wait(60)
        assert process.stdout
        process.stdout.close()
    assert world.hosts("hub") == {f"n{number}.overlay": f"172.20.4.{20 + number}" for number in range(4)}


def test_a_wrong_word_is_told(world: World) -> None:
    assert world.run("hub", "reboot").returncode == 2
