"""Boots onto further networks, on a whole site without a virtual machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from fakes.cluster_site import FakeDisks, make_site, traces
from pragma_boot.cluster.boot import BootRequest, boot, preview
from pragma_boot.cluster.site import Site
from pragma_boot.cluster.stop import clean, shutdown
from pragma_boot.errors import CapacityError, DriverError, NotAvailableError, PragmaError, UsageError
from pragma_boot.model import ClusterName, ImageName, InUse

LAB = {"bridge": "br-lab", "type": "bridge", "mtu": 1450, "cidr": IPv4Network("10.104.0.0/28")}
NETWORKS: Mapping[str, object] = {"lab": LAB, "openflow": "ovs"}
ENT = {"subnet_name": "openflow", "interface_name": "ovs"}


def site_with_networks(root: Path, **changes: object) -> Site:
    site = make_site(root, **changes)  # type: ignore[arg-type]
    clusters = replace(site.settings.clusters, additional_interfaces=NETWORKS, ent=ENT)
    site.settings = replace(site.settings, clusters=clusters)
    return site


def request(name: str, options: dict[str, str], cpus: int = 2) -> BootRequest:
    return BootRequest(ImageName("demo"), cpus, ClusterName(name), options=options)


def held(site: Site) -> set[str]:
    return {f"{network} {address}" for network, address in site.store.in_use(InUse()).extra}


def test_every_node_is_on_the_networks_that_were_asked_for(tmp_path: Path) -> None:
    site = site_with_networks(tmp_path)
    view = boot(site, request("one", {"add-iface": "lab", "enable-ent": "10.103.0.5/28"}))
    assert [dict(node.networks) for node in view.nodes] == [
        {"lab": "10.104.0.1/28", "openflow": "10.103.0.5/28"},
        {"lab": "10.104.0.2/28", "openflow": "10.103.0.6/28"},
    ]
    record = site.store.get("one")
    assert record is not None
    assert record.allocation is not None
    for node in record.allocation.nodes:
        assert [(nic.network, nic.mtu, nic.gateway) for nic in node.nics[-2:]] == [
            ("lab", 1450, None),
            ("openflow", 1500, None),
        ]


def test_nodes_are_told_of_their_networks(tmp_path: Path) -> None:
    site = site_with_networks(tmp_path)
    boot(site, request("one", {"add-iface": "lab"}))
    assert isinstance(site.disks, FakeDisks)
    compute = site.disks.guests["compute-0"]
    assert '<lab ip="10.104.0.2" netmask="255.255.255.240"' in compute.read("/root/vc-out.xml").decode()
    assert "10.104.0.1 one.lab" in compute.read("/etc/hosts").decode()


def test_the_next_cluster_gets_the_next_addresses_and_a_cleaned_ones_come_back(tmp_path: Path) -> None:
    site = site_with_networks(tmp_path)
    for name in ("one", "two"):
        boot(site, request(name, {"add-iface": "lab"}))
    assert held(site) == {f"lab 10.104.0.{last}" for last in (1, 2, 3, 4)}
    shutdown(site, ClusterName("one"))
    clean(site, ClusterName("one"))
    assert held(site) == {"lab 10.104.0.3", "lab 10.104.0.4"}
    assert boot(site, request("three", {"add-iface": "lab"})).nodes[0].networks == {"lab": "10.104.0.1/28"}


def test_addresses_of_clusters_whose_record_is_lost_are_not_given_out(tmp_path: Path) -> None:
    boot(site_with_networks(tmp_path), request("one", {"add-iface": "lab"}))
    (tmp_path / "state/site.db").unlink()
    site = site_with_networks(tmp_path)
    assert preview(site, request("two", {"add-iface": "lab"})).nodes[0].networks == {"lab": "10.104.0.3/28"}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"add-iface": "nope"}, NotAvailableError),
        ({"add-iface": "openflow"}, UsageError),
        ({"add-iface": "openflow:10.1.0.1/24"}, UsageError),
        ({"add-iface": "openflow:198.51.100.200/29"}, UsageError),
        ({"add-iface": "openflow:10.103.0.6/29"}, CapacityError),
        ({"add-iface": "lab:10.105.0.1/28"}, UsageError),
        ({"add-iface": "lab,lab"}, UsageError),
        ({"add-iface": "openflow:10.103.0.1/29", "enable-ent": "yes"}, UsageError),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_changes(
    tmp_path: Path, options: dict[str, str], error: type[PragmaError]
) -> None:
    site = site_with_networks(tmp_path)
    for call in (preview, boot):
        with pytest.raises(error) as caught:
            call(site, request("one", options))
        assert caught.value.resolution
    assert traces(tmp_path) == set()
    assert held(site) == set()


def test_a_boot_that_fails_gives_its_addresses_back(tmp_path: Path) -> None:
    def fail(step: str) -> None:
        if step == "deploy one: start compute-0":
            raise DriverError("it broke", resolution="repeat")

    site = site_with_networks(tmp_path, before_step=fail)
    with pytest.raises(DriverError):
        boot(site, request("one", {"add-iface": "lab"}))
    assert held(site) == set()


def test_the_log_tells_where_the_addresses_begin(tmp_path: Path, logged: list[str]) -> None:
    boot(site_with_networks(tmp_path), request("one", {"add-iface": "lab"}))
    assert "Network lab: addresses from 10.104.0.1/28" in logged
