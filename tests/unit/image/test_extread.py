"""What our reader reads of ext file systems is what mke2fs was given; nonsense is refused, and in bounded time."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.disks import MIB, START, ext_disk, sh, tree
from pragma_boot.errors import GuestError
from pragma_boot.image.extread import ROOT_INODE, Inode, Known, Reader
from pragma_boot.image.superblock import Geometry
from pragma_boot.image.tree import Tree

SIZE = 64 * MIB
HOLES = 3 * MIB + 4321
VARIANTS = [
    "",
    "-b 1024",
    "-b 2048 -O ^extents,^64bit",
    "-O ^metadata_csum",
    "-O ^extents,^64bit -b 1024",
    "-O ^dir_index,^filetype",
    "-O meta_bg,^resize_inode -b 1024",
    "-O meta_bg,^resize_inode,^sparse_super -b 1024",
    "-O sparse_super2,meta_bg,^resize_inode -b 1024",
    "-O ^flex_bg -g 1024 -b 1024",
    "-I 128 -O ^metadata_csum,^64bit",
    "-O bigalloc -b 1024",
    "-O bigalloc -b 4096",
    "-r 0 -O none",
]


def content_of(folder: Path) -> Path:
    content = tree(folder / "tree")
    (content / "root/large").write_bytes(os.urandom(900_000))
    with (content / "root/holes").open("wb") as file:
        file.write(b"first")
        file.seek(HOLES - 4)
        file.write(b"last")
    (content / "root/empty").touch()
    (content / "root/slow-link").symlink_to("s" * 200)
    (content / "root/fast-link").symlink_to("f" * 59)
    return content


def lookup(reader: Reader, path: str) -> Inode:
    node = Tree(reader).walk(path, follow=False).node
    assert node
    assert node.inode
    return node.inode


@pytest.mark.parametrize("options", VARIANTS)
def test_every_kind_of_ext_is_read_as_it_was_made(tmp_path: Path, options: str) -> None:
    content = content_of(tmp_path)
    reader = Reader(ext_disk(tmp_path / "disk", content, SIZE, options=options), START)
    for path in content.rglob("*"):
        inode = lookup(reader, f"/{path.relative_to(content)}")
        assert inode.mode == path.lstat().st_mode
        if path.is_symlink():
            assert reader.link_target(inode) == os.readlink(path)  # noqa: PTH115 - a Path would tidy it up
        elif path.is_dir():
            assert sorted(reader.listing(inode)) == sorted(entry.name for entry in path.iterdir())
        else:
            assert inode.size == path.stat().st_size
            assert reader.content(inode) == path.read_bytes()
    reader.close()


def test_owners_and_sizes_have_all_their_bits(tmp_path: Path) -> None:
    disk = ext_disk(tmp_path / "disk", content_of(tmp_path), SIZE)
    target = f"{disk}?offset={START}"
    script = tmp_path / "script"
    script.write_text("sif /root/empty uid 70001\nsif /root/empty gid 80002\nsif /root/empty size 0x100000005\n")
    sh("debugfs", "-w", "-f", script, target)
    found = lookup(Reader(disk, START), "/root/empty")
    assert (found.uid, found.gid, found.size) == (70001, 80002, 0x100000005)


def test_a_copy_has_its_content_and_its_holes(tmp_path: Path) -> None:
    content = content_of(tmp_path)
    reader = Reader(ext_disk(tmp_path / "disk", content, SIZE), START)
    for name in ("large", "holes", "empty"):
        reader.copy(lookup(reader, f"/root/{name}"), tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == (content / "root" / name).read_bytes()
    reader.copy(lookup(reader, "/root/holes"), tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_blocks * 512 < HOLES // 2


def test_space_that_was_set_aside_but_not_written_reads_as_zeros(tmp_path: Path) -> None:
    disk = ext_disk(tmp_path / "disk", content_of(tmp_path), SIZE)
    target = f"{disk}?offset={START}"
    sh("debugfs", "-w", "-R", "fallocate /root/empty 0 20", target)
    sh("debugfs", "-w", "-R", "sif /root/empty size 50000", target)
    reader = Reader(disk, START)
    assert reader.content(lookup(reader, "/root/empty")) == bytes(50000)


def test_what_one_reader_has_found_out_another_need_not_read(tmp_path: Path) -> None:
    known = Known()
    first = Reader(ext_disk(tmp_path / "disk", tree(tmp_path / "tree"), SIZE), START, known)
    entries = first.listing(first.inode(ROOT_INODE))
    second = Reader(tmp_path / "not-there", START, known)
    assert second.listing(second.inode(ROOT_INODE)) == entries
    with pytest.raises(GuestError, match="cannot be read"):
        second.inode(entries["etc"])


def test_a_folder_with_a_line_break_in_a_name_is_refused(tmp_path: Path) -> None:
    content = tree(tmp_path / "tree")
    (content / "root/evil\ndebugfs: ls -p").write_text("")
    reader = Reader(ext_disk(tmp_path / "disk", content, SIZE), START)
    with pytest.raises(GuestError, match="odd file name"):
        reader.listing(lookup(reader, "/root"))


class Damaged:
    """A file system of which single bytes are changed."""

    def __init__(self, folder: Path) -> None:
        self.path = ext_disk(folder / "disk", content_of(folder), SIZE)
        self.target = f"{self.path}?offset={START}"
        with self.path.open("rb") as disk:
            disk.seek(START + 1024)
            self.block = Geometry.of(disk.read(1024)).block

    def write(self, start: int, data: bytes) -> None:
        with self.path.open("r+b") as disk:
            disk.seek(START + start)
            disk.write(data)

    def first_block(self, path: str) -> int:
        return int(sh("debugfs", "-R", f"bmap {path} 0", self.target).stdout.split()[-1]) * self.block

    def inode(self, path: str) -> int:
        words = sh("debugfs", "-R", f"imap {path}", self.target).stdout.replace(",", "").split()
        return int(words[-3]) * self.block + int(words[-1], 16)


DAMAGE: dict[str, Callable[[Damaged], None]] = {
    "entries of no length": lambda disk: disk.write(disk.first_block("/root") + 4, b"\0\0"),
    "an entry that leaves its block": lambda disk: disk.write(disk.first_block("/root") + 4, b"\xf0\xff"),
    "a name with a slash": lambda disk: disk.write(disk.first_block("/root") + 12 + 12 + 8, b"/"),
    "a folder that is another": lambda disk: disk.write(disk.first_block("/root"), struct.pack("<I", 2)),
    "an extent far outside": lambda disk: disk.write(disk.inode("/root") + 40 + 12 + 8, b"\xff\xff\xff\x7f"),
    "an extent of no blocks": lambda disk: disk.write(disk.inode("/root") + 40 + 12 + 4, b"\0\0"),
    "more extents than there is room": lambda disk: disk.write(disk.inode("/root") + 40 + 2, b"\xff\xff"),
    "extents without end": lambda disk: disk.write(disk.inode("/root") + 40 + 6, b"\x09"),
    "no extents at all": lambda disk: disk.write(disk.inode("/root") + 40, b"\0\0"),
    "a folder of petabytes": lambda disk: disk.write(disk.inode("/root") + 4, b"\xff\xff\xff\xff"),
    "content inside the inode": lambda disk: disk.write(disk.inode("/root") + 0x20 + 3, b"\x10"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_folder_is_refused(tmp_path: Path, kind: str) -> None:
    disk = Damaged(tmp_path)
    DAMAGE[kind](disk)
    reader = Reader(disk.path, START)
    with pytest.raises(GuestError) as failure:
        reader.listing(lookup(reader, "/root"))
    assert failure.value.resolution


def test_extents_that_lead_to_themselves_come_to_an_end(tmp_path: Path) -> None:
    disk = Damaged(tmp_path)
    start = disk.first_block("/root")
    node = struct.pack("<HHHHI", 0xF30A, 2, 4, 1, 0) + 2 * struct.pack("<IIHH", 0, start // disk.block, 0, 0)
    disk.write(disk.inode("/root") + 40, node)
    disk.write(start, node)
    reader = Reader(disk.path, START)
    with pytest.raises(GuestError, match="cannot be read"):
        reader.listing(lookup(reader, "/root"))


@pytest.mark.parametrize(
    ("start", "data"),
    [(1024 + 0x18, b"\x20"), (1024 + 0x20, bytes(4)), (1024 + 0x28, bytes(4)), (1024 + 0x58, b"\xff\xff"),
     (1024 + 0x38, b"\0"), (1024 + 0x60, b"\xff"), (1024 + 0xFE, bytes(2))],
)  # fmt: skip
def test_a_superblock_that_makes_no_sense_is_refused(tmp_path: Path, start: int, data: bytes) -> None:
    disk = Damaged(tmp_path)
    disk.write(start, data)
    with pytest.raises(GuestError, match="superblock"):
        Reader(disk.path, START).inode(ROOT_INODE)


def test_a_disk_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    disk = Damaged(tmp_path)
    os.truncate(disk.path, START + 8192)
    with pytest.raises(GuestError, match="cannot be read"):
        Tree(Reader(disk.path, START)).walk("/root/large")


@pytest.mark.parametrize("number", [0, 1 << 31])
def test_there_are_no_inodes_beyond_the_last(tmp_path: Path, number: int) -> None:
    with pytest.raises(GuestError, match="inode"):
        Reader(Damaged(tmp_path).path, START).inode(number)
