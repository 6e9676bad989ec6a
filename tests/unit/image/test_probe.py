"""Which back end a disk is for; the disks that hold no root are in the store's contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.disks import MIB, START, ext_disk, mbr, tree
from pragma_boot.image.partition import Partition
from pragma_boot.image.probe import ExtRoot, Foreign, probe

SIZE = 64 * MIB


def test_an_fstab_that_mounts_more_is_the_appliances_to_edit(tmp_path: Path) -> None:
    content = tree(tmp_path / "tree")
    fstab = content / "etc/fstab"
    for line, kind in (("/dev/sda2 /var ext4 defaults", Foreign), ("tmpfs /var/tmp tmpfs rw", ExtRoot)):
        fstab.write_text(f"# comment\n/dev/sda1 / ext4 defaults\n{line} 0 0\n")
        path = ext_disk(tmp_path / "disk.img", content, SIZE)
        assert isinstance(probe(path, str(path)), kind)


@pytest.mark.parametrize("options", ["-O quota", "-O bigalloc", "-O inline_data"])
def test_features_that_debugfs_might_break_are_the_appliances(tmp_path: Path, options: str) -> None:
    path = ext_disk(tmp_path / "disk.img", tree(tmp_path / "tree"), SIZE, options=options)
    assert probe(path, str(path)) == Foreign(frozenset({"ext"}))


@pytest.mark.parametrize(
    ("offset", "magic", "kind"),
    [(0, b"XFSB", "xfs"), (0x10040, b"_BHRfS_M", "btrfs"), (512, b"LABELONE", "LVM"), (0, b"LUKS\xba\xbe", "LUKS")],
)
def test_other_volumes_are_known_by_name(tmp_path: Path, offset: int, magic: bytes, kind: str) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(4 * MIB))
    mbr(path, (0x83, START, 2 * MIB))
    with path.open("r+b") as disk:
        disk.seek(START + offset)
        disk.write(magic)
    assert probe(path, str(path)) == Foreign(frozenset({kind}))


def test_a_plain_root_is_debugfss(tmp_path: Path) -> None:
    path = ext_disk(tmp_path / "disk.img", tree(tmp_path / "tree"), SIZE)
    assert probe(path, str(path)) == ExtRoot(Partition(1, START, SIZE - START), clean=True)
