"""Disks for tests: made by mke2fs from a folder, with no loop device and no mount."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

from pragma_boot.model import DiskFormat, FileSource, Image, ImageName, LocalDisk, LocalImage, NodeImage, Packing

MIB = 1024 * 1024
START = MIB


def sh(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True)


def mbr(path: Path, *parts: tuple[int, int, int]) -> None:
    """Write a boot record of (type, start, size), the two in bytes."""
    table = b"".join(struct.pack("<B3xB3xII", 0, kind, start // 512, size // 512) for kind, start, size in parts)
    with path.open("r+b") as disk:
        disk.seek(446)
        disk.write(table.ljust(64, b"\0") + b"\x55\xaa")


def tree(folder: Path) -> Path:
    """A small root: a few files, links inside and across folders, a folder that is large enough for an index."""
    for name in ("etc/network", "etc/many", "root", "run", "var/lib", "boot"):
        (folder / name).mkdir(parents=True)
    (folder / "etc/hostname").write_text("image\n")
    (folder / "etc/network/interfaces").write_text("auto eth0\n")
    (folder / "var/run").symlink_to("/run")
    (folder / "etc/resolv.conf").symlink_to("../run/resolv.conf")
    (folder / "etc/loop").symlink_to("loop")
    (folder / "etc/far").symlink_to("/../../" + "./" * 40 + "etc/hostname")
    for number in range(300):
        (folder / f"etc/many/a-rather-long-file-name-{number:04}").write_text(str(number))
    return folder


def ext_disk(path: Path, content: Path, size: int = 64 * MIB, *, options: str = "", partitioned: bool = True) -> Path:
    """A raw disk with one ext partition of what is in *content*."""
    with path.open("wb") as disk:
        disk.truncate(size)
    offset = START if partitioned else 0
    if partitioned:
        mbr(path, (0x83, START, size - START))
    words = [*options.split(), "-E", f"offset={offset},root_owner=0:0"]
    sh("mke2fs", "-q", "-F", "-t", "ext4", *words, "-d", content, path, f"{(size - offset) // 1024}k")
    return path


def local(path: Path, disk_format: DiskFormat = DiskFormat.RAW) -> LocalImage:
    disk = LocalDisk(path, disk_format, path.stat().st_size)
    part = NodeImage(FileSource(path.name, Packing.RAW, (path.name,)))
    return LocalImage(Image(ImageName("demo"), "x86_64", "test", path.parent, part), disk, disk)


def fsck(overlay: Path, offset: int = START) -> str:
    """The output of a full check of what is in an overlay (or raw file); raises when anything is wrong."""
    raw = overlay.with_suffix(".check")
    sh("qemu-img", "convert", "-O", "raw", overlay, raw)
    try:
        return sh("e2fsck", "-fn", f"{raw}?offset={offset}").stdout
    finally:
        raw.unlink()
