from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from urllib.parse import parse_qs, quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.overlay import join_information
from pragma_boot.errors import JoinInformationError
from pragma_boot.network.overlay.information import lines, parse

WHOLE = join_information()


def broken(**changes: str | None) -> str:
    pairs = WHOLE.pairs() | {key: value for key, value in changes.items() if value is not None}
    return lines({key: value for key, value in pairs.items() if changes.get(key, "") is not None})


def refused(text: str) -> JoinInformationError:
    with pytest.raises(JoinInformationError) as caught:
        parse(text, "x.info")
    return caught.value


def test_the_lines_are_those_of_the_contract() -> None:
    keys = [line.partition("=")[0] for line in WHOLE.text().splitlines()]
    assert keys == [
        "overlay", "version", "cidr", "mtu", "hub_endpoint", "hub_public_key", "psk", "slot_count", "slot_seed",
    ]  # fmt: skip
    assert WHOLE.text().startswith("overlay=wireguard\nversion=1\ncidr=172.20.4.0/22\nmtu=1420\n")
    assert "\nhub_endpoint=198.51.100.7:51820\n" in WHOLE.text()


@given(
    number=st.integers(0, 2**16),
    slots=st.integers(1, 1000),
    mtu=st.integers(576, 9000),
    port=st.integers(1, 65535),
    names=st.dictionaries(
        st.integers(1, 1022).map(lambda host: IPv4Address("172.20.4.0") + host),
        st.from_regex(r"[a-z][a-z0-9-]{0,10}[a-z0-9](\.[a-z0-9]{1,5})?", fullmatch=True),
        max_size=5,
    ),
)
def test_what_is_written_is_read(number: int, slots: int, mtu: int, port: int, names: dict[IPv4Address, str]) -> None:
    information = join_information(number, slots=slots, mtu=mtu, port=port, names=names)
    assert parse(information.text(), "x") == information


@pytest.mark.parametrize("encode", [urlencode, lambda pairs: "&".join(f"{k}={quote(v)}" for k, v in pairs.items())])
def test_it_survives_an_old_exchange_that_decodes_or_does_not(encode: object) -> None:
    query = encode(WHOLE.pairs())  # type: ignore[operator]
    decoded = "".join(f"{key}={value[0]}\n" for key, value in parse_qs(query).items())
    raw = query.replace("&", "\n")
    assert parse(decoded, "x") == parse(raw, "x") == WHOLE


def test_unknown_keys_comments_and_windows_lines_are_borne() -> None:
    text = "# kept by hand\r\n\r\n" + (WHOLE.text() + "ip4=172.1.2.254\nfuture=x%20y\n").replace("\n", "\r\n")
    assert parse(text, "x") == WHOLE


def test_every_fault_is_told_at_once_and_no_value() -> None:
    text = broken(cidr="8.8.0.0/16", psk="hunter2hunter2", slot_seed="ffff", mtu=None, hub_endpoint="hub.org:1")
    error = refused(text + "nonsense\nversion=1\n")
    told = str(error.details)
    for word in (
        "cidr is no private network", "psk is no WireGuard key", "slot_seed is not of 64", "mtu is missing",
        "hub_endpoint is no IPv4 address", "line 9: is not of the form", "line 10: version is there twice",
    ):  # fmt: skip
        assert word in told
    assert len(error.faults) == 7
    assert "hunter2" not in told
    assert "ffff" not in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("xmpp_host=192.0.2.1\nxmpp_password=secret\n", "IPOP server"),
        (broken(overlay="nebula"), "kind 'nebula'"),
        (broken(version="2"), "version '2'"),
        ("<html>\n", "form key=value"),
        pytest.param("x" * 300_000, "more than 256 KiB", id="large"),
        (broken(slot_count="1022"), "no room for 1022 slots"),
        (broken(hub_endpoint="172.20.4.1:51820"), "lies within the overlay"),
        (broken(names="head@10.0.0.1"), "outside of the overlay"),
        (broken(names="Head@172.20.4.1"), "no host name"),
        (broken(names="head"), "no name@address"),
        (broken(hub_endpoint="0.0.0.0:51820"), "hub_endpoint is no"),
        (broken(hub_endpoint="198.51.100.7:0"), "hub_endpoint is no"),
        (broken(hub_endpoint="198.51.100.7"), "hub_endpoint is no"),
        (broken(slot_count="٣"), "slot_count is no number"),
        (broken(cidr="172.20.4.1/22"), "cidr is no IPv4 network"),
        (broken(psk=None), "psk is missing"),
    ],
)
def test_what_is_no_join_information(text: str, told: str) -> None:
    assert told in str(refused(text).details)


@given(st.text(max_size=300))
def test_any_text_ends_in_information_or_in_faults(text: str) -> None:
    assert refused(text).faults


def test_secrets_are_in_no_representation() -> None:
    shown = repr(replace(WHOLE, network=IPv4Network("10.9.0.0/22")))
    assert WHOLE.preshared not in shown
    assert WHOLE.seed.hex() not in shown
    assert repr(WHOLE.seed) not in shown
    assert WHOLE.hub_key in shown
