"""Machines on their way through their states (contract b.13 to b.16; e.4 points 8 and 12)."""

from __future__ import annotations

import pytest

from fakes.cloudstack import Cloud, Config, Refused, default_site
from fakes.cloudstack.scene import Scene


def _state(scene: Scene, name: str = "vc1") -> str:
    return scene.cloud.machine(name).state


def test_start_and_stop(scene: Scene) -> None:
    machine = scene.machine("vc1", scene.network(), startvm=True)
    assert machine["state"] == "Running"
    for _ in range(2):
        assert scene.user.done("stopVirtualMachine", id=machine["id"])["virtualmachine"]["state"] == "Stopped"
    with pytest.raises(Refused, match="is not running, unable to reboot it"):
        scene.user.done("rebootVirtualMachine", id=machine["id"])
    assert scene.start(machine)["state"] == "Running"
    assert scene.user.done("rebootVirtualMachine", id=machine["id"])["virtualmachine"]["state"] == "Running"


def test_users_may_not_be_allowed_to_force(scene: Scene) -> None:
    scene.cloud.config.allow_user_force_stop = False
    machine = scene.machine("vc1", scene.network(), startvm=True)
    with pytest.raises(Refused, match=r"Account does not have the permission to force stop the vm."):
        scene.user.done("stopVirtualMachine", id=machine["id"], forced=True)
    assert _state(scene) == "Running"


def test_a_start_in_deploy_that_fails_leaves_an_error_and_a_later_one_does_not(scene: Scene) -> None:
    network = scene.network()
    scene.cloud.hypervisor.broken["vc1"] = scene.cloud.hypervisor.broken["vc2"] = "no such disk"  # type: ignore[attr-defined]
    with pytest.raises(Refused, match=r"530: Unable to start VM instance .*no such disk"):
        scene.machine("vc1", network, startvm=True)
    (row,) = scene.user.ok("listVirtualMachines")["virtualmachine"]
    assert (row["state"], row["name"], bool(row["nic"][0]["ipaddress"])) == ("Error", "vc1", True)
    with pytest.raises(Refused, match=r"530: Cannot start .* in Error state"):
        scene.start(row)
    with pytest.raises(Refused, match="is not in the right state"):
        scene.user.ok("updateVirtualMachine", id=row["id"], userdata="QUJD")
    later = scene.machine("vc2", network)
    with pytest.raises(Refused, match="no such disk"):
        scene.start(later)
    assert _state(scene, "vc2") == "Stopped"


def test_hosts_have_so_much_room(scene: Scene) -> None:
    network = scene.network()
    names = [f"n{number}" for number in range(5)]
    rows = [scene.machine(name, network, offering="Large") for name in names]
    for row in rows[:4]:
        scene.start(row)
    with pytest.raises(Refused) as caught:
        scene.start(rows[4])
    assert caught.value.code == 533
    assert caught.value.text.startswith('Unable to create a deployment for VM instance {"id":')
    assert caught.value.text.endswith("after 3 attempts")
    with pytest.raises(Refused, match=r"530: .*Last known error: No suitable host found"):
        scene.admin.done("startVirtualMachine", id=rows[4]["id"])
    assert _state(scene, "n4") == "Stopped"


def test_strict_anti_affinity_needs_as_many_hosts(scene: Scene) -> None:
    network = scene.network()
    for kind, count in (("host anti-affinity", 2), ("non-strict host anti-affinity", 3)):
        scene.user.done("createAffinityGroup", name=kind, type=kind)
        rows = [scene.machine(f"{kind[:3]}{n}", network, affinitygroupnames=kind) for n in range(3)]
        started = 0
        for row in rows:
            try:
                scene.start(row)
                started += 1
            except Refused as error:
                assert error.code == 533
                assert "Please check the affinity groups provided" in error.text
        assert started == count
    with pytest.raises(Refused, match=r"a group with name host anti-affinity already exists."):
        scene.user.ok("createAffinityGroup", name="host anti-affinity", type="host affinity")
    scene.user.done("deleteAffinityGroup", name="host anti-affinity")
    assert scene.user.ok("listAffinityGroups")["count"] == 1


def test_destroyed_machines_are_hidden_and_expunged_later(scene: Scene) -> None:
    machine = scene.machine("vc1", scene.network(), startvm=True)
    result = scene.user.done("destroyVirtualMachine", id=machine["id"])
    assert result == {"virtualmachine": {}}
    assert _state(scene) == "Destroyed"
    assert scene.user.ok("listVirtualMachines") == {}
    assert scene.admin.ok("listVirtualMachines", id=machine["id"], listall=True)["count"] == 1
    scene.cloud.config.allow_user_view_destroyed = True
    assert scene.user.ok("listVirtualMachines", state="Destroyed")["count"] == 1
    scene.cloud.advance(2 * 86400)
    with pytest.raises(KeyError):
        scene.cloud.machine("vc1")
    with pytest.raises(Refused, match=r"^431: unable to find a virtual machine with id \d+"):
        scene.user.job("destroyVirtualMachine", id=machine["id"])


@pytest.mark.parametrize(
    ("version", "text"),
    [("4.23.0.0", "Account does not have permission for expunging."), ("4.11.3.0", "Parameter expunge can be passed")],
)
def test_who_may_not_expunge_does_not_even_destroy(version: str, text: str) -> None:
    scene = Scene(Cloud(config=Config(version=version)))
    machine = scene.machine("vc1", scene.network(), startvm=True)
    with pytest.raises(Refused, match=f"530: {text}"):
        scene.user.done("destroyVirtualMachine", id=machine["id"], expunge=True)
    assert _state(scene) == "Running"
    assert scene.user.ok("listCapabilities")["capability"]["allowuserexpungerecovervm"] is False


def test_expunge_and_recover(scene: Scene) -> None:
    scene.cloud.config.allow_user_expunge = True
    network = scene.network()
    one, two = scene.machine("vc1", network), scene.machine("vc2", network)
    scene.user.done("destroyVirtualMachine", id=one["id"])
    scene.user.ok("recoverVirtualMachine", id=one["id"])
    assert _state(scene) == "Stopped"
    for row in (one, two):
        scene.user.done("destroyVirtualMachine", id=row["id"], expunge=True)
    assert scene.cloud.hypervisor.disks == set()  # type: ignore[attr-defined]
    scene.user.done("deleteNetwork", id=network["id"])


def test_delete_protection(scene: Scene) -> None:
    machine = scene.machine("vc1", scene.network())
    scene.user.ok("updateVirtualMachine", id=machine["id"], deleteprotection=True)
    with pytest.raises(Refused, match=r"has delete protection enabled and cannot be deleted."):
        scene.user.done("destroyVirtualMachine", id=machine["id"])


def test_user_data_is_given_later_and_reaches_the_router_at_start(scene: Scene) -> None:
    network = scene.network()
    machine = scene.machine("vc1", network)
    served = scene.cloud.hypervisor.served  # type: ignore[attr-defined]
    scene.user.ok("updateVirtualMachine", id=machine["id"], userdata="PHZjLz4")  # without its padding
    assert served == {}
    scene.start(machine)
    where = f"{network['id']}/{machine['nic'][0]['ipaddress']}"
    assert served == {where: "PHZjLz4="}
    scene.user.ok("updateVirtualMachine", id=machine["id"], userdata="QUJD")
    assert served == {where: "QUJD"}
    (row,) = scene.user.ok("listVirtualMachines", userdata=True)["virtualmachine"]
    assert row["userdata"] == "QUJD"
    assert "userdata" not in scene.user.ok("listVirtualMachines")["virtualmachine"][0]
    with pytest.raises(Refused, match="should be stopped to do UserData reset"):
        scene.user.ok("resetUserDataForVirtualMachine", id=machine["id"], userdata="QUJE")


def test_a_machine_that_goes_off_by_itself(scene: Scene) -> None:
    scene.machine("vc1", scene.network(), startvm=True)
    scene.cloud.faults.add("power", machine="vc1", text="Stopped")
    assert scene.user.ok("listVirtualMachines", state="Running") == {}
    scene.cloud.faults.add("power", machine="vc1", text="Running", when="after")
    assert scene.user.ok("listVirtualMachines", state="Running") == {}
    assert scene.user.ok("listVirtualMachines", state="Running")["count"] == 1
    scene.cloud.hypervisor.stop(scene.cloud.machine("vc1"), True)  # a guest that halts
    scene.cloud.tick()
    assert _state(scene) == "Stopped"


def test_nics_come_and_go(scene: Scene) -> None:
    network, other = scene.network(), scene.network("other", "10.6.0.1")
    machine = scene.machine("vc1", network)
    made = scene.user.done("addNicToVirtualMachine", virtualmachineid=machine["id"], networkid=other["id"])
    nics = {nic["networkname"]: nic for nic in made["virtualmachine"]["nic"]}
    with pytest.raises(Refused, match=f"A NIC already exists for VM:i-2-11-VM in network: {other['id']}"):
        scene.user.done("addNicToVirtualMachine", virtualmachineid=machine["id"], networkid=other["id"])
    with pytest.raises(Refused, match="nic is default"):
        scene.user.done("removeNicFromVirtualMachine", virtualmachineid=machine["id"], nicid=nics["private"]["id"])
    scene.user.done("removeNicFromVirtualMachine", virtualmachineid=machine["id"], nicid=nics["other"]["id"])
    assert len(scene.cloud.machine("vc1").nics) == 1


def test_lists_of_machines(scene: Scene) -> None:
    network = scene.network()
    one, two = scene.machine("vc4", network), scene.machine("vc40", network, startvm=True)
    user = scene.user
    assert [row["id"] for row in user.ok("listVirtualMachines", name="vc4")["virtualmachine"]] == [one["id"]]
    assert user.ok("listVirtualMachines", keyword="vc4")["count"] == 2
    assert user.ok("listVirtualMachines", ids=f"{one['id']},{two['id']},{network['id']}")["count"] == 2
    assert user.ok("listVirtualMachines", networkid=network["id"], state="Present")["count"] == 2
    with pytest.raises(Refused, match="Specify either id or ids but not both parameters"):
        user.ok("listVirtualMachines", id=one["id"], ids=one["id"])
    assert user.ok("listVirtualMachines", id=two["id"])["virtualmachine"][0].keys().isdisjoint({"hostid", "hostname"})


def test_an_ssh_key_is_set_while_the_machine_is_off(scene: Scene) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFak me@here"
    made = scene.user.ok("registerSSHKeyPair", name="mine", publickey=key)["keypair"]
    assert scene.user.ok("listSSHKeyPairs", fingerprint=made["fingerprint"])["sshkeypair"][0]["name"] == "mine"
    for name, publickey, text in (
        ("mine", "ssh-rsa AAAA", "A key pair with name 'mine' already exists for this account."),
        ("yours", key, f"A key pair with key '{key}' already exists for this account."),
        ("yours", "nonsense", "Public key is invalid"),
    ):
        with pytest.raises(Refused) as caught:
            scene.user.ok("registerSSHKeyPair", name=name, publickey=publickey)
        assert caught.value.text == text
    machine = scene.machine("vc1", scene.network(), startvm=True)
    with pytest.raises(Refused, match="should be stopped to do SSH Key reset"):
        scene.user.ok("resetSSHKeyForVirtualMachine", id=machine["id"], keypair="mine")
    scene.user.done("stopVirtualMachine", id=machine["id"])
    answer = scene.user.send("resetSSHKeyForVirtualMachine", id=machine["id"], keypair="mine")
    assert b'{"resetSSHKeyforvirtualmachineresponse": ' in answer.body
    scene.cloud.settle()
    assert scene.cloud.machine("vc1").keypairs == ["mine"]
    scene.user.ok("deleteSSHKeyPair", name="mine")
    assert scene.user.ok("listSSHKeyPairs") == {}


def test_registered_user_data(scene: Scene) -> None:
    made = scene.user.ok("registerUserData", name="a", userdata="QUJD")["userdata"]
    for name, content, text in (("a", "QUJE", "name a already"), ("b", "QUJD", "a with same content already exists")):
        with pytest.raises(Refused, match=text):
            scene.user.ok("registerUserData", name=name, userdata=content)
    network = scene.network()
    with pytest.raises(Refused, match="Both userdata and userdata ID inputs are not allowed"):
        scene.machine("vc1", network, userdataid=made["id"], userdata="QUJD")
    scene.machine("vc1", network, userdataid=made["id"])
    assert scene.cloud.machine("vc1").userdata == "QUJD"
    with pytest.raises(Refused, match="Userdata a cannot be removed as it is being used by some instances"):
        scene.user.ok("deleteUserData", id=made["id"])


def test_a_host_may_be_bigger() -> None:
    scene = Scene(Cloud(default_site(hosts=1, host_cpus=2)))
    with pytest.raises(Refused, match=r"^533"):
        scene.machine("vc1", scene.network(), offering="Large", startvm=True)
    assert _state(scene) == "Error"
