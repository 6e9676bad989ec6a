"""Networks, their states, and what each refusal says (contract b.4 to b.7; e.4 point 7)."""

from __future__ import annotations

import pytest

from fakes.cloudstack import NAT_OFFERING, Cloud, Config, Refused, default_site, shared_network
from fakes.cloudstack.scene import Scene


def _state(scene: Scene, network: dict[str, str]) -> str:
    return scene.state.networks[network["id"]].state


def test_a_new_network_holds_nothing_yet(scene: Scene) -> None:
    network = scene.network()
    assert (network["state"], network["cidr"], network["type"]) == ("Allocated", "10.5.0.0/24", "Isolated")
    assert network["egressdefaultpolicy"] is False
    assert "broadcasturi" not in network
    assert scene.user.ok("listPublicIpAddresses") == {}


def test_the_first_start_brings_up_wire_router_and_source_nat(scene: Scene) -> None:
    network = scene.network()
    machine = scene.machine("vc1", network)
    job = scene.user.job("startVirtualMachine", id=machine["id"])
    scene.cloud.advance(5)
    assert (_state(scene, network), scene.cloud.machine("vc1").state) == ("Implementing", "Starting")
    scene.cloud.settle()
    assert scene.user.result(job)["jobstatus"] == 1
    (row,) = scene.user.ok("listNetworks", id=network["id"])["network"]
    assert row["state"] == "Implemented"
    assert row["broadcasturi"].startswith("vlan://10")
    assert "vlan" not in row
    assert scene.admin.ok("listNetworks", id=network["id"], listall=True)["network"][0]["vlan"]
    (address,) = scene.user.ok("listPublicIpAddresses")["publicipaddress"]
    assert (address["issourcenat"], address["associatednetworkid"]) == (True, network["id"])
    assert len(scene.state.routers) == 1
    assert scene.cloud.hypervisor.running(scene.cloud.machine("vc1"))


def test_machines_that_start_together_wait_for_one_network(scene: Scene) -> None:
    network = scene.network()
    for name in ("vc1", "vc2", "vc3"):
        scene.user.job("startVirtualMachine", id=scene.machine(name, network)["id"])
    scene.cloud.settle()
    assert {one.state for one in scene.state.machines.values() if one.name != "vc1x"} == {"Running"}
    assert len(scene.state.routers) == 1


def test_an_idle_network_is_collected_and_comes_back(scene: Scene) -> None:
    network = scene.network()
    before = scene.machine("vc1", network, startvm=True)
    scene.user.done("stopVirtualMachine", id=before["id"])
    scene.cloud.advance(599)
    assert _state(scene, network) == "Implemented"
    scene.cloud.advance(1300)
    assert (_state(scene, network), scene.state.routers) == ("Allocated", {})
    assert len(scene.user.ok("listPublicIpAddresses", issourcenat=True)["publicipaddress"]) == 1
    after = scene.start(before)
    assert after["nic"][0]["ipaddress"] == before["nic"][0]["ipaddress"]
    assert _state(scene, network) == "Implemented"


def test_a_network_goes_with_its_addresses_and_rules_but_not_under_machines(scene: Scene) -> None:
    scene.cloud.config.allow_user_expunge = True
    before = scene.cloud.snapshot()
    network = scene.network()
    machine = scene.machine("vc1", network, startvm=True)
    address = scene.spare(network)
    scene.user.done("createFirewallRule", ipaddressid=address["id"], protocol="tcp", startport=22)
    with pytest.raises(Refused, match=r"^530: Failed to delete network$"):
        scene.user.done("deleteNetwork", id=network["id"])
    scene.user.done("destroyVirtualMachine", id=machine["id"])
    assert scene.user.ok("listVirtualMachines") == {}
    with pytest.raises(Refused, match=r"^530: Failed to delete network$"):
        scene.user.done("deleteNetwork", id=network["id"])
    scene.user.done("expungeVirtualMachine", id=machine["id"])
    assert scene.user.done("deleteNetwork", id=network["id"]) == {"success": True}
    assert scene.user.ok("listNetworks") == {}
    assert scene.user.ok("listPublicIpAddresses") == {}
    assert scene.user.ok("listFirewallRules") == {}
    assert before.networks.keys() < scene.state.networks.keys()  # removed rows are still known by their ids
    with pytest.raises(Refused, match=r"^431: Network ID=\d+ doesn't exist"):
        scene.user.done("deleteNetwork", id=network["id"])


def test_an_address_that_is_asked_for_while_its_network_goes(scene: Scene) -> None:
    network = scene.network()
    gone = scene.user.job("deleteNetwork", id=network["id"])
    late = scene.user.job("associateIpAddress", networkid=network["id"])
    scene.cloud.settle()
    assert [scene.user.result(job)["jobstatus"] for job in (gone, late)] == [1, 2]
    assert {one.state for one in scene.state.addresses.values()} == {"Free"}


def test_a_running_machine_brings_up_a_network_that_it_joins(scene: Scene) -> None:
    first, second = scene.network(), scene.network("other", "10.6.0.1")
    machine = scene.machine("vc1", first, startvm=True)
    scene.user.done("addNicToVirtualMachine", virtualmachineid=machine["id"], networkid=second["id"])
    assert _state(scene, second) == "Implemented"
    lone = scene.network("lone", "10.7.0.1")
    scene.user.done("deleteNetwork", id=lone["id"])
    with pytest.raises(Refused, match="530: Unable to find network"):
        scene.user.done("addNicToVirtualMachine", virtualmachineid=machine["id"], networkid=lone["id"])


def test_only_root_may_force_a_network_away(scene: Scene) -> None:
    with pytest.raises(Refused, match="can only be called by root admins"):
        scene.user.job("deleteNetwork", id=scene.network()["id"], forced=True)


def test_a_network_that_hangs_while_it_comes_up_cannot_be_deleted(scene: Scene) -> None:
    network = scene.network()
    scene.cloud.faults.add("stuck")
    machine = scene.machine("vc1", network)
    scene.user.job("startVirtualMachine", id=machine["id"])
    scene.cloud.advance(4000)
    assert (_state(scene, network), scene.cloud.machine("vc1").state) == ("Implementing", "Stopped")
    with pytest.raises(Refused, match="Failed to delete network"):
        scene.user.done("deleteNetwork", id=network["id"])


def test_vlans_run_out_when_machines_start() -> None:
    scene = Scene(Cloud(default_site(vlans=1)))
    one, two = scene.network("a"), scene.network("b", "10.6.0.1")
    scene.machine("vc1", one, startvm=True)
    machine = scene.machine("vc2", two)
    with pytest.raises(Refused, match="533: Unable to allocate vnet"):
        scene.start(machine)
    assert _state(scene, two) == "Shutdown"
    assert scene.cloud.machine("vc2").state == "Stopped"


def test_a_persistent_network_is_up_at_once(scene: Scene) -> None:
    assert scene.network(offering="IsolatedPersistent")["state"] == "Implemented"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"gateway": "11.1.1.1"}, "Virtual Guest Cidr 11.1.1.0/24 is not RFC 1918 or 6598 compliant"),
        ({"netmask": "255.255.0.0"}, "Cidr size can't be less than 22"),
        ({"gateway": "10.5.0.0"}, "Invalid gateway IP provided. Either the IP is broadcast or network IP."),
        ({"gateway": "10.5"}, "Invalid gateway"),
        ({"netmask": "255.0.255.0"}, "Invalid netmask"),
        ({"networkdomain": "a..b"}, "Invalid network domain. Total length shouldn't exceed 190 chars."),
        ({"offering": "IsolatedVlan"}, "Only ROOT admin is allowed to specify vlanId or bypass vlan overlap check"),
        ({"offering": "IsolatedDisabled"}, "Can't use specified network offering id as its state is not Enabled"),
    ],
)
def test_refusals_of_a_new_network(scene: Scene, given: dict[str, str], text: str) -> None:
    with pytest.raises(Refused) as caught:
        scene.network(**given)
    assert (caught.value.code, caught.value.text[: len(text)]) == (431, text)


def test_without_a_subnet_it_is_the_zones(scene: Scene) -> None:
    wanted = {"networkofferingid": scene.id("network_offerings", NAT_OFFERING), "zoneid": scene.id("zones", "zone1")}
    made = scene.user.ok("createNetwork", name="a", **wanted)["network"]
    assert (made["cidr"], made["gateway"]) == ("10.1.1.0/24", "10.1.1.1")
    with pytest.raises(Refused, match="gateway and netmask should be defined when startIP/endIP are passed in"):
        scene.user.ok("createNetwork", name="a", startip="10.1.1.7", **wanted)


def test_a_security_group_zone_has_no_isolated_networks(scene: Scene) -> None:
    scene.state.zones[scene.id("zones", "zone1")].securitygroups = True
    with pytest.raises(Refused, match="Only shared or L2 guest network can be created in security group enabled zone"):
        scene.network()


def test_names_of_networks_may_be_had_once_only() -> None:
    scene = Scene(Cloud(config=Config(duplicate_network_names=False)))
    scene.network("public")  # the foreign account has one of that name
    with pytest.raises(Refused, match="already exists within account: user"):
        scene.network("public")


def test_shared_networks_are_seen_by_everybody(scene: Scene) -> None:
    shared_network(scene.state, "campus", "198.51.100.0/24", "198.51.100.1")
    (row,) = scene.user.ok("listNetworks")["network"]
    assert (row["name"], row["type"], row["account"]) == ("campus", "Shared", "admin")
    machine = scene.machine("vc1", row, startvm=True)
    assert machine["nic"][0]["ipaddress"].startswith("198.51.100.")
    with pytest.raises(Refused, match="Associate IP address can only be called on the shared networks"):
        scene.address(row)


def test_restart_of_a_network(scene: Scene) -> None:
    network = scene.network()
    with pytest.raises(Refused, match="not in the right state to be restarted"):
        scene.user.done("restartNetwork", id=network["id"])
    scene.machine("vc1", network, startvm=True)
    assert scene.user.done("restartNetwork", id=network["id"], cleanup=True) == {"success": True}
