"""Disks on volumes: edited through an overlay, written down when all is well, mapped no longer than needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.disks import MIB, ext_disk, fsck, local, tree
from pragma_boot.image.base import Move, Write
from pragma_boot.image.qcow2 import FileDiskStore
from pragma_boot.image.zvol import VolumeDiskStore
from pragma_boot.model import ClusterName, DiskFormat, LocalDisk, LocalImage, NodeName, Role, VolumeSource

SOURCE = VolumeSource("pragma", "image-vol", "nas-0-0")


class FakeVolumes:
    """Volumes that are files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mapped_now: list[str] = []

    def file(self, volume: VolumeSource) -> Path:
        return self.folder / volume.volume

    def clone(self, source: VolumeSource, cluster: ClusterName, node: NodeName) -> tuple[VolumeSource, int]:
        made = VolumeSource(source.pool, f"{cluster}-{node}-vol", source.host)
        self.file(made).write_bytes(self.file(source).read_bytes())
        return made, self.file(made).stat().st_size

    @contextmanager
    def mapped(self, volume: VolumeSource, size: int) -> Iterator[Path]:
        assert size == self.file(volume).stat().st_size
        self.mapped_now.append(volume.volume)
        try:
            yield self.file(volume)
        finally:
            self.mapped_now.remove(volume.volume)

    @contextmanager
    def look(self, source: VolumeSource) -> Iterator[tuple[Path, int]]:
        size = self.file(source).stat().st_size
        with self.mapped(source, size) as device:
            yield device, size


@pytest.fixture
def volumes(tmp_path: Path) -> FakeVolumes:
    (tmp_path / "nas").mkdir()
    ext_disk(tmp_path / "nas" / SOURCE.volume, tree(tmp_path / "tree"), 64 * MIB)
    return FakeVolumes(tmp_path / "nas")


@pytest.fixture
def store(volumes: FakeVolumes, tmp_path: Path) -> VolumeDiskStore:
    return VolumeDiskStore(FileDiskStore(tmp_path / "disks", lambda: "tcg"), volumes, lambda: "tcg")


def image(tmp_path: Path) -> LocalImage:
    """A frontend in a file, computes on a volume: the two may be mixed."""
    disk = ext_disk(tmp_path / "frontend.img", tree(tmp_path / "other"), 64 * MIB)
    source = LocalDisk(Path("/nas-0-0/pragma/image-vol"), DiskFormat.RAW, 0, SOURCE)
    return LocalImage(local(disk).image, local(disk).frontend, source)


def test_files_and_volumes_are_edited_in_one_go(store: VolumeDiskStore, volumes: FakeVolumes, tmp_path: Path) -> None:
    before, source = volumes.file(SOURCE).read_bytes(), image(tmp_path)
    names = [NodeName("vc"), NodeName("compute-0"), NodeName("compute-1")]
    roles = [Role.FRONTEND, Role.COMPUTE, Role.COMPUTE]
    disks = [store.clone(source, role, "vc", name) for role, name in zip(roles, names, strict=True)]
    assert [bool(disk.volume) for disk in disks] == [False, True, True]
    with store.edit(disks) as guests:
        assert len(volumes.mapped_now) == 2
        for guest, name in zip(guests, names, strict=True):
            guest.apply([Write("/etc/hostname", name.encode()), Move("/etc/network", "/saved")])
    assert volumes.mapped_now == []
    with store.edit(disks) as guests:
        assert [guest.read("/etc/hostname").decode() for guest in guests] == names
    assert volumes.file(SOURCE).read_bytes() == before
    assert disks[1].volume
    fsck(volumes.file(disks[1].volume))


def test_a_volume_whose_edits_failed_is_as_it_was(store: VolumeDiskStore, volumes: FakeVolumes, tmp_path: Path) -> None:
    disk = store.clone(image(tmp_path), Role.COMPUTE, "vc", NodeName("compute-0"))
    assert disk.volume
    before = volumes.file(disk.volume).read_bytes()
    with pytest.raises(KeyboardInterrupt), store.edit([disk]) as (guest,):
        guest.apply([Write("/etc/hostname", b"half")])
        raise KeyboardInterrupt
    assert volumes.file(disk.volume).read_bytes() == before
    assert volumes.mapped_now == []


def test_an_image_on_a_volume_is_inspected(store: VolumeDiskStore, volumes: FakeVolumes, tmp_path: Path) -> None:
    with store.inspect(image(tmp_path).compute) as guest:
        assert guest.read("/etc/hostname") == b"image\n"
    assert volumes.mapped_now == []
