"""Disks that debugfs must not touch, in libguestfs's appliance (ten seconds and more each without KVM)."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.disks import MIB, START, local, mbr, sh
from pragma_boot.errors import GuestError
from pragma_boot.image.base import MakeFolder, Move, Remove, Symlink, Write
from pragma_boot.image.qcow2 import FileDiskStore
from pragma_boot.model import LocalImage, NodeName, Role

pytestmark = pytest.mark.live
SIZE = 352 * MIB
PROTO = """-
1 1
d--755 0 0
etc d--755 0 0
 fstab ---644 0 0 {fstab}
 hostname ---644 0 0 {hostname}
 os-release ---644 0 0 {release}
 net d--755 0 0
  old ---644 0 0 {hostname}
 $
$
root d--700 0 0 $
bin d--755 0 0 $
usr d--755 0 0 $
boot d--755 0 0 $
var d--755 0 0
 run l--777 0 0 /run
$
run d--755 0 0 $
$
"""


def xfs_image(folder: Path) -> LocalImage:
    """A root on xfs, which every clone's fstab names by the one UUID that they all have."""
    uuid = "0fa0c0de-0000-4000-8000-000000000001"
    files = {
        "fstab": f"UUID={uuid} / xfs defaults 0 0\n",
        "hostname": "image\n",
        "release": 'ID=debian\nNAME="Debian"\nVERSION_ID="12"\n',
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    proto = folder / "proto"
    proto.write_text(PROTO.format(**{name: folder / name for name in files}))
    part = folder / "part"
    with part.open("wb") as file:
        file.truncate(SIZE - START)
    sh("mkfs.xfs", "-q", "-m", f"uuid={uuid}", "-p", proto, part)
    disk = folder / "xfs.img"
    with disk.open("wb") as file:
        file.truncate(SIZE)
    sh("dd", f"if={part}", f"of={disk}", "bs=1M", "seek=1", "conv=notrunc,sparse")
    mbr(disk, (0x83, START, SIZE - START))
    return local(disk)


def test_clones_with_the_same_uuid_are_edited_apart_in_one_appliance(tmp_path: Path) -> None:
    image = xfs_image(tmp_path)
    store = FileDiskStore(tmp_path / "disks", lambda: "tcg")
    disks = [store.clone(image, Role.COMPUTE, "demo", NodeName(f"n{number}")) for number in range(2)]
    with store.edit(disks) as guests:
        for guest, disk in zip(guests, disks, strict=True):
            guest.apply(
                [
                    Write("/etc/hostname", disk.node.encode()),
                    Write("/root/.ssh/authorized_keys", b"key\n", 0o600, group=998),
                    MakeFolder("/root/.ssh", 0o700),
                    Move("/etc/net", "/var/lib/pragma/saved/net"),
                    Symlink("/etc/link", "hostname"),
                    Write("/var/run/through-a-link", b""),
                    Remove("/nope"),
                ]
            )
        for guest, disk in zip(guests, disks, strict=True):
            assert guest.read("/etc/hostname") == disk.node.encode()
            assert guest.read("/etc/link") == disk.node.encode()
            assert guest.listdir("/var/lib/pragma/saved/net") == ("old",)
            assert guest.listdir("/run") == ("through-a-link",)
            assert guest.readlink("/var/run") == "/run"
            assert not guest.exists("/etc/net")
            guest.export("/root/.ssh/authorized_keys", tmp_path / "out")
            assert (tmp_path / "out").read_bytes() == b"key\n"
            for path in ("/etc", "/nope"):
                with pytest.raises(GuestError, match="is no file"):
                    guest.read(path)
            with pytest.raises(GuestError, match="is a folder"):
                guest.apply([Write("/etc", b"")])
