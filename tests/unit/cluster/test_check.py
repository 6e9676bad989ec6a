"""`check site`: every fault of a site in one look, each with its mend."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from fakes.cluster_site import settings
from pragma_boot.cluster.check import check_site
from pragma_boot.cluster.plan import Sizes, make_plan
from pragma_boot.cluster.store import Store
from pragma_boot.config.settings import Settings
from pragma_boot.model import ClusterName, ImageName, InUse


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    """A site without faults and without images, whose driver runs nothing."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images/vcdb.txt").write_text("# none\n")
    return settings(tmp_path)


def test_a_site_that_is_well_has_no_faults(site: Settings) -> None:
    assert check_site(site) == ()


def test_every_bad_image_is_told(site: Settings, tmp_path: Path) -> None:
    (tmp_path / "images/vcdb.txt").write_text("a b,x.xml\none,one.xml\ntwo,two.xml\n")
    (tmp_path / "images/one.xml").write_text("<vc>")
    (tmp_path / "images/two.xml").write_text("")
    faults = check_site(site)
    assert [fault.where for fault in faults] == ["catalog", "image one", "image two"]
    assert all(fault.mend for fault in faults)


def test_a_missing_catalog_hides_no_broken_cluster(site: Settings, tmp_path: Path) -> None:
    (tmp_path / "images/vcdb.txt").unlink()
    plan = make_plan(ClusterName("vc"), ImageName("demo"), Sizes(1, 1, 64, 64), site.clusters.private_network, ())
    address = IPv4Address("198.51.100.10")
    Store(site.site.state).reserve(
        plan, driver="memory", address=address, fqdn="vc.internal", vlans=site.clusters.vlans, site=InUse()
    )
    catalog, cluster = check_site(site)
    assert "vcdb.txt" in catalog.what
    assert (cluster.where, cluster.mend) == ("cluster vc", "pragma shutdown vc; pragma clean vc")


def test_an_engine_that_cannot_be_opened_is_told_once(site: Settings) -> None:
    (fault,) = check_site(replace(site, site=replace(site.site, site_ve_driver="nosuch")))
    assert "nosuch" in fault.what
    assert "site_ve_driver" in fault.mend


def test_a_network_that_no_node_can_be_on_is_told(site: Settings) -> None:
    networks = {"Lab-2": "br-lab", "openflow": "ovs"}
    (fault,) = check_site(replace(site, clusters=replace(site.clusters, additional_interfaces=networks)))
    assert fault.where == "network Lab-2"
    assert "a letter first" in fault.mend
