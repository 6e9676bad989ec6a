"""libvirt's documents: as the golden files show them, valid by libvirt's own schemas, accepted by its parser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest
from lxml import etree

from pragma_boot.driver.libvirt import marks
from pragma_boot.driver.libvirt.documents import (
    Domain,
    Interface,
    domain_xml,
    nat_network_xml,
    private_network_xml,
    with_kernel,
)
from pragma_boot.driver.libvirt.marks import Marks
from pragma_boot.model import ClusterName, Disk, DiskFormat, KernelBoot, LocalDisk, Mac, NodeName

SCHEMAS = Path("/usr/share/libvirt/schemas")
SITE = "/var/lib/pragma_boot"
DEMO = Marks(
    SITE,
    ClusterName("demo"),
    image="Rocks-7.0",
    fqdn="demo.example.org",
    public_ip=IPv4Address("198.51.100.7"),
    vlan=22,
)
KERNEL = KernelBoot(Path("/cache/vmlinuz"), Path("/cache/initrd"), "root=/dev/vda1 ro 'quoted' <&>")


def node(name: str, role: str, *networks: str, accel: str = "kvm") -> Domain:
    backing = LocalDisk(Path("/images/a&b.raw"), DiskFormat.RAW, 1 << 30)
    return Domain(
        marks=replace(DEMO, node=NodeName(name), role=role),
        cpus=2,
        memory_mib=2048,
        accel=accel,
        disk=Disk(NodeName(name), Path(f"/disks/demo/{name}.qcow2"), DiskFormat.QCOW2, backing),
        interfaces=tuple(
            Interface(Mac(f"52:54:00:00:00:0{at}"), bridge="br0")
            if network == "br0"
            else Interface(Mac(f"52:54:00:00:00:0{at}"), network=network)
            for at, network in enumerate(networks)
        ),
        console=Path(f"/state/clusters/demo/console/{name}.log"),
    )


PRIVATE = "pragma-demo-private"
DOCUMENTS = {
    "frontend": lambda: domain_xml(node("demo", "frontend", PRIVATE, "pragma-public")),
    "frontend-bridge": lambda: domain_xml(node("demo", "frontend", PRIVATE, "br0")),
    "compute-tcg": lambda: domain_xml(node("compute-0", "compute", PRIVATE, accel="tcg")),
    "compute-first-start": lambda: with_kernel(domain_xml(node("compute-0", "compute", PRIVATE)), KERNEL),
    "network-private": lambda: private_network_xml(DEMO),
    "network-nat": lambda: nat_network_xml(SITE, "pragma-public", IPv4Interface("198.51.100.1/24")),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_document_is_as_agreed(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"libvirt/{name}.xml", DOCUMENTS[name]())


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason="needs libvirt's schemas")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_document_is_valid_by_libvirts_schema(name: str) -> None:
    schema = etree.RelaxNG(etree.parse(SCHEMAS / ("network.rng" if name.startswith("network") else "domain.rng")))
    schema.assertValid(etree.fromstring(DOCUMENTS[name]()))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_libvirts_parser_accepts_the_document(name: str, connection: object) -> None:
    root = etree.fromstring(DOCUMENTS[name]())
    if name.startswith("network"):
        assert connection.networkDefineXML(DOCUMENTS[name]()).UUIDString() == root.findtext("uuid")
        return
    root.set("type", "test")
    defined = connection.defineXML(etree.tostring(root, encoding="unicode"))
    assert defined.UUIDString() == root.findtext("uuid")


def test_the_definition_of_a_first_start_is_the_same_node() -> None:
    first, later = (etree.fromstring(DOCUMENTS[name]()) for name in ("compute-first-start", "compute-tcg"))
    assert first.findtext("uuid") == later.findtext("uuid")
    assert first.findtext("os/cmdline") == KERNEL.cmdline
    assert later.find("os/kernel") is None


def test_marks_survive_the_way_through_a_document() -> None:
    wanted = replace(DEMO, node=NodeName("compute-3"), role="compute")
    assert marks.parse(marks.element(wanted)) == wanted


def test_marks_that_make_no_sense_are_left_out() -> None:
    found = etree.fromstring('<c cluster="x" public-ip="1.2.3" vlan="-4"/>')
    assert marks.parse(found) == Marks("", ClusterName("x"))
    assert marks.parse(etree.fromstring("<c/>")) is None
    assert marks.parse(None) is None


def test_names_are_taken_apart_as_they_were_made() -> None:
    for cluster, each in (("demo", "demo"), ("demo", "compute-12")):
        name = marks.domain_name(ClusterName(cluster), NodeName(each))
        assert marks.node_of(SITE, name, marks.uuid_of(SITE, name)) == (cluster, each)
    network = marks.network_name(ClusterName("demo"))
    assert marks.cluster_of(SITE, network, marks.uuid_of(SITE, network)) == "demo"


def test_a_name_alone_does_not_make_a_domain_ours() -> None:
    other = "00000000-0000-4000-8000-000000000000"
    assert marks.node_of(SITE, "demo.frontend", other) is None
    assert marks.cluster_of(SITE, PRIVATE, other) is None
    assert marks.node_of(SITE, "demo", marks.uuid_of(SITE, "demo")) is None


def test_a_cluster_called_public_does_not_take_the_sites_network() -> None:
    assert marks.network_name(ClusterName("public")) != "pragma-public"


def test_bridge_names_fit_a_device() -> None:
    assert len(marks.bridge_name(4094)) < 16
