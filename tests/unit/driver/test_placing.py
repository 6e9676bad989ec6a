"""Where nodes go and what addresses they get: pure arithmetic."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.engine import leases, plan
from pragma_boot.driver.placing import allocation, place
from pragma_boot.errors import CapacityError
from pragma_boot.model import Capacity, HostCapacity, PublicSide

SIDE = PublicSide(IPv4Network("198.51.100.0/24"), IPv4Address("198.51.100.1"), (IPv4Address("198.51.100.1"),))


def capacity(*free: tuple[int, int]) -> Capacity:
    return Capacity(tuple(HostCapacity(f"host-{at}", 64, cpus, 8192, memory) for at, (cpus, memory) in enumerate(free)))


def test_nodes_go_to_the_host_with_most_cpus_free() -> None:
    hosts = place(plan("demo", 3), capacity((2, 4096), (3, 4096)))
    assert sorted(hosts.values()) == ["host-0", "host-0", "host-1", "host-1"]


def test_a_host_without_memory_is_passed_over() -> None:
    assert set(place(plan("demo", 1, memory_mib=512), capacity((8, 100), (4, 4096))).values()) == {"host-1"}


def test_what_fits_nowhere_is_refused_with_what_is_free() -> None:
    with pytest.raises(CapacityError) as caught:
        place(plan("demo", 1, cpus=4), capacity((4, 4096)))
    assert "8 CPUs" in caught.value.message
    assert "host-0" in str(caught.value.details)


@given(st.integers(0, 20), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 999)), min_size=1, max_size=4))
def test_no_host_is_ever_overfilled(computes: int, free: list[tuple[int, int]]) -> None:
    wanted = plan("demo", computes, memory_mib=100)
    try:
        hosts = place(wanted, capacity(*free))
    except CapacityError:
        return
    for at, (cpus, memory) in enumerate(free):
        here = [node for node in wanted.nodes if hosts[node.name] == f"host-{at}"]
        assert sum(node.cpus for node in here) <= cpus
        assert sum(node.memory_mib for node in here) <= memory


def test_the_frontend_has_both_networks_and_computes_leave_through_it() -> None:
    wanted = plan("demo", 2)
    made = allocation(wanted, leases(wanted), SIDE, {node.name: "host-0" for node in wanted.nodes})
    assert [nic.network for nic in made.frontend.nics] == ["private", "public"]
    assert made.frontend.nics[1].address == IPv4Interface("198.51.100.10/24")
    assert [nic.gateway for nic in made.frontend.nics] == [None, SIDE.gateway]
    assert [str(node.nics[0].address.ip) for node in made.computes] == ["10.1.255.254", "10.1.255.253"]
    assert {node.nics[0].gateway for node in made.computes} == {IPv4Address("10.1.1.1")}
    assert made.dns == SIDE.dns
