import os
from pathlib import Path
from typing import cast

from fakes.cluster_site import FakeDisks, make_site
from fakes.guest import FakeGuest
from pragma_boot.cluster.boot import BootRequest, boot
from pragma_boot.cluster.kernels import kernel_of, kernels_of_disks
from pragma_boot.errors import GuestError
from pragma_boot.image.base import Guest
from pragma_boot.model import ClusterName, DiskFormat, ImageName, LocalDisk, NodeName

GRUB = "menuentry 'x' {\n linux /boot/vmlinuz root=UUID=1 ro quiet\n initrd /boot/initrd.img\n}\n"


class CountingGuest:
    """A guest that counts how often something is copied out of it."""

    def __init__(self, guest: FakeGuest) -> None:
        self.guest, self.copies = guest, 0

    def __getattr__(self, name: str) -> object:
        self.copies += name == "export"
        return getattr(self.guest, name)


def guest(grub: str = GRUB) -> CountingGuest:
    kernel = bytes(0x202) + b"HdrS" + bytes(4096)
    kernel = kernel[:0x1FE] + b"\x55\xaa" + kernel[0x200:]
    files = {"/boot/grub/grub.cfg": grub, "/boot/vmlinuz": kernel, "/boot/initrd.img": b"initrd", "/etc/fstab": ""}
    return CountingGuest(FakeGuest.of(files))


def source(tmp_path: Path) -> LocalDisk:
    path = tmp_path / "demo.img"
    path.touch()
    return LocalDisk(path, DiskFormat.RAW, 0)


def test_a_kernel_is_copied_once_for_each_state_of_an_image(tmp_path: Path) -> None:
    disk, image = source(tmp_path), guest()
    first = kernel_of(tmp_path / "cache", tmp_path / "locks", disk, image)  # type: ignore[arg-type]
    copies = image.copies
    assert first is not None
    assert first.initrd is not None
    assert first.initrd.read_bytes() == b"initrd"
    assert "root=UUID=1" in first.cmdline
    assert kernel_of(tmp_path / "cache", tmp_path / "locks", disk, image) == first  # type: ignore[arg-type]
    assert image.copies == copies
    os.utime(disk.path, (1, 1))
    assert kernel_of(tmp_path / "cache", tmp_path / "locks", disk, image) != first  # type: ignore[arg-type]


def test_doubt_is_remembered_too(tmp_path: Path) -> None:
    disk = source(tmp_path)
    assert kernel_of(tmp_path / "cache", tmp_path / "locks", disk, guest("menuentry")) is None  # type: ignore[arg-type]
    assert kernel_of(tmp_path / "cache", tmp_path / "locks", disk, guest()) is None  # type: ignore[arg-type]


def test_a_node_that_starts_again_gets_the_kernel_that_is_on_its_disk_now(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    boot(site, BootRequest(ImageName("demo"), 1))
    assert isinstance(site.disks, FakeDisks)
    site.disks.opens = lambda disk: cast(Guest, guest(GRUB.replace("quiet", disk.path.stem)))
    nodes = [NodeName("demo"), NodeName("compute-0")]
    found = kernels_of_disks(site, ClusterName("demo"), nodes)
    assert {node: kernel.cmdline.split()[2] for node, kernel in found.items()} == {node: node for node in nodes}
    assert kernels_of_disks(site, ClusterName("demo"), nodes[1:]).keys() == {"compute-0"}


def test_a_disk_that_cannot_be_read_leaves_its_node_to_the_boot_loader(tmp_path: Path) -> None:
    def refuse(disk: LocalDisk) -> Guest:
        raise GuestError("no")

    site = make_site(tmp_path)
    boot(site, BootRequest(ImageName("demo"), 0))
    assert isinstance(site.disks, FakeDisks)
    site.disks.opens = refuse
    assert kernels_of_disks(site, ClusterName("demo"), [NodeName("demo")]) == {}
