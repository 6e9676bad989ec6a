"""Clusters without root: as plain users, and without any capability or device either."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from live.people import Person, person
from live.site import CHECKOUT, PROGRAM
from pragma_boot.driver.qemu.processes import end, holders
from pragma_boot.driver.qemu.qmp import Monitor
from pragma_boot.driver.qemu.records import Folder

LOST = "10.1.77.7"
"""An address of private networks that nobody has: whoever looks for it asks everybody."""


@dataclass(frozen=True)
class Cluster:
    """A cluster of one user: a frontend and so many computes."""

    owner: Person
    name: str
    computes: int

    @property
    def nodes(self) -> list[str]:
        return [self.name, *(f"compute-{index}" for index in range(self.computes))]

    @property
    def folder(self) -> Folder:
        return Folder(self.owner.state.machines / self.name)

    @property
    def macs(self) -> set[str]:
        return {mac for machine in self.folder.machines() for mac in machine.macs.values()}

    def boot(self) -> None:
        self.owner.pragma("boot", "tiny", self.computes, f"name={self.name}", "mem=192").ok()

    def on_frontend(self, command: str) -> str:
        return self.owner.pragma("ssh", self.name, "--", command).ok().out

    def capture(self, node: str) -> Path:
        return self.owner.home / f"{self.name}-{node}.pcap"

    def tap(self, *, begin: bool) -> None:
        """Begin, or end, to capture all that comes to the nodes or goes from them on their private network."""
        for node in self.nodes:
            with Monitor(self.folder.of_node(node, "qmp"), 30) as monitor:  # type: ignore[arg-type]
                if begin:
                    how = {"qom-type": "filter-dump", "netdev": "lan", "file": str(self.capture(node))}
                    monitor.command("object-add", {"id": "tap", **how})
                else:
                    monitor.command("object-del", {"id": "tap"})

    def remove(self) -> None:
        self.owner.pragma("shutdown", self.name).ok()
        self.owner.pragma("clean", self.name).ok()


@pytest.fixture
def people(tiny: Path) -> Iterator[list[Person]]:
    """Two users, each with a site as `pragma init` makes it for them, that offers the tiny image."""
    with ExitStack() as stack:
        found = [stack.enter_context(person(letter)) for letter in "ab"]
        for each in found:
            told = each.pragma("init").ok().out
            assert "qemu:///system may not be used" in told
            assert "so this is a site of your own" in told
            catalog = each.home / ".local/share/pragma_boot/images/vcdb.txt"
            catalog.write_text(f"tiny,{tiny}\n")
            assert each.pragma("check", "site").ok().out == "the site is in order\n"
        yield found


def frames(path: Path) -> list[bytes]:
    """The frames of a capture file (pcap)."""
    data = path.read_bytes()
    at, found = 24, []
    while at < len(data):
        (size,) = struct.unpack_from("<8xI", data, at)
        found.append(data[at + 16 : at + 16 + size])
        at += 16 + size
    return found


def sender(frame: bytes) -> str:
    return frame[6:12].hex(":")


def is_lost_call(frame: bytes) -> bool:
    """An ARP request for LOST."""
    return frame[12:14] == b"\x08\x06" and frame[38:42] == bytes(map(int, LOST.split(".")))


def test_two_users_two_clusters_each(people: list[Person]) -> None:
    """Ports and addresses never collide, networks are not visible across, and all of it goes without a trace."""
    one, other = people
    clusters = [Cluster(each, f"{each.name}-{number}", 2 - number) for each in people for number in (1, 2)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Cluster.boot, clusters))
        reached = [
            each.owner.pragma("list", "cluster", each.name).ok().out.splitlines()[1].split() for each in clusters
        ]
        assert len({(port, address) for *_, port, address in reached}) == 4
        assert all(re.fullmatch(r"127\.0\.0\.\d+", line[-1]) and "active" in line for line in reached)

        for each in clusters:
            each.tap(begin=True)
        list(pool.map(lambda each: each.on_frontend(f"for i in 1 2 3; do ping -c 1 -w 1 {LOST}; done; :"), clusters))
        assert clusters[0].on_frontend("ssh compute-0 hostname").startswith("compute-0")
        for each in clusters:
            each.tap(begin=False)
        for each in clusters:
            for node in each.nodes:
                seen = frames(each.capture(node))
                assert {sender(frame) for frame in seen} <= each.macs, "only its own cluster's nodes are heard"
                calls = [frame for frame in seen if is_lost_call(frame)]
                assert len(calls) >= 3, "what a frontend asks everybody, everybody in its cluster hears"
                assert {sender(frame) for frame in calls} == {sender(calls[0])}

        socket = clusters[0].folder.switch
        code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(socket)!r})"
        assert "PermissionError" in other.run("/usr/bin/python3", "-c", code).err
        assert not one.state.machines.stat().st_mode & 0o077

        survives(clusters[0])
        list(pool.map(Cluster.remove, clusters))
    assert [each.left() for each in people] == [[], []]


def survives(cluster: Cluster) -> None:
    """What of a cluster was killed outright is seen as what it is, and started again."""
    (frontend,) = holders(cluster.folder.of_node(cluster.name, "lock"))  # type: ignore[arg-type]
    assert Path(f"/proc/{frontend}/stat").read_text().rpartition(")")[2].split()[1] == "1", "nobody's child"
    end(cluster.folder.of_node("compute-0", "lock"), "compute-0")  # type: ignore[arg-type]
    listed = cluster.owner.pragma("list", "cluster", cluster.name).ok()
    assert "broken" in listed.out
    assert "compute-0 is shutdown" in listed.err
    end(cluster.folder.switch_lock, "its network")
    cluster.owner.pragma("start", cluster.name).ok()
    assert cluster.on_frontend("ssh compute-0 hostname").startswith("compute-0"), "the frontend is connected anew"


BARE = f"""
set -eu
export PRAGMA_BOOT_ETC=$HOME/bare
pragma() {{ {PROGRAM} "$@"; }}
grep CapEff /proc/self/status
ls /dev/net /run/libvirt
pragma init
echo "tiny,$1" >> $HOME/.local/share/pragma_boot/images/vcdb.txt
pragma check site
pragma boot tiny 1 name=bare mem=192
pragma list cluster bare
pragma ssh bare -- ssh compute-0 hostname
pragma shutdown bare
pragma clean bare
{PROGRAM} boot tiny 1 name=killed mem=192 2>$HOME/progress &
until grep -q 'compute-0: boot starting' $HOME/progress; do sleep 0.01; done
kill -9 $!
wait $! || :
pragma list cluster killed
pragma clean killed
"""


def test_without_any_capability_or_device(tiny: Path) -> None:
    """No CAP_NET_ADMIN, no /dev/net/tun, no FUSE, no libvirt; a boot that is killed there is cleaned away."""
    with person("c") as somebody:
        ran = somebody.run("sh", "-c", BARE, "sh", tiny, bare=True).ok()
        assert "CapEff:\t0000000000000000\n" in ran.out
        assert "CAP_NET_ADMIN is missing; so this is a site of your own" in ran.out
        assert "on copies of their metadata" in ran.err
        assert re.search(r"^bare: .* active +10022 +127\.0\.0\.2$", ran.out, re.MULTILINE)
        assert "compute-0.local\n" in ran.out
        assert re.search(r"^killed: .* broken ", ran.out, re.MULTILINE)
        assert ran.out.endswith("killed is removed\n")
        assert somebody.left() == []


def test_the_drivers_contract_holds_for_plain_users() -> None:
    """The suite of tests/contract, by a user with nothing but an account, and once more without any capability."""
    suite = [CHECKOUT / ".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "qemu"]
    with person("d") as somebody, ThreadPoolExecutor(2) as pool:

        def run(bare: bool) -> str:
            temporary = f"--basetemp={somebody.home}/{'bare' if bare else 'plain'}"
            words = [*suite, temporary, "--rootdir", CHECKOUT, CHECKOUT / "tests/contract/test_driver.py"]
            return somebody.run("sh", "-c", f'cd {CHECKOUT} && exec "$@"', "sh", *words, bare=bare).ok().out

        for told in pool.map(run, (False, True)):
            passed = re.search(r"(\d+) passed", told)
            assert passed, told
            assert int(passed[1]) >= 14, told
        assert somebody.processes() == []
