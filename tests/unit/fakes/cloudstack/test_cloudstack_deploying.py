"""What deployVirtualMachine refuses, in the server's words (contract b.8, b.9, b.11, b.12; e.4 points 8 and 12)."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.cloudstack import Cloud, Config, Refused, default_site
from fakes.cloudstack.errors import MASKED
from fakes.cloudstack.scene import Scene


def refusal(scene: Scene, *networks: dict[str, Any], **given: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        scene.user.ok("deployVirtualMachine", **scene.wanted(given.pop("name", "vc1"), *networks, **given))
    return caught.value


def test_addresses_are_final_before_the_first_start(scene: Scene) -> None:
    network = scene.network()
    (nic,) = scene.machine("vc1", network)["nic"]
    again = scene.user.ok("listVirtualMachines")["virtualmachine"][0]["nic"][0]
    started = scene.start({"id": scene.cloud.machine("vc1").id})["nic"][0]
    kept = ("ipaddress", "macaddress", "gateway", "netmask")
    assert [nic[name] for name in kept] == [again[name] for name in kept] == [started[name] for name in kept]
    assert (nic["gateway"], nic["netmask"], nic["isdefault"]) == ("10.5.0.1", "255.255.255.0", True)
    assert "broadcasturi" in started and "broadcasturi" not in nic


def test_wanted_addresses_and_the_order_of_nics(scene: Scene) -> None:
    private, public = scene.network(), scene.network("public", "10.6.0.1")
    made = scene.machine(
        "vc1",
        iptonetworklist__0__networkid=private["id"],
        iptonetworklist__0__ip="10.5.0.2",
        iptonetworklist__1__networkid=public["id"],
    )
    nics = {nic["networkname"]: nic for nic in made["nic"]}
    assert (nics["private"]["ipaddress"], nics["private"]["deviceid"], nics["private"]["isdefault"]) == (
        "10.5.0.2",
        "0",
        True,
    )
    assert (nics["public"]["deviceid"], nics["public"]["isdefault"]) == ("1", False)
    changed = scene.user.done(
        "updateDefaultNicForVirtualMachine", virtualmachineid=made["id"], nicid=nics["public"]["id"]
    )
    assert {nic["networkname"]: nic["isdefault"] for nic in changed["virtualmachine"]["nic"]} == {
        "private": False,
        "public": True,
    }
    with pytest.raises(Refused, match="refusing to set default NIC because chosen NIC is already the default"):
        scene.user.done("updateDefaultNicForVirtualMachine", virtualmachineid=made["id"], nicid=nics["public"]["id"])


@pytest.mark.parametrize("name", ["1vc", "-vc", "vc-", "v_c", "x" * 64, "vc.1"])
def test_host_names(scene: Scene, name: str) -> None:
    assert refusal(scene, scene.network(), name=name).text.startswith("Invalid name. Vm name can contain ASCII letters")


def test_a_host_name_is_held_until_the_machine_is_expunged(scene: Scene) -> None:
    network, other = scene.network(), scene.network("other", "10.6.0.1")
    machine = scene.machine("vc1", network)
    text = f"The vm with hostName vc1 already exists in the network domain: {network['networkdomain']}; network=private"
    assert refusal(scene, network).text == text
    scene.machine("vc1", other)
    scene.user.done("destroyVirtualMachine", id=machine["id"])
    assert refusal(scene, network).text == text
    scene.cloud.advance(2 * 86400 + 1)
    scene.machine("vc1", network)


def test_a_host_name_may_be_held_by_the_account() -> None:
    scene = Scene(Cloud(config=Config(distinct_hostname_scope="account")))
    scene.machine("vc1", scene.network())
    assert refusal(scene, scene.network("other", "10.6.0.1")).code == 431


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"templateid": "no-such"}, "Invalid parameter templateid value=no-such"),
        ({"template": "slow"}, "The template slow is not available for use"),
        ({"template": "elsewhere"}, "The template elsewhere is not available for use"),
        ({"hypervisor": "XenServer"}, "Hypervisor passed to the deployVm call, is different from the hypervisor type"),
        ({"userdata": "@@@"}, "User data is not base64 encoded."),
        ({"userdata": "QUJD" * 8193}, "User data has exceeded configurable max length: 32768"),
        ({"keypair": "mine"}, "Not all specified keypairs exist"),
        ({"affinitygroupnames": "mine"}, "Unable to find affinity group by name mine"),
        ({"details__0__extraconfig": "x"}, "'extraconfig' should not be included in details as key"),
        (
            {"details__0__cpuNumber": "2"},
            "cpuNumber or cpuSpeed or memory should not be specified for static service offering",
        ),
        (
            {"offering": "Custom"},
            "Need to specify custom parameter values cpu, cpu speed and memory when using custom offering",
        ),
        (
            {"offering": "Custom", "details__0__cpuNumber": "2", "details__0__memory": "512"},
            "Invalid CPU speed value, specify a value between 1 and 2147483647",
        ),
        (
            {"offering": "CustomConstrained", "details__0__cpuNumber": "9", "details__0__memory": "512"},
            "Invalid CPU cores value, specify a value between 1 and 8",
        ),
        (
            {"offering": "CustomConstrained", "details__0__cpuNumber": "2", "details__0__memory": "99"},
            "Invalid memory value, specify a value between 512 and 16384",
        ),
        (
            {"offering": "CustomConstrained", "details__0__cpuNumber": "2", "details__0__memory": "512"}
            | {"details__0__cpuSpeed": "9"},
            "The CPU speed of this offering id:",
        ),
    ],
)
def test_refusals(scene: Scene, given: dict[str, Any], text: str) -> None:
    error = refusal(scene, scene.network(), **given)
    assert error.code == 431
    assert text in error.text


def test_custom_offerings_take_their_sizes(scene: Scene) -> None:
    network = scene.network()
    one = scene.machine(
        "vc1", network, offering="CustomConstrained", details__0__cpuNumber="3", details__0__memory="4096"
    )
    two = scene.machine(
        "vc2",
        network,
        offering="Custom",
        details__0__cpuNumber="2",
        details__1__memory="512",
        details__2__cpuSpeed="700",
    )
    assert [(row["cpunumber"], row["cpuspeed"], row["memory"]) for row in (one, two)] == [
        (3, 1000, 4096),
        (2, 700, 512),
    ]


def test_networks_that_cannot_be_had(scene: Scene) -> None:
    network, other = scene.network(), scene.network("other", "10.6.0.1")
    assert "More than 1 default Isolated networks are found for Account user" in refusal(scene).text
    both = refusal(scene, network, iptonetworklist__0__networkid=other["id"])
    assert both.text == "ipToNetworkMap can't be specified along with networkIds or ipAddress"
    address = refusal(scene, ipaddress="10.5.0.9", iptonetworklist__0__networkid=other["id"])
    assert address.text == "NetworkIds and ipAddress can't be specified along with ipToNetworkMap parameter"
    foreign = next(one for one in scene.state.networks.values() if one.name == "public")
    assert refusal(scene, networkids=foreign.id).code == 531


def test_user_data_needs_a_network_that_serves_it(scene: Scene) -> None:
    network = scene.user.ok(
        "createNetwork",
        name="wire",
        networkofferingid=scene.id("network_offerings", "L2"),
        zoneid=scene.id("zones", "zone1"),
    )["network"]
    assert (
        "there is no support for UserData service in the default network wire"
        in refusal(scene, network, userdata="QUJD").text
    )
    assert "ipaddress" not in scene.machine("vc1", network)["nic"][0]


@pytest.mark.parametrize("ip", ["10.5.0.1", "10.5.0.0", "10.5.0.255", "10.9.0.5", "10.5.0.7"])
def test_users_do_not_learn_why_an_address_cannot_be_had(scene: Scene, ip: str) -> None:
    network = scene.network()
    scene.machine("taken", network, ipaddress="10.5.0.7")
    error = refusal(scene, network, ipaddress=ip)
    assert (error.code, error.text) == (530, MASKED)
    with pytest.raises(Refused) as seen:
        scene.admin.ok("deployVirtualMachine", **scene.wanted("vc2", network, ipaddress=ip))
    assert seen.value.text == "Unable to acquire Guest IP address for network private"


def test_old_servers_say_that_addresses_are_short() -> None:
    scene = Scene(Cloud(config=Config(version="4.11.3.0")))
    error = refusal(scene, scene.network(), ipaddress="10.9.0.5")
    assert (error.code, error.text) == (533, "Unable to acquire Guest IP address for network private")


def test_a_network_is_full(scene: Scene) -> None:
    network = scene.network(netmask="255.255.255.252")
    scene.machine("vc1", network)
    assert refusal(scene, network, name="vc2").code == 530


def test_storage_runs_out() -> None:
    scene = Scene(Cloud(default_site(storage=3)))
    network = scene.network()
    scene.machine("vc2", network)
    with pytest.raises(Refused, match="There are no available pools in the UP state for vm deployment"):
        scene.admin.ok("deployVirtualMachine", **scene.wanted("vc1", network, rootdisksize=2))


def test_limits_of_the_account(scene: Scene) -> None:
    network = scene.network()
    scene.cloud.account("user").limits["user_vm"] = 1
    machine = scene.machine("vc1", network)
    error = refusal(scene, network, name="vc2")
    assert (error.code, error.cserror) == (535, 4370)
    assert error.text.startswith(
        "Maximum amount of resources of Type = 'user_vm', tag = 'null' for Account Name = user"
    )
    row = scene.user.ok("listAccounts")["account"][0]
    assert (row["vmlimit"], row["vmtotal"], row["vmavailable"]) == ("1", 1, "0")
    scene.user.done("destroyVirtualMachine", id=machine["id"])
    assert scene.user.ok("listAccounts")["account"][0]["vmavailable"] == "1"
    limits = scene.user.ok("listResourceLimits", resourcetype=0)["resourcelimit"]
    assert [(one["resourcetype"], one["resourcetypename"], one["max"]) for one in limits] == [("0", "user_vm", 1)]


def test_limits_of_networks_and_addresses(scene: Scene) -> None:
    scene.cloud.account("user").limits |= {"network": 1, "public_ip": 1}
    network = scene.network()
    scene.address(network)
    with pytest.raises(Refused, match=r"535: .*'public_ip'"):
        scene.address(network)
    with pytest.raises(Refused, match=r"535: .*'network'"):
        scene.network("other")


def test_parameters_of_a_job_must_fit_where_jobs_are_kept(scene: Scene) -> None:
    scene.cloud.config.userdata_max = 1 << 20
    network = scene.network()
    assert refusal(scene, network, userdata="QUJD" * 16384).text == MASKED
    machine = scene.machine("vc1", network, userdata="QUJD" * 15000)
    scene.user.ok("updateVirtualMachine", id=machine["id"], userdata="QUJD" * 100_000)


def test_a_password_is_told_once(scene: Scene) -> None:
    scene.state.templates[scene.id("templates", "frontend")].passwordenabled = True
    network = scene.network()
    assert "password" not in scene.machine("vc1", network)
    assert scene.machine("vc2", network, group="vc", startvm=True)["password"].startswith("secret")
    rows = scene.user.ok("listVirtualMachines")["virtualmachine"]
    assert [row.get("password") for row in rows] == [None, None]
    assert scene.user.ok("listVirtualMachines", groupid=rows[1]["groupid"])["virtualmachine"] != rows


def test_only_root_chooses_a_host(scene: Scene) -> None:
    error = refusal(scene, scene.network(), hostid=scene.id("hosts", "host1"))
    text = "Parameter hostid can only be specified by a Root Admin, permission denied"
    assert (error.code, error.text) == (531, text)
