"""Editing by debugfs: what is asked for happens, nothing else, and a full check of the file system is content."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from fakes.disks import MIB, START, ext_disk, fsck, local, sh, tree
from pragma_boot.errors import GuestError
from pragma_boot.image.base import Edit, MakeFolder, Move, Remove, Symlink, Write
from pragma_boot.image.ext import ExtGuest
from pragma_boot.image.extread import Reader
from pragma_boot.image.partition import Partition
from pragma_boot.image.tree import Tree

SIZE = 64 * MIB


class Files:
    """A raw ext disk, edited in place."""

    def __init__(self, folder: Path, options: str = "") -> None:
        self.folder = folder
        content = tree(folder / "tree")
        (content / "etc/selinux").mkdir()
        self.content = content
        self.options = options
        self.path = folder / "disk"

    def build(self) -> Files:
        ext_disk(self.path, self.content, SIZE, options=self.options)
        return self

    @property
    def guest(self) -> ExtGuest:
        part = Partition(1, START, SIZE - START)
        return ExtGuest(local(self.path).frontend, self.path, part, self.folder, writable=True)

    def apply(self, *edits: Edit) -> ExtGuest:
        guest = self.guest
        guest.apply(edits)
        fsck(self.path)
        return guest

    def inode(self, path: str) -> tuple[int, int, int]:
        node = Tree(Reader(self.path, START)).walk(path, follow=False).node
        assert node
        assert node.inode
        return node.inode.mode, node.inode.uid, node.inode.gid

    def debugfs(self, command: str, *options: str) -> str:
        return sh("debugfs", *options, "-R", command, f"{self.path}?offset={START}").stdout


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path).build()


VARIANTS = [
    "",
    "-b 1024",
    "-O ^metadata_csum",
    "-O ^extents,^64bit",
    "-O ^dir_index",
    "-I 128 -O ^metadata_csum",
    "-O ^has_journal",
]
MANY = tuple(Write(f"/etc/many/another-rather-long-name-{number:04}", b"x") for number in range(400))


@pytest.mark.parametrize("options", VARIANTS)
def test_every_kind_of_edit_leaves_every_kind_of_ext4_in_order(tmp_path: Path, options: str) -> None:
    guest = (
        Files(tmp_path, options)
        .build()
        .apply(
            Write("/etc/hostname", b"new\n"),
            Write("/root/.ssh/authorized_keys", b"key\n", 0o600),
            Write("/etc/big", bytes(range(256)) * 2000),
            MakeFolder("/root/.ssh", 0o700),
            Move("/etc/network", "/var/lib/pragma/saved/etc/network"),
            Move("/etc/many/a-rather-long-file-name-0007", "/root/moved"),
            Symlink("/etc/resolv.conf", "../run/other"),
            Symlink("/etc/slow", "x" * 200),
            *MANY,
            Write("/var/run/through-a-link", b""),
        )
    )
    assert guest.read("/etc/hostname") == b"new\n"
    assert guest.read("/etc/big") == bytes(range(256)) * 2000
    assert guest.read("/root/moved") == b"7"
    assert guest.read("/var/lib/pragma/saved/etc/network/interfaces") == b"auto eth0\n"
    assert not guest.exists("/etc/network")
    assert guest.readlink("/etc/slow") == "x" * 200
    assert guest.listdir("/run") == ("through-a-link",)
    assert len(guest.listdir("/etc/many")) == 699


def test_files_are_roots_and_have_their_mode_whatever_the_umask(files: Files) -> None:
    files.apply(Write("/etc/secret", b"", 0o400), Write("/usr/bin/tool", b"#!", 0o755), MakeFolder("/root/.ssh", 0o700))
    assert files.inode("/etc/secret") == (stat.S_IFREG | 0o400, 0, 0)
    assert files.inode("/usr/bin/tool") == (stat.S_IFREG | 0o755, 0, 0)
    assert files.inode("/usr/bin") == (stat.S_IFDIR | 0o755, 0, 0)
    assert files.inode("/root/.ssh") == (stat.S_IFDIR | 0o700, 0, 0)


def test_saved_files_are_below_folders_of_root_alone(files: Files) -> None:
    files.apply(Move("/etc/network/interfaces", "/var/lib/pragma/saved/etc/network/interfaces"))
    assert files.inode("/var/lib/pragma/saved/etc")[0] == stat.S_IFDIR | 0o700


def test_a_link_is_replaced_not_followed(files: Files) -> None:
    guest = files.apply(Symlink("/etc/hosts", "hostname"), Write("/etc/hosts", b"127.0.0.1\n"))
    assert guest.readlink("/etc/hosts") is None
    assert guest.read("/etc/hostname") == b"image\n"


def test_a_tree_is_removed_with_all_that_is_in_it(files: Files) -> None:
    guest = files.apply(Remove("/etc/many"), Remove("/var/run"), Remove("/nope/at/all"))
    assert not guest.exists("/etc/many")
    assert guest.is_dir("/run")


def test_edits_apply_in_order(files: Files) -> None:
    guest = files.apply(
        Write("/a/b/c", b"1"),
        Move("/a/b", "/moved"),
        Write("/moved/c", b"2"),
        Remove("/a"),
        Symlink("/a", "/moved"),
        Write("/a/d", b"3"),
        Move("/moved", "/again"),
    )
    assert guest.listdir("/again") == ("c", "d")
    assert guest.read("/again/c") == b"2"
    assert not guest.exists("/a")


def test_a_moved_tree_keeps_modes_and_an_old_target_goes(files: Files) -> None:
    guest = files.apply(
        MakeFolder("/etc/network", 0o751), Write("/saved/network/old", b""), Move("/etc/network", "/saved/network")
    )
    assert guest.listdir("/saved/network") == ("interfaces",)
    assert files.inode("/saved/network")[0] == stat.S_IFDIR | 0o751


def test_applying_twice_gives_the_same(files: Files) -> None:
    edits = (Move("/etc/network/interfaces", "/s/i"), Write("/etc/hosts", b"h"), Symlink("/l", "x"), Remove("/root"))
    files.apply(*edits)
    assert files.apply(*edits).read("/s/i") == b"auto eth0\n"


IMPOSSIBLE: Sequence[tuple[Edit, str]] = [
    (Write("/etc", b""), "is a folder where a file is needed"),
    (Write("/etc/hostname/below", b""), "is no folder"),
    (MakeFolder("/etc/hostname"), "is a file where a folder is needed"),
    (Move("/etc", "/etc/inside"), "into itself"),
    (Remove("/"), "root folder"),
    (Write("relative", b""), "no absolute path"),
    (Write("/etc/../../x", b""), "no absolute path"),
    (Write("/etc/a\nb", b""), "odd file name"),
    (Write("/etc/loop/x", b""), "too many symbolic links"),
    (Write("/etc/" + "x" * 300, b""), "more than 255 bytes"),
    (Write("/etc/huge", bytes(SIZE)), "cannot be edited"),
]


@pytest.mark.parametrize(("edit", "message"), IMPOSSIBLE, ids=lambda value: str(value)[:40])
def test_what_cannot_be_done_is_an_error(files: Files, edit: Edit, message: str) -> None:
    if isinstance(edit, Write) and edit.path == "/etc/huge":
        edit = Write(edit.path, b"\1" * SIZE)
    with pytest.raises(GuestError, match=message):
        files.guest.apply([edit])


def test_a_plan_that_fails_has_changed_nothing(files: Files) -> None:
    with pytest.raises(GuestError):
        files.guest.apply([Write("/etc/hostname", b"new"), Write("/etc", b"")])
    assert files.guest.read("/etc/hostname") == b"image\n"


def test_reading_refuses_folders_absent_and_large_files(files: Files) -> None:
    guest = files.apply(Write("/large", b"\1" * (5 * MIB)))
    for path in ("/etc", "/nope", "/large"):
        with pytest.raises(GuestError):
            guest.read(path)
    guest.export("/large", files.folder / "out")
    assert (files.folder / "out").stat().st_size == 5 * MIB


def test_new_files_get_the_labels_of_the_images_policy(tmp_path: Path) -> None:
    files = Files(tmp_path)
    folder = files.content / "etc/selinux/targeted/contexts/files"
    folder.mkdir(parents=True)
    (folder / "file_contexts").write_text("/etc(/.*)? system_u:object_r:etc_t:s0\n/root/.* system_u:object_r:r_t:s0\n")
    (files.content / "etc/selinux/config").write_text("SELINUX=enforcing\nSELINUXTYPE=targeted\n")
    files.build().apply(Write("/etc/hosts", b"x"), Symlink("/etc/l", "x"), Write("/root/a/b", b""))
    for path, label in (("/etc/hosts", "etc_t"), ("/etc/l", "etc_t"), ("/root/a", "r_t"), ("/root/a/b", "r_t")):
        assert f"object_r:{label}:s0" in files.debugfs(f"ea_get {path} security.selinux")


def test_an_image_that_enforces_rules_it_does_not_have_is_relabelled_at_its_boot(tmp_path: Path) -> None:
    files = Files(tmp_path)
    (files.content / "etc/selinux/config").write_text("SELINUX=enforcing\n")
    assert files.build().apply(Write("/etc/hosts", b"x")).exists("/.autorelabel")


def test_damage_is_reported_not_written_into(files: Files) -> None:
    number = Tree(Reader(files.path, START)).walk("/etc").node
    assert number
    assert number.inode
    block = int(files.debugfs(f"bmap <{number.inode.number}> 0").split()[-1])
    with files.path.open("r+b") as disk:
        disk.seek(START + 1024 + 24)
        size = 1024 << disk.read(1)[0]
        disk.seek(START + block * size)
        disk.write(b"\xff" * 512)
    with pytest.raises(GuestError, match="cannot be read"):
        files.guest.apply([Write("/etc/hosts", b"")])


def test_a_file_may_belong_to_a_group(files: Files) -> None:
    """A network manager reads its secrets as a user of its own."""
    files.apply(Write("/etc/systemd/network/wg0.netdev", b"secret", 0o640, group=998), Write("/etc/motd", b"x"))
    assert files.inode("/etc/systemd/network/wg0.netdev") == (stat.S_IFREG | 0o640, 0, 998)
    assert files.inode("/etc/motd") == (stat.S_IFREG | 0o644, 0, 0)
