"""The running machine's files: links stay inside, files are replaced whole, nothing right is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pragma_boot.agent.root import LiveRoot, collapsed
from pragma_boot.errors import GuestError
from pragma_boot.image.base import READ_LIMIT, Edit, MakeFolder, Move, Remove, Symlink, Write


@pytest.fixture
def root(tmp_path: Path) -> LiveRoot:
    (tmp_path / "top/etc").mkdir(parents=True)
    (tmp_path / "outside").write_text("secret")
    return LiveRoot(str(tmp_path / "top"))


def test_links_never_lead_out(root: LiveRoot, tmp_path: Path) -> None:
    etc = tmp_path / "top/etc"
    (etc / "up").symlink_to("../../../outside")
    (etc / "absolute").symlink_to(tmp_path / "outside")
    (etc / "folder").symlink_to("/")
    (etc / "loop").symlink_to("loop")
    assert not root.exists("/etc/up")
    assert not root.exists("/etc/absolute")
    root.apply([Write("/etc/folder/new", b"x"), Write("/etc/up/new", b"y")])
    assert (tmp_path / "top/new").read_bytes() == b"x"
    assert (tmp_path / "outside").read_text() == "secret"
    with pytest.raises(GuestError, match="too many symbolic links"):
        root.exists("/etc/loop")


def test_a_link_is_replaced_and_never_followed(root: LiveRoot, tmp_path: Path) -> None:
    (tmp_path / "top/target").write_text("kept")
    (tmp_path / "top/etc/link").symlink_to("/target")
    root.apply([Write("/etc/link", b"new", 0o600)])
    assert (tmp_path / "top/target").read_text() == "kept"
    assert not (tmp_path / "top/etc/link").is_symlink()
    assert (tmp_path / "top/etc/link").stat().st_mode & 0o777 == 0o600


def test_what_is_right_is_not_touched(root: LiveRoot, tmp_path: Path) -> None:
    edits: list[Edit] = [
        Write("/etc/a/b", b"x", 0o640),
        Symlink("/etc/l", "a"),
        MakeFolder("/etc/f", 0o700),
        Remove("/etc/none"),
        Move("/etc/none", "/etc/other"),
    ]
    root.apply(edits)
    assert root.changed == ["/etc/a/b", "/etc/l", "/etc/f"]
    inode = (tmp_path / "top/etc/a/b").stat().st_ino
    root.changed.clear()
    root.apply(edits)
    assert root.changed == []
    assert (tmp_path / "top/etc/a/b").stat().st_ino == inode
    (tmp_path / "top/etc/a/b").chmod(0o600)
    root.apply(edits)
    assert root.changed == ["/etc/a/b"]


def test_moved_files_keep_what_they_are(root: LiveRoot, tmp_path: Path) -> None:
    (tmp_path / "top/etc/old").write_text("x")
    (tmp_path / "top/etc/old").chmod(0o600)
    root.apply([Move("/etc/old", "/var/lib/pragma/saved/etc/old"), Write("/etc/old", b"new")])
    saved = tmp_path / "top/var/lib/pragma/saved/etc/old"
    assert (saved.read_text(), saved.stat().st_mode & 0o777) == ("x", 0o600)
    assert (tmp_path / "top/var/lib/pragma/saved").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "top/etc/old").read_text() == "new"


def test_a_folder_goes_whole_and_a_file_in_the_way_is_told(root: LiveRoot, tmp_path: Path) -> None:
    (tmp_path / "top/etc/d/e").mkdir(parents=True)
    root.apply([Remove("/etc/d")])
    assert not root.exists("/etc/d")
    (tmp_path / "top/etc/file").write_text("")
    with pytest.raises(GuestError, match="cannot change /etc/file/x"):
        root.apply([Write("/etc/file/x", b"")])
    assert [path.name for path in (tmp_path / "top/etc").iterdir()] == ["file"], "no temporary file is left"


def test_large_and_odd_files_are_not_read(root: LiveRoot, tmp_path: Path) -> None:
    with (tmp_path / "top/etc/huge").open("wb") as file:
        file.truncate(READ_LIMIT + 1)
    os.mkfifo(tmp_path / "top/etc/pipe")
    for path, why in (("/etc/huge", "larger"), ("/etc/pipe", "no file"), ("/etc/gone", "cannot read")):
        with pytest.raises(GuestError, match=why):
            root.read(path)


def test_edits_are_collapsed() -> None:
    first, last = Write("/a", b"1"), Write("/a", b"2")
    edits: list[Edit] = [Remove("/a"), first, Remove("/b"), last, Move("/c", "/d"), Write("/c", b"")]
    assert collapsed(edits) == [Remove("/b"), last, Move("/c", "/d"), Write("/c", b"")]
    assert collapsed([first, Remove("/a")]) == [first, Remove("/a")]
