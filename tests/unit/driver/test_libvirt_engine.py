"""Domains and networks against libvirt's own test driver: real calls and real errors, no daemon."""

from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest
from lxml import etree

from pragma_boot.config.settings import PublicNetwork
from pragma_boot.driver.libvirt import connection as seam
from pragma_boot.driver.libvirt import domains, marks, networks
from pragma_boot.driver.libvirt.documents import private_network_xml
from pragma_boot.driver.libvirt.marks import Marks
from pragma_boot.errors import DriverError
from pragma_boot.model import ClusterName, NodeName, NodeState

A, B = ClusterName("drv-a"), ClusterName("drv-b")
SITE = "/var/lib/pragma_boot"
ALICE = Marks(SITE, A, image="demo", fqdn="a.example.org", public_ip=IPv4Address("198.51.100.7"), vlan=22)
NAT = PublicNetwork("nat", "drv-public")
GATEWAY = IPv4Interface("198.51.100.1/24")


def define(
    connection: Any, cluster: ClusterName, node: str, *, ours: bool = True, mac: str = "52:54:00:00:00:01"
) -> Any:
    name = marks.domain_name(cluster, NodeName(node))
    carried = etree.tostring(marks.element(replace(ALICE, cluster=cluster, node=NodeName(node))), encoding="unicode")
    return connection.defineXML(f"""
        <domain type='test'><name>{name}</name>{f"<uuid>{marks.uuid_of(SITE, name)}</uuid>" if ours else ""}
        <metadata>{carried if ours else ""}</metadata><memory unit='MiB'>64</memory><vcpu>2</vcpu>
        <os><type>hvm</type></os><on_crash>preserve</on_crash>
        <devices><interface type='bridge'><mac address='{mac.upper()}'/><source bridge='x'/></interface></devices>
        </domain>""")


def states(connection: Any, cluster: ClusterName = A) -> dict[str, NodeState]:
    return {each.node: each.state for each in domains.find(connection, SITE, cluster)}


def test_only_our_domains_are_found_frontend_first(connection: Any) -> None:
    define(connection, A, "compute-10")
    define(connection, A, "compute-9")
    define(connection, A, A)
    define(connection, B, B)
    define(connection, ClusterName("theirs"), "theirs", ours=False)
    assert [each.node for each in domains.find(connection, SITE, A)] == [A, "compute-9", "compute-10"]
    assert {each.cluster for each in domains.find(connection, SITE)} == {A, B}


def test_states_are_told_in_our_words(connection: Any) -> None:
    for node in ("compute-0", "compute-1"):
        define(connection, A, node).create()
    connection.lookupByName("drv-a.compute-1").suspend()
    define(connection, A, A)
    assert states(connection) == {
        A: NodeState.SHUTDOWN,
        "compute-0": NodeState.ACTIVE,
        "compute-1": NodeState.PAUSED,
    }


def test_what_nodes_are_promised_counts_ours_and_what_runs(connection: Any) -> None:
    before = domains.taken(connection, SITE)
    define(connection, A, A)
    define(connection, B, B, ours=False)
    assert domains.taken(connection, SITE) == (before[0] + 2, before[1] + 64)
    connection.lookupByName("drv-b.frontend").create()
    assert domains.taken(connection, SITE) == (before[0] + 4, before[1] + 128)


def test_macs_of_all_and_marks_of_ours_are_read(connection: Any) -> None:
    define(connection, A, A, mac="52:54:00:aa:00:01")
    define(connection, B, B, ours=False, mac="52:54:00:aa:00:02")
    macs, found = domains.macs_and_marks(connection)
    assert {"52:54:00:aa:00:01", "52:54:00:aa:00:02"} <= macs
    assert found == [replace(ALICE, node=NodeName(A))]
    assert domains.read_marks(domains.find(connection, SITE, A)[0]) == found[0]


def test_asked_nodes_are_told_when_they_have_stopped(connection: Any) -> None:
    for node in (A, "compute-0"):
        define(connection, A, node).create()
    stopped = list(domains.ask_to_stop(connection, domains.find(connection, SITE, A), grace=5))
    assert {each.node for each in stopped} == {A, "compute-0"}
    assert set(states(connection).values()) == {NodeState.SHUTDOWN}


def test_a_node_that_is_paused_is_not_waited_for(connection: Any) -> None:
    define(connection, A, A).create()
    connection.lookupByName("drv-a.frontend").suspend()
    begun = time.monotonic()
    assert list(domains.ask_to_stop(connection, domains.find(connection, SITE, A), grace=30)) == []
    assert time.monotonic() - begun < 5


def test_start_resumes_creates_and_leaves_alone(connection: Any) -> None:
    define(connection, A, A)
    define(connection, A, "compute-0").create()
    connection.lookupByName("drv-a.compute-0").suspend()
    for _ in range(2):
        for each in domains.find(connection, SITE, A):
            domains.start(connection, each)
        assert set(states(connection).values()) == {NodeState.ACTIVE}


def test_stopping_and_removing_may_come_too_late(connection: Any) -> None:
    define(connection, A, A).create()
    (found,) = domains.find(connection, SITE, A)
    domains.stop(found)
    domains.stop(found)
    domains.remove(found)
    domains.remove(found)
    assert states(connection) == {}
    assert domains.read_marks(found) is None


def test_a_private_network_is_made_once_and_removed_once(connection: Any) -> None:
    networks.ensure_private(connection, ALICE)
    networks.ensure_private(connection, ALICE)
    assert connection.networkLookupByName("pragma-drv-a-private").isActive()
    assert networks.clusters(connection, SITE) == {A}
    assert networks.marks_and_addresses(connection)[0] == [ALICE]
    networks.remove_private(connection, SITE, A)
    networks.remove_private(connection, SITE, A)
    assert networks.clusters(connection, SITE) == set()


def test_a_private_network_left_over_with_another_vlan_is_replaced(connection: Any) -> None:
    networks.ensure_private(connection, ALICE)
    networks.ensure_private(connection, replace(ALICE, vlan=23))
    assert connection.networkLookupByName("pragma-drv-a-private").bridgeName() == "pb23"


def test_anothers_network_of_our_name_is_left_alone(connection: Any) -> None:
    text = private_network_xml(ALICE).replace(marks.uuid_of(SITE, "pragma-drv-a-private"), marks.uuid_of(SITE, "x"))
    connection.networkDefineXML(text)
    with pytest.raises(DriverError, match="did not make"):
        networks.ensure_private(connection, ALICE)
    networks.remove_private(connection, SITE, A)
    assert connection.networkLookupByName("pragma-drv-a-private")


def test_the_nat_network_starts_with_the_host_and_is_made_once(connection: Any) -> None:
    assert networks.ensure_public(connection, SITE, NAT, GATEWAY)
    assert not networks.ensure_public(connection, SITE, NAT, GATEWAY)
    made = connection.networkLookupByName("drv-public")
    assert (made.isActive(), made.autostart()) == (1, 1)
    assert GATEWAY.ip in networks.marks_and_addresses(connection)[1]
    assert networks.remove_public(connection, SITE, NAT)
    assert not networks.remove_public(connection, SITE, NAT)


def test_a_nat_network_with_another_address_is_refused(connection: Any) -> None:
    networks.ensure_public(connection, SITE, NAT, IPv4Interface("198.51.100.2/24"))
    with pytest.raises(DriverError) as caught:
        networks.ensure_public(connection, SITE, NAT, GATEWAY)
    assert "198.51.100.1/24" in caught.value.message


def test_a_bridge_is_nobodys_to_make_or_remove(connection: Any) -> None:
    bridge = PublicNetwork("bridge", "br0")
    assert not networks.ensure_public(connection, SITE, bridge, GATEWAY)
    assert not networks.remove_public(connection, SITE, bridge)


def test_libvirts_error_is_wrapped_once_with_its_cause_and_a_mend(connection: Any) -> None:
    with pytest.raises(DriverError) as caught, seam.explained("find the network x"):
        connection.networkLookupByName("x")
    assert caught.value.message == "cannot find the network x"
    assert "network" in str(caught.value.details).lower()
    assert "pragma init" in str(caught.value.resolution)
    assert type(caught.value.__cause__).__name__ == "libvirtError"


def test_an_error_that_is_expected_ends_the_block_only(connection: Any) -> None:
    with seam.explained("find a domain", ignore=("VIR_ERR_NO_DOMAIN",)):
        connection.lookupByName("x")
    with pytest.raises(DriverError), seam.explained("find a domain", ignore=("VIR_ERR_NO_NETWORK",)):
        connection.lookupByName("x")


@pytest.mark.parametrize(
    ("uri", "mend"),
    [
        ("qemu+unix:///system?socket=/nonexistent/libvirt-sock", "start the daemon"),
        ("nonsense:///x", "install libvirt's QEMU driver"),
    ],
)
def test_a_connection_that_cannot_be_made_says_what_to_do(
    uri: str, mend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("libvirt")
    with pytest.raises(DriverError) as caught:
        seam.connect(uri)
    assert mend in str(caught.value.resolution)
    assert capfd.readouterr().err == ""


def test_clusters_of_another_site_are_not_listed_but_hold_what_they_hold(connection: Any) -> None:
    define(connection, A, A)
    networks.ensure_private(connection, ALICE)
    assert domains.find(connection, "/elsewhere") == []
    assert networks.clusters(connection, "/elsewhere") == set()
    assert domains.macs_and_marks(connection)[1] == [replace(ALICE, node=NodeName(A))]
    assert networks.marks_and_addresses(connection)[0] == [ALICE]
    networks.remove_private(connection, "/elsewhere", A)
    assert networks.clusters(connection, SITE) == {A}
