"""Partition tables that are computed, looked at by sfdisk and sgdisk."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from pragma_boot.repository.clonezilla.table import SECTOR, Partition, Piece, make_gpt, mbr_pieces, read_dump, read_gpt

SIZE = 400_000


def put(path: Path, pieces: list[Piece], boot: bytes = b"") -> Path:
    with path.open("wb") as disk:
        disk.truncate(SIZE * SECTOR)
        disk.write(boot)
        for sector, data in pieces:
            disk.seek(sector * SECTOR)
            disk.write(data)
    return path


def listed(disk: Path) -> str:
    done = subprocess.run(["sfdisk", "-d", disk], capture_output=True, text=True, check=True)
    return done.stdout.replace(str(disk), "/dev/vda")


def places(disk: Path) -> list[tuple[int, int, int]]:
    return [(one.number, one.start, one.size) for one in read_dump(listed(disk), "x").partitions]


LOGICAL = [Partition("vda5", 5, 106_496, 20_000, 0x83), Partition("vda6", 6, 130_000, 9_999, 0x82)]
TIGHT = [Partition("vda5", 5, 104_449, 1_000, 0x83), Partition("vda6", 6, 105_450, 1_000, 0x83)]
SWAPPED = [Partition("vda5", 5, 150_000, 20_000, 0x83), Partition("vda6", 6, 110_000, 30_000, 0x83)]


@pytest.mark.parametrize("logical", [[], LOGICAL, TIGHT, SWAPPED])
def test_logical_partitions_are_found_again(logical: list[Partition], tmp_path: Path) -> None:
    first = Partition("vda1", 1, 2048, 100_000, 0x83, bootable=True)
    partitions = [first, Partition("vda2", 2, 104_448, 200_000, 5), *logical]
    pieces = mbr_pieces(partitions, random.Random(1).randbytes(446), {}, SIZE)
    disk = put(tmp_path / "disk", pieces)
    assert places(disk) == [(one.number, one.start, one.size) for one in partitions]
    assert "bootable" in listed(disk).splitlines()[-len(partitions)]


def test_a_saved_boot_sector_of_another_table_gives_its_code_only(tmp_path: Path) -> None:
    saved = random.Random(2).randbytes(510) + b"\x55\xaa"
    ((sector, made),) = mbr_pieces([Partition("vda1", 1, 2048, 100, 0x83)], saved, {}, SIZE)
    assert (sector, made[:446]) == (0, saved[:446])
    assert made[446:] != saved[446:]


DUMP = """label: gpt
label-id: 0FC63DAF-8483-4772-8E79-3D69D8477DE4
device: /dev/vda
unit: sectors
first-lba: 34
last-lba: 399966
sector-size: 512

/dev/vda1 : start= 2048, size= 4096, type=21686148-6449-6E6F-744E-656564454649, \
uuid=C5A2BA1D-98E5-4CA3-8A5C-1A0F1E3D92E0
/dev/vda3 : start= 8192, size= 300000, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, \
uuid=C5A2BA1D-98E5-4CA3-8A5C-1A0F1E3D92E1, name="root, the ü", attrs="RequiredPartition LegacyBIOSBootable GUID:63"
"""


def test_a_gpt_made_from_a_dump_says_the_same(tmp_path: Path) -> None:
    gpt = make_gpt(read_dump(DUMP, "x"), SIZE, "x")
    disk = put(tmp_path / "disk", gpt.pieces(), b"".join(data for _, data in mbr_pieces(
        [Partition("", 1, 1, SIZE - 1, 0xEE)], bytes(446), {}, SIZE)))  # fmt: skip
    assert read_dump(listed(disk), "x") == read_dump(DUMP, "x")  # sfdisk writes ü as \\xc3\\xbc
    done = subprocess.run(["sgdisk", "-v", disk], capture_output=True, text=True, check=True)
    assert "No problems found" in done.stdout


def test_a_damaged_gpt_is_none() -> None:
    pieces = dict(make_gpt(read_dump(DUMP, "x"), SIZE, "x").pieces())
    header, entries = pieces[1], pieces[2]
    assert read_gpt(header, entries)
    for damaged in ((b"x" + header[1:], entries), (header, b"x" + entries[1:]), (header[:100], entries), (header, b"")):
        assert read_gpt(*damaged) is None
    backup = pieces[SIZE - 1]
    assert read_gpt(backup, entries) is None
