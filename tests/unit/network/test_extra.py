"""Further networks: what can be asked for, and which addresses a cluster then gets."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragma_boot.config.settings import SiteNetwork
from pragma_boot.errors import CapacityError, NotAvailableError, PragmaError, UsageError
from pragma_boot.model import ExtraNetwork
from pragma_boot.network import extra
from pragma_boot.network.extra import Wish

ENT = {"subnet_name": "openflow", "interface_name": "ovs"}
SITE = {
    "openflow": SiteNetwork("openflow", "ovs"),
    "lab": SiteNetwork("lab", "br-lab", "bridge", mtu=1450, cidr=IPv4Network("10.104.0.0/29")),
    "Lab-2": SiteNetwork("Lab-2", "br-lab2"),
}
OTHERS = {"private network": IPv4Network("10.1.0.0/16"), "public network": IPv4Network("198.51.100.0/24")}


def choose(text: str, nodes: int = 4, taken: Collection[tuple[str, str]] = ()) -> tuple[ExtraNetwork, ...]:
    held = {(name, IPv4Address(address)) for name, address in taken}
    return extra.choose(extra.wishes({"add-iface": text}, {}), SITE, nodes=nodes, taken=held, others=OTHERS)


def addresses(found: ExtraNetwork, nodes: int = 4) -> list[str]:
    return [str(found.address(index)) for index in range(nodes)]


def test_what_was_asked_for_is_read() -> None:
    assert extra.wishes({"add-iface": "openflow:10.103.0.1/28, lab"}, {}) == (
        Wish("openflow", IPv4Interface("10.103.0.1/28")),
        Wish("lab", None),
    )
    assert extra.wishes({}, ENT) == ()


@pytest.mark.parametrize(("value", "start"), [("yes", None), ("10.103.0.1/28", IPv4Interface("10.103.0.1/28"))])
def test_ent_is_the_network_that_the_site_says(value: str, start: IPv4Interface | None) -> None:
    assert extra.wishes({"enable-ent": value}, ENT) == (Wish("openflow", start, "enable-ent"),)


def test_ent_at_a_site_without_it_is_refused() -> None:
    with pytest.raises(NotAvailableError, match="no ENT"):
        extra.wishes({"enable-ent": "yes"}, {})


@pytest.mark.parametrize(
    "options",
    [
        {"add-iface": ""},
        {"add-iface": "openflow,"},
        {"add-iface": ":10.103.0.1/28"},
        {"add-iface": "openflow:"},
        {"add-iface": "openflow:10.103.0.1"},
        {"add-iface": "openflow:10.103.0.256/24"},
        {"add-iface": "openflow:10.103.0.1/33"},
        {"add-iface": "lab,lab"},
        {"add-iface": "openflow:10.103.0.1/28", "enable-ent": "yes"},
        {"add-iface": ",".join(f"net{number}" for number in range(9))},
    ],
)
def test_what_makes_no_sense_is_a_usage_error(options: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        extra.wishes(options, ENT)
    assert caught.value.resolution


def test_addresses_ascend_from_the_first_with_the_networks_mask() -> None:
    (found,) = choose("openflow:10.103.0.5/28")
    assert addresses(found) == ["10.103.0.5/28", "10.103.0.6/28", "10.103.0.7/28", "10.103.0.8/28"]
    assert found.network == IPv4Network("10.103.0.0/28")
    assert found.mtu == 1500


def test_without_addresses_the_sites_own_are_taken() -> None:
    (found,) = choose("lab")
    assert addresses(found)[0] == "10.104.0.1/29"
    assert found.mtu == 1450


def test_a_network_as_a_whole_means_its_first_free_addresses() -> None:
    taken = [("openflow", "10.103.0.1"), ("openflow", "10.103.0.4"), ("lab", "10.103.0.6")]
    (found,) = choose("openflow:10.103.0.0/16", taken=taken)
    assert found.first == IPv4Address("10.103.0.5")


def test_a_network_that_the_site_does_not_have_names_those_it_has() -> None:
    with pytest.raises(NotAvailableError, match="no network 'opneflow'") as caught:
        choose("opneflow")
    assert "openflow, lab" in str(caught.value.resolution)


@pytest.mark.parametrize("name", ["lo", "local", "default", "Lab", "a-b", "0net", "sixteen_letters_", "ä", ""])
def test_some_names_cannot_be_an_interfaces(name: str) -> None:
    assert not extra.can_name(name)
    assert extra.can_name("fifteen_letters")


def test_a_name_that_no_interface_can_have_is_refused() -> None:
    with pytest.raises(NotAvailableError, match="Lab-2"):
        choose("Lab-2:10.105.0.1/24")


def test_a_network_without_addresses_of_its_own_needs_some() -> None:
    with pytest.raises(UsageError, match="says no addresses") as caught:
        choose("openflow")
    assert "cidr" in str(caught.value.resolution)


@pytest.mark.parametrize("wish", ["lab:10.104.0.9/29", "lab:10.104.0.1/28", "lab:10.105.0.1/29"])
def test_addresses_outside_the_sites_own_are_refused(wish: str) -> None:
    with pytest.raises(UsageError, match="not within"):
        choose(wish, nodes=1)


@pytest.mark.parametrize(
    "wish", ["openflow:10.1.7.1/24", "openflow:10.0.0.1/8", "openflow:198.51.100.1/28", "lab,openflow:10.104.0.1/16"]
)
def test_overlapping_networks_are_refused(wish: str) -> None:
    with pytest.raises(UsageError, match="overlaps"):
        choose(wish, nodes=1)


@pytest.mark.parametrize("wish", ["127.0.0.1/8", "224.0.0.1/24", "169.254.0.1/16", "0.0.0.0/32"])
def test_addresses_that_no_node_can_have_are_refused(wish: str) -> None:
    with pytest.raises(UsageError):
        choose(f"openflow:{wish}", nodes=1)


@pytest.mark.parametrize(
    ("wish", "nodes"),
    [
        ("openflow:10.103.0.12/28", 4),  # .15 is the broadcast address
        ("openflow:10.103.0.15/28", 1),
        ("openflow:10.103.0.1/32", 1),
        ("openflow:10.103.0.0/31", 1),
        ("openflow:10.103.0.0/29", 7),
        ("lab", 7),
        ("openflow:255.255.255.254/24", 3),
    ],
)
def test_a_network_that_is_too_small_is_refused(wish: str, nodes: int) -> None:
    with pytest.raises(CapacityError):
        choose(wish, nodes=nodes)


def test_the_last_addresses_of_a_network_can_be_had() -> None:
    (found,) = choose("openflow:10.103.0.11/28")
    assert addresses(found)[-1] == "10.103.0.14/28"


def test_a_taken_address_is_refused_and_the_next_free_one_named() -> None:
    with pytest.raises(CapacityError, match=r"10\.103\.0\.3 on network openflow is taken") as caught:
        choose("openflow:10.103.0.1/28", taken=[("openflow", "10.103.0.3")])
    assert "10.103.0.4/28" in str(caught.value.resolution)


def test_the_same_address_on_another_network_is_free() -> None:
    assert choose("openflow:10.103.0.1/28", taken=[("lab", "10.103.0.1")])


words = st.text(alphabet="openflow:lab,/0123456789. ", max_size=40)


@given(words, st.integers(1, 20))
def test_whatever_is_asked_for_ends_in_an_answer_or_an_error_of_ours(text: str, nodes: int) -> None:
    try:
        found = choose(text, nodes=nodes)
    except PragmaError as error:
        assert error.resolution
        return
    for each in found:
        last = each.address(nodes - 1).ip
        assert each.network.network_address < each.first <= last < each.network.broadcast_address
