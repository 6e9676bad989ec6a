"""The vc-out document: the verified samples, and the rules that consumers in old images depend on."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from fakes import images
from pragma_boot.errors import UsageError
from pragma_boot.model import Allocation, Mac, Role
from pragma_boot.network.vc_out import document

SAMPLES = Path(__file__).parents[2] / "golden" / "vc-out"
KEYS = (images.USER_KEY, "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCplaceholderonly root@site.example.org")


def documents(cluster: Allocation, keys: tuple[str, ...] = KEYS) -> list[tuple[Role, bytes]]:
    return [(node.role, document(cluster, node, keys)) for node in cluster.nodes]


@pytest.mark.parametrize(("index", "name"), [(0, "vc-out.frontend.xml"), (1, "vc-out.compute-0.xml")])
def test_it_is_the_verified_sample_byte_for_byte(index: int, name: str) -> None:
    cluster = images.allocation(overlay=True)
    ours = document(cluster, cluster.nodes[index], KEYS)
    sample = (SAMPLES / name).read_bytes()
    if index:  # address translation is the frontend's business: guest.md 3.4 has no <nat> in a compute document
        sample = sample.replace(b'<nat enabled="yes"/>', b"")
    assert ours == sample


def test_only_nics_stand_where_consumers_take_every_child_for_one() -> None:
    for role, data in documents(images.allocation(overlay=True)):
        root = etree.fromstring(data)
        places = ["frontend/*", "compute/node/*"] if role is Role.FRONTEND else ["compute/*"]
        for nic in (nic for place in places for nic in root.findall(place) if nic.tag != "node"):
            assert {"ip", "netmask", "mac", "mtu", "subnet"} <= set(nic.attrib)


def test_new_and_old_places_agree() -> None:
    cluster = images.allocation()
    front, compute = (etree.fromstring(document(cluster, node, KEYS)) for node in cluster.nodes[:2])
    for name in ("fqdn", "name", "gw"):
        assert front.find("frontend").get(name) == front.find("frontend/public").get(name)
    for node in front.findall("compute/node"):
        assert (node.get("ip"), node.get("mac")) == (node.find("private").get("ip"), node.find("private").get("mac"))
    assert compute.find("compute").get("name") == compute.find("compute/private").get("fqdn")
    assert compute.find("frontend").get("fqdn") == compute.find("frontend/public").get("fqdn")


def test_a_compute_gateway_is_the_frontend_private_address() -> None:
    cluster = images.allocation()
    root = etree.fromstring(document(cluster, cluster.computes[0], KEYS))
    assert root.find("compute").get("gw") == root.find("compute/private").get("gw") == "10.1.1.1"


def test_without_keys_there_is_no_key_element() -> None:
    assert all(etree.fromstring(data).find("key") is None for _, data in documents(images.allocation(), ()))


def test_all_keys_are_lines_of_the_one_key_element() -> None:
    for _, data in documents(images.allocation()):
        assert etree.fromstring(data).findtext("key").split("\n") == list(KEYS)


def test_macs_are_lower_case_even_when_the_lease_is_not() -> None:
    cluster = images.allocation()
    nic = replace(cluster.frontend.nics[0], mac=Mac("52:54:00:4A:00:01"))
    front = replace(cluster.frontend, nics=(nic, cluster.frontend.nics[1]))
    data = document(replace(cluster, nodes=(front, *cluster.computes)), front, KEYS)
    assert b"52:54:00:4a:00:01" in data
    assert b"4A" not in data


def test_dns_is_never_empty() -> None:
    cluster = replace(images.allocation(), dns=())
    assert etree.fromstring(document(cluster, cluster.frontend, KEYS)).find("network/dns").get("ip") == "10.1.1.1"


def test_a_frontend_alone_says_count_zero() -> None:
    cluster = images.allocation(computes=0)
    data = document(cluster, cluster.frontend, KEYS)
    assert b'<compute count="0"/>' in data
    assert b'<nat enabled="no"/>' in data


def test_it_is_ascii_with_unix_lines_and_no_doctype() -> None:
    cluster = images.allocation()
    data = document(cluster, cluster.frontend, (f"{images.USER_KEY} é <&>",))
    assert data.isascii()
    assert b"\r" not in data
    assert not re.search(rb"<!DOCTYPE|<!ENTITY|xmlns", data)
    assert etree.fromstring(data).findtext("key").endswith("é <&>")


@pytest.mark.parametrize("tag", ["Open-Flow", "1st", "", "a b", "private"])
def test_networks_that_cannot_be_tags_are_refused(tag: str) -> None:
    cluster = images.allocation(overlay=True)
    nics = (*cluster.frontend.nics[:2], replace(cluster.frontend.nics[2], network=tag))
    broken = replace(cluster, nodes=(replace(cluster.frontend, nics=nics), *cluster.computes))
    with pytest.raises(UsageError, match="cannot be a network of vc1"):
        document(broken, broken.frontend, KEYS)


def test_a_compute_node_is_never_on_public() -> None:
    cluster = images.allocation()
    node = replace(cluster.computes[0], nics=(*cluster.computes[0].nics, cluster.frontend.nics[1]))
    broken = replace(cluster, nodes=(cluster.frontend, node))
    with pytest.raises(UsageError, match="'public' cannot be a network of compute-0"):
        document(broken, node, KEYS)


def test_with_access_it_has_all_that_a_prepared_disk_would() -> None:
    cluster = images.allocation(overlay=True)
    access = images.access(cluster)
    front, compute = (etree.fromstring(document(cluster, node, (), access)) for node in cluster.nodes[:2])
    assert front.findtext("key").splitlines() == [images.USER_KEY, access.cluster.public]
    assert front.findtext("pragma/clusterkey") == access.cluster.private
    assert [node.get("name") for node in front.findall("pragma/node")] == ["vc1", "compute-0", "compute-1"]
    for root, name in ((front, "vc1"), (compute, "compute-0")):
        assert root.findtext("pragma/hostkey") == access.hosts[name].private
        assert {n.get("hostkey") for n in root.findall("pragma/node")} == {
            " ".join(pair.public.split()[:2]) for pair in access.hosts.values()
        }
    assert [nic.get("ip") for nic in compute.findall("pragma/node[@name='compute-1']/*")] == [
        "10.1.255.253",
        "10.103.0.3",
    ]


def test_the_cluster_private_key_is_in_no_compute_document() -> None:
    cluster = images.allocation()
    access = images.access(cluster)
    data = document(cluster, cluster.computes[0], (), access)
    assert access.cluster.private.encode() not in data
    assert etree.fromstring(data).find("pragma/clusterkey").get("public") == access.cluster.public
