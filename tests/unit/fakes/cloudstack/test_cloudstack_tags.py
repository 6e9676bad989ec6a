"""Tags, roles, versions, templates and lists of what there is (contract b.1 to b.3, b.8 to b.10, b.19 to b.21)."""

from __future__ import annotations

import pytest

from fakes.cloudstack import Cloud, Config, Refused
from fakes.cloudstack.scene import Scene


def test_several_tags_are_alternatives(scene: Scene) -> None:
    network = scene.network()
    for name, cluster in (("vc1", "one"), ("vc2", "two"), ("vc3", "three")):
        machine = scene.machine(name, network)
        scene.tag("uservm", machine["id"], "pragma.cluster", cluster)
    scene.tag("Network", network["id"], "pragma.cluster", "one")
    found = scene.user.ok(
        "listVirtualMachines",
        tags__0__key="pragma.cluster",
        tags__0__value="one",
        tags__1__key="pragma.cluster",
        tags__1__value="two",
    )
    assert [one["name"] for one in found["virtualmachine"]] == ["vc1", "vc2"]
    (tag,) = found["virtualmachine"][0]["tags"]
    assert (tag["key"], tag["value"], tag["resourcetype"]) == ("pragma.cluster", "one", "UserVm")
    assert scene.user.ok("listTags", value="one")["count"] == 2
    assert scene.user.ok("listNetworks", tags__0__key="pragma.cluster", tags__0__value="two") == {}


def test_a_key_that_is_there_rolls_all_of_the_call_back(scene: Scene) -> None:
    one, two = scene.network("a"), scene.network("b", "10.6.0.1")
    scene.tag("Network", two["id"], "k", "v")
    with pytest.raises(Refused) as caught:
        scene.tag("Network", f"{one['id']},{two['id']}", "k", "w")
    assert (caught.value.code, caught.value.text) == (530, f"tag k already on Network with id {two['id']}")
    assert scene.user.ok("listTags")["count"] == 1


def test_refusals_of_tags(scene: Scene) -> None:
    network = scene.network()
    with pytest.raises(Refused, match="The resource type AffinityGroup doesn't support resource tags"):
        scene.tag("AffinityGroup", network["id"], "k", "v")
    with pytest.raises(Refused, match="Value for the key k is either null or empty"):
        scene.tag("Network", network["id"], "k", "")
    foreign = next(one.id for one in scene.state.networks.values() if one.name == "public")
    with pytest.raises(Refused, match=r"^531"):
        scene.tag("Network", foreign, "k", "v")


def test_tags_of_an_address_outlive_its_owner_and_those_of_others_do_not(scene: Scene) -> None:
    scene.cloud.config.allow_user_expunge = True
    network = scene.network()
    machine, address = scene.machine("vc1", network), scene.address(network)
    scene.tag("UserVm", machine["id"], "k", "v")
    scene.tag("PublicIpAddress", address["id"], "k", "v")
    scene.user.done("destroyVirtualMachine", id=machine["id"], expunge=True)
    scene.user.done("disassociateIpAddress", id=address["id"])
    (left,) = scene.state.tags.values()
    assert left.resourceid == address["id"]
    scene.cloud.account("foreign")
    foreign = next(one.id for one in scene.state.networks.values() if one.name == "public")
    scene.foreign.done("associateIpAddress", networkid=foreign, ipaddress=address["ipaddress"])
    assert scene.foreign.ok("listPublicIpAddresses")["publicipaddress"][0]["tags"][0]["value"] == "v"


def test_tags_are_taken_off(scene: Scene) -> None:
    network = scene.network()
    scene.tag("Network", network["id"], "k", "v")
    with pytest.raises(Refused, match="530: Unable to find any tags"):
        scene.user.done("deleteTags", resourcetype="Network", resourceids=network["id"], tags__0__key="other")
    scene.user.done("deleteTags", resourcetype="Network", resourceids=network["id"], tags__0__key="k")
    assert scene.user.ok("listTags") == {}


def test_capacity_is_for_admins(scene: Scene) -> None:
    with pytest.raises(Refused, match="401: The given command 'listCapacity' either does not exist, is not available"):
        scene.user.ok("listCapacity")
    rows = {row["name"]: row for row in scene.admin.ok("listCapacity", zoneid=scene.id("zones", "zone1"))["capacity"]}
    assert (rows["VIRTUAL_NETWORK_PUBLIC_IP"]["capacitytotal"], rows["CPU_CORE"]["capacitytotal"]) == (5, 16)


def test_what_old_servers_do_not_know() -> None:
    scene = Scene(Cloud(config=Config(version="4.11.3.0")))
    one, two = scene.network("a"), scene.network("b", "10.6.0.1")
    assert scene.user.ok("listCapabilities")["capability"]["cloudstackversion"] == "4.11.3.0"
    assert scene.user.ok("listNetworks", name="a")["count"] == 2
    assert scene.user.ok("listNetworks", keyword="a")["count"] == 1
    scene.machine("vc4", one)
    scene.machine("vc40", two, userdataid="not looked at")
    assert scene.user.ok("listVirtualMachines", name="vc4")["count"] == 2
    assert scene.user.ok("listServiceOfferings", cpunumber=4)["count"] == 5
    assert "deleteprotection" not in scene.user.ok("listVirtualMachines")["virtualmachine"][0]
    with pytest.raises(Refused, match=r"^401") as caught:
        scene.user.ok("registerUserData", name="a", userdata="QUJD")
    assert caught.value.key == "errorresponse"
    address = scene.address(one)
    with pytest.raises(Refused, match="missing parameter id"):
        scene.user.job("disassociateIpAddress", ipaddress=address["ipaddress"])
    scene.cloud.check()  # what newer servers know is no mistake of a client


def test_new_servers_filter(scene: Scene) -> None:
    scene.network("a")
    scene.network("ab", "10.6.0.1")
    assert scene.user.ok("listNetworks", name="a")["count"] == 1
    offers = scene.user.ok("listServiceOfferings", cpunumber=4)["serviceoffering"]
    assert [one["name"] for one in offers] == ["Large", "CustomConstrained", "Custom"]
    assert "cpunumber" not in offers[1]
    assert offers[1]["serviceofferingdetails"]["maxcpunumber"] == "8"
    named = scene.user.ok("listNetworkOfferings", guestiptype="Isolated", state="Enabled", specifyvlan=False)
    assert "IsolatedVlan" not in [one["name"] for one in named["networkoffering"]]


def test_templates_by_zone_and_filter(scene: Scene) -> None:
    zone = scene.id("zones", "zone1")

    def names(**given: object) -> list[str]:
        return [one["name"] for one in scene.user.ok("listTemplates", **given).get("template", [])]

    assert names(templatefilter="community", name="frontend") == ["frontend", "frontend"]
    assert names(templatefilter="community", name="frontend", showunique=True) == ["frontend"]
    assert names(templatefilter="community", zoneid=zone) == ["frontend", "compute", "slow", "twice", "twice"]
    assert names(templatefilter="executable", zoneid=zone) == ["frontend", "compute", "featured", "twice", "twice"]
    assert names(templatefilter="featured", zoneid=zone) == ["featured"]
    assert names(templatefilter="self") == []
    with pytest.raises(Refused, match="Filter all can be specified by admin only"):
        names(templatefilter="all")
    with pytest.raises(
        Refused, match=r"No enum constant com.cloud.template.VirtualMachineTemplate.TemplateFilter.mine"
    ):
        names(templatefilter="mine")


def test_a_template_is_registered_and_ready_later(scene: Scene) -> None:
    zone, ostype = scene.id("zones", "zone1"), scene.user.ok("listOsTypes", keyword="other linux")["ostype"][0]["id"]
    given = {"name": "mine", "format": "QCOW2", "hypervisor": "KVM", "zoneid": zone, "ostypeid": ostype}
    made = scene.user.ok("registerTemplate", url="http://images.example/mine.qcow2", **given)
    assert (made["count"], made["template"][0]["isready"]) == (1, False)
    assert "Downloaded" in made["template"][0]["status"]
    scene.cloud.advance(10)
    (row,) = scene.user.ok("listTemplates", templatefilter="self", id=made["template"][0]["id"])["template"]
    assert (row["isready"], row["status"]) == (True, "Download Complete")
    lost = scene.user.ok("registerTemplate", url="http://images.example/missing.qcow2", **given)["template"][0]
    assert lost["isready"] is False and lost["status"].startswith("Failed to download")
    with pytest.raises(Refused, match="URL: file:///etc/passwd validation failed on host"):
        scene.user.ok("registerTemplate", url="file:///etc/passwd", **given)
    with pytest.raises(Refused, match="Please provide a guest OS type"):
        scene.user.ok("registerTemplate", url="http://a.example/b", **{**given, "ostypeid": ""})


def test_zones(scene: Scene) -> None:
    assert scene.user.ok("listZones", available=True)["count"] == 2
    assert scene.user.ok("listZones", available=False) == {}
    zone = scene.user.ok("listZones", name="zone1")["zone"][0]
    assert (zone["networktype"], zone["securitygroupsenabled"], zone["guestcidraddress"]) == (
        "Advanced",
        False,
        "10.1.1.0/24",
    )
