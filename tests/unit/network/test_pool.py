from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragma_boot.errors import CapacityError
from pragma_boot.model import Mac, compute_addresses
from pragma_boot.network import pool

DEFAULT = IPv4Interface("10.1.1.1/16")


def test_computes_descend_from_the_end_of_the_network() -> None:
    assert [str(address) for address in compute_addresses(DEFAULT, 3)] == [
        "10.1.255.254/16",
        "10.1.255.253/16",
        "10.1.255.252/16",
    ]


def test_the_frontends_address_is_left_out() -> None:
    addresses = compute_addresses(IPv4Interface("192.0.2.5/29"), 5)
    assert IPv4Address("192.0.2.5") not in {address.ip for address in addresses}
    assert len(addresses) == 5


def test_a_network_that_is_too_small_says_so() -> None:
    with pytest.raises(CapacityError, match="room for 5 compute nodes, not for 6"):
        compute_addresses(IPv4Interface("192.0.2.1/29"), 6)


@given(prefix=st.integers(16, 30), host=st.integers(1, 2**16 - 2), count=st.integers(0, 300))
def test_private_addresses_are_unique_hosts_of_the_network(prefix: int, host: int, count: int) -> None:
    size = 2 ** (32 - prefix)
    frontend = IPv4Interface((int(IPv4Address("10.1.0.0")) + 1 + host % (size - 2), prefix))
    try:
        addresses = compute_addresses(frontend, count)
    except CapacityError:
        assert count > size - 3
        return
    ips = {address.ip for address in addresses} | {frontend.ip}
    assert len(ips) == count + 1
    network = frontend.network
    assert all(network.network_address < ip < network.broadcast_address for ip in ips)


def test_macs_are_locally_administered_and_never_taken() -> None:
    answers = iter([b"\x00\x00\x01", b"\x00\x00\x02"])
    mac = pool.new_mac({Mac("52:54:00:00:00:01")}, lambda _: next(answers))
    assert mac == "52:54:00:00:00:02"
    assert int(mac[:2], 16) & 0b11 == 0b10


def test_vlans_are_taken_in_order_and_run_out_with_a_mend() -> None:
    assert pool.free_vlan(range(22, 25), {22}) == 23
    with pytest.raises(CapacityError) as caught:
        pool.free_vlan((22,), {22})
    assert "vlans" in str(caught.value.resolution)


def test_addresses_keep_the_pools_order() -> None:
    wanted = [IPv4Address("192.0.2.9"), IPv4Address("192.0.2.2")]
    assert list(pool.free_addresses(wanted, {wanted[0]})) == [wanted[1]]


@given(
    prefix=st.integers(24, 32),
    count=st.integers(1, 12),
    taken=st.sets(st.integers(0, 300), max_size=40),
)
def test_a_free_run_is_the_lowest_one_there_is(prefix: int, count: int, taken: set[int]) -> None:
    network = IPv4Network((int(IPv4Address("10.103.0.0")), prefix))
    held = {network.network_address + number for number in taken}
    last = int(network.broadcast_address)
    hosts = [IPv4Address(number) for number in range(int(network.network_address) + 1, last)]
    fitting = [
        first
        for at, first in enumerate(hosts)
        if len(hosts[at : at + count]) == count and not held & set(hosts[at : at + count])
    ]
    assert pool.free_run(network, count, held) == (fitting[0] if fitting else None)


def test_a_free_run_in_a_huge_network_is_found_at_once() -> None:
    assert pool.free_run(IPv4Network("10.0.0.0/8"), 10**6, [IPv4Address("10.0.0.5")]) == IPv4Address("10.0.0.6")
