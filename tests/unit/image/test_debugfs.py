"""What a script's line may carry, and how strictly debugfs's complaints are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fakes.disks import MIB, ext_disk, tree
from pragma_boot.errors import GuestError
from pragma_boot.image import debugfs
from pragma_boot.image.debugfs import quote


@pytest.mark.parametrize("name", ["a\nrm /etc/passwd", "a\rb", "\x00", "\x7f"])
def test_names_that_could_end_a_line_are_refused(name: str) -> None:
    with pytest.raises(GuestError, match="odd file name"):
        quote(name)


def test_a_command_that_fails_is_an_error_though_debugfs_exits_with_0(tmp_path: Path) -> None:
    disk = ext_disk(tmp_path / "disk", tree(tmp_path / "tree"), partitioned=False)
    with pytest.raises(GuestError, match="cannot be edited") as failure:
        debugfs.edit(disk, 0, ['rm "/nope"'], tmp_path)
    assert "File not found" in str(failure.value.details)


def test_of_many_complaints_the_first_are_told(tmp_path: Path, logged: list[str]) -> None:
    disk = ext_disk(tmp_path / "disk", tree(tmp_path / "tree"), partitioned=False)
    with pytest.raises(GuestError) as failure:
        debugfs.edit(disk, 0, [f'rm "/nope-{number}"' for number in range(20)], tmp_path)
    told = str(failure.value.details)
    assert "File not found" in told
    assert len(told.splitlines()) == 4
    assert any(message.count("File not found") == 20 for message in logged)


def test_a_full_file_system_in_the_image_is_told_from_a_full_host(tmp_path: Path) -> None:
    disk = ext_disk(tmp_path / "disk", tree(tmp_path / "tree"), 8 * MIB, partitioned=False)
    (tmp_path / "large").write_bytes(os.urandom(16 * MIB))
    with pytest.raises(GuestError) as failure:
        debugfs.edit(disk, 0, [f'write "{tmp_path}/large" /large'], tmp_path)
    assert "larger disk" in str(failure.value.resolution), failure.value.details


def test_a_line_that_debugfs_would_cut_in_two_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="too long"):
        debugfs.edit(tmp_path / "disk", 0, ["rm " + quote("/x" * 5000)], tmp_path)
