"""`init` writes what `load_settings` takes; what it needs of the host is asked for real, so these look at its parts."""

import os
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from fakes.memory_site import configure
from pragma_boot.cluster import init
from pragma_boot.cluster.plan import Sizes, make_plan
from pragma_boot.cluster.store import Store
from pragma_boot.config.generate import site_files
from pragma_boot.config.validate import load_settings
from pragma_boot.errors import ClusterError, PragmaError
from pragma_boot.model import ClusterName, ImageName, InUse


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration as `init` writes it, but for the memory driver, in folders of the test."""
    gateway = init._new_gateway()
    facts = init._facts(tmp_path)
    etc = tmp_path / "etc"
    etc.mkdir()
    for name, text in site_files(facts).items():
        ours = text.replace(str(facts.state_directory), str(tmp_path / "state"))
        (etc / name).write_text(ours.replace(str(facts.log_directory), str(tmp_path / "log")))
    assert gateway.ip in gateway.network
    return etc


def test_what_init_writes_is_a_configuration_without_faults(folder: Path) -> None:
    settings = load_settings(folder)
    clusters = settings.clusters
    assert len(clusters.public_ips) == len(clusters.vlans) == 100
    assert clusters.gw not in clusters.public_ips
    assert all(address in clusters.public_network for address in clusters.public_ips)
    assert settings.libvirt is not None


def test_a_small_host_promises_enough_for_a_first_cluster(folder: Path) -> None:
    assert (os.cpu_count() or 1) * load_settings(folder).clusters.cpu_overcommit >= 8


def test_the_network_is_one_that_no_route_leads_to() -> None:
    network = init._new_gateway().network
    assert not any(network.overlaps(routed) for routed in init._routes())
    assert any(network.overlaps(candidate) for candidate in map(IPv4Network, ["192.168.0.0/16"]))


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """A site whose driver runs nothing."""
    return configure(tmp_path / "etc", tmp_path)


def test_a_site_is_left_as_it_is_unless_forced(memory: Path) -> None:
    before = (memory / "site_conf.conf").read_text()
    for _ in range(2):
        assert "stays as it is" in init.init_site(memory)[0]
    assert (memory / "site_conf.conf").read_text() == before
    assert load_settings(memory).site.repository.catalog.exists()


def test_a_site_is_removed_but_for_its_images(memory: Path, tmp_path: Path) -> None:
    init.init_site(memory)
    lines = init.init_site(memory, remove=True)
    assert f"removed {memory / 'site_conf.conf'}" in lines
    assert not (tmp_path / "state").exists()
    assert (tmp_path / "images" / "vcdb.txt").exists()
    assert "no site configuration" in init.init_site(memory, remove=True)[0]


def test_a_site_with_clusters_is_not_removed(memory: Path) -> None:
    settings = load_settings(memory)
    plan = make_plan(ClusterName("vc"), ImageName("demo"), Sizes(1, 1, 64, 64), settings.clusters.private_network, ())
    address = settings.clusters.public_ips[0]
    Store(settings.site.state).reserve(
        plan, driver="memory", address=address, fqdn="vc.internal", vlans=settings.clusters.vlans, site=InUse()
    )
    with pytest.raises(ClusterError) as caught:
        init.init_site(memory, remove=True)
    assert caught.value.details == "vc"
    assert (memory / "site_conf.conf").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_who_may_not_write_there_is_told_of_a_site_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(init, "_existing_gateway", lambda: None)
    for folder in tmp_path, *tmp_path.parents:
        if folder.name.startswith(("test_", "popen-", "pytest-")):
            folder.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(PragmaError) as caught:
            init.init_site(tmp_path / "etc")
    finally:
        os.seteuid(0)
    assert "PRAGMA_BOOT_ETC=" in str(caught.value.resolution)
    assert not (tmp_path / "etc").exists()
