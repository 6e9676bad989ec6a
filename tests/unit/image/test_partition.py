"""Partition tables as disks have them, and as an attacker would write them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest

from fakes.disks import MIB, mbr, sh
from pragma_boot.image.partition import Partition, partitions


def disk(tmp_path: Path, size: int = 8 * MIB) -> Path:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(size)
    return path


def table(path: Path) -> tuple[Partition, ...]:
    with path.open("rb") as file:
        return partitions(file)


def test_a_disk_without_a_table_has_no_partitions(tmp_path: Path) -> None:
    assert table(disk(tmp_path)) == ()
    assert partitions(io.BytesIO(b"")) == ()
    assert partitions(io.BytesIO(b"\x55\xaa" * 10)) == ()


def test_primary_partitions_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    path = disk(tmp_path)
    mbr(path, (0x83, 4 * MIB, MIB), (0, 0, 0), (0x82, MIB, MIB))
    assert table(path) == (Partition(1, 4 * MIB, MIB), Partition(3, MIB, MIB))


def test_partitions_beyond_the_disk_are_left_out(tmp_path: Path) -> None:
    path = disk(tmp_path)
    mbr(path, (0x83, 4 * MIB, 8 * MIB), (0x83, 2**40, MIB), (0x83, 0, MIB))
    assert table(path) == ()


def test_logical_partitions_are_found(tmp_path: Path) -> None:
    path = disk(tmp_path)
    sfdisk(path, "label: dos\n2048,2048,83\n4096,10240,5\n5000,1000,83\n8000,1000,83\n")
    assert [part.number for part in table(path)] == [1, 5, 6]
    assert table(path)[1] == Partition(5, 5000 * 512, 1000 * 512)


def test_a_chain_of_logical_partitions_that_bites_its_tail_ends(tmp_path: Path) -> None:
    path = disk(tmp_path)
    mbr(path, (0x05, MIB, 4 * MIB))
    with path.open("r+b") as file:
        record = struct.pack("<B3xB3xII", 0, 0x83, 10, 10) + struct.pack("<B3xB3xII", 0, 0x05, 0, 100)
        file.seek(MIB + 446)
        file.write(record.ljust(64, b"\0") + b"\x55\xaa")
    assert len(table(path)) <= 64


def test_gpt_partitions_are_found(tmp_path: Path) -> None:
    path = disk(tmp_path)
    sfdisk(path, "label: gpt\nstart=2048,size=2048\nstart=6144,size=2048,name=root\n")
    assert table(path) == (Partition(1, MIB, MIB), Partition(2, 3 * MIB, MIB))


@pytest.mark.parametrize(("count", "width"), [(2**32 - 1, 128), (128, 0), (128, 2**32 - 1)])
def test_a_gpt_with_mad_numbers_is_read_in_bounds(tmp_path: Path, count: int, width: int) -> None:
    path = disk(tmp_path)
    mbr(path, (0xEE, 512, 7 * MIB))
    header = bytearray(
        b"EFI PART" + struct.pack("<IIII", 0x10000, 92, 0, 0) + bytes(48) + struct.pack("<QIII", 2, count, width, 0)
    )
    struct.pack_into("<I", header, 16, zlib.crc32(header))
    with path.open("r+b") as file:
        file.seek(512)
        file.write(header)
    assert table(path) == ()


def test_a_gpt_header_with_a_wrong_checksum_is_not_believed(tmp_path: Path) -> None:
    path = disk(tmp_path)
    sfdisk(path, "label: gpt\nstart=2048,size=2048\n")
    with path.open("r+b") as file:
        file.seek(512 + 30)
        file.write(b"\x01")
    assert table(path) == ()


def sfdisk(path: Path, script: str) -> None:
    source = path.with_suffix(".sfdisk")
    source.write_text(script)
    sh("sh", "-c", f"sfdisk -q {path} < {source}")
