"""Who is what in an overlay: every pair of nodes has keys and addresses that fit, and nobody has another's."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import images
from pragma_boot.errors import UsageError
from pragma_boot.model import Allocation, ClusterName, NodeName, OverlayMember
from pragma_boot.network.overlay import keys, membership

NETWORK = IPv4Network("172.20.4.0/22")


def cluster(name: str, computes: int) -> Allocation:
    plain = images.allocation(computes=computes)
    frontend = replace(plain.frontend, name=NodeName(name))
    return replace(plain, cluster=ClusterName(name), nodes=(frontend, *plain.computes))


def public(member: OverlayMember) -> str:
    import base64

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    raw = X25519PrivateKey.from_private_bytes(base64.b64decode(member.private_key)).public_key().public_bytes_raw()
    return base64.b64encode(raw).decode()


@given(st.integers(0, 5), st.lists(st.integers(0, 3), min_size=1, max_size=3), st.integers(0, 1000))
def test_the_hub_knows_every_node_and_every_node_knows_the_hub(own: int, joining: list[int], seed: int) -> None:
    information, members = membership.found(
        cluster("hub", own), NETWORK, slots=16, entropy=random.Random(seed).randbytes
    )
    hub = members[NodeName("hub")]
    known = {peer.public_key: peer for peer in hub.peers}
    others = [member for name, member in members.items() if name != "hub"]
    first = 1
    for number, computes in enumerate(joining):
        slots = range(first, first + computes + 1)
        others += membership.join(cluster(f"c{number}", computes), information, slots).values()
        first += computes + 1
    seen = [member.address.ip for member in (hub, *others)]
    assert len(set(seen)) == len(seen)
    for member in others:
        (peer,) = member.peers
        assert peer.public_key == information.hub_key == public(hub)
        assert peer.allowed == NETWORK
        at_hub = known[public(member)]
        assert at_hub.preshared_key == peer.preshared_key == information.preshared
        assert at_hub.allowed == IPv4Network(member.address.ip)
    behind = [peer.allowed for peer in hub.peers]
    assert not [one for one in behind for other in behind if one is not other and one.overlaps(other)]


def test_who_joins_calls_the_hub_and_keeps_its_way_open() -> None:
    information, members = membership.found(cluster("hub", 1), NETWORK)
    assert members[NodeName("compute-0")].peers[0].endpoint == "10.1.1.1:51820"
    assert members[NodeName("hub")].peers[-1].endpoint == "10.1.255.254:51820"
    assert not any(peer.endpoint for peer in members[NodeName("hub")].peers[:-1])
    joined = membership.join(cluster("far", 1), information, (5, 6))
    assert {member.peers[0].endpoint for member in joined.values()} == {"198.51.100.10:51820"}
    assert {member.peers[0].keepalive for member in joined.values()} == {25}
    assert {member.port for member in joined.values()} == {0}


def test_the_mtu_leaves_room_for_the_tunnel() -> None:
    assert membership.found(cluster("hub", 0), NETWORK)[0].mtu == 1420


def test_a_slot_that_is_not_there_is_refused() -> None:
    information, _ = membership.found(cluster("hub", 0), NETWORK, slots=4)
    with pytest.raises(UsageError, match="no slot 5"):
        membership.join(cluster("far", 1), information, (4, 5))


def test_a_network_without_room_is_refused() -> None:
    with pytest.raises(UsageError):
        membership.found(cluster("hub", 5), IPv4Network("172.20.4.0/25"), slots=124)


def test_all_members_have_one_key_for_names_and_no_two_overlays_have() -> None:
    seeds = [keys.new_seed(random.Random(number).randbytes) for number in (1, 2)]
    assert membership.names_seed(seeds[0]) == membership.names_seed(seeds[0])
    assert len({*map(membership.names_seed, seeds), *seeds}) == 4


def test_no_secret_is_shown() -> None:
    information, members = membership.found(cluster("hub", 1), NETWORK, slots=1)
    shown = repr((information, members))
    for member in members.values():
        assert member.private_key not in shown
    assert information.preshared not in shown
    assert information.seed.hex() not in shown
