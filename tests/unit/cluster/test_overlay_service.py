"""Clusters of two sites that meet at the exchange's service, from the command line's URL to `clean`."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.cluster_site import FakeDisks, make_site
from fakes.exchange_service import Running, running_service
from fakes.guest import FakeGuest
from fakes.images import ROOTS
from pragma_boot import log
from pragma_boot.cluster.boot import BootRequest, boot
from pragma_boot.cluster.site import Site
from pragma_boot.cluster.stop import clean, shutdown
from pragma_boot.errors import ExchangeError
from pragma_boot.model import ClusterName, ImageName
from pragma_boot.network.overlay.opening import open_exchange

IMAGE: dict[str, str | bytes | None] = {
    **ROOTS["networkd"],
    "/lib/modules/6.1.0-9-amd64/modules.dep": "kernel/drivers/net/wireguard/wireguard.ko.xz:\n",
    "/etc/group": "root:x:0:\nsystemd-network:x:998:\n",
}


def site_at(root: Path) -> Site:
    site = make_site(root)
    clusters = replace(site.settings.clusters, ipop_timeout=0.0)
    site.settings = replace(site.settings, clusters=clusters)
    assert isinstance(site.disks, FakeDisks)
    site.disks.opens = lambda _: FakeGuest.of(IMAGE)
    return site


def start(site: Site, name: str, option: str, url: str) -> None:
    boot(site, BootRequest(ImageName("demo"), 2, ClusterName(name), options={f"enable-ipop-{option}": url}))


def remove(site: Site, name: str) -> None:
    shutdown(site, ClusterName(name))
    clean(site, ClusterName(name))


def url_of(service: Running, token_file: Path) -> str:
    """As a user has it: the token is in a file."""
    url, _, token = service.url().partition("#token=")
    token_file.touch(0o600)
    token_file.write_text(f"{token}\n")
    return f"{url}#token-file={token_file}"


def test_two_sites_meet_and_part(tmp_path: Path) -> None:
    log.set_up(tmp_path / "log", "DEBUG")
    here, there = site_at(tmp_path / "here"), site_at(tmp_path / "there")
    with running_service(tmp_path) as service:
        url = url_of(service, tmp_path / "token")
        token = (tmp_path / "token").read_text().strip()
        with pytest.raises(ExchangeError, match="no join information"):
            start(there, "early", "client", url)
        start(here, "one", "server", url)
        published = open_exchange(url).fetch()
        assert published is not None
        start(there, "two", "client", url)
        held = service.jobs.members("lab").members
        assert [member.name for member in held.values()] == ["two.overlay", "compute-0.two.overlay"]
        (tmp_path / "token").unlink()  # what clean needs is in the sites' own records
        remove(there, "two")
        assert service.jobs.members("lab").members == {}
        remove(here, "one")
        assert service.jobs.get("lab") == {}
    assert "127.0.0.1 lab withdraw 200" in service.told
    written = (tmp_path / "log").read_text()
    assert f"{service.server.url}x.php?jobId=lab" in written
    for secret in (token, published.preshared, published.seed.hex()):
        assert secret not in written
    for path in (tmp_path / "here", tmp_path / "there"):
        for file in path.rglob("*"):
            if file.is_file() and token.encode() in file.read_bytes():
                assert file.stat().st_mode & 0o077 == 0, file


def test_a_service_that_is_gone_keeps_no_cluster_from_being_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = site_at(tmp_path / "here"), site_at(tmp_path / "there")
    with running_service(tmp_path) as service:
        url = service.url()
        start(here, "one", "server", url)
        start(there, "two", "client", url)
    with caplog.at_level(logging.WARNING):
        remove(there, "two")
        remove(here, "one")
    assert "stay taken" in caplog.text
    assert "stays published" in caplog.text
    assert url.partition("#token=")[2] not in caplog.text
    assert here.store.all() == there.store.all() == ()
