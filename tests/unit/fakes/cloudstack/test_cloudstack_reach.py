"""Addresses, NAT, firewalls and what packets make of them (contract b.17, b.18; e.4 points 9 and 10)."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.cloudstack import Cloud, Config, Refused, can_reach, can_reach_public, default_site, reached
from fakes.cloudstack.scene import Row, Scene

OUTSIDE = "198.51.100.9"


@pytest.fixture
def network(scene: Scene) -> Row:
    return scene.network()


def _forward(scene: Scene, address: Row, machine: Row, port: int = 22, **more: Any) -> Row:
    given = {"protocol": "tcp", "publicport": port, "privateport": port, **more}
    made: Row = scene.user.done(
        "createPortForwardingRule", ipaddressid=address["id"], virtualmachineid=machine["id"], **given
    )["portforwardingrule"]
    return made


def _open(scene: Scene, address: Row, **given: Any) -> Row:
    made: Row = scene.user.done("createFirewallRule", ipaddressid=address["id"], **given)["firewallrule"]
    return made


def test_the_first_address_is_the_source_nat(scene: Scene, network: Row) -> None:
    first, second = scene.address(network), scene.address(network)
    assert (first["issourcenat"], second["issourcenat"]) == (True, False)
    assert first["associatednetworkid"] == network["id"] != first["networkid"]
    machine = scene.machine("vc1", network, startvm=True)
    assert len(scene.user.ok("listPublicIpAddresses")["publicipaddress"]) == 2  # the start took none
    with pytest.raises(Refused, match=r"431: Can't enable static, ip address .* is a sourceNat ip address"):
        scene.user.ok("enableStaticNat", ipaddressid=first["id"], virtualmachineid=machine["id"])
    with pytest.raises(Refused, match=r"530: IP address is used for source nat purposes and can not be disassociated."):
        scene.user.done("disassociateIpAddress", id=first["id"])
    scene.user.done("stopVirtualMachine", id=machine["id"])
    scene.cloud.advance(2000)
    scene.user.done("disassociateIpAddress", id=first["id"])  # the network is Allocated again
    assert scene.user.done("disassociateIpAddress", id=first["id"]) == {"success": True}


def test_static_nat_of_one_machine_and_one_address(scene: Scene, network: Row) -> None:
    one, two = scene.machine("vc1", network), scene.machine("vc2", network)
    address, other = scene.spare(network), scene.address(network)
    for _ in range(2):  # again is no error
        scene.user.ok("enableStaticNat", ipaddressid=address["id"], virtualmachineid=one["id"])
    (row,) = scene.user.ok("listPublicIpAddresses", isstaticnat=True)["publicipaddress"]
    assert (row["virtualmachineid"], row["vmipaddress"]) == (one["id"], one["nic"][0]["ipaddress"])
    (seen,) = scene.user.ok("listVirtualMachines", id=one["id"])["virtualmachine"]
    assert (seen["publicip"], seen["nic"][0]["publicip"]) == (address["ipaddress"], address["ipaddress"])
    with pytest.raises(Refused, match=r"431: Failed to enable static nat on the  ip .* is already associated"):
        scene.user.ok("enableStaticNat", ipaddressid=other["id"], virtualmachineid=one["id"])
    with pytest.raises(Refused, match=r"^537"):
        scene.user.ok("enableStaticNat", ipaddressid=address["id"], virtualmachineid=two["id"])
    with pytest.raises(Refused, match=r"431: Unable to create port forwarding rule; ip .* has static nat enabled"):
        _forward(scene, address, one)
    scene.user.done("disableStaticNat", ipaddressid=address["id"])
    _forward(scene, address, one)
    with pytest.raises(Refused, match="as it already has PortForwarding rules assigned"):
        scene.user.ok("enableStaticNat", ipaddressid=address["id"], virtualmachineid=two["id"])


def test_nat_needs_a_nic_there(scene: Scene, network: Row) -> None:
    machine = scene.machine("vc1", scene.network("other", "10.6.0.1"))
    address = scene.spare(network)
    with pytest.raises(Refused, match="Vm doesn't belong to the network with specified id"):
        scene.user.ok("enableStaticNat", ipaddressid=address["id"], virtualmachineid=machine["id"])
    with pytest.raises(Refused, match="Vm doesn't belong to network associated with ipAddress"):
        _forward(scene, address, machine)


def test_forwardings_open_the_firewall_and_collide(scene: Scene, network: Row) -> None:
    machine, address = scene.machine("vc1", network), scene.address(network)
    _forward(scene, address, machine, 22)
    _forward(scene, address, machine, 80, openfirewall=False)
    walls = scene.user.ok("listFirewallRules", ipaddressid=address["id"])["firewallrule"]
    assert [one["startport"] for one in walls] == [22]
    with pytest.raises(Refused, match=r"537: The range specified, 20-30, conflicts with rule .* which has 22-22"):
        _forward(scene, address, machine, 20, publicendport=30, privateendport=30)
    with pytest.raises(Refused, match=r"Source port and destination port ranges should be of equal sizes."):
        _forward(scene, address, machine, 20, publicendport=30, privateendport=31)
    with pytest.raises(Refused, match="537: The range specified"):
        _open(scene, address, protocol="tcp", startport=22, endport=22)
    rule = scene.user.ok("listPortForwardingRules", networkid=network["id"])["portforwardingrule"][0]
    scene.user.done("deletePortForwardingRule", id=rule["id"])
    assert scene.user.ok("listPortForwardingRules", networkid=network["id"])["count"] == 1


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"protocol": "tcp", "cidrlist": "10.0.0.300/8"}, "Source CIDRs formatting error 10.0.0.300/8"),
        ({"protocol": "icmp", "startport": 1}, "Can't specify start/end port when protocol is ICMP"),
        ({"protocol": "tcp", "icmptype": 1}, "Can specify icmpCode and icmpType for ICMP protocol only"),
    ],
)
def test_refusals_of_the_firewall(scene: Scene, network: Row, given: dict[str, Any], text: str) -> None:
    with pytest.raises(Refused) as caught:
        _open(scene, scene.address(network), **given)
    assert (caught.value.code, caught.value.text) == (431, text)


def test_rules_without_ports_may_be_had_once(scene: Scene, network: Row) -> None:
    address = scene.address(network)
    _open(scene, address, protocol="tcp")
    with pytest.raises(Refused, match="537: There is already a firewall rule specified with protocol = tcp and no"):
        _open(scene, address, protocol="tcp")
    made = _open(scene, address, protocol="icmp")
    assert (made["icmptype"], made["icmpcode"]) == (-1, -1)
    scene.user.done("deleteFirewallRule", id=made["id"])
    assert scene.user.ok("listFirewallRules")["count"] == 1


def test_the_outside_needs_nat_an_open_port_and_a_running_machine(scene: Scene, network: Row) -> None:
    machine, address = scene.machine("vc1", network), scene.spare(network)
    ip = address["ipaddress"]
    steps = [
        lambda: scene.user.ok("enableStaticNat", ipaddressid=address["id"], virtualmachineid=machine["id"]),
        lambda: _open(scene, address, protocol="tcp", startport=20, endport=25, cidrlist="198.51.100.0/24"),
        lambda: scene.start(machine),
    ]
    for step in steps:
        assert not can_reach_public(scene.cloud, ip, 22)
        step()
    assert can_reach_public(scene.cloud, ip, 22)
    assert not can_reach_public(scene.cloud, ip, 80)
    assert not can_reach_public(scene.cloud, ip, 22, "udp")
    assert reached(scene.cloud, ip, 22, source="192.0.2.1") is None
    scene.user.done("stopVirtualMachine", id=machine["id"])
    assert not can_reach_public(scene.cloud, ip, 22)


def test_a_forwarding_leads_to_another_port(scene: Scene, network: Row) -> None:
    machine, address = scene.machine("vc1", network, startvm=True), scene.address(network)
    _forward(scene, address, machine, 2201, privateport=22)
    found = reached(scene.cloud, address["ipaddress"], 2201)
    assert found is not None
    assert (found[0].name, found[1]) == ("vc1", 22)
    (forward,) = scene.cloud.hypervisor.forwards  # type: ignore[attr-defined]
    assert (forward.port, forward.guest, forward.guest_port) == (2201, machine["nic"][0]["ipaddress"], 22)


def test_nat_to_a_nic_that_is_not_the_default_gets_no_answer(scene: Scene, network: Row) -> None:
    public = scene.network("public", "10.6.0.1")
    machine = scene.machine("vc1", network, public, startvm=True)
    address = scene.spare(public)
    scene.user.ok("enableStaticNat", ipaddressid=address["id"], virtualmachineid=machine["id"])
    _open(scene, address, protocol="tcp", startport=22)
    assert not can_reach_public(scene.cloud, address["ipaddress"], 22)
    assert can_reach_public(scene.cloud, address["ipaddress"], 22, strict=False)
    nic = next(one for one in machine["nic"] if one["networkname"] == "public")
    scene.user.done("updateDefaultNicForVirtualMachine", virtualmachineid=machine["id"], nicid=nic["id"])
    assert can_reach_public(scene.cloud, address["ipaddress"], 22)


def _egress(scene: Scene, network: Row, **given: Any) -> None:
    scene.user.done("createEgressFirewallRule", networkid=network["id"], **given)


def test_egress_rules_allow_where_the_default_denies(scene: Scene, network: Row) -> None:
    scene.machine("vc1", network, startvm=True)
    machine = scene.cloud.machine("vc1")
    assert not can_reach(scene.cloud, machine, OUTSIDE, "tcp", 80)
    _egress(scene, network, protocol="tcp", startport=80, endport=80)
    assert can_reach(scene.cloud, machine, OUTSIDE, "tcp", 80)
    assert not can_reach(scene.cloud, machine, OUTSIDE, "udp", 53)
    _egress(scene, network, protocol="all", cidrlist="0.0.0.0/0")
    assert can_reach(scene.cloud, machine, OUTSIDE, "udp", 53)
    rules = scene.user.ok("listEgressFirewallRules", networkid=network["id"])["firewallrule"]
    assert [one["cidrlist"] for one in rules] == ["10.5.0.0/24", "10.5.0.0/24"]
    with pytest.raises(Refused, match="537: There is already a firewall rule specified with protocol = all"):
        _egress(scene, network, protocol="all")
    for rule in rules:
        scene.user.done("deleteEgressFirewallRule", id=rule["id"])
    assert not can_reach(scene.cloud, machine, OUTSIDE, "tcp", 80)


def test_egress_rules_block_where_the_default_allows(scene: Scene) -> None:
    network = scene.network(offering="IsolatedEgressAllow")
    assert network["egressdefaultpolicy"] is True
    scene.machine("vc1", network, startvm=True)
    assert can_reach(scene.cloud, scene.cloud.machine("vc1"), OUTSIDE, "tcp", 80)
    _egress(scene, network, protocol="all")
    assert not can_reach(scene.cloud, scene.cloud.machine("vc1"), OUTSIDE, "tcp", 80)


def test_refusals_of_egress(scene: Scene, network: Row) -> None:
    with pytest.raises(Refused, match=r"\[10.6.0.0/24\] is not within the guest CIDR \[10.5.0.0/24\]. "):
        _egress(scene, network, protocol="all", cidrlist="10.6.0.0/24")
    with pytest.raises(Refused, match="ports must not be informed to protocol ALL"):
        _egress(scene, network, protocol="all", startport=1)


def test_neighbours_reach_each_other(scene: Scene, network: Row) -> None:
    one, two = (scene.machine(name, network, startvm=True) for name in ("vc1", "vc2"))
    machine = scene.cloud.machine("vc1")
    assert can_reach(scene.cloud, machine, two["nic"][0]["ipaddress"])
    assert can_reach(scene.cloud, machine, "10.5.0.1")
    scene.user.done("stopVirtualMachine", id=two["id"])
    assert not can_reach(scene.cloud, machine, two["nic"][0]["ipaddress"])
    scene.user.done("stopVirtualMachine", id=one["id"])
    assert not can_reach(scene.cloud, machine, "10.5.0.1")


def test_addresses_run_out(scene: Scene, network: Row) -> None:
    scene.cloud.account("user").limits["public_ip"] = -1
    for _ in range(5):
        scene.address(network)
    with pytest.raises(Refused) as caught:
        scene.address(network)
    assert (caught.value.code, caught.value.text) == (533, "Insufficient address capacity")


def test_a_zone_alone_does_not_say_which_network(scene: Scene, network: Row) -> None:
    scene.network("other", "10.6.0.1")
    with pytest.raises(Refused, match="Account has more than one isolated Network in the zone"):
        scene.user.ok("associateIpAddress", zoneid=scene.id("zones", "zone1"))


def test_one_old_version_gives_no_address_to_a_network_that_is_not_up() -> None:
    scene = Scene(Cloud(config=Config(version="4.12.0.0")))
    with pytest.raises(Refused, match="Network is in allocated state"):
        scene.address(scene.network())


def test_a_released_address_may_be_kept_for_its_last_owner() -> None:
    scene = Scene(Cloud(default_site(public_ips=1), Config(ip_quarantine=300)))
    address = scene.address(scene.network())
    scene.user.done("disassociateIpAddress", id=address["id"])
    foreign = next(one.id for one in scene.state.networks.values() if one.name == "public")
    with pytest.raises(Refused, match=r"^533"):
        scene.foreign.job("associateIpAddress", networkid=foreign)
    scene.cloud.advance(300)
    scene.foreign.job("associateIpAddress", networkid=foreign)
