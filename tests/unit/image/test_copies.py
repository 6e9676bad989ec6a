"""Editing without FUSE: what is different is found to the block; the NBD client; whether FUSE can be used."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from fakes.disks import MIB, START, ext_disk, fsck, local, sh, tree
from pragma_boot.errors import GuestError
from pragma_boot.image import export
from pragma_boot.image.base import Write
from pragma_boot.image.copies import changes, extents
from pragma_boot.image.nbd import Writer
from pragma_boot.image.qcow2 import FileDiskStore
from pragma_boot.model import NodeName, Role


def sparse(path: Path, size: int, *pieces: tuple[int, bytes]) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        for at, data in pieces:
            file.seek(at)
            file.write(data)
    return path


def test_what_has_data_is_found(tmp_path: Path) -> None:
    path = sparse(tmp_path / "a", 8 * MIB, (MIB, b"x" * 4096), (5 * MIB, b"y" * 8192))
    with path.open("rb") as file:
        found = [(start, end) for start, end in extents(file.fileno()) if end > start]
    assert [start for start, _ in found] == [MIB, 5 * MIB]
    assert list(extents(os.open(sparse(tmp_path / "none", MIB), os.O_RDONLY))) == []


def test_changes_are_whole_blocks_and_nothing_beside_them(tmp_path: Path) -> None:
    before = sparse(tmp_path / "before", 4 * MIB, (0, b"a" * 8192))
    after = sparse(tmp_path / "after", 4 * MIB, (0, b"a" * 4096 + b"b" + b"a" * 4095), (2 * MIB + 1024, b"new"))
    assert list(changes(before, after, 4096)) == [
        (4096, b"b" + b"a" * 4095),
        (2 * MIB, bytes(1024) + b"new" + bytes(3069)),
    ]
    small = list(changes(before, after, 1024))
    assert small == [(4096, b"b" + b"a" * 1023), (2 * MIB + 1024, b"new".ljust(1024, b"\0"))]


def test_changes_that_touch_go_together_also_across_pieces(tmp_path: Path) -> None:
    before = sparse(tmp_path / "before", 4 * MIB)
    after = sparse(tmp_path / "after", 4 * MIB, (MIB - 4096, b"c" * 12288))
    assert b"".join(data for _, data in changes(before, after, 4096)) == b"c" * 12288


def test_what_was_there_becomes_zeros(tmp_path: Path) -> None:
    before = sparse(tmp_path / "before", MIB, (4096, b"a" * 4096))
    after = sparse(tmp_path / "after", MIB, (4096, bytes(4096)))
    assert list(changes(before, after, 4096)) == [(4096, bytes(4096))]


@pytest.mark.parametrize("block", [1024, 4096])
def test_free_space_full_of_old_bytes_harms_no_new_file(tmp_path: Path, block: int) -> None:
    """What a copy does not know is not written; what debugfs wrote is, to its last byte, zeros included."""
    size = 64 * MIB
    path = tmp_path / "old.img"
    path.write_bytes(os.urandom(MIB) * 64)
    image = local(ext_disk(tmp_path / "image.img", tree(tmp_path / "tree"), size))
    with path.open("r+b") as disk, image.frontend.path.open("rb") as whole:
        disk.write(whole.read(START))  # the partition table
    sh("mke2fs", "-q", "-F", "-t", "ext4", "-b", str(block), "-E", f"offset={START},nodiscard", "-d", tmp_path / "tree",
       path, f"{(size - START) // 1024}k")  # fmt: skip
    store = FileDiskStore(tmp_path / "disks", lambda: "tcg", tmp_path / "s", lambda: False)
    disk_ = store.clone(local(path), Role.FRONTEND, "demo", NodeName("demo"))
    odd = bytes(500) + b"middle" + bytes(5000) + b"end" + bytes(700)
    with store.edit([disk_]) as (guest,):
        guest.apply([Write("/etc/odd", odd), Write("/deep/er/file", b"x" * 100_000)])
        assert guest.read("/etc/odd") == odd
        assert guest.read("/etc/network/interfaces") == (tmp_path / "tree/etc/network/interfaces").read_bytes()
    fsck(disk_.path)
    again = FileDiskStore(tmp_path / "disks", lambda: "tcg", tmp_path / "s", lambda: False)
    with again.edit([disk_]) as (guest,):
        assert guest.read("/etc/odd") == odd
        assert guest.read("/deep/er/file") == b"x" * 100_000


def test_the_daemons_refusal_is_told(tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    sh("qemu-img", "create", "-q", "-f", "qcow2", disk, "1M")

    with export.nbd_server([disk], tmp_path) as server, socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(server))
        writer = Writer(connection, "disk0")
        assert writer.size == MIB
        writer.write(512, b"hello")
        with pytest.raises(OSError, match=r"Invalid argument|No space left"):
            writer.write(MIB - 2, b"beyond")
        writer.close()
    assert b"hello" in sh("qemu-io", "-r", "-f", "qcow2", "-c", "read -v 512 512", disk).stdout.encode()
    with pytest.raises(GuestError), export.nbd_server([tmp_path / "none"], tmp_path):
        pass


@pytest.mark.parametrize(
    ("capabilities", "bounds", "locked", "usable"),
    [("1ffffffffff", "1ffffffffff", 0, True), ("0", "0", 0, False), ("0", "1ffffffffff", 1, False)],
)
def test_fuse_needs_the_right_to_mount(
    tmp_path: Path, capabilities: str, bounds: str, locked: int, usable: bool
) -> None:
    if not export.available():
        pytest.skip("needs FUSE and qemu-storage-daemon")
    (tmp_path / "status").write_text(f"CapEff:\t{capabilities}\nCapBnd:\t{bounds}\nNoNewPrivs:\t{locked}\n")
    assert export.available(proc=tmp_path) is usable
    assert not export.available(Path("/dev/null"), tmp_path)
    assert not export.available(tmp_path / "none", tmp_path)


def test_what_a_killed_command_left_beside_the_disks_goes_with_the_next_removal(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    left = tmp_path / f"disks/.unfinished-pragma-edit-{dead.pid}-x"
    ours = tmp_path / f"disks/.unfinished-pragma-edit-{os.getpid()}-x"
    for folder in (left, ours):
        folder.mkdir(parents=True)
    FileDiskStore(tmp_path / "disks", lambda: "tcg", tmp_path / "s", lambda: False).delete("none")
    assert not left.exists()
    assert ours.exists()
