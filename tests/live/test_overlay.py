"""Clusters of two sites in one overlay: real WireGuard in real machines, a router that translates addresses between."""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from live.site import LiveSite, Ran, built_image, unfit
from live.two_sites import two_sites

PATIENCE = 90
"""Seconds until a name that was told somewhere is known everywhere, or a hub that was away is found again."""


@dataclass
class World:
    """Site *a* has the hub and a cluster that joins late, site *b* one with a compute node behind its frontend.

    The late one is a Debian with systemd, whose network manager sets up WireGuard; the others do so by a script.
    """

    a: LiveSite
    b: LiveSite
    folder: Path
    clusters: dict[str, LiveSite] = field(default_factory=dict)
    late: subprocess.Popen[str] | None = None

    @property
    def exchange(self) -> Path:
        return self.folder / "join"

    def name(self, what: str) -> str:
        """The cluster's own name; the sites' prefixes make it unique."""
        return (self.b if what == "far" else self.a).name(what)

    def start(self, what: str, cpus: int) -> subprocess.Popen[str]:
        site = self.b if what == "far" else self.a
        self.clusters[what] = site
        option = "enable-ipop-server" if what == "hub" else "enable-ipop-client"
        key = f"key={self.folder / 'key.pub'}"
        image = "demo" if what == "late" else "tiny"
        return site.start("boot", image, str(cpus), f"name={self.name(what)}", f"{option}=file://{self.exchange}", key)

    def on(self, what: str, command: str, node: str = "") -> Ran:
        return self.clusters[what].pragma("ssh", self.name(what), *([node] if node else []), "--", command, timeout=60)

    def address(self, what: str, node: str = "") -> str:
        """What a node is called in the overlay."""
        return f"{node}.{self.name(what)}.overlay" if node else f"{self.name(what)}.overlay"

    def reaches(self, what: str, *targets: str, node: str = "") -> bool:
        """Whether one of that cluster's nodes reaches all of *targets*."""
        pings = " && ".join(f"ping -c 1 -W 2 {target}" for target in targets)
        return self.on(what, pings, node).status == 0

    def will_reach(self, what: str, *targets: str, node: str = "") -> bool:
        """The same, as soon as it is so."""
        return eventually(lambda: self.reaches(what, *targets, node=node))

    def all_of(self, what: str) -> tuple[str, str]:
        """What both nodes of a cluster are called."""
        return self.address(what), self.address(what, "compute-0")


def ended(process: subprocess.Popen[str]) -> None:
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, f"{out}\n{err}"


def eventually(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(1)
    return True


@pytest.fixture(scope="module")
def overlay_image() -> Iterator[Path]:
    if reason := unfit():
        pytest.skip(reason)
    with built_image("tiny-overlay") as document:
        yield document


@pytest.fixture(scope="module")
def world(overlay_image: Path, demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("overlay")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    with two_sites(overlay_image) as (a, b):
        made = World(a, b, folder)
        hub = made.start("hub", 1)
        assert eventually(made.exchange.exists), hub.communicate()
        far = made.start("far", 1)
        ended(hub)
        ended(far)
        a.add_image("demo", demo)
        made.late = made.start("late", 0)  # it boots while the first tests run
        yield made
        made.late.wait(400)
        for word in ("shutdown", "clean"):
            for process in [site.start(word, made.name(what)) for what, site in made.clusters.items()]:
                ended(process)
        assert (a.left(), b.left()) == ([], [])
        assert not made.exchange.exists()


def test_a_cluster_is_ready_when_it_reaches_every_node_of_the_other_by_name(world: World) -> None:
    assert world.reaches("far", *world.all_of("hub"))
    assert world.will_reach("far", *world.all_of("hub"), node="compute-0")


def test_the_hubs_nodes_reach_every_node_behind_address_translation_by_name(world: World) -> None:
    for node in ("", "compute-0"):
        assert world.will_reach("hub", *world.all_of("far"), node=node)
    assert not world.reaches("hub", str(world.b.network[10]))  # without the overlay there is no way


def test_ssh_by_name_believes_the_other_clusters_nodes_at_once(world: World) -> None:
    key = base64.b64encode((world.folder / "key").read_bytes()).decode()
    world.on("far", f"umask 077; echo {key} | base64 -d >/root/user-key", "compute-0").ok()
    ran = world.on(
        "far", f"ssh -o BatchMode=yes -i user-key root@{world.address('hub', 'compute-0')} hostname", "compute-0"
    )
    assert ran.ok().out.strip() == "compute-0.local"


def test_whole_streams_fit_the_tunnel(world: World) -> None:
    world.on("hub", "iperf3 -s -1 -D; sleep 1", "compute-0").ok()
    ran = world.on("far", f"iperf3 -c {world.address('hub', 'compute-0')} -n 256K", "compute-0")
    assert "receiver" in ran.ok().out


def test_names_are_the_overlays_alone_and_of_others_addresses(world: World) -> None:
    """Whoever is in the overlay may tell names; not any name, and not for any address."""
    lines = "\\n".join(
        ("10.1.1.1 evil.overlay -", "172.16.0.1 www.example.org -", f"127.0.0.1 {world.address('hub')} -", "end\\n")
    )
    hub = world.on("far", "sed -n 's/^hub=//p' /etc/pragma/names.conf").ok().out.strip()
    options = "-o StrictHostKeyChecking=no -o BatchMode=yes -i /etc/pragma/names.key"
    world.on("far", f"printf '{lines}' | ssh {options} root@{hub} reboot").ok()
    hosts = world.on("hub", "cat /etc/hosts").ok().out
    assert "evil" not in hosts
    assert "www.example.org" not in hosts


def test_a_cluster_that_joins_later_is_known_to_all_before_it(world: World) -> None:
    assert world.late
    ended(world.late)
    for what, node in (("hub", "compute-0"), ("far", "compute-0"), ("far", ""), ("hub", "")):
        assert world.will_reach(what, world.address("late"), node=node), (what, node)
    assert world.will_reach("late", *world.all_of("far"))


def test_traffic_comes_back_after_the_hubs_reboot(world: World) -> None:
    world.a.pragma("shutdown", world.name("hub")).ok()
    assert not world.reaches("far", world.address("late"))
    world.a.pragma("start", world.name("hub")).ok()
    assert world.will_reach("far", world.address("hub", "compute-0"), node="compute-0")
    assert world.will_reach("far", world.address("late"))


def test_secrets_are_for_root_alone(world: World) -> None:
    found = world.on("far", "stat -c %a /etc/pragma/wg0.conf /etc/pragma/names.key /root/vc-out.xml").ok().out
    assert found.split() == ["600", "600", "600"]
    assert world.exchange.stat().st_mode & 0o777 == 0o600


def test_a_hub_that_never_appears_ends_in_an_error_and_leaves_nothing(world: World) -> None:
    before = world.b.left()
    world.b.configure(public_network={"bridge": f"br-{world.b.prefix}"}, ipop_timeout=1)
    nowhere = f"enable-ipop-client=file://{world.folder / 'nowhere'}"
    ran = world.b.pragma("boot", "tiny", "1", f"name={world.b.name('alone')}", nowhere)
    assert ran.status == 1
    assert "no join information appeared" in ran.err
    assert world.b.left() == before


def test_an_image_without_wireguard_is_refused_before_anything_is_made(world: World, tiny: Path) -> None:
    before = world.a.left()
    world.a.add_image("plain", tiny)
    url = f"enable-ipop-server=file://{world.folder / 'other'}"
    ran = world.a.pragma("boot", "plain", "1", f"name={world.a.name('plain')}", url)
    assert ran.status == 1
    assert "has no WireGuard" in ran.err
    assert world.a.left() == before
    assert not (world.folder / "other").exists()
