from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from uuid import UUID

import pytest

from pragma_boot.build import disk
from pragma_boot.errors import CommandError
from pragma_boot.run import which

IDENTITY = UUID("11111111-2222-3333-4444-555555555555")
MIB = 1024 * 1024
GRUB = Path("/") / disk.GRUB
needs_tools = pytest.mark.skipif(
    not (which("mke2fs") and which("grub-mkimage") and GRUB.is_dir()), reason="needs mke2fs, grub-common, grub-pc-bin"
)


def test_the_record_has_one_active_linux_partition_from_the_first_mebibyte_on() -> None:
    record = disk.master_boot_record(b"\xeb" * 600, 1000, signature=0xDEADBEEF)
    assert len(record) == 512
    assert record[:440] == b"\xeb" * 440
    assert struct.unpack("<I", record[440:444]) == (0xDEADBEEF,)
    active, kind, start, length = record[446], record[450], *struct.unpack("<II", record[454:462])
    assert (active, kind, start, length) == (0x80, 0x83, 2048, 1000)
    assert record[462:510] == bytes(48)
    assert record[510:] == b"\x55\xaa"


def test_the_menu_boots_at_once_by_the_file_systems_identity() -> None:
    menu = disk.menu("Debian", "/boot/vmlinuz-6", "/boot/initrd.img-6", IDENTITY, "rw console=ttyS0")
    assert "set timeout=0" in menu
    assert f"\tlinux\t/boot/vmlinuz-6 root=UUID={IDENTITY} rw console=ttyS0\n" in menu
    assert "\tinitrd\t/boot/initrd.img-6\n" in menu


@needs_tools
def test_the_folders_files_are_roots_in_a_clean_file_system(tmp_path: Path) -> None:
    target = make(tmp_path, 8 * MIB)
    partition = f"{target}?offset={MIB}"
    read = subprocess.run(["debugfs", "-R", "cat /etc/hostname", partition], capture_output=True, check=True)
    assert read.stdout == b"disk-test\n"
    subprocess.run(["e2fsck", "-fn", partition], capture_output=True, check=True)


@needs_tools
def test_the_boot_loader_is_in_place_and_the_disk_is_sparse(tmp_path: Path) -> None:
    target = make(tmp_path, 32 * MIB)
    head = target.read_bytes()[: 2 * MIB]
    boot, core = head[:512], head[512:MIB]
    assert boot[:3] == (GRUB / "boot.img").read_bytes()[:3]
    assert struct.unpack("<Q", boot[0x5C:0x64]) == (1,), "boot.img loads core.img from sector 1"
    assert b"GRUB" in boot
    assert any(core[:100_000])
    assert target.stat().st_size == 32 * MIB
    assert target.stat().st_blocks * 512 < 8 * MIB


@needs_tools
def test_files_that_do_not_fit_are_an_error_that_names_the_size(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/large").write_bytes(b"x" * 12 * MIB)
    with pytest.raises(CommandError) as caught:
        make(tmp_path, 8 * MIB)
    assert "size=" in str(caught.value.resolution)


def make(tmp_path: Path, size: int) -> Path:
    root, work, target = tmp_path / "root", tmp_path / "work", tmp_path / "disk.img"
    (root / "etc").mkdir(parents=True, exist_ok=True)
    (root / "etc/hostname").write_text("disk-test\n")
    work.mkdir()
    disk.make_disk(root, target, size=size, uuid=IDENTITY, label="test", grub=GRUB, work=work)
    return target
