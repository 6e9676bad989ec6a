"""What is told before anything is made."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.cloud_site import CloudSite, boot, cloud_site, settings_for, wish
from fakes.cloudstack import (
    USER,
    assert_clean,
)
from pragma_boot.driver.cloudstack.driver import CloudStackDriver
from pragma_boot.errors import CapacityError, PreflightError
from pragma_boot.model import ClusterName, ImageName, Role

LAB = ClusterName("lab")


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
