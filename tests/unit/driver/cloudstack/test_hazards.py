"""What users of CloudStack report (cloudstack.md c.4), and what its servers do that nobody would expect."""

from __future__ import annotations

import base64
import re
import threading
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from fakes.cloud_site import CloudSite, cloud_site, settings_for
from fakes.cloudstack import (
    FOREIGN,
    USER,
    Client,
    Config,
    assert_clean,
    can_reach,
    can_reach_public,
    leftovers,
    shared_network,
)
from fakes.engine import plan
from pragma_boot.driver.cloudstack.driver import CloudStackDriver
from pragma_boot.errors import CapacityError, DriverError, PendingError, PreflightError
from pragma_boot.model import Allocation, ClusterName, ImageName, Leases, NodeName, NodeState, Plan, Role

LAB = ClusterName("lab")
WEB = ("192.0.2.1", "tcp", 80)


def wish(cluster: str = "lab", computes: int = 1, **more: object) -> Plan:
    return replace(plan(cluster, computes), image=ImageName("frontend"), **more)  # type: ignore[arg-type]


def boot(site: CloudSite, wanted: Plan | None = None, *, size: int = 5) -> Allocation:
    driver, wanted = site.driver, wanted or wish()
    fitted = driver.fit(wanted)
    allocation = driver.allocate(fitted, Leases(wanted.cluster, None, f"{wanted.cluster}.example.org", 0, {}))
    documents = {node.name: f"<vc name='{node.name}'/>".ljust(size).encode() for node in allocation.nodes}
    driver.deploy(allocation, {}, {}, documents=documents)
    return allocation


# ------------------------------------------------------------------------------------------------ what is left behind


def test_a_network_whose_machines_are_only_destroyed_is_pending_and_a_later_clean_finishes(tmp_path: Path) -> None:
    """hashicorp/terraform-provider-cloudstack 24; I#7936: the user may not expunge."""
    with cloud_site(tmp_path, config=Config(allow_user_expunge=False)) as site:
        before = site.cloud.snapshot()
        boot(site)
        for _ in range(2):
            with pytest.raises(PendingError) as caught:
                site.driver.release(LAB)
            assert "expunge" in (caught.value.details or "")
            private = site.driver._cloud.networks(LAB)[0]
            assert private.id in caught.value.message
            assert private.tags["pragma.pending-delete"].startswith("2026-08-22T14:")
            assert site.driver.survey() == {}
        assert not [each for each in leftovers(site.cloud, "user", before) if each.kind == "addresses" and each.name in
                    {one.ip for one in site.cloud.state.addresses.values() if not one.sourcenat}]  # fmt: skip
        site.cloud.advance(2 * 86400)
        site.driver.release(LAB)
        assert_clean(site.cloud, "user", before)


def test_a_machine_in_state_error_is_destroyed_and_its_name_is_free_again(tmp_path: Path) -> None:
    """CAPC#58, I#4600."""
    with cloud_site(tmp_path) as site:
        before = site.cloud.snapshot()
        boot(site)
        site.cloud.machine("lab-compute-0").state = "Error"
        assert site.driver.status(LAB)[NodeName("compute-0")].state is NodeState.CRASHED
        site.driver.release(LAB)
        assert_clean(site.cloud, "user", before)
        boot(site)


def test_rules_and_addresses_go_with_the_cluster_and_tags_before_the_address(tmp_path: Path) -> None:
    """CAPC#293, #35; I#6620: tags survive on an address that was let go, and its next owner would see them."""
    with cloud_site(tmp_path) as site:
        before = site.cloud.snapshot()
        boot(site)
        site.driver.release(LAB)
        assert not site.cloud.state.tags
        assert_clean(site.cloud, "user", before)


def test_tags_that_somebody_left_on_our_address_do_not_make_it_theirs(tmp_path: Path) -> None:
    """I#6620 the other way round: a tag on an address alone says nothing."""
    with cloud_site(tmp_path) as site:
        first = boot(site)
        tags = {tag.resourceid: tag for tag in site.cloud.state.tags.values() if tag.kind == "PublicIpAddress"}
        assert tags
        address = next(each for each in site.cloud.state.addresses.values() if each.ip == str(first.public_ip))
        site.cloud.release(address)  # by somebody else: our tags stay on it
        assert any(tag.resourceid == address.id for tag in site.cloud.state.tags.values())
        site.driver.release(LAB)
        assert address.state == "Free"
        boot(site, wish("other"))
        assert site.driver.status(LAB) == {}


def test_a_network_that_is_stuck_is_told(tmp_path: Path) -> None:
    """I#12249: users cannot delete a network in state Implementing."""
    with cloud_site(tmp_path) as site:
        before = site.cloud.snapshot()
        site.cloud.stuck = True
        with pytest.raises(DriverError):
            boot(site)
        with pytest.raises(DriverError) as caught:
            site.driver.release(LAB)
        told = caught.value.details or ""
        for each in leftovers(site.cloud, "user", before):
            assert each.kind not in ("networks", "machines") or each.id in told


def test_nothing_of_others_is_ever_touched(tmp_path: Path) -> None:
    """A look-alike of another account, an own machine of that name, a network called as ours."""
    with cloud_site(tmp_path) as site:
        mine, theirs = Client(site.cloud, USER), Client(site.cloud, FOREIGN)
        zone = mine.ok("listZones", name="zone1")["zone"][0]["id"]
        offering = mine.ok("listNetworkOfferings", name=site.settings.network_offering)["networkoffering"][0]["id"]
        for who in (mine, theirs):
            net = who.ok("createNetwork", name="pragma-lab-private", networkofferingid=offering, zoneid=zone)
            small = who.ok("listServiceOfferings", name="Small")["serviceoffering"][0]["id"]
            image = who.ok("listTemplates", templatefilter="community", name="frontend", zoneid=zone)["template"][0][
                "id"
            ]
            who.done(
                "deployVirtualMachine", name="lab", zoneid=zone, serviceofferingid=small, templateid=image,
                networkids=net["network"]["id"], startvm=False,
            )  # fmt: skip
        before = site.cloud.snapshot()
        site.driver.release(LAB)
        assert_clean(site.cloud, "user", before)
        boot(site)
        site.driver.shutdown(LAB, grace=1)
        site.driver.release(LAB)
        assert_clean(site.cloud, "user", before)
        assert_clean(site.cloud, "foreign", before)


def test_a_machine_that_somebody_put_into_our_network_is_not_ours(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        boot(site)
        mine = Client(site.cloud, USER)
        net = next(one for one in site.cloud.state.networks.values() if one.name == "pragma-lab-private")
        lab = site.cloud.machine("lab")
        guest = mine.done(
            "deployVirtualMachine", name="guest", zoneid=net.zoneid, serviceofferingid=lab.offeringid,
            templateid=lab.templateid, networkids=net.id, startvm=False,
        )["virtualmachine"]["id"]  # fmt: skip
        with pytest.raises(DriverError) as caught:
            site.driver.release(LAB)
        assert net.id in (caught.value.details or "")
        assert "Failed to delete network" in (caught.value.details or "")
        assert site.cloud.machine("guest").id == guest
        mine.done("destroyVirtualMachine", id=guest, expunge=True)
        site.driver.release(LAB)
        assert site.driver.survey() == {}


def test_another_site_of_the_same_account_is_another_owner(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        boot(site)
        other = CloudSite(tmp_path / "other", site.cloud, site.settings, False)
        assert other.driver.survey() == {}
        assert LAB in other.driver.in_use().clusters
        before = site.cloud.snapshot()
        other.driver.release(LAB)
        assert_clean(site.cloud, "user", before)


def test_clusters_share_the_public_network_and_the_last_takes_it_along(tmp_path: Path) -> None:
    with cloud_site(tmp_path, public_ips=8) as site:
        before = site.cloud.snapshot()
        boot(site)
        boot(site, wish("two"))
        assert len([net for net in site.cloud.state.networks.values() if net.name == "public" and not net.removed]) == 2
        site.driver.release(LAB)
        assert can_reach(site.cloud, site.cloud.machine("two"), *WEB)
        site.driver.release(ClusterName("two"))
        assert_clean(site.cloud, "user", before)


def test_a_lost_state_folder_hides_no_cluster(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        before = site.cloud.snapshot()
        allocation = boot(site)
        for note in (tmp_path / "state" / "cloudstack").glob("*"):
            note.unlink()
        assert site.driver.survey()[LAB][NodeName(LAB)].public_ip == allocation.public_ip
        site.driver.release(LAB)
        assert_clean(site.cloud, "user", before)


# ------------------------------------------------------------------------------------------------- networks and ways


def test_nodes_reach_out_where_nothing_may_by_default(tmp_path: Path) -> None:
    """I#7565, I#5957, CAPC#47, #220: one rule for all protocols; TCP alone breaks DNS and NTP."""
    with cloud_site(tmp_path) as site:
        boot(site)
        frontend = site.cloud.machine("lab")
        assert can_reach(site.cloud, frontend, *WEB)
        assert can_reach(site.cloud, frontend, "192.0.2.53", "udp", 53)


def test_no_rule_is_made_where_everything_may_out_for_it_would_block(tmp_path: Path) -> None:
    """I#1666, I#5970: the meaning of egress rules turns round with the network's default."""
    with cloud_site(tmp_path, more={"network_offering": "IsolatedEgressAllow"}) as site:
        boot(site)
        assert can_reach(site.cloud, site.cloud.machine("lab"), *WEB)
        assert not [rule for rule in site.cloud.state.rules.values() if rule.kind == "egress"]


def test_the_first_address_is_the_networks_and_the_cluster_gets_one_of_its_own(tmp_path: Path) -> None:
    """I#3125, I#3321: the first is source NAT: it can be neither translated nor let go."""
    with cloud_site(tmp_path) as site:
        allocation = boot(site)
        address = next(each for each in site.cloud.state.addresses.values() if each.ip == str(allocation.public_ip))
        assert address.staticnat
        assert not address.sourcenat
        assert can_reach_public(site.cloud, str(allocation.public_ip), 22)
        assert not can_reach_public(site.cloud, str(allocation.public_ip), 25)


def test_translation_leads_to_the_default_interface(tmp_path: Path) -> None:
    """I#8366: to another it does not work; guests look for their data by it, too (I#3557, cloud-init#3427)."""
    with cloud_site(tmp_path) as site:
        allocation = boot(site)
        nics = {nic.default: nic for nic in site.cloud.machine("lab").nics}
        assert nics[True].ip == str(allocation.frontend.nic("public").address.ip)
        assert nics[False].device == 0, "the private interface is the first device all the same"


def test_user_data_is_had_on_every_network_of_a_node(tmp_path: Path) -> None:
    """I#3557, cloud-init#3427: a guest with two interfaces may ask either router."""
    with cloud_site(tmp_path) as site:
        boot(site)
        machine = site.cloud.machine("lab")
        served = site.cloud.hypervisor.served  # type: ignore[attr-defined]
        assert {served[f"{nic.networkid}/{nic.ip}"] for nic in machine.nics} == {machine.userdata}


def test_the_private_interface_stays_the_default_where_the_site_says_so(tmp_path: Path) -> None:
    with cloud_site(tmp_path, more={"public_first": False}) as site:
        allocation = boot(site)
        default = next(nic for nic in site.cloud.machine("lab").nics if nic.default)
        assert default.ip == str(allocation.frontend.nic("private").address.ip)


def test_ports_are_forwarded_where_addresses_cannot_be_translated(tmp_path: Path) -> None:
    with cloud_site(tmp_path, more={"network_offering": "IsolatedNoStaticNat"}, public_ips=8) as site:
        before = site.cloud.snapshot()
        first, second = boot(site), boot(site, wish("two"))
        assert first.public_ip == second.public_ip
        assert first.ports == {}
        assert second.ports == {22: 20022, 80: 20080, 443: 20443}
        for port in (22, 20022):
            assert can_reach_public(site.cloud, str(first.public_ip), port)
        assert site.driver.status(ClusterName("two"))[NodeName("two")].ports == {22: 20022}
        site.driver.release(LAB)
        assert can_reach_public(site.cloud, str(first.public_ip), 20022)
        assert not can_reach_public(site.cloud, str(first.public_ip), 22)
        assert boot(site, wish("three")).ports == {}
        for cluster in ("two", "three"):
            site.driver.release(ClusterName(cluster))
        assert_clean(site.cloud, "user", before)


def test_the_last_address_is_shared_by_its_ports(tmp_path: Path) -> None:
    """Two are needed: the public network's own and the private one's; no third is left for the cluster alone."""
    with cloud_site(tmp_path, public_ips=2) as site:
        before = site.cloud.snapshot()
        allocation = boot(site)
        assert can_reach_public(site.cloud, str(allocation.public_ip), 22)
        site.driver.release(LAB)
        assert_clean(site.cloud, "user", before)


def test_shortage_of_addresses_shows_before_anything_runs(tmp_path: Path) -> None:
    with cloud_site(tmp_path, public_ips=1) as site:
        before = site.cloud.snapshot()
        with pytest.raises(CapacityError):
            boot(site)
        assert not any(entry.command == "startVirtualMachine" for entry in site.cloud.log)
        site.driver.release(LAB)
        assert_clean(site.cloud, "user", before)


def test_a_shared_network_has_real_addresses(tmp_path: Path) -> None:
    with cloud_site(tmp_path, more={"public_network": "campus"}) as site:
        shared_network(site.cloud.state, "campus", "198.51.100.0/24", "198.51.100.1")
        before = site.cloud.snapshot()
        allocation = boot(site)
        assert allocation.public_ip == allocation.frontend.nic("public").address.ip
        assert str(allocation.public_ip).startswith("198.51.100.")
        site.driver.release(LAB)
        assert_clean(site.cloud, "user", before)


def test_private_networks_never_lie_over_the_public_one(tmp_path: Path) -> None:
    """The server does not look: a frontend with two interfaces in one network is lost."""
    with cloud_site(tmp_path, public_ips=9) as site:
        private = IPv4Interface("10.1.1.2/24")  # the zone's own default, which `public` has
        first = boot(site, wish(private_network=private))
        second = boot(site, wish("two", private_network=private))
        nets = [each.frontend.nic("private").address.network for each in (first, second)]
        assert [str(net) for net in nets] == ["10.1.2.0/24", "10.1.3.0/24"]
        assert str(first.frontend.nic("private").address.ip) == "10.1.2.2"
        assert [str(node.nics[0].address.ip) for node in first.computes] == ["10.1.2.10"]


def test_a_network_too_large_for_users_is_asked_for_smaller(tmp_path: Path) -> None:
    """An image may want 10.1.1.1/16: users may have /22 at most, and the first address is the router's."""
    with cloud_site(tmp_path) as site:
        allocation = boot(site, wish(private_network=IPv4Interface("10.77.1.1/16")))
        private = allocation.frontend.nic("private").address
        assert private.network.prefixlen >= 22
        assert str(private.network.network_address).startswith("10.77.")


# --------------------------------------------------------------------------------------------------------- machines


def test_documents_of_24_kib_reach_every_node(tmp_path: Path) -> None:
    """I#8415, terraform#269: what is sent with GET has 4 KiB at most."""
    with cloud_site(tmp_path) as site:
        boot(site, size=24576)
        for name in ("lab", "lab-compute-0"):
            data = base64.b64decode(site.cloud.machine(name).userdata)
            assert len(data) == 24576
        assert {entry.method for entry in site.cloud.log} == {"POST"}


def test_no_document_is_ever_logged(tmp_path: Path, logged: list[str]) -> None:
    with cloud_site(tmp_path) as site:
        boot(site)
    told = "\n".join(logged)
    assert base64.b64encode(b"<vc name='lab'/>").decode()[:12] not in told
    assert "<vc" not in told
    assert USER.secretkey not in told


def test_the_order_of_interfaces_in_answers_means_nothing(tmp_path: Path) -> None:
    for seed in range(4):
        with cloud_site(tmp_path / str(seed)) as site:
            site.cloud.rng.seed(seed)
            allocation = boot(site)
            nics = {nic.networkid: nic for nic in site.cloud.machine("lab").nics}
            private = next(net for net in site.cloud.state.networks.values() if net.name == "pragma-lab-private")
            assert allocation.frontend.nic("private").mac == nics[private.id].mac


@pytest.mark.parametrize("version", ["4.11.3.0", "4.17.2.0", "4.19.1.0", "4.23.0.0"])
def test_a_whole_life_on_every_version(tmp_path: Path, version: str) -> None:
    """Old servers ignore parameters that they do not know, and find names by their parts (knife-cloudstack#97)."""
    with cloud_site(tmp_path, config=Config(version=version, allow_user_expunge=True), public_ips=9) as site:
        before = site.cloud.snapshot()
        boot(site, wish("lab"))
        boot(site, wish("lab-2"))
        site.driver.shutdown(LAB, grace=1)
        assert {each.state for each in site.driver.status(ClusterName("lab-2")).values()} == {NodeState.ACTIVE}
        site.driver.start(LAB)
        assert len(site.driver.status(LAB)) == 2
        for cluster in ("lab", "lab-2"):
            site.driver.release(ClusterName(cluster))
        assert_clean(site.cloud, "user", before)


def test_lists_of_machines_spare_their_statistics(tmp_path: Path) -> None:
    """I#8975: they are slow."""
    with cloud_site(tmp_path) as site:
        boot(site)
        asked = [entry.params for entry in site.cloud.log if entry.command == "listVirtualMachines"]
        assert {params.get("details") for params in asked} == {"min,nics,servoff"}


def test_custom_offerings_crash_nothing_and_are_told_their_sizes(tmp_path: Path) -> None:
    """The old driver died of the first custom offering that it saw."""
    with cloud_site(tmp_path, more={"offerings": ("CustomConstrained",)}) as site:
        allocation = boot(site, replace(wish(), nodes=plan("lab", 1, cpus=3, memory_mib=2000).nodes))
        assert [(node.cpus, node.memory_mib) for node in allocation.nodes] == [(3, 2000), (3, 2000)]
        machine = site.cloud.machine("lab")
        assert (machine.cpus, machine.memory) == (3, 2000)
    with cloud_site(tmp_path / "two", more={"offerings": ("Custom",)}) as site:
        allocation = boot(site, replace(wish(), nodes=plan("lab", 1, cpus=3, memory_mib=2000).nodes))
        assert site.cloud.machine("lab-compute-0").speed == 1000


def test_a_start_that_finds_no_host_is_a_matter_of_room(tmp_path: Path) -> None:
    with cloud_site(tmp_path, hosts=1, host_cpus=1) as site:
        before = site.cloud.snapshot()
        with pytest.raises(CapacityError) as caught:
            boot(site, wish(computes=2))
        assert "compute" in (caught.value.details or "")
        site.driver.release(LAB)
        assert_clean(site.cloud, "user", before)


def test_all_failures_of_starts_are_told(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        for number in (0, 1):
            machine = f"lab-compute-{number}"
            site.cloud.faults.add("fail", "startVirtualMachine", phase="execute", machine=machine, text="broken")
        with pytest.raises(DriverError) as caught:
            boot(site, wish(computes=2))
        assert "compute-0" in (caught.value.details or "")
        assert "compute-1" in (caught.value.details or "")


def test_nodes_are_kept_apart_where_that_is_wanted(tmp_path: Path) -> None:
    with cloud_site(tmp_path, more={"anti_affinity": True}) as site:
        before = site.cloud.snapshot()
        boot(site)
        (group,) = site.cloud.state.groups.values()
        assert group.kind == "non-strict host anti-affinity"
        assert site.cloud.machine("lab").affinity == [group.id]
        site.driver.release(LAB)
        assert_clean(site.cloud, "user", before)


def test_a_machine_that_does_not_stop_when_asked_to_is_switched_off(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        boot(site)
        site.cloud.faults.add("fail", "stopVirtualMachine", phase="execute", machine="lab-compute-0")
        site.driver.shutdown(LAB, grace=5)
        assert {each.state for each in site.driver.status(LAB).values()} == {NodeState.SHUTDOWN}
        assert [entry.params.get("forced") for entry in site.cloud.log if entry.command == "stopVirtualMachine"].count(
            "true"
        ) == 1


def test_a_machine_that_was_started_by_somebody_else_runs(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        boot(site)
        site.driver.shutdown(LAB, grace=5)
        site.cloud.faults.add("power", "startVirtualMachine", machine="lab", text="Running")
        site.driver.start(LAB)
        assert {each.state for each in site.driver.status(LAB).values()} == {NodeState.ACTIVE}


def test_a_sporadic_401_is_no_end(tmp_path: Path) -> None:
    """I#11394."""
    with cloud_site(tmp_path) as site:
        for command in ("deployVirtualMachine", "listZones", "startVirtualMachine"):
            site.cloud.faults.add("error", command, code=401, text="unable to verify user credentials")
        boot(site)


def test_repeating_what_was_cut_off_makes_no_second_of_anything(tmp_path: Path) -> None:
    """CAPC#447: tags and egress rules that are there already are refused."""
    with cloud_site(tmp_path) as site:
        driver, wanted = site.driver, wish()
        lease = Leases(LAB, None, "lab.example.org", 0, {})
        first = driver.allocate(driver.fit(wanted), lease)
        assert site.driver.allocate(site.driver.fit(wanted), lease) == first
        asked = [entry.command for entry in site.cloud.log]
        assert asked.count("createEgressFirewallRule") == 1
        assert asked.count("deployVirtualMachine") == 2
        assert asked.count("createNetwork") == 2


# -------------------------------------------------------------------------------------------------------- preflight


def faults_of(site: CloudSite, **more: object) -> str:
    driver = CloudSite(site.root, site.cloud, replace(site.settings, **more), False).driver  # type: ignore[arg-type]
    with pytest.raises(PreflightError) as caught:
        driver.preflight()
    assert all(fault.mend for fault in caught.value.faults)
    return caught.value.details or ""


def test_everything_wrong_with_a_site_is_told_at_once(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        found = faults_of(site, network_offering="IsolatedDisabled", offerings=("Huge",), public_network="nowhere")
        for word in ("its state is Disabled", "'Huge'", "'nowhere' is not there"):
            assert word in found
        assert "which one is not said" in faults_of(site, zone="")
        assert "'zone9' is not there" in faults_of(site, zone="zone9")
        for offering, why in (("IsolatedVlan", "VLANs by hand"), ("L2", "are L2"), ("none", "no network offering")):
            assert why in faults_of(site, network_offering=offering)
        site.driver.preflight()
        before = site.cloud.log[-1].index
        assert all(entry.command.startswith("list") for entry in site.cloud.log[: before + 1])


def test_wrong_keys_are_told_once(tmp_path: Path) -> None:
    with cloud_site(tmp_path, over_http=True) as site:
        keys = replace(USER, secretkey="wrong")
        wrong = settings_for(site.settings.url, site.settings.clusters, keys)
        with pytest.raises(PreflightError) as caught:
            CloudSite(site.root, site.cloud, wrong, True).driver.preflight()
        assert len(caught.value.faults) == 1


@pytest.mark.parametrize(("image", "told"), [("slow", "slow"), ("elsewhere", "elsewhere"), ("nothing", "nothing")])
def test_templates_that_are_not_ready_are_refused(tmp_path: Path, image: str, told: str) -> None:
    with cloud_site(tmp_path) as site, pytest.raises(PreflightError) as caught:
        site.driver.fit(wish(templates={Role.FRONTEND: "frontend", Role.COMPUTE: image}))
    assert f"template {told}" in (caught.value.details or "")
    assert "pragma image publish" in (caught.value.details or "")


def test_of_two_templates_the_newest_is_taken(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        boot(site, replace(wish(), image=ImageName("twice")))
        taken = site.cloud.state.templates[site.cloud.machine("lab").templateid]
        others = [each for each in site.cloud.state.templates.values() if each.name == "twice"]
        assert taken.created == max(each.created for each in others)


def test_limits_are_looked_at_before_anything_is_made(tmp_path: Path) -> None:
    with cloud_site(tmp_path, limits={"user_vm": 2, "cpu": 2}) as site:
        with pytest.raises(CapacityError) as caught:
            site.driver.fit(wish(computes=3))
        details = caught.value.details or ""
        assert "limit of machines: 4 are needed, 2 of the account's 2 are free" in details
        assert "limit of CPUs" in details
        assert all(entry.command.startswith("list") for entry in site.cloud.log)


def test_a_limit_that_somebody_else_reached_meanwhile_is_undone(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        before = site.cloud.snapshot()
        text = "Maximum amount of resources of Type = 'user_vm' is exceeded"
        site.cloud.faults.add("error", "deployVirtualMachine", nth=2, code=535, text=text)
        with pytest.raises(CapacityError) as caught:
            boot(site)
        assert text in (caught.value.details or "")
        site.driver.release(LAB)
        assert_clean(site.cloud, "user", before)


def test_names_that_leave_no_room_are_refused(tmp_path: Path) -> None:
    assert re.fullmatch(CloudStackDriver.info.refused_names, "a" * 51)
    assert not re.fullmatch(CloudStackDriver.info.refused_names, "a" * 50)


# ------------------------------------------------------------------------------------------------------ side by side


def test_eight_clusters_at_once_on_four_addresses(tmp_path: Path) -> None:
    """Some fit, the others are refused; whoever is refused leaves nothing, and nobody has another's address."""
    with cloud_site(tmp_path, public_ips=4, hosts=8) as site:
        before = site.cloud.snapshot()
        booted: dict[str, Allocation] = {}
        refused: dict[str, Exception] = {}

        def one(name: str) -> None:
            try:
                booted[name] = boot(site, wish(name))
            except (CapacityError, DriverError) as error:
                refused[name] = error
                site.driver.release(ClusterName(name))

        threads = [threading.Thread(target=one, args=(f"lab{number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(booted) + len(refused) == 8
        assert 1 <= len(booted) <= 3, {name: str(error) for name, error in refused.items()}
        assert {type(error) for error in refused.values()} == {CapacityError}, refused
        ways = [(each.public_ip, each.ports.get(22, 22)) for each in booted.values()]
        assert len(set(ways)) == len(ways)
        assert all(can_reach_public(site.cloud, str(ip), port) for ip, port in ways)
        assert set(site.driver.survey()) == set(booted)
        for name in booted:
            site.driver.release(ClusterName(name))
        site.cloud.settle()
        assert_clean(site.cloud, "user", before)
