"""What differs between 6.2, 6.2 with its update, and 7.0."""

from __future__ import annotations

from pathlib import Path

import pytest

from emulators.rocks.site import RocksSite

VERSIONS = ("6.2", "6.2u", "7.0")


@pytest.fixture(params=VERSIONS)
def any_site(request: pytest.FixtureRequest, tmp_path: Path) -> RocksSite:
    site = RocksSite.create(tmp_path / "site", request.param)
    site.call("add cluster", "198.202.88.50", "1", "fe-name=myvc", "cluster-naming=1")
    return site


def test_json_is_ignored_by_plain_6_2(any_site: RocksSite) -> None:
    begin = any_site.call("list host vm", "json=true").out[0]
    assert begin == ("V" if any_site.state().version == "6.2" else "[")


def test_a_frontends_memory(any_site: RocksSite) -> None:
    memory = any_site.call("list host vm", "myvc", "output-col=mem").out.split()[1]
    assert memory == ("2048" if any_site.state().version == "7.0" else "1024")


def test_the_version_is_reported(any_site: RocksSite) -> None:
    assert any_site.call("report version").out.strip() == any_site.state().version[:3]


def test_shutdown_is_a_power_off_before_7_0(any_site: RocksSite) -> None:
    any_site.call("start host vm", "myvc")
    any_site.call("stop host vm", "myvc", "action=shutdown")
    status = any_site.call("list host vm", "myvc", "status=1", "output-col=status").out.split()[1]
    assert status == ("active" if any_site.state().version == "7.0" else "nostate")


def test_attributes_of_7_0_only(any_site: RocksSite) -> None:
    is_7 = any_site.state().version == "7.0"
    names = any_site.call("list host attr", "myvc", "output-col=attr").out.split()
    assert ({"UseTracker", "rocks_release"} <= set(names)) == is_7
    assert "vm_mac_base_addr" in names


def test_an_unknown_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"6\.1"):
        RocksSite.create(tmp_path / "site", "6.1.1")
