"""The walk through an image's folders and links."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.disks import ext_disk, tree
from pragma_boot.errors import GuestError
from pragma_boot.image.extread import Reader
from pragma_boot.image.tree import Tree, parts_of

ODD_NAMES = ('a "quoted" name', "<12>", "#hash", "with space", "café", "!sh", "tab\t")


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Tree]:
    content = tree(tmp_path / "tree")
    for name in ODD_NAMES:
        (content / "root" / name).write_text(name)
    reader = Reader(ext_disk(tmp_path / "disk", content, partitioned=False), 0)
    yield Tree(reader)
    reader.close()


def test_odd_but_harmless_names_are_read_back(walk: Tree) -> None:
    for name in ODD_NAMES:
        node = walk.walk(f"/root/{name}").node
        assert node
        assert node.inode
        assert walk.content(node.inode).decode() == name


def test_links_never_leave_the_image(walk: Tree) -> None:
    assert walk.walk("/var/run").path == "/run"
    assert walk.walk("/etc/far").path == "/etc/hostname"
    assert walk.walk("/etc/resolv.conf").node is None
    assert walk.walk("/etc/resolv.conf", follow=False).node
    with pytest.raises(GuestError, match="too many symbolic links"):
        walk.walk("/etc/loop")


def test_a_file_where_a_folder_is_needed_ends_the_walk(walk: Tree) -> None:
    assert walk.walk("/etc/hostname/below").node is None


@pytest.mark.parametrize("path", ["etc", "/etc/../root", ".."])
def test_paths_must_be_absolute_and_plain(path: str) -> None:
    with pytest.raises(GuestError):
        parts_of(path)
