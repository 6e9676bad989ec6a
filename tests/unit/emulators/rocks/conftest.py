"""A fresh emulated site for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from emulators.rocks.site import RocksSite

CLUSTER = ("cluster-naming=true", "fe-name=myvc", "vlan=4")


@pytest.fixture
def site(tmp_path: Path) -> RocksSite:
    return RocksSite.create(tmp_path / "site", local=False)


@pytest.fixture
def cluster(site: RocksSite) -> RocksSite:
    """The site with the cluster `myvc` on VLAN 4: a frontend and two computes."""
    assert site.call("add cluster", "198.202.88.50", "2", *CLUSTER).status == 0
    return site
