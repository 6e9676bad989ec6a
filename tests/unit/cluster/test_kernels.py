import os
from pathlib import Path

from fakes.guest import FakeGuest
from pragma_boot.cluster.kernels import kernel_of
from pragma_boot.model import DiskFormat, LocalDisk

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
