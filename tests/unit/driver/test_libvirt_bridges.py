"""Nodes on the host's bridges: what libvirt is told, and what preflight finds wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from pragma_boot.config.settings import SiteNetwork
from pragma_boot.driver.libvirt import bridges, domains, marks
from pragma_boot.driver.libvirt.documents import Domain, Interface, domain_xml
from pragma_boot.driver.libvirt.marks import Marks
from pragma_boot.model import ClusterName, Disk, DiskFormat, LocalDisk, Mac, NodeName

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
MAC = Mac("52:54:00:00:00:03")
OLD, NEW = 9_000_000, 11_000_000
EXTRA = (("openflow", IPv4Address("10.103.0.1")), ("lab", IPv4Address("10.104.0.1")))
MARKS = Marks("/var/lib/pragma_boot", ClusterName("demo"), NodeName("demo"), "frontend", "x", vlan=22, extra=EXTRA)

OPENFLOW = SiteNetwork("openflow", "br-ent", "openvswitch", vlan=100, mtu=1450)
LAB = SiteNetwork("lab", "br-lab", "bridge")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host's list of interfaces: a Linux bridge, Open vSwitch's in the kernel and in user space, an Ethernet card."""
    for name, mtu in (("br-lab", "1500"), ("br-ent", "1500"), ("br-user", "1500"), ("eth0", "1500")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mtu").write_text(f"{mtu}\n")
    (tmp_path / "br-lab/bridge").mkdir()
    (tmp_path / "br-user/tun_flags").write_text("0x1802\n")
    return tmp_path


def document(*interfaces: Interface) -> str:
    backing = LocalDisk(Path("/images/x.raw"), DiskFormat.RAW, 1 << 30)
    disk = Disk(NodeName("demo"), Path("/disks/demo/demo.qcow2"), DiskFormat.QCOW2, backing)
    private = Interface(Mac("52:54:00:00:00:01"), network="pragma-demo-private")
    return domain_xml(Domain(MARKS, 2, 2048, "kvm", disk, (private, *interfaces), Path("/state/demo.log")))


INTERFACES = {
    "openvswitch": bridges.interface(OPENFLOW, MAC, Path("/nowhere")),
    "openvswitch-userspace": replace(bridges.interface(OPENFLOW, MAC, Path("/nowhere")), checksums=True),
    "linux-bridge": bridges.interface(replace(LAB, mtu=9000), MAC, Path("/nowhere")),
}


@pytest.mark.parametrize("name", INTERFACES)
def test_the_document_is_as_agreed(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"libvirt/extra-{name}.xml", document(INTERFACES[name]))


@pytest.mark.skipif(not SCHEMA.is_file(), reason="needs libvirt's schemas")
@pytest.mark.parametrize("name", INTERFACES)
def test_the_document_is_valid_by_libvirts_schema(name: str) -> None:
    etree.RelaxNG(etree.parse(SCHEMA)).assertValid(etree.fromstring(document(INTERFACES[name])))


@pytest.mark.parametrize("name", INTERFACES)
def test_libvirts_parser_keeps_what_it_is_told(name: str, connection: Any) -> None:
    root = etree.fromstring(document(INTERFACES[name]))
    root.set("type", "test")
    defined = etree.fromstring(connection.defineXML(etree.tostring(root, encoding="unicode")).XMLDesc())
    told, kept = (each.findall("devices/interface")[1] for each in (root, defined))
    for path in ("source", "virtualport", "vlan/tag", "mtu", "driver/host"):
        assert (told.find(path) is None) == (kept.find(path) is None), path
    assert (kept.find("driver/host") is not None) == INTERFACES[name].checksums


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (LAB, Interface(MAC, bridge="br-lab")),
        (SiteNetwork("lab", "br-lab"), Interface(MAC, bridge="br-lab")),
        (SiteNetwork("ent", "br-ent"), Interface(MAC, bridge="br-ent", openvswitch=True)),
        (SiteNetwork("ent", "br-user"), Interface(MAC, bridge="br-user", openvswitch=True, checksums=True)),
        (OPENFLOW, Interface(MAC, bridge="br-ent", openvswitch=True, vlan=100, mtu=1450)),
    ],
    ids=["linux", "linux, not said", "kernel", "userspace", "described"],
)
def test_the_host_tells_what_the_site_does_not(network: SiteNetwork, expected: Interface, host: Path) -> None:
    assert bridges.interface(network, MAC, host) == expected


@pytest.mark.parametrize(
    ("network", "libvirt", "says"),
    [
        (replace(LAB, interface="br-none"), OLD, "br-none is not there"),
        (replace(LAB, interface="eth0"), OLD, "eth0 is no Linux bridge"),
        (replace(LAB, kind="openvswitch"), OLD, "br-lab is a Linux bridge"),
        (replace(LAB, vlan=7), OLD, "before 11.0"),
        (replace(LAB, mtu=9000), OLD, "1500 bytes"),
    ],
)
def test_what_is_wrong_with_a_bridge_is_told_with_its_mend(
    network: SiteNetwork, libvirt: int, says: str, host: Path
) -> None:
    (fault,) = bridges.faults(network, libvirt, host)
    assert fault.where == "network lab"
    assert says in fault.what
    assert fault.mend


@pytest.mark.parametrize("network", [LAB, SiteNetwork("lab", "br-lab"), replace(LAB, vlan=7, mtu=1400)])
def test_a_linux_bridge_in_order_has_no_fault(network: SiteNetwork, host: Path) -> None:
    assert list(bridges.faults(network, NEW, host)) == []


def ovs_vsctl(folder: Path, status: int, says: str = "") -> str:
    """A program of that name that answers as the real one does; the search path with it."""
    program = folder / "bin/ovs-vsctl"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n[ \"$2 $3\" = 'br-exists br-ent' ] || exit 9\necho '{says}' >&2\nexit {status}\n")
    program.chmod(0o755)
    return f"{program.parent}:/usr/bin:/bin"


@pytest.mark.parametrize(
    ("status", "says", "expected"),
    [
        (0, "", None),
        (2, "", "Open vSwitch has no bridge br-ent"),
        (1, "database connection failed (No such file or directory)", "does not answer: database connection failed"),
    ],
)
def test_open_vswitch_is_asked_for_its_bridge(
    status: int, says: str, expected: str | None, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", ovs_vsctl(host, status, says))
    found = list(bridges.faults(OPENFLOW, OLD, host, root=True))
    assert [expected in fault.what for fault in found] == ([True] if expected else [])  # type: ignore[operator]
    assert all(fault.mend for fault in found)


def test_who_may_not_ask_open_vswitch_believes_the_kernel(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", ovs_vsctl(host, 1))
    assert list(bridges.faults(OPENFLOW, OLD, host, root=False)) == []
    (fault,) = bridges.faults(replace(OPENFLOW, interface="br-none"), OLD, host, root=False)
    assert fault.mend == "create it: ovs-vsctl add-br br-none"


def test_addresses_survive_in_a_domains_metadata(connection: Any) -> None:
    assert marks.parse(marks.element(MARKS)) == MARKS
    root = etree.fromstring(document())
    root.set("type", "test")
    root.find("uuid").text = marks.uuid_of(MARKS.site, root.findtext("name"))  # type: ignore[union-attr, arg-type]
    connection.defineXML(etree.tostring(root, encoding="unicode"))
    _macs, found = domains.macs_and_marks(connection)
    assert [each.extra for each in found] == [EXTRA]


def test_addresses_that_make_no_sense_are_left_out() -> None:
    found = marks.parse(etree.fromstring('<c cluster="x" extra="a=1.2.3 b= =  c=10.0.0.1 d"/>'))
    assert found is not None
    assert found.extra == (("c", IPv4Address("10.0.0.1")),)
