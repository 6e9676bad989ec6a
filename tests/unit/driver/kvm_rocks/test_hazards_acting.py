"""What went wrong on Rocks sites before, numbered as in rocks.md 6: addresses, interfaces, disks, power (19 to 32)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from fakes.engine import leases, plan
from fakes.rocks import VERSIONS, RocksBench, with_settings
from pragma_boot.driver.kvm_rocks.names import machine_of
from pragma_boot.driver.kvm_rocks.nas import Nas
from pragma_boot.driver.kvm_rocks.note import Note, Notes
from pragma_boot.driver.kvm_rocks.reading import Reader
from pragma_boot.errors import DriverError, PreflightError
from pragma_boot.model import Allocation, ClusterName, ExtraNetwork, NodeName, NodeState, VolumeSource

Make = Callable[..., RocksBench]
VC = ClusterName("vc")
GB = 1 << 30
IMAGE = VolumeSource("pragma", "centos7-vol", "nas-0-0")


def on_volumes(bench: RocksBench, computes: int = 1) -> Allocation:
    """A cluster whose nodes' disks are clones of a volume."""
    bench.site.add_zvol("pragma/centos7-vol", 2 * GB)
    allocation = bench.allocate("vc", computes)
    for node in allocation.nodes:
        bench.driver.volumes().clone(IMAGE, VC, node.name)
    return allocation


@pytest.mark.parametrize("version", VERSIONS)
def test_19_addresses_and_gateways_are_computed_not_scraped(make: Make, version: str) -> None:
    allocation = make(version).allocate("vc", 2)
    assert [str(node.nic("private").address) for node in allocation.nodes] == [
        "10.1.1.1/16",
        "10.1.255.254/16",
        "10.1.255.253/16",
    ]
    assert {str(node.nic("private").gateway) for node in allocation.computes} == {"10.1.1.1"}
    assert [nic.network for node in allocation.computes for nic in node.nics] == ["private", "private"]


def test_20_a_frontends_private_address_of_rocks_is_not_believed(bench: RocksBench) -> None:
    bench.allocate("other", 0)
    allocation = bench.allocate("vc", 0, number=1)
    rows = [row for row in Reader(bench.rocks).interfaces("vc") if row.subnet == "private"]
    assert rows[0].ip != allocation.frontend.nic("private").address.ip
    assert bench.driver.status(VC)[NodeName("vc")].public_ip == allocation.public_ip


def with_network(bench: RocksBench) -> None:
    with_settings(bench, additional_interfaces={"openflow": "ovs"})
    bench.site.call("add network", "openflow", "subnet=10.103.0.0", "netmask=255.255.0.0")


def extended(number: int = 0):  # type: ignore[no-untyped-def]
    net = ExtraNetwork("openflow", IPv4Network("10.103.0.0/16"), IPv4Address("10.103.0.1"))
    wanted = replace(plan("vc", 2), extra=(net,))
    held = leases(wanted, number)
    macs = {
        node: {**own, "openflow": f"52:54:00:ee:00:{index:02x}"} for index, (node, own) in enumerate(held.macs.items())
    }
    return wanted, replace(held, macs=macs)


def test_21_further_interfaces_need_one_sync_and_nobody_is_sshed_to(bench: RocksBench) -> None:
    with_network(bench)
    allocation = bench.driver.allocate(*extended())
    assert [str(node.nic("openflow").address) for node in allocation.nodes] == [
        "10.103.0.1/16",
        "10.103.0.2/16",
        "10.103.0.3/16",
    ]
    assert bench.words().count("sync config") == 1
    assert "sync host network" not in bench.words()
    assert bench.words().count("add host interface") == 3


def test_22_an_unknown_network_is_refused_before_and_found_out_after(bench: RocksBench) -> None:
    with_settings(bench, additional_interfaces={"openflow": "ovs"})
    with pytest.raises(PreflightError, match="cannot run clusters") as caught:
        bench.driver.preflight(["openflow"])
    assert 'unknown network "openflow"' in str(caught.value.details)
    with bench.leaves_nothing():
        with pytest.raises(DriverError, match="did not make cluster") as caught_too:
            bench.driver.allocate(*extended())
        assert "not on network openflow" in str(caught_too.value.details)
        bench.remove("vc")


def test_22_macs_of_further_interfaces_are_leased_ones(bench: RocksBench) -> None:
    with_network(bench)
    bench.driver.allocate(*extended())
    assert "report vm nextmac" not in bench.words()
    macs = [row.mac for row in Reader(bench.rocks).interfaces() if row.subnet == "openflow"]
    assert sorted(map(str, macs)) == [f"52:54:00:ee:00:{index:02x}" for index in range(3)]


def test_23_an_interface_without_an_address_is_read(bench: RocksBench) -> None:
    with_network(bench)
    bench.driver.allocate(*extended())
    assert all(row.ip is None for row in Reader(bench.rocks).interfaces() if row.subnet == "openflow")
    assert set(bench.states("vc").values()) == {NodeState.SHUTDOWN}


@pytest.mark.parametrize("version", VERSIONS)
def test_24_a_machine_without_a_nas_has_none(make: Make, version: str) -> None:
    bench = make(version)
    bench.allocate("vc", 1)
    reader = Reader(bench.rocks)
    assert reader.assignments("vc") == {}
    bench.site.call("set host vm nas", "vc", "nas=nas-0-0", "zpool=pragma")
    for names in ((), ("vc",), ("vc", "vm-vc-0")):
        assert {name: place.nas for name, place in reader.assignments(*names).items()} == {"vc": "nas-0-0"}
    bench.site.call("set host vm nas", "vc", "nas=none")
    assert reader.assignments("vc") == {}


def test_24_a_site_without_img_storage_has_no_nas(bench: RocksBench) -> None:
    bench.site.faults({"match": "^list host vm nas", "rc": 255, "stdout": 'error - invalid rocks command "list"\n'})
    assert Reader(bench.rocks).assignments() == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_25_a_volume_that_was_never_started_is_removed_as_a_volume(make: Make, version: str) -> None:
    bench = make(version)
    bench.site.add_zvol("pragma/centos7-vol", 2 * GB)
    with bench.leaves_nothing():
        on_volumes_again(bench)
        specs = [machine.disks[0] for machine in Reader(bench.rocks).machines(disks=True).values()]
        assert all(spec.startswith("file:") for spec in specs), "Rocks says so until the first start"
        bench.remove("vc")


def on_volumes_again(bench: RocksBench) -> Allocation:
    allocation = bench.allocate("vc", 1)
    for node in allocation.nodes:
        bench.driver.volumes().clone(IMAGE, VC, node.name)
    return allocation


@pytest.mark.parametrize("version", VERSIONS)
def test_26_shutdown_waits_for_every_volume(make: Make, version: str) -> None:
    bench = make(version)
    allocation = on_volumes(bench)
    bench.driver.deploy(allocation, {}, {})
    assert {volume.state for volume in bench.site.state().volumes} == {"mapped"}
    bench.driver.shutdown(VC, grace=0)
    assert {volume.state for volume in bench.site.state().volumes} == {"unmapped"}


def test_26_a_volume_that_rocks_forgot_is_unmapped(bench: RocksBench) -> None:
    allocation = on_volumes(bench)
    bench.driver.deploy(allocation, {}, {})
    bench.site.faults({"match": "^stop host vm", "no_unmap": True, "times": None})
    bench.driver.shutdown(VC, grace=0)
    assert {volume.state for volume in bench.site.state().volumes} == {"unmapped"}


def test_27_a_volumes_size_is_asked_for_in_bytes(bench: RocksBench) -> None:
    bench.site.add_zvol("pragma/odd-vol", 1536 << 20)
    bench.allocate("vc", 0)
    volume, size = bench.driver.volumes().clone(VolumeSource("pragma", "odd-vol", "nas-0-0"), VC, NodeName("vc"))
    assert (volume.volume, size) == ("vc-vol", 1536 << 20)
    disk = next(node.vm.disks[0] for node in bench.site.state().nodes if node.name == "vc" and node.vm)
    assert disk.size == 2


def test_28_a_failing_remove_cluster_is_told_and_repeated(bench: RocksBench) -> None:
    with bench.leaves_nothing():
        bench.boot("vc", 1)
        bench.site.faults({"match": "^remove cluster", "rc": 1, "stdout": "Error: busy\n{frontend}...\n"})
        with pytest.raises(DriverError, match="remove all of vc"):
            bench.remove("vc")
        bench.remove("vc")


@pytest.mark.parametrize("odd", ["paused", "crashed", "shutdown"])
def test_28_what_is_paused_is_not_stopped(bench: RocksBench, odd: str) -> None:
    with bench.leaves_nothing():
        allocation = bench.boot("vc", 1)
        with bench.site.change() as state:
            state.domains[allocation.computes[0].host]["vm-vc-0"] = odd
        assert bench.states("vc")["compute-0"] is not NodeState.SHUTDOWN
        bench.remove("vc")


def test_28_a_cluster_whose_container_does_not_answer_is_not_removed(bench: RocksBench) -> None:
    with bench.leaves_nothing():
        allocation = bench.boot("vc", 1)
        down = allocation.computes[0].host
        with bench.site.change() as state:
            state.down.append(down)
        with pytest.raises(DriverError, match="vm-vc-0"):
            bench.remove("vc")
        assert set(bench.states("vc")) == {"vc", "compute-0"}
        with bench.site.change() as state:
            state.down.clear()
        bench.remove("vc")


@pytest.mark.parametrize("version", VERSIONS)
def test_29_no_machine_starts_from_a_disk_that_is_not_there(make: Make, version: str) -> None:
    bench = make(version)
    allocation = bench.boot("vc", 1)
    bench.driver.shutdown(VC, grace=0)
    bench.file_of(allocation, 1).unlink()
    with pytest.raises(DriverError, match="vm-vc-0") as caught:
        bench.driver.start(VC)
    assert "empty one" in str(caught.value.details)
    assert bench.site.state().blanks == []


def test_29_no_machine_starts_without_its_volume(bench: RocksBench) -> None:
    allocation = on_volumes(bench)
    assert bench.site.run("nas-0-0", "zfs destroy pragma/vm-vc-0-vol", program="ssh").status == 0
    with pytest.raises(DriverError, match="compute-0"):
        bench.driver.deploy(allocation, {}, {})
    assert not any(row.name == "pragma/vm-vc-0-vol" for row in bench.site.state().datasets)


def test_30_a_volume_is_unmapped_whatever_happens_while_it_is_mapped(bench: RocksBench) -> None:
    bench.site.add_zvol("pragma/centos7-vol", GB)
    bench.allocate("vc", 0)
    nas = bench.driver.volumes()
    volume, size = nas.clone(IMAGE, VC, NodeName("vc"))
    with pytest.raises(KeyboardInterrupt), nas.mapped(volume, size) as device:
        assert device.stat().st_size == GB
        raise KeyboardInterrupt
    assert {found.state for found in bench.site.state().volumes} == {"unmapped"}


def test_30_an_image_is_looked_at_through_a_clone_that_goes_again(bench: RocksBench) -> None:
    bench.site.add_zvol("pragma/centos7-vol", GB)
    with bench.leaves_nothing(), bench.driver.volumes().look(IMAGE) as (device, size):
        assert (device.exists(), size) == (True, GB)


def test_31_a_frontend_that_does_not_start_ends_the_deployment(bench: RocksBench) -> None:
    with bench.leaves_nothing():
        allocation = bench.allocate("vc", 2)
        bench.site.faults({"match": "^start host vm vc$", "rc": 1, "stdout": "Error: unable to boot\n{host}...\n"})
        with pytest.raises(DriverError, match="vc") as caught:
            bench.driver.deploy(allocation, bench.disks.of(allocation), {})
        assert "unable to boot" in str(caught.value.details)
        assert not any("vm-vc-0" in call["argv"] for call in bench.site.calls() if call["argv"][0] == "start host vm")
        bench.remove("vc")


def test_31_a_machine_that_dies_at_once_is_told(bench: RocksBench) -> None:
    allocation = bench.allocate("vc", 1)
    bench.site.faults({"match": "^start host vm vm-vc-0", "lie_ok": True})
    with pytest.raises(DriverError, match="compute-0"):
        bench.driver.deploy(allocation, bench.disks.of(allocation), {})


def test_32_a_transfer_that_breaks_off_leaves_no_disk_under_its_name(bench: RocksBench) -> None:
    with bench.leaves_nothing():
        allocation = bench.allocate("vc", 1)
        disks = bench.disks.of(allocation)
        with pytest.raises(DriverError), bench_with_full_disk(bench, Path("/dev/full")):
            bench.driver.deploy(allocation, disks, {})
        assert not bench.file_of(allocation, 0).exists()
        bench.remove("vc")


class bench_with_full_disk:  # noqa: N801 - reads as a word
    """Every `dd` on the hosts writes to a full device."""

    def __init__(self, bench: RocksBench, device: Path) -> None:
        self.program = bench.site.bin / "dd"
        self.device = device

    def __enter__(self) -> None:
        self.program.write_text(
            f'#!/bin/sh\nfor word; do case $word in of=*) ;; *) set -- "$@" "$word" ;; esac; shift; done\n'
            f'exec /usr/bin/dd of={self.device} "$@"\n'
        )
        self.program.chmod(0o755)

    def __exit__(self, *_: object) -> None:
        self.program.unlink()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cluster_on_a_shared_vlan_is_not_removed(make: Make, version: str) -> None:
    bench = make(version)
    bench.boot("vc", 1)
    vlan = leases(plan("vc")).vlan
    bench.site.call("add cluster", "198.51.100.77", "1", "fe-name=theirs", "cluster-naming=true", f"vlan={vlan}")
    bench.driver.shutdown(VC, grace=0)
    with pytest.raises(DriverError, match=r"shares VLAN .* theirs") as caught:
        bench.remove("vc")
    assert "pragma clean vc" in str(caught.value.resolution)
    names = {node.name for node in bench.site.state().nodes}
    assert {"vc", "vm-vc-0", "theirs", "vm-theirs-0"} <= names


def test_a_disk_that_cannot_be_removed_is_kept_in_mind(bench: RocksBench) -> None:
    with bench.leaves_nothing():
        bench.boot("vc", 1)
        bench.site.faults({"program": "ssh", "match": "rm -f", "rc": 255, "stderr": "ssh: connection refused\n"})
        with pytest.raises(DriverError, match="disks on") as caught:
            bench.remove("vc")
        assert "connection refused" in str(caught.value.details)
        assert bench.states("vc") == {}
        assert Notes(bench.state).read(VC) != Note(asked=True)
        bench.remove("vc")
    assert Notes(bench.state).read(VC) is None


def test_machines_are_named_after_their_cluster() -> None:
    assert [machine_of(VC, NodeName(name)) for name in ("vc", "compute-0", "compute-12")] == [
        "vc",
        "vm-vc-0",
        "vm-vc-12",
    ]


def test_waiting_for_a_volume_ends(bench: RocksBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.site.add_zvol("pragma/centos7-vol", GB)
    bench.allocate("vc", 0)
    volume, size = bench.driver.volumes().clone(IMAGE, VC, NodeName("vc"))
    bench.site.faults({"match": "^remove host storagemap", "rc": 1, "stdout": "Error: no\n{nas}\n", "times": None})
    nas = Nas(bench.rocks, bench.ssh, bench.state.locks, pause=0, looks=5)
    with pytest.raises(DriverError, match="stays mapped"), nas.mapped(volume, size):
        pass


def test_a_container_is_no_node_of_a_cluster_that_is_named_like_it(bench: RocksBench) -> None:
    with bench.leaves_nothing():
        bench.boot("container-0", 0)
        bench.remove("container-0")
    assert "vm-container-0-0" in {host.name for host in Reader(bench.rocks).hosts()}


def test_disks_may_be_in_a_folder_that_all_hosts_share(bench: RocksBench) -> None:
    shared = bench.site.folder / "nfs"
    with_settings(bench, diskdir=shared)
    with bench.leaves_nothing():
        bench.boot("vc", 1)
        assert {path.name for path in shared.iterdir()} == {"vc.vda", "vm-vc-0.vda"}
        bench.remove("vc")
        assert list(shared.iterdir()) == []
