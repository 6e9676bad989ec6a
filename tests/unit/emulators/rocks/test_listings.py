"""What the commands `list`, `report` and `dump` show of a site."""

from __future__ import annotations

import json
from pathlib import Path

from emulators.rocks.site import RocksSite


def test_a_vm_alone_is_listed_without_its_name(site: RocksSite) -> None:
    site.call("add cluster", "198.202.88.60", "0", "fe-name=solo", "cluster-naming=1")
    out = site.call("list host vm").out
    assert out.splitlines()[0].startswith("SLICE MEM")
    assert "solo" not in out


def test_one_container_is_listed_without_its_name(tmp_path: Path) -> None:
    site = RocksSite.create(tmp_path / "small", containers=1)
    assert site.call("list host", "vm-container").out.splitlines()[0].startswith("MEMBERSHIP")


def test_json_never_leaves_the_owner_out(cluster: RocksSite) -> None:
    found = json.loads(cluster.call("list host interface", "vm-myvc-0", "json=true").out)
    assert found[0]["host"] == "vm-myvc-0"
    assert found[0]["interface"][0]["vlan"] == 4


def test_json_of_nothing_is_nothing(site: RocksSite) -> None:
    assert site.call("list host vm", "json=true").out == ""


def test_json_names_the_rows_after_the_command(cluster: RocksSite) -> None:
    keys = {
        words: set(json.loads(cluster.call(f"list {words}", "json=1").out)[0])
        for words in ("host", "network", "host vm nas", "cluster", "attr", "host boot")
    }
    assert keys == {
        "host": {"host", "list"},
        "network": {"network", "list"},
        "host vm nas": {"vm-host", "nas"},
        "cluster": {"frontend", "cluster"},
        "attr": {"attr", "list"},
        "host boot": {"host", "boot"},
    }


def test_vlan_devices_show_little(cluster: RocksSite) -> None:
    lines = cluster.call("list host interface", "fiji", "output-col=iface,mac,ip,name,vlan").out.splitlines()
    assert lines[-1] == "vlan4 ----------------- ------------ ---- 4   "


def test_the_frontends_public_vlan_is_zero_and_a_computes_subnet_empty(cluster: RocksSite) -> None:
    assert [
        line.split()
        for line in cluster.call("list host interface", "myvc", "output-col=subnet,vlan").out.splitlines()[1:]
    ] == [
        ["private", "4"],
        ["public", "0"],
    ]
    assert cluster.call("list host interface", "vm-myvc-0", "output-col=subnet").out == "SUBNET\n------\n"


def test_further_macs_and_disks_have_rows_of_their_own(cluster: RocksSite) -> None:
    cluster.call("set host vm", "vm-myvc-0", "disk=file:/d/a,vda,virtio phy:/dev/sdb,vdb,ide", "disksize=10 20")
    cluster.call("add host interface", "vm-myvc-0", "eth1", "mac=c6:ca:58:80:00:04")
    cluster.call("add host interface", "vm-myvc-0", "eth2", "mac=c6:ca:58:80:00:05")
    rows = cluster.call("list host vm", "vm-myvc-0", "showdisks=1", "output-col=mac,disk,disksize").out.splitlines()
    assert [row.split() for row in rows[1:]] == [
        ["c6:ca:58:80:00:02", "file:/d/a,vda,virtio", "10"],
        ["c6:ca:58:80:00:04", "phy:/dev/sdb,vdb,ide", "20"],
        ["c6:ca:58:80:00:05", "--------------------", "--------"],
    ]


def test_a_vm_moves_to_the_end_when_its_disks_are_replaced(cluster: RocksSite) -> None:
    cluster.call("set host vm", "myvc", "disk=file:/d/a,vda,virtio")
    owners = [line.split()[0] for line in cluster.call("list host vm").out.splitlines()[1:]]
    assert owners == ["vm-myvc-0:", "vm-myvc-1:", "myvc:", "myvc:"]


def test_a_host_that_does_not_answer_has_vms_without_state(cluster: RocksSite) -> None:
    with cluster.change() as state:
        state.down = ["vm-container-0-1"]
    ran = cluster.call("list cluster", "myvc", "status=1")
    assert [line.split()[-1] for line in ran.out.splitlines()[1:]] == ["nostate", "nostate", "nostate-error"]
    assert ran.err.startswith("libvirt:  error : unable to connect")


def test_states_of_domains_are_shown(cluster: RocksSite) -> None:
    with cluster.change() as state:
        state.domains = {"fiji": {"myvc": "paused"}, "vm-container-0-0": {"vm-myvc-0": "crashed"}}
    rows = cluster.call("list host vm", "status=1", "output-col=status").out.split()
    assert rows == ["STATUS", "paused", "-------", "crashed", "nostate"]


def test_a_computes_gateway_is_the_physical_one(cluster: RocksSite) -> None:
    routes = cluster.call("list host route", "vm-myvc-0").out.splitlines()
    assert "vm-myvc-0: 0.0.0.0         0.0.0.0         10.1.1.1 G     " in [
        line.replace("10.1.1.1     ", "10.1.1.1 ") for line in routes
    ]


def test_unknown_networks_are_refused(site: RocksSite) -> None:
    assert site.call("list network", "nosuch").out == 'Error: unknown network "nosuch"\n[network]...\n'


def test_appliances_are_in_the_order_of_creation(site: RocksSite) -> None:
    names = [line.split()[0] for line in site.call("list appliance").out.splitlines()[1:]]
    assert names == ["frontend:", "compute:", "login:", "nas:", "network:", "power:", "vm-container:", "hosted-vm:"]


def test_the_largest_partition_holds_disks(site: RocksSite) -> None:
    assert site.call("list host partition", "fiji", "bigmnt=1").out == "/state/partition1\n"
    assert site.call("list host partition", "nas-0-0").out == ""


def test_dumps_call_the_physical_frontend_localhost(cluster: RocksSite) -> None:
    first, second, _ = cluster.call("dump host vm").out.splitlines()
    assert "physnode='localhost'" in first
    assert "physnode='vm-container-0-0'" in second
