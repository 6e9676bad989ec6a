"""Clusters on further networks of the site: real Open vSwitch and a Linux bridge, real packets."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from live.openvswitch import Bridge, UnfitError, bridge, openvswitch
from live.site import LiveSite, Ran, live_site

BLOCK = "10.103.0.0/24"
A_ENT, B_ENT, B_COMPUTE_ENT = "10.103.0.1", "10.103.0.2", "10.103.0.3"
B_PLAIN = "10.104.0.3"
VLAN, MTU = 100, 1450
NOWHERE = {"bridge": "ovs-none", "type": "openvswitch"}


@dataclass(frozen=True)
class World:
    """A site with the clusters *a*, a frontend alone, and *b* with a compute node; both are on both networks."""

    site: LiveSite
    switch: Bridge

    @property
    def a(self) -> str:
        return self.site.name("a")

    @property
    def b(self) -> str:
        return self.site.name("b")

    def on(self, cluster: str, command: str, node: str = "") -> Ran:
        return self.site.pragma("ssh", cluster, *([node] if node else []), "--", command, timeout=60)

    def reaches(self, cluster: str, address: str) -> bool:
        return self.on(cluster, f"ping -c 1 -W 3 {address} || ping -c 2 -W 3 {address}").status == 0


@contextmanager
def linux_bridge(name: str) -> Iterator[str]:
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "link", "del", name], check=True)


@contextmanager
def without_database(site: LiveSite) -> Iterator[None]:
    """The site as it is when its database was lost."""
    kept = site.state.database.rename(site.root / "kept.db")
    try:
        yield
    finally:
        kept.replace(site.state.database)


@pytest.fixture(scope="module")
def world(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        try:
            stack.enter_context(openvswitch(tmp_path_factory.mktemp("ovs")))
        except UnfitError as error:
            pytest.skip(str(error))
        site = stack.enter_context(live_site(tiny))
        switch = stack.enter_context(bridge(f"ovs-{site.prefix}"))
        plain = stack.enter_context(linux_bridge(f"br-{site.prefix}"))
        openflow = {"bridge": switch.name, "type": "openvswitch", "vlan": VLAN, "mtu": MTU, "cidr": BLOCK}
        site.configure(
            additional_interfaces={"openflow": openflow, "plain": plain, "nowhere": NOWHERE},
            ent={"subnet_name": "openflow", "interface_name": "ovs"},
        )
        made = World(site, switch)
        site.pragma("boot", "tiny", "0", f"name={made.a}", f"add-iface=openflow:{A_ENT}/24,plain:10.104.0.1/24").ok()
        site.pragma("boot", "tiny", "1", f"name={made.b}", "enable-ent=yes", "add-iface=plain:10.104.0.3/24").ok()
        yield made
        for name in (made.a, made.b):
            site.pragma("shutdown", name).ok()
            site.pragma("clean", name).ok()
        assert site.left() == []
        assert switch.ports() == []


def test_clusters_reach_each_other_on_the_ent_network(world: World) -> None:
    assert world.reaches(world.a, B_ENT)
    assert world.reaches(world.a, B_COMPUTE_ENT)
    assert world.reaches(world.b, A_ENT)


def test_clusters_do_not_reach_each_other_on_their_private_networks(world: World) -> None:
    compute = "10.1.255.254"
    assert world.reaches(world.b, compute)
    assert not world.reaches(world.a, compute)


def test_whole_streams_pass_the_switch(world: World) -> None:
    """TCP, full packets, checksums: what a ping does not show."""
    world.on(world.b, "{ tail -f /dev/null | nc -l -p 5001 >/tmp/got; } >/dev/null 2>&1 & sleep 1").ok()
    world.on(world.a, f"dd if=/dev/urandom of=/tmp/sent bs=64k count=16 2>/dev/null; nc {B_ENT} 5001 </tmp/sent").ok()
    sums = {world.on(cluster, f"md5sum </tmp/{name}").out for cluster, name in ((world.a, "sent"), (world.b, "got"))}
    assert len(sums) == 1


def test_an_openflow_rule_cuts_clusters_off(world: World) -> None:
    with world.switch.flow(f"priority=100,ip,nw_dst={B_ENT},actions=drop"):
        assert not world.reaches(world.a, B_ENT)
        assert world.reaches(world.a, B_COMPUTE_ENT)
    assert world.reaches(world.a, B_ENT)


def test_a_plain_linux_bridge_joins_clusters_too(world: World) -> None:
    assert world.reaches(world.a, B_PLAIN)


def test_nodes_have_the_networks_mask_and_mtu_and_no_further_route(world: World) -> None:
    shown = world.on(world.b, "ip -o link; ip -o -4 address; ip route", "compute-0").ok().out
    assert f"mtu {MTU} " in shown
    assert f"inet {B_COMPUTE_ENT}/24" in shown
    assert shown.count("default") == 1


def test_nodes_know_each_other_by_name_on_the_network(world: World) -> None:
    assert world.on(world.b, "ping -c 1 -W 3 compute-0.openflow").status == 0


def test_the_switch_sees_tagged_ports(world: World) -> None:
    assert world.switch.tags() == {str(VLAN)}
    assert len(world.switch.ports()) == 3


def test_an_address_that_is_held_is_refused_and_a_free_one_is_named(world: World) -> None:
    wish = f"add-iface=openflow:{A_ENT}/24"
    ran = world.site.pragma("boot", "tiny", "0", wish, "dry-run=yes")
    assert ran.status == 1
    assert "10.103.0.4/24" in ran.err
    with without_database(world.site):  # libvirt's domains tell, too
        assert "10.103.0.4/24" in world.site.pragma("boot", "tiny", "0", wish, "dry-run=yes").err


def test_a_bridge_that_is_missing_hinders_only_who_wants_it(world: World) -> None:
    assert "Open vSwitch has no bridge ovs-none" in world.site.pragma("check", "site").out
    ran = world.site.pragma("boot", "tiny", "0", "add-iface=nowhere:10.105.0.1/24", "dry-run=yes")
    assert ran.status == 1
    assert "ovs-vsctl add-br ovs-none" in ran.err
    world.site.pragma("boot", "tiny", "0", "add-iface=openflow", "dry-run=yes").ok()
