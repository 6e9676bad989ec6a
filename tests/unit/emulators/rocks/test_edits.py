"""The commands that change hosts, VMs and interfaces."""

from __future__ import annotations

import pytest

from emulators.rocks.emulator.model import Interface
from emulators.rocks.site import RocksSite


def _first_line(site: RocksSite, *words: str) -> str:
    ran = site.call(*words)
    assert ran.status == 1
    return ran.out.splitlines()[0]


def _row(site: RocksSite, device: str) -> Interface:
    return next(row for row in site.state().interfaces if row.device == device)


def test_an_interface_is_not_added_twice(cluster: RocksSite) -> None:
    cluster.call("add host interface", "vm-myvc-0", "ovs", "mac=c6:ca:58:80:00:04")
    assert _first_line(cluster, "add host interface", "vm-myvc-0", "ovs") == 'Error: interface "ovs" exists'


def test_an_unknown_network_is_taken_without_a_word(cluster: RocksSite) -> None:
    assert cluster.call("add host interface", "vm-myvc-0", "ovs", "subnet=opneflow") == cluster.call("sync config")
    assert _row(cluster, "ovs").subnet is None


def test_a_late_failure_leaves_the_row(cluster: RocksSite) -> None:
    words = ("add host interface", "vm-myvc-0", "ovs", "mac=c6:ca:58:80:00:04", "vlan=many")
    assert _first_line(cluster, *words) == 'Error: vlan "many" must be an integer'
    assert (_row(cluster, "ovs").mac, _row(cluster, "ovs").vlan) == ("c6:ca:58:80:00:04", None)


def test_the_same_mac_on_another_host_is_no_error(cluster: RocksSite) -> None:
    assert cluster.call("add host interface", "vm-myvc-0", "ovs", "mac=c6:ca:58:80:00:00").status == 0


def test_vlan_zero_is_none_and_the_network_gives_a_name(cluster: RocksSite) -> None:
    cluster.call("add host interface", "vm-myvc-0", "ovs", "vlan=0", "subnet=public")
    assert (_row(cluster, "ovs").vlan, _row(cluster, "ovs").name) == (None, "vm-myvc-0")


def test_an_interface_can_be_changed_piece_by_piece(cluster: RocksSite) -> None:
    assert cluster.call("set host interface vlan", "vm-myvc-0", "eth0", "9").status == 0
    assert (
        _first_line(cluster, "set host interface ip", "myvc", "eth1", "1.2") == "Error: The ip address 1.2 is invalid"
    )
    assert {row.vlan for row in cluster.state().interfaces} >= {4, 9}


def test_interfaces_are_removed_by_pattern_and_none_is_no_error(cluster: RocksSite) -> None:
    assert cluster.call("remove host interface", "fiji", "vlan%").status == 0
    assert cluster.call("remove host interface", "fiji", "vlan4").status == 0
    assert "vlan fiji 4" not in cluster.inventory()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["myvc", "vm-myvc-0", "mem=1"], "must supply only one host"),
        (["myvc", "mem=much"], '"mem" parameter must be an integer'),
        (["myvc", "disksize=big"], '"disksize" values must be integers'),
        (["myvc", "disksize=1 2"], "too many disksize vm has only 1 disks"),
        (["myvc", "disk=file:/a,vda"], "Invalid disk specification. Please see rocks add host vm help."),
        (["myvc", "disk=tape:/a,vda,virtio"], "Invalid disk specification. Please see rocks add host vm help."),
        (["myvc", "physnode=nosuch"], 'cannot resolve host "nosuch"'),
    ],
)
def test_wrong_settings_of_a_vm_are_refused(cluster: RocksSite, words: list[str], message: str) -> None:
    assert _first_line(cluster, "set host vm", *words) == f"Error: {message}"


def test_a_host_that_is_no_vm_crashes(site: RocksSite) -> None:
    assert site.call("set host vm", "fiji", "mem=1").err.startswith("Traceback")


def test_sizes_below_one_are_ignored(cluster: RocksSite) -> None:
    cluster.call("set host vm", "myvc", "disksize=0")
    cluster.call("set host vm", "vm-myvc-0", "disksize=7")
    sizes = [node.vm.disks[0].size for node in cluster.state().nodes if node.vm]
    assert sizes == [36, 7, 36]


def test_disks_of_a_vm_with_a_nas_cannot_be_replaced(cluster: RocksSite) -> None:
    new = ("set host vm", "myvc", "disk=file:/d/a,vda,virtio")
    cluster.call("set host vm nas", "myvc", "nas=nas-0-0", "zpool=pragma")
    assert "IntegrityError: (1451" in cluster.call(*new).err
    cluster.call("set host vm nas", "myvc", "nas=none")
    assert cluster.call(*new).status == 1
    cluster.call("remove host vm nas", "myvc")
    assert cluster.call(*new).status == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["myvc", "nas=nosuch", "zpool=p"], "nas nosuch must be a valid rocks host"),
        (["myvc", "nas=nas-0-0"], "you need to specify a zpool parameter or set the img_zpools attribute"),
        (["fiji", "nas=nas-0-0", "zpool=p"], "node fiji is not a virtual node"),
    ],
)
def test_wrong_nas_assignments_are_refused(cluster: RocksSite, words: list[str], message: str) -> None:
    assert _first_line(cluster, "set host vm nas", *words) == f"Error: {message}"


def test_boot_actions_are_three(cluster: RocksSite) -> None:
    assert "invalid action" in _first_line(cluster, "set host boot", "myvc", "action=disk")
    assert cluster.call("set host boot", "myvc", "vm-myvc-0", "action=os").status == 0
    assert [node.boot for node in cluster.state().nodes if node.vm] == ["os", "os", "install"]


def test_sync_always_says_it_went_well(cluster: RocksSite) -> None:
    ran = cluster.call("sync host network", "vm-myvc-0")
    assert (ran.status, "vm-myvc-0 returned error code 65280" in ran.err) == (0, True)


def test_hosts_are_added_with_what_is_known_of_them(site: RocksSite) -> None:
    assert site.call("add host", "compute-0-1", "membership=Compute", "cpus=8", "rank=1").status == 0
    assert site.call("list host", "compute-0-1", "output-col=membership,cpus,rank").out.splitlines()[1].split() == [
        "Compute",
        "8",
        "1",
    ]
    assert "already exists" in _first_line(site, "add host", "compute-0-1")


def test_networks_are_added_once(site: RocksSite) -> None:
    add = ("add network", "openflow", "10.2.0.0", "255.255.0.0", "mtu=1450")
    assert site.call(*add).status == 0
    assert _first_line(site, *add) == 'Error: network "openflow" exists'
    assert "must supply" in _first_line(site, "add network", "other")
    assert site.call("report nextip", "openflow").out == "10.2.255.254\n"


def test_actions_can_be_set_and_taken_away(cluster: RocksSite) -> None:
    cluster.call("set host runaction", "vm-myvc-0", "action=os")
    cluster.call("set host installaction", "myvc", "none")
    actions = {node.name: (node.runaction, node.installaction) for node in cluster.state().nodes if node.vm}
    assert actions["vm-myvc-0"] == ("os", "install")
    assert actions["myvc"] == ("os", None)


@pytest.mark.parametrize(
    "words",
    ["set host boot action=os", "set host cpus 3", "set host runaction os", "remove host",
     "remove host interface vlan4", "set host vm nas nas=none", "remove host vm nas", "remove cluster",
     "set host interface vlan eth0 4"],
)  # fmt: skip
def test_changes_need_a_host(cluster: RocksSite, words: str) -> None:
    assert "must supply" in _first_line(cluster, *words.split())


def test_a_vm_can_be_moved(cluster: RocksSite) -> None:
    cluster.call("set host vm", "vm-myvc-0", "physnode=vm-container-0-2", "slice=3")
    assert cluster.call("list host vm", "vm-myvc-0", "output-col=slice,host").out.split()[2:] == [
        "3",
        "vm-container-0-2",
    ]


def test_attributes_belong_to_their_host(cluster: RocksSite) -> None:
    assert cluster.call("set host attr", "myvc", "attr=owner", "value=pragma").status == 0
    assert cluster.call("report host attr", "myvc", "attr=owner").out == "pragma\n"
    assert cluster.call("report host attr", "vm-myvc-0", "attr=owner").out == ""
    assert "must supply" in _first_line(cluster, "set host attr", "attr=owner", "value=pragma")
