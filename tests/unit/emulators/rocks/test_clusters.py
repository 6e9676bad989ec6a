"""`add cluster` and `remove cluster`: what they make, what they leave half-done, whom they hurt."""

from __future__ import annotations

import pytest

from emulators.rocks.emulator.model import Interface
from emulators.rocks.site import RocksSite

USAGE_START = "{ip} {num-computes} [cluster-naming=bool]"


def _add(site: RocksSite, *words: str, name: str = "other") -> tuple[int, str]:
    ran = site.call("add cluster", *words, f"fe-name={name}", "cluster-naming=yes")
    return ran.status, ran.out


def _vlans(site: RocksSite) -> list[str]:
    return [line for line in site.inventory() if line.startswith("vlan")]


def test_a_cluster_is_a_vlan_and_its_vms(cluster: RocksSite) -> None:
    assert [line for line in cluster.inventory() if line.startswith("vm ")] == [
        "vm myvc",
        "vm vm-myvc-0",
        "vm vm-myvc-1",
    ]
    assert _vlans(cluster) == ["vlan fiji 4", "vlan vm-container-0-0 4", "vlan vm-container-0-1 4"]
    assert cluster.state().syncs == ["config"]


def test_no_disk_exists_after_it(cluster: RocksSite) -> None:
    assert not [line for line in cluster.inventory() if line.startswith("file")]


def test_without_a_vlan_the_lowest_free_one_is_taken_and_told(cluster: RocksSite) -> None:
    for expected in (2, 3, 5):
        status, out = _add(cluster, "198.202.88.60", "0", name=f"c{expected}")
        assert (status, out.splitlines()[:2]) == (0, ["Getting Free VLAN --> ", "<-- Done"])
        assert f"vlan fiji {expected}" in _vlans(cluster)


def test_containers_are_used_in_turn_as_listed(site: RocksSite) -> None:
    hosts = "vm-container-0-2 vm-container-0-2 vm-container-0-0"
    assert _add(site, "198.202.88.60", "4", f"container-hosts={hosts}")[0] == 0
    rows = site.call("list host vm", "output-col=host", "output-header=no", "hosted-vm").out.split()
    assert rows == ["vm-container-0-2", "vm-container-0-2", "vm-container-0-0", "vm-container-0-2"]


def test_without_naming_rocks_chooses_the_names(site: RocksSite) -> None:
    assert site.call("add cluster", "198.202.88.60", "2").status == 0
    names = [node.name for node in site.state().nodes if node.vm]
    assert names == ["frontend-0-0-0", "hosted-vm-0-0-0", "hosted-vm-0-1-0"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "must supply an IP address for the frontend"),
        (["2"], "must supply an IP address for the frontend"),
        (["ip=198.202.88.60"], "must supply the number of compute nodes"),
        (["198.202.88.60", "two"], "num-computes must be an integer"),
        (["198.202.88.60", "1", "virt-type=xen"], "KVM support only 'hvm' virtualization"),
        (["198.202.88.60", "1", "vlan=abc"], "Vlan ID (abc) must be an integer"),
        (["198.202.88.60", "1", "container-hosts=nosuch"], 'cannot resolve host "nosuch"'),
    ],
)
def test_wrong_arguments_change_nothing(site: RocksSite, words: list[str], message: str) -> None:
    before = site.inventory()
    status, out = _add(site, *words)
    assert (status, out.splitlines()[-2:][0]) == (1, f"Error: {message}")
    assert out.splitlines()[-1].startswith(USAGE_START)
    assert site.inventory() == before


def test_naming_needs_a_name(site: RocksSite) -> None:
    ran = site.call("add cluster", "198.202.88.60", "1", "cluster-naming=true")
    assert "Error: you must select a fe-name when using cluster-naming\n" in ran.out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("myvc", "Node myvc already exists.\nSelect a different hostname, cabinet and/or rank value."),
        ("compute", "Hostname compute can not be equal to an appliance name."),
        ("rack7", "Hostname rack7 can not be in the form of rack<number>."),
        ("a.b", "Hostname a.b can not contains any dot."),
    ],
)
def test_a_bad_name_leaves_the_vlan_behind(cluster: RocksSite, name: str, message: str) -> None:
    before = cluster.inventory()
    status, out = _add(cluster, "198.202.88.60", "1", "vlan=7", name=name)
    assert (status, f"Error: {message}\n" in out) == (1, True)
    assert sorted(set(cluster.inventory()) - set(before)) == ["vlan fiji 7"]


def test_rackspace_passes_the_check_and_crashes_later(site: RocksSite) -> None:
    ran = site.call("add cluster", "198.202.88.60", "1", "fe-name=rackspace", "cluster-naming=1", "vlan=7")
    assert (ran.status, ran.err.splitlines()[-1]) == (1, "ValueError: invalid literal for int() with base 10: 'space'")
    assert site.inventory() == ["vlan fiji 7", "vm rackspace"]


def test_a_bad_address_leaves_a_frontend_without_one(site: RocksSite) -> None:
    assert "Error: The ip address 1.2.3 is invalid" in _add(site, "1.2.3", "1", "vlan=7")[1]
    assert site.inventory() == ["vlan fiji 7", "vm other"]


def test_a_container_without_partition_leaves_a_vlan_that_remove_cluster_forgets(site: RocksSite) -> None:
    status, out = _add(site, "198.202.88.60", "2", "vlan=7", "container-hosts=vm-container-0-0 nas-0-0")
    assert (status, "could not find a partition on host (nas-0-0)" in out) == (1, True)
    assert site.inventory() == ["vlan fiji 7", "vlan nas-0-0 7", "vlan vm-container-0-0 7", "vm other", "vm vm-other-0"]
    assert site.call("remove cluster", "other").status == 0
    assert site.inventory() == ["vlan nas-0-0 7"]
    assert site.call("remove host interface", "nas-0-0", "vlan7").status == 0
    assert site.inventory() == []


def test_cpus_that_are_no_number_crash_half_way(site: RocksSite) -> None:
    ran = site.call(
        "add cluster", "198.202.88.60", "1", "cpus-per-compute=x", "fe-name=a", "cluster-naming=1", "vlan=7"
    )
    assert ran.err.endswith("ValueError: invalid literal for int() with base 10: 'x'\n")
    assert "vm a" in site.inventory()


def test_a_shared_vlan_makes_one_cluster_of_two_and_removes_both(cluster: RocksSite) -> None:
    assert _add(cluster, "198.202.88.51", "1", "vlan=4")[0] == 0
    listed = cluster.call("list cluster", "myvc").out.split()
    assert {"other", "vm-other-0"} < set(listed)
    assert cluster.call("remove cluster", "other").status == 0
    assert cluster.inventory() == []


def test_remove_leaves_what_runs_and_files(cluster: RocksSite) -> None:
    assert cluster.call("start host vm", "myvc").status == 0
    assert cluster.call("remove cluster", "myvc").status == 0
    assert cluster.inventory() == ["domain fiji:myvc", "file fiji:/state/partition1/kvm/disks/myvc.vda"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("fiji", "host fiji is not a virtual frontend"), ("vm-myvc-0", "host vm-myvc-0 is not a virtual frontend")],
)
def test_only_virtual_frontends_can_be_removed(cluster: RocksSite, name: str, message: str) -> None:
    before = cluster.inventory()
    assert cluster.call("remove cluster", name).out == f"Error: {message}\n{{frontend}}...\n"
    assert cluster.inventory() == before


def test_a_member_whose_host_is_gone_stops_the_removal(cluster: RocksSite) -> None:
    assert cluster.call("remove host", "vm-container-0-1").status == 0
    assert "None" in cluster.call("list host vm").out
    assert cluster.call("remove cluster", "myvc").err.startswith("Traceback")


def test_remove_restarts_networking_on_the_carriers(cluster: RocksSite) -> None:
    cluster.call("remove cluster", "myvc")
    assert [note for note in cluster.state().syncs if note.startswith("network")] == [
        "network fiji",
        "network vm-container-0-0",
        "network vm-container-0-1",
    ]


def test_addresses_go_down_and_macs_go_up(cluster: RocksSite) -> None:
    assert cluster.call("report nextip", "private").out == "10.1.255.248\n"
    assert cluster.call("report vm nextmac").out == cluster.call("report vm nextmac").out == "c6:ca:58:80:00:04\n"


def test_holes_among_macs_are_not_filled(cluster: RocksSite) -> None:
    _add(cluster, "198.202.88.51", "0", "vlan=5")
    cluster.call("remove cluster", "myvc")
    assert cluster.call("report vm nextmac").out == "c6:ca:58:80:00:06\n"


def test_without_the_range_nextmac_crashes(site: RocksSite) -> None:
    with site.change() as state:
        del state.attrs["vm_mac_base_addr"]
    assert site.call("report vm nextmac").err.startswith("Traceback")


def test_hosts_that_do_not_answer_are_told_by_the_way(cluster: RocksSite) -> None:
    with cluster.change() as state:
        state.down = ["vm-container-0-1"]
    ran = cluster.call("remove cluster", "myvc")
    assert (ran.status, cluster.inventory()) == (0, [])
    assert "vm-container-0-1: down" in ran.out.splitlines()
    assert "Warning (libvirt):  unable to connect" in ran.out


def test_vlans_may_run_out(site: RocksSite) -> None:
    with site.change() as state:
        fiji = state.nodes[0].id
        state.interfaces += [Interface(state.next_id(), fiji, f"vlan{vlan}", vlan=vlan) for vlan in range(2, 4096)]
    assert "Error: Not able to find a free VLAN" in _add(site, "198.202.88.60", "0")[1]


def test_a_frontend_without_vlan_is_alone_and_cannot_be_removed(cluster: RocksSite) -> None:
    cluster.call("set host interface vlan", "myvc", "eth0", "0")
    assert len(cluster.call("list cluster", "myvc").out.splitlines()) == 2
    assert "Error: host myvc is not a virtual frontend" in cluster.call("remove cluster", "myvc").out
