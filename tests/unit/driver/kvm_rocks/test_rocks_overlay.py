"""Clusters of a Rocks site in an overlay with each other: Rocks has no part in it, their disks have all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from emulators.rocks.site import RocksSite
from fakes.cluster_site import FakeDisks
from fakes.guest import FakeGuest
from fakes.images import ROOTS
from fakes.rocks import VERSIONS, rocks_site
from pragma_boot.cluster.boot import BootRequest, boot
from pragma_boot.cluster.stop import clean, shutdown
from pragma_boot.errors import PreflightError
from pragma_boot.model import ClusterName, ImageName
from pragma_boot.network.overlay.shared_file import SharedFile

HUB, FAR = ClusterName("hub"), ClusterName("far")


def request(name: ClusterName, option: str, url: Path) -> BootRequest:
    return BootRequest(ImageName("demo"), 2, name, wait=0, options={option: f"file://{url}"})


@pytest.mark.parametrize("version", VERSIONS)
def test_a_hub_and_a_member_on_one_rocks_site(tmp_path: Path, version: str) -> None:
    emulated = RocksSite.create(tmp_path / "site", version)
    before, site = emulated.inventory(), rocks_site(tmp_path / "here", emulated)
    assert isinstance(site.disks, FakeDisks)
    site.disks.opens = lambda _: FakeGuest.of(
        {
            **ROOTS["networkd"],
            "/lib/modules/6.1.0-9-amd64/modules.dep": "kernel/drivers/net/wireguard/wireguard.ko:\n",
            "/etc/group": "systemd-network:x:998:\n",
        }
    )
    join = tmp_path / "join"
    hub = boot(site, request(HUB, "enable-ipop-server", join))
    peers = site.disks.guests["hub"].read("/etc/systemd/network/10-pragma-wg0.netdev").decode()
    assert peers.count("[WireGuardPeer]") == 64 + len(hub.nodes) - 1
    far = boot(site, request(FAR, "enable-ipop-client", join))
    netdev = site.disks.guests["far"].read("/etc/systemd/network/10-pragma-wg0.netdev").decode()
    assert f"Endpoint={hub.public_ip}:51820" in netdev
    given = [node.networks["overlay"] for view in (hub, far) for node in view.nodes]
    assert len(set(given)) == len(given) == len(hub.nodes) + len(far.nodes)
    for name in (FAR, HUB):
        shutdown(site, name)
        clean(site, name)
    assert emulated.inventory() == before
    assert not join.exists()


def test_an_image_without_wireguard_is_refused_before_rocks_is_asked_for_anything(tmp_path: Path) -> None:
    emulated = RocksSite.create(tmp_path / "site")
    before, site = emulated.inventory(), rocks_site(tmp_path / "here", emulated)
    with pytest.raises(PreflightError, match="cannot be in an overlay"):
        boot(site, request(HUB, "enable-ipop-server", tmp_path / "join"))
    assert emulated.inventory() == before
    assert SharedFile(tmp_path / "join").fetch() is None
