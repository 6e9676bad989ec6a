"""What `network.overlay.exchange.Exchange` promises, of every exchange that there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from fakes.exchange_service import running_service
from fakes.overlay import join_information
from pragma_boot.errors import CapacityError, ExchangeError, UsageError
from pragma_boot.network.overlay.claims import Member
from pragma_boot.network.overlay.exchange import Exchange
from pragma_boot.network.overlay.opening import open_exchange

WHOLE, OTHER = join_information(0), join_information(1)
A, B, C = "a@192.0.2.1", "b@192.0.2.2", "c@192.0.2.3"


@pytest.fixture(params=["file", "service"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Exchange]]:
    """Opens the same entry anew, as another command does."""
    if request.param == "file":
        yield lambda: open_exchange(f"file://{tmp_path}/overlay.info")
        return
    with running_service(tmp_path) as service:
        url = service.url()
        yield lambda: open_exchange(url, {})


@pytest.fixture
def exchange(opened: Callable[[], Exchange]) -> Exchange:
    return opened()


def test_what_a_hub_publishes_is_fetched_until_it_is_withdrawn(opened: Callable[[], Exchange]) -> None:
    hub, client = opened(), opened()
    assert client.fetch() is None
    hub.publish(WHOLE)
    hub.publish(WHOLE)
    assert client.fetch() == WHOLE
    hub.withdraw(WHOLE.hub_key)
    hub.withdraw(WHOLE.hub_key)
    assert client.fetch() is None


def test_slots_are_claimed_until_there_are_none_and_given_back(exchange: Exchange) -> None:
    exchange.publish(WHOLE)
    assert exchange.members() == {}
    assert exchange.claim(A, ["a", "compute-0.a"]) == (1, 2)
    assert exchange.claim(B, ["", "", "", "", ""]) == (3, 4, 5, 6, 7)
    with pytest.raises(CapacityError, match="1 free slots, not 2"):
        exchange.claim(C, ["c", "compute-0.c"])
    assert exchange.members() == {
        1: Member(A, "a"), 2: Member(A, "compute-0.a"), **{slot: Member(B, "") for slot in range(3, 8)},
    }  # fmt: skip
    exchange.release(A)
    exchange.release(A)
    exchange.release(C)
    assert exchange.claim(C, ["c", "compute-0.c"]) == (1, 2)
    exchange.release(B)
    exchange.release(C)
    assert exchange.members() == {}


def test_a_cluster_that_asks_again_has_its_own_slots_again(opened: Callable[[], Exchange]) -> None:
    opened().publish(WHOLE)
    assert opened().claim(B, ["b"]) == (1,)
    assert opened().claim(A, ["a", "x"]) == opened().claim(A, ["a", "x"]) == (2, 3)
    opened().release(B)
    assert opened().claim(A, ["a", "x", "y"]) == (1, 2, 3)  # it may grow
    assert opened().members()[3] == Member(A, "y")
    assert opened().claim(A, ["a"]) == (1,)


def test_another_hub_begins_with_no_claims_and_is_not_withdrawn_with_the_first(exchange: Exchange) -> None:
    exchange.publish(WHOLE)
    exchange.claim(A, ["a"])
    exchange.publish(WHOLE)
    assert exchange.members() == {1: Member(A, "a")}
    exchange.publish(OTHER)
    assert exchange.members() == {}
    exchange.claim(B, ["b"])
    exchange.release(A)
    exchange.withdraw(WHOLE.hub_key)
    assert exchange.fetch() == OTHER
    assert exchange.members() == {1: Member(B, "b")}


def test_a_name_is_one_nodes_alone_also_when_two_ask_at_once(opened: Callable[[], Exchange]) -> None:
    """Each has looked before the other one claimed."""
    hub, first, second = opened(), opened(), opened()
    hub.publish(WHOLE)
    assert not first.members() and not second.members()
    held = first.claim("demo@192.0.2.1", ["demo.overlay", "compute-0.demo.overlay"])
    with pytest.raises(UsageError, match=r"another node called compute-0\.demo\.overlay") as caught:
        second.claim("demo@192.0.2.2", ["demo.overlay", "compute-0.demo.overlay"])
    assert "name=" in str(caught.value.resolution)
    assert {member.holder for member in hub.members().values()} == {"demo@192.0.2.1"}
    assert first.claim("demo@192.0.2.1", ["demo.overlay", "compute-0.demo.overlay"]) == held
    assert len(second.claim("x", [""])) == 1  # without a name there is nothing to clash
    assert len(first.claim("y", [""])) == 1


def test_where_nothing_is_published_nothing_can_be_claimed_and_all_can_be_left(exchange: Exchange) -> None:
    with pytest.raises(ExchangeError, match="no join information"):
        exchange.claim(A, ["a"])
    assert exchange.members() == {}
    exchange.release(A)
    exchange.withdraw(WHOLE.hub_key)


@pytest.mark.parametrize(("holder", "names"), [("a b", ["x"]), (A, []), (A, ["X"]), (A, ["x", "x"])])
def test_what_cannot_be_recorded_takes_nothing(exchange: Exchange, holder: str, names: list[str]) -> None:
    exchange.publish(WHOLE)
    with pytest.raises(UsageError):
        exchange.claim(holder, names)
    assert exchange.members() == {}


def test_a_ticket_leads_to_the_same_entry_and_messages_have_no_secret(exchange: Exchange) -> None:
    exchange.publish(WHOLE)
    again = open_exchange(exchange.ticket, {})
    assert again.fetch() == WHOLE
    assert again.shown == exchange.shown
    assert "token" not in exchange.shown
    assert "#" not in exchange.shown


def test_names_and_a_large_overlay_come_through(exchange: Exchange) -> None:
    names = {IPv4Address("172.20.0.0") + host: f"compute-{host}.hub" for host in range(1, 4000)}
    large = join_information(network=IPv4Network("172.20.0.0/16"), slots=4096, names=names)
    exchange.publish(large)
    assert exchange.fetch() == large
    wanted = [f"n{number}" for number in range(3000)]
    assert exchange.claim(A, wanted) == tuple(range(1, 3001))
    assert [member.name for member in exchange.members().values()] == wanted


def test_clusters_that_claim_at_the_same_time_share_no_slot(opened: Callable[[], Exchange]) -> None:
    opened().publish(join_information(slots=24))
    with ThreadPoolExecutor(6) as pool:
        granted = list(pool.map(lambda name: opened().claim(name, [""] * 4), "uvwxyz"))
    assert sorted(slot for slots in granted for slot in slots) == list(range(1, 25))
    with pytest.raises(CapacityError, match="0 free slots"):
        opened().claim(A, ["a"])
