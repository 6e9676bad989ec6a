"""What a storage daemon that was killed leaves behind."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from fakes.disks import MIB, sh
from pragma_boot.image.export import available
from pragma_boot.image.qcow2 import FileDiskStore


@pytest.fixture
def abandoned(tmp_path: Path) -> Path:
    """The scratch folder of a command that was killed together with its daemon: a disk is still mounted in it."""
    if not available():
        pytest.skip("needs FUSE and qemu-storage-daemon")
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    folder = tmp_path / f"scratch/pragma-edit-{dead.pid}-x"
    folder.mkdir(parents=True)
    sh("qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "disk", str(16 * MIB))
    file = folder / "disk-0"
    file.touch()
    words = ["qemu-storage-daemon", "--blockdev", f"driver=file,node-name=d,filename={tmp_path}/disk"]
    words += ["--export", f"type=fuse,id=e,node-name=d,writable=on,allow-other=off,mountpoint={file}"]
    with subprocess.Popen(words) as daemon:
        deadline = time.monotonic() + 30
        while f" {file} " not in Path("/proc/mounts").read_text():
            assert daemon.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        daemon.kill()
    assert f" {file} " in Path("/proc/mounts").read_text()
    return folder


def test_the_next_removal_takes_its_mounts_away(abandoned: Path, tmp_path: Path) -> None:
    FileDiskStore(tmp_path / "disks", lambda: "tcg", abandoned.parent).delete("none")
    assert not abandoned.exists()
    assert str(abandoned) not in Path("/proc/mounts").read_text()
