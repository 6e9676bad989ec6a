"""Addresses on further networks in the site database: none is held twice, all are given back."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.engine import plan
from pragma_boot.cluster.store import Store
from pragma_boot.config.settings import SiteNetwork
from pragma_boot.errors import CapacityError
from pragma_boot.files import StateFolder
from pragma_boot.model import ClusterName, ExtraNetwork, InUse, Leases, Plan
from pragma_boot.network import extra

BLOCK = IPv4Network("10.103.0.0/28")
OTHER = IPv4Network("10.104.0.0/28")
SITE = {
    "red": SiteNetwork("red", "br-red", "bridge", cidr=BLOCK),
    "blue": SiteNetwork("blue", "br-blue", "bridge", cidr=OTHER),
}
PUBLIC = IPv4Address("198.51.100.10")

OLD_SCHEMA = """
CREATE TABLE clusters (name TEXT PRIMARY KEY, image TEXT NOT NULL, driver TEXT NOT NULL, state TEXT NOT NULL,
    owner TEXT NOT NULL, created TEXT NOT NULL, fqdn TEXT NOT NULL, public_ip TEXT NOT NULL, nodes TEXT NOT NULL,
    allocation TEXT, reports INTEGER NOT NULL DEFAULT 0, note TEXT NOT NULL DEFAULT '');
CREATE TABLE leases (kind TEXT NOT NULL CHECK (kind IN ('address', 'vlan', 'mac')), value TEXT NOT NULL,
    cluster TEXT NOT NULL REFERENCES clusters (name) ON DELETE CASCADE, node TEXT NOT NULL DEFAULT '',
    network TEXT NOT NULL DEFAULT '', PRIMARY KEY (kind, value)) WITHOUT ROWID;
INSERT INTO clusters (name, image, driver, state, owner, created, fqdn, public_ip, nodes)
    VALUES ('old', 'demo', 'libvirt', 'running', 'root', '2026-01-01T00:00:00Z', 'old.internal', '198.51.100.19', '[]');
INSERT INTO leases VALUES ('address', '198.51.100.19', 'old', 'old', 'public'), ('vlan', '3950', 'old', '', 'private');
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(StateFolder(tmp_path / "state"))


def on(wanted: Plan, *networks: tuple[str, str]) -> Plan:
    return replace(wanted, extra=tuple(ExtraNetwork(name, BLOCK, IPv4Address(first)) for name, first in networks))


def reserve(store: Store, wanted: Plan, number: int = 0) -> Leases:
    return store.reserve(
        wanted,
        driver="memory",
        address=PUBLIC + number,
        fqdn=f"{wanted.cluster}.internal",
        vlans=range(100, 200),
        site=InUse(),
    )


def test_every_node_holds_a_mac_and_an_address_on_each_network(store: Store) -> None:
    leases = reserve(store, on(plan("one", 1), ("red", "10.103.0.1"), ("blue", "10.103.0.5")))
    assert {node: set(macs) for node, macs in leases.macs.items()} == {
        "one": {"private", "public", "red", "blue"},
        "compute-0": {"private", "red", "blue"},
    }
    used = store.in_use(InUse())
    assert len(used.macs) == 7
    assert {(name, str(address)) for name, address in used.extra} == {
        ("red", "10.103.0.1"),
        ("red", "10.103.0.2"),
        ("blue", "10.103.0.5"),
        ("blue", "10.103.0.6"),
    }


def test_an_address_is_held_once_in_its_network(store: Store) -> None:
    reserve(store, on(plan("one", 1), ("red", "10.103.0.1")))
    reserve(store, on(plan("two", 1), ("blue", "10.103.0.1")), 1)
    with pytest.raises(CapacityError, match=r"10\.103\.0\.2 in red"):
        reserve(store, on(plan("three"), ("red", "10.103.0.2")), 2)
    assert store.get("three") is None


def test_what_the_engine_says_is_taken_too(store: Store) -> None:
    seen = InUse(extra=frozenset({("red", IPv4Address("10.103.0.9"))}))
    reserve(store, on(plan("one", 0), ("red", "10.103.0.1")))
    assert {str(address) for _, address in store.in_use(seen).extra} == {"10.103.0.1", "10.103.0.9"}


def test_a_database_of_before_is_opened_as_it_is(store: Store) -> None:
    store.folder.root.mkdir(parents=True)
    with closing(sqlite3.connect(store.folder.database)) as connection:
        connection.executescript(OLD_SCHEMA)
    assert store.in_use(InUse()).vlans == {3950}
    reserve(store, on(plan("one"), ("red", "10.103.0.1")))
    assert [record.name for record in store.all()] == ["old", "one"]
    for name in ("old", "one"):
        store.forget(ClusterName(name))
    assert store.in_use(InUse()) == InUse()


acts = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "d"]),
        st.integers(0, 4),
        st.sampled_from(["red", "blue", "red,blue", "red:10.103.0.4/28", "red:10.103.0.9/28,blue:10.104.0.2/28"]),
    ),
    max_size=12,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(acts)
def test_no_address_is_held_twice_and_everything_comes_back(acts: Sequence[tuple[str, int, str]]) -> None:
    """Clusters come and go, by name; each takes what its wish gives it while others are there."""
    with TemporaryDirectory() as folder:
        store = Store(StateFolder(Path(folder) / "state"))
        held: dict[str, set[tuple[str, IPv4Address]]] = {}
        for number, (name, computes, wish) in enumerate(acts):
            if name in held:
                store.forget(ClusterName(name))
                del held[name]
            elif (mine := _take(store, name, computes, wish, number)) is not None:
                held[name] = mine
            everything = [each for mine in held.values() for each in mine]
            assert len(everything) == len(set(everything))
            assert store.in_use(InUse()).extra == set(everything)
        for name in held:
            store.forget(ClusterName(name))
        assert store.in_use(InUse()) == InUse()
        assert _take(store, "last", 13, "red,blue", 0), "the whole block is free again"


def _take(store: Store, name: str, computes: int, wish: str, number: int) -> set[tuple[str, IPv4Address]] | None:
    wanted = plan(name, computes)
    taken = store.in_use(InUse()).extra
    try:
        chosen = extra.choose(
            extra.wishes({"add-iface": wish}, {}), SITE, nodes=len(wanted.nodes), taken=taken, others={}
        )
    except CapacityError:
        return None
    reserve(store, replace(wanted, extra=chosen), number)
    return {(each.name, each.address(at).ip) for each in chosen for at in range(len(wanted.nodes))}
