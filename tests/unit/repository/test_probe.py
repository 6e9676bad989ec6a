import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from pragma_boot.errors import ImageError
from pragma_boot.model import DiskFormat
from pragma_boot.repository.probe import CHAIN_LIMIT, probe

MIB = 1024 * 1024
CLUSTER = 65536


def qcow2(
    *,
    version: int = 3,
    size: int = MIB,
    crypt: int = 0,
    features: int = 0,
    cluster_bits: int = 16,
    backing: str = "",
    extension: bytes = b"",
    l1: tuple[int, ...] = (0,),
    l1_size: int | None = None,
) -> bytes:
    """An image of one header cluster and one with its first-level table."""
    name = backing.encode()
    fields = (version, 4000 if name else 0, len(name), cluster_bits, size, crypt)
    tables = (len(l1) if l1_size is None else l1_size, CLUSTER, 0, 0, 0, 0)
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", *fields, *tables)
    if version == 3:
        head += struct.pack(">QQQII", features, 0, 0, 4, 104)
    head += extension + bytes(8)
    head = head.ljust(4000, b"\0") + name
    return head.ljust(CLUSTER, b"\0") + struct.pack(f">{len(l1)}Q", *l1).ljust(CLUSTER, b"\0")


def refusal(path: Path, *roots: Path) -> str:
    with pytest.raises(ImageError) as caught:
        probe(path, roots or (path.parent,))
    assert caught.value.resolution
    return caught.value.details or ""


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return tmp_path / "disk"


def test_anything_of_whole_sectors_is_raw(disk: Path) -> None:
    disk.write_bytes(bytes(1024))
    found = probe(disk, ())
    assert (found.path, found.format, found.size) == (disk, DiskFormat.RAW, 1024)


@pytest.mark.parametrize("version", [2, 3])
def test_qcow2_is_found_by_its_header_and_tells_its_virtual_size(disk: Path, version: int) -> None:
    disk.write_bytes(qcow2(version=version, size=20 * MIB, l1=(CLUSTER | 1 << 63,)))
    assert (probe(disk, ()).format, probe(disk, ()).size) == (DiskFormat.QCOW2, 20 * MIB)


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")
@pytest.mark.parametrize(
    "options",
    ["compat=0.10", "compat=1.1", "cluster_size=512", "cluster_size=2M", "extended_l2=on", "lazy_refcounts=on"],
)
def test_what_qemu_writes_is_accepted(tmp_path: Path, options: str) -> None:
    raw, disk = tmp_path / "raw", tmp_path / "disk"
    raw.write_bytes(os.urandom(3 * MIB))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", options, raw, disk], check=True)
    assert probe(disk, ()).size == 3 * MIB


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (bytes(1000), "no multiple of 512"),
        (b"\x1f\x8b\x08" + bytes(509), "a gzip file"),
        (b"\xfd7zXZ\x00" + bytes(506), "a xz file"),
        (b"KDMV" + bytes(508), "a VMDK file"),
        (bytes(64) + b"\x7f\x10\xda\xbe" + bytes(444), "a VDI file"),
        (b"QFI\xfb", "header is cut"),
        (qcow2()[:90], "header is cut"),
        (qcow2(version=1), "version 1"),
        (qcow2(version=4), "version 4"),
        (qcow2(crypt=1), "encrypted"),
        (qcow2(features=1 << 1), "marked as corrupt"),
        (qcow2(features=1 << 2), "data in another file"),
        (qcow2(extension=struct.pack(">II", 0x44415441, 4) + b"/etc"), "data in another file"),
        (qcow2(extension=struct.pack(">II", 1, 3) + bytes(8) + struct.pack(">II", 0x44415441, 0)), "data in another"),
        (qcow2(features=1 << 40), "unknown qcow2 features"),
        (qcow2(size=0), "makes no sense"),
        (qcow2(size=1000), "makes no sense"),
        (qcow2(size=1 << 62), "makes no sense"),
        (qcow2(cluster_bits=40), "makes no sense"),
        (qcow2(l1_size=1 << 31), "makes no sense"),
        (qcow2(l1=(), l1_size=0), "a part of it is missing"),
        (qcow2(l1=(0,), l1_size=1 << 16), "a part of it is missing"),
        (qcow2(l1=(3 * CLUSTER,)), "a part of it is missing"),
        (qcow2()[: CLUSTER + 4], "a part of it is missing"),
    ],
)
def test_what_qemu_must_not_see_is_refused(disk: Path, data: bytes, why: str) -> None:
    disk.write_bytes(data)
    assert why in refusal(disk)


def test_errors_may_call_a_temporary_file_by_another_name(disk: Path) -> None:
    disk.touch()
    with pytest.raises(ImageError, match=r"/r/disk\.gz cannot be used"):
        probe(disk, (), Path("/r/disk.gz"))


def test_no_cut_of_a_header_raises_anything_else(disk: Path) -> None:
    whole = qcow2(backing="base")
    for length in range(4, 160):
        disk.write_bytes(whole[:length])
        assert refusal(disk)


def test_only_regular_files_are_disks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in refusal(tmp_path / "pipe")
    assert refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "missing")


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../outside", "json:{}", "nbd://192.0.2.1/x", "file:/etc/passwd", "missing", "link"]
)
def test_backing_files_outside_of_the_repository_are_refused(tmp_path: Path, name: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "outside").write_bytes(bytes(512))
    (inner / "link").symlink_to("../outside")
    (inner / "disk").write_bytes(qcow2(backing=name))
    assert refusal(inner / "disk", inner)


def test_a_backing_file_inside_is_followed_and_looked_at(tmp_path: Path) -> None:
    disk, base = tmp_path / "disk", tmp_path / "base"
    disk.write_bytes(qcow2(backing="base"))
    base.write_bytes(bytes(512))
    assert probe(disk, [tmp_path]).path == disk
    base.write_bytes(qcow2(backing="/etc/passwd"))
    assert "/etc/passwd lies outside" in refusal(disk)


def test_chains_are_bounded_and_loops_end(tmp_path: Path) -> None:
    for number in range(CHAIN_LIMIT + 1):
        (tmp_path / str(number)).write_bytes(qcow2(backing=str(number + 1)))
    (tmp_path / str(CHAIN_LIMIT + 1)).write_bytes(bytes(512))
    assert probe(tmp_path / "1", [tmp_path])
    assert "longer than 4" in refusal(tmp_path / "0")
    (tmp_path / "loop").write_bytes(qcow2(backing="loop"))
    assert "longer than 4" in refusal(tmp_path / "loop")
