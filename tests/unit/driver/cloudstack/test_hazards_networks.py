"""Networks, addresses and ports, and what users report of them (cloudstack.md c.4)."""

from __future__ import annotations

import threading
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from fakes.cloud_site import boot, cloud_site, wish
from fakes.cloudstack import (
    assert_clean,
    can_reach,
    can_reach_public,
    shared_network,
)
from pragma_boot.errors import CapacityError, DriverError
from pragma_boot.model import Allocation, ClusterName, NodeName

LAB = ClusterName("lab")
WEB = ("192.0.2.1", "tcp", 80)


def test_nodes_reach_out_where_nothing_may_by_default(tmp_path: Path) -> None:
    """I#7565, I#5957, CAPC#47, #220: one rule for all protocols; TCP alone breaks DNS and NTP."""
    with cloud_site(tmp_path) as site:
        boot(site)
        frontend = site.cloud.machine("lab")
        assert can_reach(site.cloud, frontend, *WEB)
        assert can_reach(site.cloud, frontend, "192.0.2.53", "udp", 53)


def test_no_rule_is_made_where_everything_may_out_for_it_would_block(tmp_path: Path) -> None:
    """I#1666, I#5970: the meaning of egress rules turns round with the network's default."""
    with cloud_site(tmp_path, more={"network_offering": "IsolatedEgressAllow"}) as site:
        boot(site)
        assert can_reach(site.cloud, site.cloud.machine("lab"), *WEB)
        assert not [rule for rule in site.cloud.state.rules.values() if rule.kind == "egress"]


def test_the_first_address_is_the_networks_and_the_cluster_gets_one_of_its_own(tmp_path: Path) -> None:
    """I#3125, I#3321: the first is source NAT: it can be neither translated nor let go."""
    with cloud_site(tmp_path) as site:
        allocation = boot(site)
        address = next(each for each in site.cloud.state.addresses.values() if each.ip == str(allocation.public_ip))
        assert address.staticnat
        assert not address.sourcenat
        assert can_reach_public(site.cloud, str(allocation.public_ip), 22)
        assert not can_reach_public(site.cloud, str(allocation.public_ip), 25)


def test_translation_leads_to_the_default_interface(tmp_path: Path) -> None:
    """I#8366: to another it does not work; guests look for their data by it, too (I#3557, cloud-init#3427)."""
    with cloud_site(tmp_path) as site:
        allocation = boot(site)
        nics = {nic.default: nic for nic in site.cloud.machine("lab").nics}
        assert nics[True].ip == str(allocation.frontend.nic("public").address.ip)
        assert nics[False].device == 0, "the private interface is the first device all the same"


def test_user_data_is_had_on_every_network_of_a_node(tmp_path: Path) -> None:
    """I#3557, cloud-init#3427: a guest with two interfaces may ask either router."""
    with cloud_site(tmp_path) as site:
        boot(site)
        machine = site.cloud.machine("lab")
        served = site.cloud.hypervisor.served  # type: ignore[attr-defined]
        assert {served[f"{nic.networkid}/{nic.ip}"] for nic in machine.nics} == {machine.userdata}


def test_the_private_interface_stays_the_default_where_the_site_says_so(tmp_path: Path) -> None:
    with cloud_site(tmp_path, more={"public_first": False}) as site:
        allocation = boot(site)
        default = next(nic for nic in site.cloud.machine("lab").nics if nic.default)
        assert default.ip == str(allocation.frontend.nic("private").address.ip)


def test_ports_are_forwarded_where_addresses_cannot_be_translated(tmp_path: Path) -> None:
    with cloud_site(tmp_path, more={"network_offering": "IsolatedNoStaticNat"}, public_ips=8) as site:
        before = site.cloud.snapshot()
        first, second = boot(site), boot(site, wish("two"))
        assert first.public_ip == second.public_ip
        assert first.ports == {}
        assert second.ports == {22: 20022, 80: 20080, 443: 20443}
        for port in (22, 20022):
            assert can_reach_public(site.cloud, str(first.public_ip), port)
        assert site.driver.status(ClusterName("two"))[NodeName("two")].ports == second.ports
        site.driver.release(LAB)
        assert can_reach_public(site.cloud, str(first.public_ip), 20022)
        assert not can_reach_public(site.cloud, str(first.public_ip), 22)
        assert boot(site, wish("three")).ports == {}
        for cluster in ("two", "three"):
            site.driver.release(ClusterName(cluster))
        assert_clean(site.cloud, "user", before)


def test_the_last_address_is_shared_by_its_ports(tmp_path: Path) -> None:
    """Two are needed: the public network's own and the private one's; no third is left for the cluster alone."""
    with cloud_site(tmp_path, public_ips=2) as site:
        before = site.cloud.snapshot()
        allocation = boot(site)
        assert can_reach_public(site.cloud, str(allocation.public_ip), 22)
        site.driver.release(LAB)
        assert_clean(site.cloud, "user", before)


def test_shortage_of_addresses_shows_before_anything_runs(tmp_path: Path) -> None:
    with cloud_site(tmp_path, public_ips=1) as site:
        before = site.cloud.snapshot()
        with pytest.raises(CapacityError):
            boot(site)
        assert not any(entry.command == "startVirtualMachine" for entry in site.cloud.log)
        site.driver.release(LAB)
        assert_clean(site.cloud, "user", before)


def test_a_shared_network_has_real_addresses(tmp_path: Path) -> None:
    with cloud_site(tmp_path, more={"public_network": "campus"}) as site:
        shared_network(site.cloud.state, "campus", "198.51.100.0/24", "198.51.100.1")
        before = site.cloud.snapshot()
        allocation = boot(site)
        assert allocation.public_ip == allocation.frontend.nic("public").address.ip
        assert str(allocation.public_ip).startswith("198.51.100.")
        site.driver.release(LAB)
        assert_clean(site.cloud, "user", before)


def test_private_networks_never_lie_over_the_public_one(tmp_path: Path) -> None:
    """The server does not look: a frontend with two interfaces in one network is lost."""
    with cloud_site(tmp_path, public_ips=9) as site:
        private = IPv4Interface("10.1.1.2/24")  # the zone's own default, which `public` has
        first = boot(site, wish(private_network=private))
        second = boot(site, wish("two", private_network=private))
        nets = [each.frontend.nic("private").address.network for each in (first, second)]
        assert [str(net) for net in nets] == ["10.1.2.0/24", "10.1.3.0/24"]
        assert str(first.frontend.nic("private").address.ip) == "10.1.2.2"
        assert [str(node.nics[0].address.ip) for node in first.computes] == ["10.1.2.10"]


def test_a_network_too_large_for_users_is_asked_for_smaller(tmp_path: Path) -> None:
    """An image may want 10.1.1.1/16: users may have /22 at most, and the first address is the router's."""
    with cloud_site(tmp_path) as site:
        allocation = boot(site, wish(private_network=IPv4Interface("10.77.1.1/16")))
        private = allocation.frontend.nic("private").address
        assert private.network.prefixlen >= 22
        assert str(private.network.network_address).startswith("10.77.")


def test_eight_clusters_at_once_on_four_addresses(tmp_path: Path) -> None:
    """Some fit, the others are refused; whoever is refused leaves nothing, and nobody has another's address."""
    with cloud_site(tmp_path, public_ips=4, hosts=8) as site:
        before = site.cloud.snapshot()
        booted: dict[str, Allocation] = {}
        refused: dict[str, Exception] = {}

        def one(name: str) -> None:
            try:
                booted[name] = boot(site, wish(name))
            except (CapacityError, DriverError) as error:
                refused[name] = error
                site.driver.release(ClusterName(name))

        threads = [threading.Thread(target=one, args=(f"lab{number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(booted) + len(refused) == 8
        assert 1 <= len(booted) <= 3, {name: str(error) for name, error in refused.items()}
        assert {type(error) for error in refused.values()} == {CapacityError}, refused
        ways = [(each.public_ip, each.ports.get(22, 22)) for each in booted.values()]
        assert len(set(ways)) == len(ways)
        assert all(can_reach_public(site.cloud, str(ip), port) for ip, port in ways)
        assert set(site.driver.survey()) == set(booted)
        for name in booted:
            site.driver.release(ClusterName(name))
        site.cloud.settle()
        assert_clean(site.cloud, "user", before)
