"""Disks on their way: what arrives is what was prepared, each image goes once to each host, holes do not go at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fakes.disks import MIB, sh
from fakes.rocks import RocksBench
from pragma_boot.driver.kvm_rocks.extents import BLOCK, as_raw, overlay_extents, raw_extents
from pragma_boot.driver.kvm_rocks.hosts import Hosts
from pragma_boot.driver.kvm_rocks.transfer import Parcel, Shipper
from pragma_boot.model import Disk, DiskFormat, LocalDisk, NodeName

pytestmark = pytest.mark.usefixtures("rooted")
HOST = "vm-container-0-0"
SIZE = 8 * MIB + 5 * 512  # the last block is not whole


@pytest.fixture
def rooted(bench: RocksBench) -> None:
    """Every host has a root folder of its own."""
    bench.ssh = Hosts(bench.settings.ssh)


def image(folder: Path, disk_format: DiskFormat = DiskFormat.RAW) -> LocalDisk:
    raw = folder / "image.raw"
    with raw.open("wb") as file:
        file.truncate(SIZE)
        for at in (0, 3 * MIB + 1000, SIZE - 700):
            file.seek(at)
            file.write(os.urandom(700))
    if disk_format is DiskFormat.RAW:
        return LocalDisk(raw, disk_format, SIZE)
    sh("qemu-img", "convert", "-O", "qcow2", raw, folder / "image.qcow2")
    return LocalDisk(folder / "image.qcow2", disk_format, SIZE)


def overlay(folder: Path, name: str, source: LocalDisk, *writes: str) -> Disk:
    path = folder / f"{name}.qcow2"
    sh("qemu-img", "create", "-q", "-f", "qcow2", "-F", source.format, "-b", source.path, path)
    for write in writes:
        sh("qemu-io", "-c", write, path)
    return Disk(NodeName(name), path, DiskFormat.QCOW2, source)


def content(disk: Disk) -> bytes:
    raw = disk.path.with_suffix(".all")
    sh("qemu-img", "convert", "-O", "raw", disk.path, raw)
    return raw.read_bytes()


@pytest.mark.parametrize("disk_format", list(DiskFormat))
def test_what_arrives_is_what_was_prepared(bench: RocksBench, tmp_path: Path, disk_format: DiskFormat) -> None:
    source = image(tmp_path, disk_format)
    disks = [
        overlay(tmp_path, "vc", source),
        overlay(tmp_path, "compute-0", source, "write -P 7 1M 100k", f"write -P 9 {8 * MIB} 512"),
        overlay(tmp_path, "compute-1", source, "write -z 3M 64k", "write -P 3 0 512"),
    ]
    folder = bench.site.folder / "hosts" / HOST / "state/with blank"
    parcels = [Parcel(disk, str(folder / f"{disk.node}.vda")) for disk in disks]
    with Shipper(bench.ssh, bench.scratch) as shipper:
        assert shipper.send(HOST, parcels) == {}
    for disk, parcel in zip(disks, parcels, strict=True):
        assert Path(parcel.path).read_bytes() == content(disk)
        assert Path(parcel.path).stat().st_mode & 0o777 == 0o600
        assert Path(parcel.path).stat().st_blocks * 512 < SIZE // 2, "holes stay holes"
    assert sorted(path.name for path in folder.iterdir()) == ["compute-0.vda", "compute-1.vda", "vc.vda"]
    assert list(bench.scratch.iterdir()) == []
    assert len(bench.site.calls("ssh")) == 2, "one that carries all, one that looks"


def test_a_disk_that_cannot_be_read_does_not_stop_the_others(bench: RocksBench, tmp_path: Path) -> None:
    source = image(tmp_path)
    good, bad = overlay(tmp_path, "vc", source), overlay(tmp_path, "compute-0", source)
    bad.path.unlink()
    folder = bench.site.folder / "hosts" / HOST / "state"
    with Shipper(bench.ssh, bench.scratch) as shipper:
        failures = shipper.send(HOST, [Parcel(disk, str(folder / f"{disk.node}.vda")) for disk in (bad, good)])
    assert list(failures) == ["compute-0"]
    assert (folder / "vc.vda").exists()
    assert not (folder / "compute-0.vda").exists()


def test_a_leftover_is_replaced(bench: RocksBench, tmp_path: Path) -> None:
    source = image(tmp_path)
    target = bench.site.folder / "hosts" / HOST / "state/vc.vda"
    target.write_bytes(b"old" * SIZE)
    disk = overlay(tmp_path, "vc", source)
    with Shipper(bench.ssh, bench.scratch) as shipper:
        assert shipper.send(HOST, [Parcel(disk, str(target))]) == {}
    assert target.read_bytes() == content(disk)


def test_an_image_is_made_raw_once_for_all_hosts(bench: RocksBench, tmp_path: Path) -> None:
    source = image(tmp_path, DiskFormat.QCOW2)
    with Shipper(bench.ssh, bench.scratch) as shipper:
        for host in (HOST, "vm-container-0-1"):
            target = bench.site.folder / "hosts" / host / "state/vc.vda"
            assert shipper.send(host, [Parcel(overlay(tmp_path, host, source), str(target))]) == {}
            assert len(list(bench.scratch.iterdir())) == 1
    assert list(bench.scratch.iterdir()) == []


@pytest.mark.parametrize("way", ["boot", "clean"])
def test_a_raw_copy_of_a_command_that_was_killed_goes(bench: RocksBench, tmp_path: Path, way: str) -> None:
    dead, mine = (bench.scratch / f"pragma-raw-{process}-x" for process in (2**22 + 1, os.getpid()))
    for folder in (dead, mine):
        folder.mkdir()
        (folder / "image.raw").write_bytes(b"x")
    if way == "clean":
        bench.remove("vc")
    else:
        with as_raw(image(tmp_path, DiskFormat.QCOW2), bench.scratch):
            pass
    assert list(bench.scratch.iterdir()) == [mine]


def test_a_stream_that_ends_early_leaves_nothing(bench: RocksBench, tmp_path: Path) -> None:
    from pragma_boot.driver.kvm_rocks.transfer import _RECEIVE
    from pragma_boot.errors import DriverError

    target = bench.site.folder / "hosts" / HOST / "state/vc.vda"
    for data in (b"disk 1\ndata 0 2\n" + bytes(BLOCK), b"disk 1\ndata 0 1\n" + bytes(BLOCK), b"what\n"):
        with pytest.raises(DriverError, match="failed with status 3"):
            bench.ssh.send(HOST, _RECEIVE, [str(target)], iter([data]))
        assert list(target.parent.glob("vc.vda*")) == []


def test_only_what_an_overlay_holds_is_sent_for_a_node(tmp_path: Path) -> None:
    source = image(tmp_path)
    assert overlay_extents(overlay(tmp_path, "empty", source)) == []
    found = overlay_extents(overlay(tmp_path, "one", source, "write -P 7 1M 512"))
    assert [(extent.start, extent.count) for extent in found] == [(16, 1)]
    assert sum(extent.count for extent in raw_extents(source.path)) * BLOCK < SIZE
