"""Ports of the loopback network: chosen, claimed, and never twice."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pragma_boot.driver.qemu import ports
from pragma_boot.errors import DriverError

HERE = IPv4Address("127.0.114.1")


@pytest.fixture
def listener() -> Iterator[int]:
    """A port of HERE that another program listens at."""
    with socket.socket() as made:
        made.bind((str(HERE), 0))
        made.listen()
        yield made.getsockname()[1]


def test_privileged_ports_are_shifted_and_others_stay() -> None:
    with ports.claim(HERE, (22, 8080), {}) as claims:
        assert claims.ports == {22: 10022, 8080: 8080}


def test_what_is_claimed_is_not_given_again_until_it_is_let_go() -> None:
    with ports.claim(HERE, (22,), {}) as first, ports.claim(HERE, (22,), {}) as second:
        assert (first.ports, second.ports) == ({22: 10022}, {22: 11022})
    with ports.claim(HERE, (22,), {}) as third:
        assert third.ports == {22: 10022}


def test_a_claim_is_held_by_whoever_inherited_it() -> None:
    with ExitStack() as heirs:
        with ports.claim(HERE, (22,), {}) as claims:
            for held in claims.held:
                heirs.enter_context(socket.socket(fileno=socket.dup(held.fileno())))
        with ports.claim(HERE, (22,), {}) as other:
            assert other.ports == {22: 11022}


def test_each_guest_port_gets_one_of_its_own() -> None:
    with ports.claim(HERE, (22, 10022, 1022), {}) as claims:
        assert len(set(claims.ports.values())) == 3


def test_where_somebody_listens_is_not_free_whoever_it_is(listener: int) -> None:
    assert not ports.is_free(HERE, listener)
    with ports.claim(HERE, (22,), {22: listener}) as claims:
        assert claims.ports == {22: 10022}


def test_what_was_chosen_before_is_taken_again() -> None:
    with ports.claim(HERE, (22, 80), {22: 20022}) as claims:
        assert claims.ports == {22: 20022, 80: 10080}


def test_connections_that_have_just_ended_do_not_keep_a_port() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((str(HERE), 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection((str(HERE), port)) as client:
            peer, _ = server.accept()
            peer.close()  # the server's side ends first: it waits in TIME_WAIT
            assert client.recv(1) == b""
    assert ports.is_free(HERE, port)


def test_addresses_in_use_are_those_of_listeners_and_of_claims(listener: int) -> None:
    claimed = IPv4Address("127.0.114.2")
    assert claimed not in ports.used_addresses()
    with ports.claim(claimed, (22,), {}):
        assert {HERE, claimed} <= ports.used_addresses()
    assert claimed not in ports.used_addresses()
    assert IPv4Address("0.0.0.0") not in ports.used_addresses()


def test_what_the_kernel_does_not_tell_is_no_error(tmp_path: Path) -> None:
    odd = tmp_path / "unix"
    odd.write_text("Num RefCount\n0000: 00000002 00000000 @pragma_boot/999.1.1.1:22\n0000: @pragma_boot/1.2.3.4:22 x\n")
    assert ports.used_addresses(tmp_path / "none", odd) == frozenset()


def test_an_address_of_another_machine_is_told() -> None:
    with (
        pytest.raises(DriverError, match="no address of this machine") as caught,
        ports.claim(IPv4Address("192.0.2.77"), (22,), {}),
    ):
        pass
    assert "public_ips" in str(caught.value.resolution)
