"""What clusters leave behind, and what they must not touch (cloudstack.md c.4)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fakes.cloud_site import CloudSite, boot, cloud_site, wish
from fakes.cloudstack import (
    FOREIGN,
    USER,
    Client,
    Config,
    assert_clean,
    can_reach,
    leftovers,
)
from pragma_boot.errors import DriverError, PendingError
from pragma_boot.model import ClusterName, NodeName, NodeState

LAB = ClusterName("lab")
WEB = ("192.0.2.1", "tcp", 80)


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


@pytest.mark.parametrize("same_site", [True, False])
def test_an_address_that_others_have_by_now_is_theirs(tmp_path: Path, same_site: bool) -> None:
    """The note of a clean that was killed at its very end names an address that was given on meanwhile."""
    with cloud_site(tmp_path) as site:
        boot(site, wish("keep"))
        boot(site)
        path = tmp_path / "state/cloudstack/lab.json"
        note = json.loads(path.read_text())
        site.driver.release(LAB)
        other = site if same_site else CloudSite(tmp_path / "other", site.cloud, site.settings, False)
        theirs = boot(other, wish("two" if same_site else "lab"))
        (address,) = (each for each in site.cloud.state.addresses.values() if each.ip == str(theirs.public_ip))
        path.write_text(json.dumps(note | {"address": address.id, "public": address.networkid}))
        before = site.cloud.snapshot()
        site.driver.release(LAB)
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
