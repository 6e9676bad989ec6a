import multiprocessing
import stat
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from pragma_boot.cluster.plan import Sizes, make_plan
from pragma_boot.cluster.store import Store
from pragma_boot.errors import CapacityError, ClusterBusyError, ClusterExistsError, PragmaError
from pragma_boot.files import StateFolder
from pragma_boot.model import (
    Allocation,
    ClusterName,
    ClusterState,
    ImageName,
    InUse,
    Leases,
    Mac,
    Nic,
    NodeAllocation,
    Plan,
)

ADDRESSES = tuple(IPv4Address("198.51.100.10") + step for step in range(4))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(StateFolder(tmp_path / "state"))


def plan(name: str, cpus: int = 2) -> Plan:
    return make_plan(ClusterName(name), ImageName("demo"), Sizes(cpus, 1, 512, 512), IPv4Interface("10.1.1.1/16"), ())


def reserve(store: Store, name: str, address: IPv4Address = ADDRESSES[0], vlans: tuple[int, ...] = (22, 23)) -> Leases:
    return store.reserve(
        plan(name), driver="memory", address=address, fqdn=f"{name}.internal", vlans=vlans, site=InUse()
    )


def test_a_reservation_holds_address_vlan_and_macs(store: Store) -> None:
    leases = reserve(store, "one")
    assert leases.vlan == 22
    assert {node: set(macs) for node, macs in leases.macs.items()} == {
        "one": {"private", "public"},
        "compute-0": {"private"},
        "compute-1": {"private"},
    }
    used = store.in_use(InUse())
    assert used.addresses == {ADDRESSES[0]}
    assert used.vlans == {22}
    assert used.macs == {mac for macs in leases.macs.values() for mac in macs.values()}
    assert used.clusters == {"one"}


def test_a_taken_address_leaves_nothing_behind(store: Store) -> None:
    reserve(store, "one")
    with pytest.raises(CapacityError):
        reserve(store, "two")
    assert [record.name for record in store.all()] == ["one"]
    assert store.in_use(InUse()).vlans == {22}


def test_vlans_that_the_site_uses_are_not_given_out(store: Store) -> None:
    leases = store.reserve(
        plan("one"),
        driver="memory",
        address=ADDRESSES[0],
        fqdn="one.internal",
        vlans=(22, 23),
        site=InUse(vlans=frozenset({22})),
    )
    assert leases.vlan == 23


def test_a_name_is_given_once(store: Store) -> None:
    reserve(store, "one")
    with pytest.raises(ClusterExistsError, match="one exists already"):
        reserve(store, "one", ADDRESSES[1])


def test_forgetting_gives_everything_back_and_is_remembered(store: Store) -> None:
    reserve(store, "one")
    store.forget(ClusterName("one"))
    store.forget(ClusterName("one"))
    assert store.in_use(InUse()) == InUse()
    assert store.was_removed("one")
    assert not store.was_removed("two")
    reserve(store, "one")


def test_an_allocation_survives_the_round_trip(store: Store) -> None:
    leases = reserve(store, "one")
    nodes = tuple(
        NodeAllocation(
            node.name,
            node.role,
            node.cpus,
            node.memory_mib,
            "qemu:///system",
            (Nic("private", leases.macs[node.name]["private"], IPv4Interface("10.1.1.1/16"), None, 1450),),
        )
        for node in plan("one").nodes
    )
    allocation = Allocation(
        ClusterName("one"), ImageName("demo"), "one.internal", ADDRESSES[0], 22, (ADDRESSES[3],), nodes
    )
    store.record_allocation(allocation)
    record = store.get("one")
    assert record is not None
    assert record.allocation == allocation
    assert record.state is ClusterState.ALLOCATED
    assert record.nodes == plan("one").nodes


def test_reading_makes_no_database(store: Store) -> None:
    assert store.all() == ()
    assert store.get("one") is None
    assert not store.folder.root.exists()


def test_the_database_is_private(store: Store) -> None:
    reserve(store, "one")
    assert stat.S_IMODE(store.folder.database.stat().st_mode) == 0o600


def test_a_damaged_database_is_told_with_its_mend(store: Store) -> None:
    store.folder.root.mkdir(parents=True)
    store.folder.database.write_bytes(b"this is no database" * 100)
    with pytest.raises(PragmaError, match="is damaged") as caught:
        store.all()
    assert "move it away" in str(caught.value.resolution)


def test_a_held_cluster_is_busy_at_once(store: Store) -> None:
    name = ClusterName("one")
    with store.lock(name):
        assert store.is_locked(name)
        with pytest.raises(ClusterBusyError), store.lock(name):
            pass
    assert not store.is_locked(name)


def _compete(root: Path, number: int, results: "multiprocessing.Queue[tuple[str, tuple[Mac, ...]]]") -> None:
    store = Store(StateFolder(root))
    for _ in range(20):
        used = store.in_use(InUse())
        free = [address for address in ADDRESSES if address not in used.addresses]
        if not free:
            break
        try:
            leases = reserve(store, f"vc{number}", free[0], vlans=tuple(range(22, 40)))
        except CapacityError:
            continue
        results.put((str(leases.public_ip), tuple(mac for macs in leases.macs.values() for mac in macs.values())))
        return
    results.put(("", ()))


def test_eight_processes_share_four_addresses_without_a_collision(tmp_path: Path) -> None:
    results: multiprocessing.Queue[tuple[str, tuple[Mac, ...]]] = multiprocessing.Queue()
    processes = [multiprocessing.Process(target=_compete, args=(tmp_path / "s", n, results)) for n in range(8)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    addresses = [address for address, _ in answers if address]
    macs = [mac for _, held in answers for mac in held]
    assert sorted(addresses) == sorted(map(str, ADDRESSES))
    assert len(set(macs)) == len(macs)
    records = Store(StateFolder(tmp_path / "s")).all()
    assert len(records) == 4
