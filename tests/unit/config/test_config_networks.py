"""Further networks of a site, from the settings in their old and new forms."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

from fakes.engine import CLUSTERS
from pragma_boot.config import netvalues
from pragma_boot.config.settings import SiteNetwork

ENT = netvalues.ent({"subnet_name": "openflow", "interface_name": "ovs"})


def test_a_site_has_none_unless_it_says_so() -> None:
    assert CLUSTERS.networks == {}


def test_the_old_form_names_the_hosts_interface_alone() -> None:
    found = replace(CLUSTERS, additional_interfaces=netvalues.additional_interfaces({"openflow": "ovs"})).networks
    assert found == {"openflow": SiteNetwork("openflow", "ovs")}
    assert found["openflow"].nodes_mtu == 1500


def test_the_new_form_describes_a_bridge() -> None:
    given = {"openflow": {"bridge": "br-ent", "type": "openvswitch", "vlan": 7, "mtu": 1450, "cidr": "10.103.0.0/16"}}
    found = replace(CLUSTERS, additional_interfaces=netvalues.additional_interfaces(given)).networks["openflow"]
    assert found == SiteNetwork("openflow", "br-ent", "openvswitch", 7, 1450, IPv4Network("10.103.0.0/16"))
    assert found.nodes_mtu == 1450


def test_ent_alone_is_a_network_and_a_description_of_it_counts_more() -> None:
    alone = replace(CLUSTERS, ent=ENT)
    assert alone.networks == {"openflow": SiteNetwork("openflow", "ovs")}
    described = netvalues.additional_interfaces({"openflow": {"bridge": "br-ent"}, "lab": "br-lab"})
    both = replace(alone, additional_interfaces=described)
    assert list(both.networks) == ["openflow", "lab"]
    assert both.networks["openflow"] == SiteNetwork("openflow", "br-ent", "bridge")
