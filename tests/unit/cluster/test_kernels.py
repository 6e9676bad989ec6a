from pathlib import Path

from fakes.cluster_site import FakeDisks, make_site
from fakes.guest import FakeGuest
from pragma_boot.cluster.boot import BootRequest, boot
from pragma_boot.cluster.kernels import kernel_of, kernels_of_disks
from pragma_boot.errors import GuestError
from pragma_boot.image.base import Guest
from pragma_boot.model import ClusterName, ImageName, LocalDisk, NodeName

GRUB = "menuentry 'x' {\n linux /boot/vmlinuz root=UUID=1 ro quiet\n initrd /boot/initrd.img\n}\n"


def guest(grub: str = GRUB) -> FakeGuest:
    kernel = bytes(0x202) + b"HdrS" + bytes(4096)
    kernel = kernel[:0x1FE] + b"\x55\xaa" + kernel[0x200:]
    files = {"/boot/grub/grub.cfg": grub, "/boot/vmlinuz": kernel, "/boot/initrd.img": b"initrd", "/etc/fstab": ""}
    return FakeGuest.of(files)


def test_each_cluster_has_copies_of_its_own(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    one, two = (kernel_of(site, ClusterName(name), "image-0", guest()) for name in ("one", "two"))
    assert one is not None
    assert two is not None
    assert one.initrd is not None
    assert one.initrd.read_bytes() == b"initrd"
    assert "root=UUID=1" in one.cmdline
    assert one.kernel != two.kernel
    assert one.kernel.is_relative_to(site.settings.site.state.cluster("one"))


def test_what_is_not_certain_is_left_to_the_boot_loader(tmp_path: Path) -> None:
    assert kernel_of(make_site(tmp_path), ClusterName("one"), "image-0", guest("menuentry")) is None


def test_a_node_that_starts_again_gets_the_kernel_that_is_on_its_disk_now(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    boot(site, BootRequest(ImageName("demo"), 1))
    assert isinstance(site.disks, FakeDisks)
    site.disks.opens = lambda disk: guest(GRUB.replace("quiet", disk.path.stem))
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
