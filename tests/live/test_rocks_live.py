"""Clusters of real virtual machines through the driver kvm_rocks: Rocks is emulated, what it starts is not."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulators.rocks.site import RocksSite
from live.site import LiveSite

COMPUTES = 2
SIZE = 128 << 20


@pytest.fixture
def emulated(site: LiveSite) -> Iterator[RocksSite]:
    """An emulated Rocks that runs the clusters of *site*; its public network stays the same."""
    made = on_rocks(site)
    yield made
    made.clear()


def on_rocks(site: LiveSite, **more: object) -> RocksSite:
    emulated = RocksSite.create(site.root / "rocks", "7.0", containers=2)
    with emulated.change() as state:
        state.options.libvirt = {"uri": "qemu:///system", "prefix": site.prefix, "public": site.prefix}
        state.options.scale = 1
    hosts = list(site.network.hosts())
    driver = {
        "public_ips": [f"{hosts[9]}-{hosts[40]}"],
        "netmask": str(site.network.netmask),
        "gw": str(hosts[0]),
        "dns": "192.0.2.53",
        "vlans": list(range(22, 40)),
        "rocks": str(emulated.rocks),
        "ssh": str(emulated.bin / "ssh"),
        "cpus_per_node": 1,
        "cpu_overcommit": 16,
        "memory": 256,
        "shutdown_grace": 30,
        **more,
    }
    (site.etc / "kvm_rocks.conf").write_text("".join(f"{key} = {value!r}\n" for key, value in driver.items()))
    conf = site.etc / "site_conf.conf"
    conf.write_text(conf.read_text().replace('site_ve_driver = "libvirt"', 'site_ve_driver = "kvm_rocks"'))
    return emulated


def answer(site: LiveSite, *node: str, command: str, seconds: float = 240) -> str:
    """What a command on a node says, once it goes well: computes may still be booting."""
    deadline = time.monotonic() + seconds
    while True:
        ran = site.pragma("ssh", *node, "--", command)
        if ran.status == 0:
            return ran.out
        assert time.monotonic() < deadline, f"{ran.out}\n{ran.err}"
        time.sleep(1)


@pytest.mark.timeout(900)
def test_a_cluster_boots_works_stops_starts_and_goes(site: LiveSite, emulated: RocksSite) -> None:
    before = emulated.inventory()
    name = site.name("r")
    site.pragma("check", "site").ok()
    site.pragma("boot", "tiny", str(COMPUTES), f"name={name}", "wait=240").ok()
    (found,) = json.loads(site.pragma("list", "cluster", "--json").ok().out)
    assert (found["state"], len(found["nodes"])) == ("active", 1 + COMPUTES)
    for number in range(COMPUTES):
        said = answer(site, name, f"compute-{number}", command="hostname").strip()
        assert said.split(".")[0] == f"compute-{number}"
    assert site.pragma("clean", name).status == 1, "it is active"
    site.pragma("shutdown", name).ok()
    site.pragma("start", name, "wait=240").ok()
    answer(site, name, command="true")
    site.pragma("shutdown", name).ok()
    site.pragma("clean", name).ok()
    assert emulated.inventory() == before
    assert (emulated.state().blanks, emulated.state().installed) == ([], [])


@pytest.fixture
def volumes(site: LiveSite, tiny: Path) -> Iterator[RocksSite]:
    """An emulated Rocks whose containers share a folder for disks, and whose NAS has the image `on-nas` on a volume."""
    made = on_rocks(site, diskdir=str(site.root / "rocks/nfs"))
    (made.folder / "nfs").mkdir()
    made.add_zvol("pragma/tiny-vol", SIZE, content=tiny.with_name("tiny.img"))
    document = site.repository / "on-nas.xml"
    text = tiny.read_text().replace('<disk type="file"', '<disk type="volume"')
    document.write_text(text.replace('file="tiny.img"', 'volume="tiny-vol" pool="pragma" host="nas-0-0"'))
    site.add_image("on-nas", document)
    yield made
    made.clear()


@pytest.mark.timeout(900)
def test_clusters_on_a_shared_folder_and_on_volumes_side_by_side(site: LiveSite, volumes: RocksSite) -> None:
    before = volumes.inventory()
    shared, on_nas = site.name("d"), site.name("v")
    boots = [
        site.start("boot", "tiny", "1", f"name={shared}", "wait=240"),
        site.start("boot", "on-nas", "0", f"name={on_nas}", "wait=240"),
    ]
    for process in boots:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, f"{out}\n{err}"
    assert answer(site, on_nas, command="hostname").split(".")[0].strip() == on_nas
    assert answer(site, shared, "compute-0", command="hostname").split(".")[0].strip() == "compute-0"
    assert {path.name for path in (volumes.folder / "nfs").iterdir()} == {f"{shared}.vda", f"vm-{shared}-0.vda"}
    (volume,) = [found for found in volumes.state().volumes if found.state == "mapped"]
    assert (volume.name, volume.remotehost) == (f"{on_nas}-vol", "fiji")
    for name in (shared, on_nas):
        site.pragma("shutdown", name).ok()
        site.pragma("clean", name).ok()
    assert volumes.inventory() == before
    assert (volumes.state().blanks, volumes.state().installed) == ([], [])
