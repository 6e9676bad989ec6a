from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path

import pytest

from pragma_boot.build import tiny, tree
from pragma_boot.errors import PragmaError
from pragma_boot.run import which


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "usr/lib").mkdir(parents=True)
    (made / "usr/lib/real.so").write_text("library")
    (made / "lib").symlink_to("usr/lib")
    (made / "usr/lib/absolute.so").symlink_to("/lib/real.so")
    (made / "usr/lib/outside").symlink_to("../../../../../../etc/passwd")
    (made / "usr/lib/round").symlink_to("round")
    return made


def test_links_are_followed_inside_the_tree_only(root: Path) -> None:
    assert tree.inside(root, "/lib/absolute.so") == root / "usr/lib/real.so"
    with pytest.raises(PragmaError, match="not among the packages"):
        tree.inside(root, "/lib/outside")


@pytest.mark.parametrize("name", ["/lib/round", "/lib/nothing"])
def test_a_name_that_leads_nowhere_is_an_error(root: Path, name: str) -> None:
    with pytest.raises(PragmaError, match="not among the packages"):
        tree.inside(root, name)


def test_a_copy_keeps_its_place_and_mode(root: Path, tmp_path: Path) -> None:
    (root / "usr/lib/real.so").chmod(0o755)
    tree.copy(root, "/lib/absolute.so", tmp_path / "other")
    copied = tmp_path / "other/lib/absolute.so"
    assert (copied.read_text(), copied.stat().st_mode & 0o777) == ("library", 0o755)


def test_scripts_are_executable_and_a_link_is_replaced_not_followed(root: Path) -> None:
    (root / "script").symlink_to("usr/lib/real.so")
    tree.write(root / "script", "#!/bin/sh\n")
    assert not (root / "script").is_symlink()
    assert (root / "script").stat().st_mode & 0o777 == 0o755
    assert (root / "usr/lib/real.so").read_text() == "library"


def test_the_newest_of_several_kernels_is_taken(tmp_path: Path) -> None:
    for name in ("vmlinuz-6.1.0-1", "vmlinuz-6.1.0-2"):
        (tmp_path / name).touch()
    assert tree.newest(tmp_path, "vmlinuz-*") == "/vmlinuz-6.1.0-2"
    with pytest.raises(PragmaError, match="no initrd"):
        tree.newest(tmp_path, "initrd*")


@pytest.mark.skipif(not which("cpio"), reason="needs cpio")
def test_an_initramfs_is_what_cpio_reads(tmp_path: Path) -> None:
    archive = gzip.decompress(tree.initramfs({"init": b"#!/bin/sh\n", "odd.ko": b"12345"}, ["dev"]))
    subprocess.run(["cpio", "-i", "--quiet"], input=archive, cwd=tmp_path, check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dev", "init", "odd.ko"]
    assert (tmp_path / "odd.ko").read_bytes() == b"12345"
    assert os.access(tmp_path / "init", os.X_OK)


def test_an_initramfs_is_the_same_every_time() -> None:
    assert tree.initramfs({"init": b"x"}) == tree.initramfs({"init": b"x"})


@pytest.mark.parametrize("flavour", ["demo", "tiny"])
def test_the_files_that_we_ship_are_all_there(tmp_path: Path, flavour: str) -> None:
    tree.add_files(flavour, tmp_path)
    shipped = Path(tree.__file__).parent / "files" / flavour
    expected = sorted(path.relative_to(shipped) for path in shipped.rglob("*") if path.is_file())
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()) == expected


DEPENDENCIES = """\
kernel/a/virtio_ring.ko:
kernel/a/virtio.ko: kernel/a/virtio_ring.ko
kernel/b/virtio-rng.ko: kernel/a/virtio.ko kernel/a/virtio_ring.ko
"""


def test_modules_come_after_what_they_need() -> None:
    needs = tiny.read_dependencies(DEPENDENCIES)
    wanted = tiny.closure(needs, ["virtio_rng", "built_in"])
    assert wanted == ("kernel/a/virtio_ring.ko", "kernel/a/virtio.ko", "kernel/b/virtio-rng.ko")
