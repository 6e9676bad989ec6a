"""Nodes on volumes of a NAS, from the image's volume to a machine that runs, and away again."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.disks import MIB, ext_disk, fsck, local, tree
from fakes.rocks import VERSIONS, RocksBench
from pragma_boot.errors import DriverError, GuestError
from pragma_boot.image.base import Write
from pragma_boot.image.qcow2 import FileDiskStore, default_scratch
from pragma_boot.image.zvol import VolumeDiskStore
from pragma_boot.model import ClusterName, DiskFormat, LocalDisk, LocalImage, NodeName, NodeState, VolumeSource

IMAGE = VolumeSource("pragma", "centos7-vol", "nas-0-0")


@pytest.fixture
def image(tmp_path: Path) -> LocalImage:
    content = local(ext_disk(tmp_path / "content.img", tree(tmp_path / "tree"), 64 * MIB))
    source = LocalDisk(Path("/nas-0-0/pragma/centos7-vol"), DiskFormat.RAW, 0, IMAGE)
    return LocalImage(content.image, source, source)


@pytest.mark.parametrize("version", VERSIONS)
def test_nodes_on_volumes_are_filled_started_stopped_and_go(
    make: Callable[..., RocksBench], image: LocalImage, tmp_path: Path, version: str
) -> None:
    bench = make(version)
    bench.site.add_zvol("pragma/centos7-vol", 64 * MIB, content=tmp_path / "content.img")
    store = VolumeDiskStore(FileDiskStore(tmp_path / "disks", lambda: "tcg"), bench.driver.volumes(), lambda: "tcg")
    with bench.leaves_nothing():
        with store.inspect(image.frontend) as guest:
            assert guest.read("/etc/hostname") == b"image\n"
        allocation = bench.allocate("vc", 1)
        disks = {node.name: store.clone(image, node.role, "vc", node.name) for node in allocation.nodes}
        with store.edit(tuple(disks.values())) as guests:
            for guest, name in zip(guests, disks, strict=True):
                guest.apply([Write("/etc/hostname", name.encode())])
        assert {volume.state for volume in bench.site.state().volumes} == {"unmapped"}
        volume = bench.site.folder / "hosts/nas-0-0/dev/zvol/pragma/vm-vc-0-vol"
        fsck(volume)
        assert b"compute-0" in volume.read_bytes()
        bench.driver.deploy(allocation, disks, {})
        mapped = {found.name: found.remotehost for found in bench.site.state().volumes}
        assert mapped == {"vc-vol": "fiji", "vm-vc-0-vol": allocation.computes[0].host}
        bench.driver.shutdown(ClusterName("vc"), grace=0)
        bench.driver.start(ClusterName("vc"))
        assert set(bench.states("vc").values()) == {NodeState.ACTIVE}
        bench.remove("vc")


def test_a_volume_of_an_image_that_is_not_there_is_told_by_its_nas(bench: RocksBench) -> None:
    bench.allocate("vc", 0)
    with bench.leaves_nothing(), pytest.raises(DriverError, match="nas-0-0") as caught:
        bench.driver.volumes().clone(VolumeSource("pragma", "nothing", "nas-0-0"), ClusterName("vc"), NodeName("vc"))
    assert "dataset does not exist" in str(caught.value.details)


def test_an_image_whose_volume_names_no_nas_is_refused(bench: RocksBench) -> None:
    with pytest.raises(GuestError, match="names no NAS"):
        bench.driver.volumes().clone(VolumeSource("pragma", "x-vol"), ClusterName("vc"), NodeName("vc"))


@pytest.mark.parametrize("effect", [{"nas_error": "ZVol vm-vc-0-vol is busy"}, {"undeliverable": True}])
def test_a_nas_that_refuses_is_told_and_the_cluster_goes_later(bench: RocksBench, effect: dict[str, object]) -> None:
    bench.site.add_zvol("pragma/centos7-vol", 64 * MIB)
    with bench.leaves_nothing():
        bench.allocate("vc", 1)
        for name in ("vc", "compute-0"):
            volume, size = bench.driver.volumes().clone(IMAGE, ClusterName("vc"), NodeName(name))
            with bench.driver.volumes().mapped(volume, size):
                pass
        bench.site.faults({"match": "^remove host storageimg", **effect})
        with pytest.raises(DriverError, match="volume pragma"):
            bench.remove("vc")
        bench.remove("vc")


def test_volumes_are_filled_on_the_physical_frontend_and_nowhere_else(make: Callable[..., RocksBench]) -> None:
    bench = make()
    bench.site.add_zvol("pragma/centos7-vol", 64 * MIB)
    elsewhere = {"stdout": "mapping  nas-0-0 : pragma / x  on  fiji\n/dev/of-fiji\n", "rc": 0, "when": "after"}
    bench.site.faults({"match": "^add host storagemap", **elsewhere})
    with bench.leaves_nothing(), pytest.raises(DriverError, match="not this machine") as caught:
        bench.driver.volumes().look(IMAGE).__enter__()
    assert caught.value.resolution == "run pragma on fiji for images on a NAS"


def _killed_while_looking(bench: RocksBench) -> None:
    with bench.driver.volumes().look(IMAGE):
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_look_has_left_is_replaced_by_the_next(make: Callable[..., RocksBench]) -> None:
    bench = make()
    bench.site.add_zvol("pragma/centos7-vol", 64 * MIB)
    with bench.leaves_nothing():
        child = multiprocessing.get_context("fork").Process(target=_killed_while_looking, args=(bench,))
        child.start()
        child.join()
        assert [volume.state for volume in bench.site.state().volumes] == ["mapped"]
        with bench.driver.volumes().look(IMAGE) as (device, size):
            assert (device.exists(), size) == (True, 64 * MIB)


def test_what_a_killed_edit_of_volumes_has_left_goes_with_the_next(
    make: Callable[..., RocksBench], image: LocalImage, tmp_path: Path
) -> None:
    bench = make()
    bench.site.add_zvol("pragma/centos7-vol", 64 * MIB, content=tmp_path / "content.img")
    left = default_scratch() / f"pragma-volumes-{2**22 + 1}-test"  # no process has this number
    left.mkdir()
    store = VolumeDiskStore(FileDiskStore(tmp_path / "disks", lambda: "tcg"), bench.driver.volumes(), lambda: "tcg")
    with store.inspect(image.frontend) as guest:
        assert guest.read("/etc/hostname") == b"image\n"
    assert not left.exists()
