"""Reading vc-out of every version, and documents that mean harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import images
from pragma_boot.agent.document import LIMIT, parse
from pragma_boot.errors import GuestError
from pragma_boot.model import PRIVATE, PUBLIC, Role
from pragma_boot.network.vc_out import document

SAMPLES = Path(__file__).parents[2] / "golden" / "vc-out"
REFUSED = {"fe-nomac.xml": "no private interface", "fe-ns.xml": "no <vc>"}
MUTATED = sorted(path.name for path in (SAMPLES / "mutated").glob("*.xml"))


def sample(name: str = "vc-out.frontend.xml") -> bytes:
    return (SAMPLES / name).read_bytes()


@pytest.mark.parametrize("version", ["v2", "v3", "v4"])
@pytest.mark.parametrize("role", ["fe", "cn"])
def test_every_version_says_the_same(role: str, version: str) -> None:
    found = parse(sample(f"old/{role}-{version}.xml"))
    assert found.allocation.fqdn == "vc1.site.example.org"
    assert found.access.user_keys == ("ssh-rsa AAAA root@x",)
    assert [str(address) for address in found.allocation.dns] == ["8.8.8.8"]
    assert found.node.nics[0].network == PRIVATE
    assert [node.name for node in found.allocation.nodes] == ["vc1", "compute-0"]
    if role == "fe":
        assert (found.node.name, found.node.role) == ("vc1", Role.FRONTEND)
        assert str(found.node.nic(PUBLIC).gateway) == "198.51.100.1"
        assert found.allocation.computes[0].cpus == 2
    else:
        assert (found.node.name, found.node.role) == ("compute-0", Role.COMPUTE)
        assert str(found.node.nics[0].gateway) == "10.1.1.1"
        assert str(found.allocation.frontend.nic(PRIVATE).address.ip) == "10.1.1.1"


@pytest.mark.parametrize("name", MUTATED)
def test_mutated_documents(name: str) -> None:
    if name in REFUSED:
        with pytest.raises(GuestError, match=REFUSED[name]):
            parse(sample(f"mutated/{name}"))
        return
    found = parse(sample(f"mutated/{name}"))
    assert [nic.network for nic in found.node.nics if nic.network != PUBLIC] == [PRIVATE, "openflow"]
    assert found.node.nics[0].mac == found.node.nics[0].mac.lower()


@pytest.mark.parametrize("overlay", [False, True])
def test_our_own_documents_come_back_whole(overlay: bool) -> None:
    cluster = images.allocation(overlay=overlay)
    access = images.access(cluster)
    for node in cluster.nodes:
        found = parse(document(cluster, node, (), access))
        assert found.notes == ()
        assert found.allocation.cluster == cluster.cluster
        assert found.node.nics == node.nics
        assert [(n.name, n.role, n.cpus) for n in found.allocation.nodes] == [
            (n.name, n.role, n.cpus) for n in cluster.nodes
        ]
        assert [[nic.address.ip for nic in n.nics] for n in found.allocation.nodes] == [
            [nic.address.ip for nic in n.nics] for n in cluster.nodes
        ]
        assert found.access.user_keys == access.user_keys
        assert found.access.hosts[node.name] == access.hosts[node.name]
        assert found.access.cluster.public == access.cluster.public
        assert found.access.cluster.private == (access.cluster.private if node == cluster.frontend else "")


def changed(old: str, new: str, name: str = "vc-out.frontend.xml") -> bytes:
    text = sample(name).decode()
    assert old in text
    return text.replace(old, new).encode()


BOMB = b'<?xml version="1.0"?><!DOCTYPE vc [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><vc><key>&b;</key></vc>'
HOSTILE = {
    "entities": (BOMB, "DOCTYPE"),
    "an external entity": (b'<!DOCTYPE vc SYSTEM "file:///etc/shadow"><vc/>', "DOCTYPE"),
    "a DOCTYPE in UTF-16": (BOMB.decode().replace("1.0", "1.0").encode("utf-16"), "DOCTYPE"),
    "two MiB": (b"<vc>" + b" " * (2 * 1024 * 1024) + b"</vc>", f"larger than {LIMIT}"),
    "a deep tower": (b"<vc>" * 20000 + b"</vc>" * 20000, "nested too deeply"),
    "no XML": (b"#!/bin/sh\nrm -rf /\n", "no XML"),
    "half a document": (sample()[:400], "no XML"),
    "nothing": (b"", "no XML"),
    "an unknown encoding": (b'<?xml version="1.0" encoding="x-none"?><vc/>', "no XML"),
    "another root": (b"<html/>", "no <vc>"),
    "an empty root": (b"<vc/>", "no frontend's fqdn"),
    "a name with a command": (changed("vc1.site.example.org", "$(reboot).site"), "no frontend's fqdn"),
    "a name with a path": (changed('name="vc1"', 'name="../../etc"'), "has a dot"),
    "a name with a line end": (changed('name="vc1"', 'name="vc1&#10;x"'), "no frontend's name"),
    "a letter that looks like another": (
        changed("vc1.site.example", "vc1.\u017fite.example"),
        "no frontend's fqdn",
    ),
    "a gateway that is none": (changed('gw="198.51.100.1"', 'gw="1.2.3"'), "no IPv4 address"),
    "a private address that is none": (changed('ip="10.1.1.1"', 'ip="10.1.1.1;x"'), "no private interface"),
    "no netmask": (changed('netmask="255.255.0.0" mac="52:54:00:4a:00:01"', 'mac="52:54:00:4a:00:01"'), "no private"),
    "a loopback address": (changed('ip="10.1.1.1"', 'ip="127.0.0.1"'), "no private interface"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_documents_are_refused(case: str) -> None:
    data, why = HOSTILE[case]
    with pytest.raises(GuestError, match=why):
        parse(data)


def test_what_is_wrong_beside_the_private_interface_is_noted() -> None:
    text = sample().decode()
    text = text.replace('mac="52:54:00:4a:00:03"', 'mac="x\'y"').replace("ssh-rsa AAAAB3", 'command="x" ssh-rsa AAAAB3')
    text = text.replace("198.51.100.53,8.8.8.8", "198.51.100.53 ::1,8.8.8.8").replace('name="compute-1"', 'name="a b"')
    found = parse(text.encode())
    assert [nic.network for nic in found.node.nics] == [PRIVATE, PUBLIC]
    assert len(found.access.user_keys) == 1
    assert len(found.allocation.dns) == 2
    assert len(found.allocation.computes) == 1
    assert len(found.notes) == 4


def test_a_gateway_elsewhere_is_no_default_route() -> None:
    found = parse(changed('gw="198.51.100.1"', 'gw="192.0.2.1"'))
    assert not [nic for nic in found.node.nics if nic.gateway]
    assert "192.0.2.1" in found.notes[0]


def test_secrets_that_are_none_are_left_out_and_never_told() -> None:
    cluster = images.allocation()
    data = document(cluster, cluster.frontend, (), images.access(cluster))
    broken = data.replace(b"BEGIN OPENSSH PRIVATE KEY", b"BEGIN SECRET THING")
    found = parse(broken)
    assert found.access.cluster.private == found.access.hosts[cluster.frontend.name].private == ""
    assert len(found.notes) == 2
    assert "SECRET" not in "".join(found.notes)
    assert images.access(cluster).cluster.private not in repr(parse(data))
