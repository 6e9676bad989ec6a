"""Every kind of answer, held against the fields and types that real servers have (contract e.6)."""

from __future__ import annotations

import pytest

from fakes.cloudstack import Cloud, Config
from fakes.cloudstack.registry import COMMANDS
from fakes.cloudstack.scene import Scene
from fakes.cloudstack.shapes import answer_misfits

KEY = f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'Fake' * 10}Fak me@here"
LISTS = [name for name in COMMANDS if name.startswith("list") and name != "listTemplates"]


def _everything(scene: Scene) -> None:
    user, zone = scene.user, scene.id("zones", "zone1")
    network, other = scene.network(), scene.network("other", "10.6.0.1")
    user.ok("registerSSHKeyPair", name="mine", publickey=KEY)
    data = user.ok("registerUserData", name="a", userdata="QUJD", params="x")["userdata"]
    user.done("createAffinityGroup", name="g", type="host anti-affinity", description="apart")
    machine = scene.machine(
        "vc1", network, keypair="mine", userdataid=data["id"], affinitygroupnames="g", group="vc", startvm=True
    )
    lone = scene.machine("vc2", other)
    made = user.done("addNicToVirtualMachine", virtualmachineid=lone["id"], networkid=network["id"])["virtualmachine"]
    nics = {nic["networkname"]: nic["id"] for nic in made["nic"]}
    user.done("updateDefaultNicForVirtualMachine", virtualmachineid=lone["id"], nicid=nics["private"])
    user.done("removeNicFromVirtualMachine", virtualmachineid=lone["id"], nicid=nics["other"])
    user.done("resetSSHKeyForVirtualMachine", id=lone["id"], keypair="mine")
    user.ok("resetUserDataForVirtualMachine", id=lone["id"], userdata="QUJE")
    user.ok("updateVirtualMachine", id=lone["id"], displayname="second", userdata="QUJF")
    address, forwarded = scene.spare(network), scene.address(network)
    user.ok("enableStaticNat", ipaddressid=address["id"], virtualmachineid=machine["id"])
    ports = {"protocol": "tcp", "publicport": 80, "privateport": 80}
    rule = user.done("createPortForwardingRule", ipaddressid=forwarded["id"], virtualmachineid=machine["id"], **ports)[
        "portforwardingrule"
    ]
    wall = user.done("createFirewallRule", ipaddressid=address["id"], protocol="icmp")["firewallrule"]
    out = user.done("createEgressFirewallRule", networkid=network["id"], protocol="all")["firewallrule"]
    for kind, ident in (("UserVm", machine["id"]), ("Network", network["id"]), ("PublicIpAddress", address["id"])):
        scene.tag(kind, ident, "k", "v")
    given = {"name": "mine", "format": "QCOW2", "hypervisor": "KVM", "zoneid": zone, "url": "http://a.example/b.qcow2"}
    user.ok("registerTemplate", ostypeid=next(iter(scene.state.ostypes)), **given)
    user.ok("deployVirtualMachine", **scene.wanted("vc3", network, startvm=False))
    for name in LISTS:
        for client in (scene.user, scene.admin):
            if client is scene.admin or name != "listCapacity":
                client.ok(name, listall=True) if "listall" in COMMANDS[name].params else client.ok(name)
    user.ok("listVirtualMachines", userdata=True)
    user.ok("listTemplates", templatefilter="executable")
    scene.cloud.settle()
    for command, ident in (
        ("deletePortForwardingRule", rule["id"]),
        ("deleteFirewallRule", wall["id"]),
        ("deleteEgressFirewallRule", out["id"]),
        ("rebootVirtualMachine", machine["id"]),
        ("restartNetwork", network["id"]),
        ("stopVirtualMachine", machine["id"]),
    ):
        user.done(command, id=ident)
    scene.start(machine)
    user.done("disableStaticNat", ipaddressid=address["id"])
    user.done("deleteTags", resourcetype="UserVm", resourceids=machine["id"])
    user.done("disassociateIpAddress", id=address["id"])
    user.done("destroyVirtualMachine", id=machine["id"])
    user.ok("recoverVirtualMachine", id=machine["id"])
    user.done("destroyVirtualMachine", id=machine["id"])
    user.done("expungeVirtualMachine", id=machine["id"])
    user.done("deleteNetwork", id=other["id"])
    user.done("deleteAffinityGroup", name="g")
    user.ok("deleteSSHKeyPair", name="mine")
    user.ok("deleteUserData", id=data["id"])


def test_every_command_answers_as_real_servers_do() -> None:
    scene = Scene(Cloud(config=Config(allow_user_expunge=True, api_limit=10_000)))
    _everything(scene)
    scene.cloud.check()
    answered = [one for one in scene.cloud.log if one.status == 200]
    assert {one.command for one in answered} == set(COMMANDS)
    wrong = [text for one in answered for body in one.answer.values() for text in answer_misfits(one.command, body)]
    assert sorted(set(wrong)) == []


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"zone": [{"id": "a"}]}, "listX.zone[0].name is missing"),
        ({"count": "1"}, "listX.count is '1', not int"),
        ({"keypair": {"id": "a", "name": 7}}, "listX.keypair.name is 7, not a text"),
        ({"nic": [{"deviceid": 0}]}, "listX.nic[0].deviceid is 0, not num"),
        ({"tag": [{"colour": "red"}]}, "listX.tag[0].colour is unknown"),
    ],
)
def test_misfits_are_told(body: dict[str, object], text: str) -> None:
    assert text in answer_misfits("listX", body)
