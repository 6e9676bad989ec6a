from ipaddress import IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pragma_boot.errors import CapacityError, UsageError
from pragma_boot.network.overlay.addresses import (
    SITE_WIDE,
    choose_network,
    hub_address,
    own_addresses,
    slot_address,
)

NETWORK = IPv4Network("172.20.4.0/22")

_networks = st.builds(
    lambda base, prefix: IPv4Network((base, prefix), strict=False), st.integers(0, 2**32 - 1), st.integers(8, 30)
)
_inner = st.builds(
    lambda low, prefix: IPv4Network((int(SITE_WIDE.network_address) + low, prefix), strict=False),
    st.integers(0, 2**20 - 1),
    st.integers(13, 30),
)


@settings(max_examples=30, deadline=None)
@given(avoid=st.lists(_networks | _inner, max_size=8), pick=st.integers(0, 2**20))
def test_an_overlays_network_overlaps_none_of_the_sites(avoid: list[IPv4Network], pick: int) -> None:
    try:
        chosen = choose_network(avoid, lambda free: free[pick % len(free)])
    except CapacityError:
        covered = [one for one in SITE_WIDE.subnets(new_prefix=22) if not any(one.overlaps(other) for other in avoid)]
        assert not covered
        return
    assert chosen.prefixlen == 22
    assert chosen.subnet_of(SITE_WIDE)
    assert not any(chosen.overlaps(other) for other in avoid)


def test_a_site_that_uses_all_of_it_is_told_the_mend() -> None:
    with pytest.raises(CapacityError) as caught:
        choose_network([IPv4Network("172.16.0.0/12")])
    assert "overlay_cidr" in str(caught.value.resolution)


@given(slots=st.integers(1, 1200), count=st.integers(0, 1200))
def test_hub_slots_and_own_computes_share_no_address(slots: int, count: int) -> None:
    try:
        own = own_addresses(NETWORK, count, slots)
    except UsageError:
        assert slots + count + 1 > 1022
        return
    held = [hub_address(NETWORK), *(slot_address(NETWORK, slot) for slot in range(1, slots + 1)), *own]
    assert len(set(held)) == 1 + slots + count
    assert all(NETWORK.network_address < address < NETWORK.broadcast_address for address in held)


def test_slots_are_counted_from_one_and_end() -> None:
    assert str(slot_address(NETWORK, 1)) == "172.20.4.2"
    for slot in (0, -1, 1022):
        with pytest.raises(ValueError, match="no slot"):
            slot_address(NETWORK, slot)
    assert str(slot_address(NETWORK, 1021)) == "172.20.7.254"
