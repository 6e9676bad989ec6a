"""The parsers of values: what they take, and what they say of the rest."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragma_boot.config import netvalues, values
from pragma_boot.config.settings import PublicNetwork
from pragma_boot.config.values import Parser, WrongValueError

A, B = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")


@pytest.mark.parametrize(
    ("parser", "written", "expected"),
    [
        (values.text, "local", "local"),
        (values.optional_text, "", ""),
        (values.path, "/var/tmp", Path("/var/tmp")),
        (values.optional_path, "", None),
        (values.words, "a b,c", ("a", "b", "c")),
        (values.words, ["a", "b c"], ("a", "b c")),
        (values.words, "", ()),
        (values.whole(0, 9), 9, 9),
        (values.whole(0, 9), "3", 3),
        (values.seconds(0, 9), 1.5, 1.5),
        (values.wait, False, 0.0),
        (values.wait, "no", 0.0),
        (values.wait, 600, 600.0),
        (values.boolean, True, True),
        (values.boolean, "No", False),
        (values.choice("a", "b"), "b", "b"),
        (values.domain, "Example.ORG.", "example.org"),
        (values.web_url, "https://example.org/x", "https://example.org/x"),
        (values.uris, "qemu:///system", ("qemu:///system",)),
        (values.uris, ["qemu+ssh://root@a/system", "test:///default"], ("qemu+ssh://root@a/system", "test:///default")),
        (values.command, "ssh 'my host' rocks", ("ssh", "my host", "rocks")),
        (values.command, ["sudo", "rocks"], ("sudo", "rocks")),
        (values.patterns, "a.*", ("a.*",)),
        (values.patterns, "", ()),
        (values.text_map, {"a": "b"}, {"a": "b"}),
        (values.ports, 22, (22,)),
        (values.ports, [80, 22, 80], (80, 22)),
        (netvalues.address, "192.0.2.1", A),
        (netvalues.addresses, "192.0.2.1, 192.0.2.2", (A, B)),
        (netvalues.addresses, "192.0.2.1 192.0.2.2", (A, B)),
        (netvalues.addresses, ["192.0.2.2", "192.0.2.1"], (B, A)),
        (netvalues.pool, "192.0.2.1", (A,)),
        (netvalues.pool, ["192.0.2.1-192.0.2.2"], (A, B)),
        (netvalues.netmask, "255.255.255.0", IPv4Address("255.255.255.0")),
        (netvalues.netmask, 24, IPv4Address("255.255.255.0")),
        (netvalues.netmask, "/30", IPv4Address("255.255.255.252")),
        (netvalues.interface, "10.1.1.1/16", IPv4Interface("10.1.1.1/16")),
        (netvalues.vlans, 22, (22,)),
        (netvalues.vlans, "22 23", (22, 23)),
        (netvalues.vlans, [23, 22, 23], (23, 22)),
        (netvalues.public_network, {"nat": "pragma-public"}, PublicNetwork("nat", "pragma-public")),
        (netvalues.public_network, {"bridge": "br0"}, PublicNetwork("bridge", "br0")),
        (netvalues.ent, {}, {}),
        (netvalues.additional_interfaces, {"openflow": "ovs"}, {"openflow": "ovs"}),
    ],
)
def test_takes(parser: Parser, written: object, expected: object):
    found = parser(written)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("parser", "written"),
    [
        *[(values.text, wrong) for wrong in ("", " ", "a\nb", 5, None, ["a"])],
        *[(values.path, wrong) for wrong in ("relative", "", "~/x", 5)],
        *[(values.words, wrong) for wrong in (5, [5], {"a": 1})],
        *[(values.whole(0, 9), wrong) for wrong in (-1, 10, 1.0, True, "x", "9" * 50, None)],
        *[(values.seconds(0, 9), wrong) for wrong in (-1, 10, True, "5", float("nan"))],
        *[(values.wait, wrong) for wrong in (-1, True, "soon", 86401)],
        *[(values.boolean, wrong) for wrong in ("maybe", 2, None)],
        *[(values.choice("a"), wrong) for wrong in ("b", 1, ["a"], None)],
        *[(values.domain, wrong) for wrong in ("a b", "-a.org", "", "a..b", "x" * 70)],
        *[(values.url, wrong) for wrong in ("http://a b", 5)],
        *[(values.web_url, wrong) for wrong in ("example.org", "file:///etc", "https:///x", "")],
        *[(values.uris, wrong) for wrong in ([], "localhost", ["qemu:///system"] * 2)],
        *[(values.command, wrong) for wrong in ("", "'a", [], 5)],
        *[(values.patterns, wrong) for wrong in ("(", ["a", "["], 5)],
        *[(values.text_map, wrong) for wrong in ("a", {"a": 5}, {5: "a"})],
        *[(values.ports, wrong) for wrong in (0, [65536], "ssh")],
        *[(netvalues.address, wrong) for wrong in ("192.0.2", "::1", "192.0.2.256", 3221225985, "")],
        *[(netvalues.pool, wrong) for wrong in ([], "", "192.0.2.2-192.0.2.1", "0.0.0.0-255.255.255.255", "x-y")],
        *[
            (netvalues.netmask, wrong)
            for wrong in ("255.0.255.0", "0.0.0.255", 7, 31, "255.255.255.255", True, -24, "x")
        ],
        *[(netvalues.interface, wrong) for wrong in ("10.1.1.1", "10.1.0.0/16", "10.1.255.255/16", "10.1.1.1/30", 5)],
        *[(netvalues.vlans, wrong) for wrong in ([], 0, 4095, [22, "x"], True, None, {"a": 1})],
        *[(netvalues.public_network, wrong) for wrong in ("br0", {}, {"nat": "a", "bridge": "b"}, {"tap": "a"})],
        *[(netvalues.public_network, wrong) for wrong in ({"bridge": "x" * 16}, {"nat": "a/b"}, {"nat": 5})],
        *[(netvalues.ent, wrong) for wrong in ("ovs", {"subnet_name": "a"}, {"subnet": "a"}, {"subnet_name": 5})],
        *[(netvalues.additional_interfaces, wrong) for wrong in (["a"], {"public": "br0"}, {"a b": "x"}, {"a": 5})],
        *[
            (netvalues.additional_interfaces, {"a": wrong})
            for wrong in ({}, {"bridge": "b", "vlan": 0}, {"bride": "b"})
        ],
        *[(netvalues.additional_interfaces, {"a": {"bridge": "b", "cidr": wrong}}) for wrong in ("10.0.0.1/8", "x")],
    ],
)
def test_refuses_with_a_mend(parser: Parser, written: object):
    with pytest.raises(WrongValueError) as caught:
        parser(written)
    assert caught.value.what
    assert caught.value.mend


def test_the_nearest_choice_is_named():
    with pytest.raises(WrongValueError, match="did you mean 'kvm_rocks'"):
        values.choice("libvirt", "kvm_rocks")("KVM-rocks")


def test_an_inner_name_is_answered_with_the_nearest():
    with pytest.raises(WrongValueError, match="did you mean 'bridge'"):
        netvalues.additional_interfaces({"a": {"brigde": "b"}})


def test_a_described_network_is_a_bridge_unless_it_says_otherwise():
    found = netvalues.additional_interfaces({"a": {"bridge": "br-ent", "vlan": 100, "cidr": "10.103.0.0/16"}})
    assert found["a"] == {"type": "bridge", "bridge": "br-ent", "vlan": 100, "cidr": IPv4Network("10.103.0.0/16")}


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
_PARSERS = [
    *(values.text, values.path, values.optional_path, values.words, values.whole(0, 9), values.seconds(0, 9)),
    *(values.wait, values.boolean, values.choice("a"), values.domain, values.url, values.web_url, values.uris),
    *(values.command, values.patterns, values.text_map, values.ports, netvalues.address, netvalues.addresses),
    *(netvalues.pool, netvalues.netmask, netvalues.interface, netvalues.vlans, netvalues.public_network),
    *(netvalues.ent, netvalues.additional_interfaces),
]


@given(st.sampled_from(_PARSERS), _anything)
def test_no_value_makes_a_parser_raise_anything_else(parser: Parser, written: object):
    try:
        parser(written)
    except WrongValueError as error:
        assert error.mend
