"""What a script's line may carry, and how strictly debugfs's answers are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.disks import ext_disk, tree
from pragma_boot.errors import GuestError
from pragma_boot.image.debugfs import ROOT_INODE, Debugfs, quote
from pragma_boot.image.tree import Tree, parts_of


@pytest.fixture
def files(tmp_path: Path) -> Debugfs:
    content = tree(tmp_path / "tree")
    for name in ('a "quoted" name', "<12>", "#hash", "with space", "café", "!sh"):
        (content / "root" / name).write_text(name)
    return Debugfs(ext_disk(tmp_path / "disk", content, partitioned=False), 0, tmp_path)


@pytest.mark.parametrize("name", ["a\nrm /etc/passwd", "a\rb", "\x00", "\x7f"])
def test_names_that_could_end_a_line_are_refused(name: str) -> None:
    with pytest.raises(GuestError, match="odd file name"):
        quote(name)


def test_odd_but_harmless_names_are_read_back(files: Debugfs) -> None:
    walk = Tree(files)
    for name in ('a "quoted" name', "<12>", "#hash", "with space", "café", "!sh"):
        node = walk.walk(f"/root/{name}").node
        assert node
        assert node.inode
        assert files.content(node.inode).decode() == name


def test_a_folder_with_a_line_break_in_a_name_is_refused(tmp_path: Path) -> None:
    content = tree(tmp_path / "tree")
    (content / "root/evil\ndebugfs: ls -p").write_text("")
    files = Debugfs(ext_disk(tmp_path / "disk", content, partitioned=False), 0, tmp_path)
    with pytest.raises(GuestError, match="odd file name"):
        files.listings(["/root"])


def test_listings_leave_out_what_is_no_folder(files: Debugfs) -> None:
    found = files.listings(["/", "/nope", "/etc/hostname", "/etc/network"])
    assert len(found) == 2
    assert "etc" in found[ROOT_INODE]


def test_a_command_that_fails_is_an_error_though_debugfs_exits_with_0(files: Debugfs) -> None:
    with pytest.raises(GuestError, match="cannot be edited") as failure:
        files.write(['rm "/nope"'])
    assert "File not found" in str(failure.value.details)


def test_links_never_leave_the_image(files: Debugfs) -> None:
    walk = Tree(files)
    assert walk.walk("/var/run").path == "/run"
    assert walk.walk("/etc/far").path == "/etc/hostname"
    assert walk.walk("/etc/resolv.conf").node is None
    assert walk.walk("/etc/resolv.conf", follow=False).node
    with pytest.raises(GuestError, match="too many symbolic links"):
        walk.walk("/etc/loop")


@pytest.mark.parametrize("path", ["etc", "/etc/../root", ".."])
def test_paths_must_be_absolute_and_plain(path: str) -> None:
    with pytest.raises(GuestError):
        parts_of(path)
