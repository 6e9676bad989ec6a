"""What every disk store promises (image.base.DiskStore), on every kind of image that needs no appliance."""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.disks import MIB, START, ext_disk, fsck, local, mbr, sh, tree
from pragma_boot.errors import GuestError, PragmaError
from pragma_boot.image.base import DiskStore, Move, Remove, Write
from pragma_boot.image.qcow2 import FileDiskStore
from pragma_boot.model import DiskFormat, LocalImage, NodeName, Role

SIZE = 64 * MIB


def raw(folder: Path) -> LocalImage:
    return local(ext_disk(folder / "raw.img", tree(folder / "tree"), SIZE))


def whole_disk(folder: Path) -> LocalImage:
    return local(ext_disk(folder / "whole.img", tree(folder / "tree"), SIZE, partitioned=False))


def qcow2(folder: Path) -> LocalImage:
    source = raw(folder).frontend.path
    sh("qemu-img", "convert", "-O", "qcow2", source, folder / "image, with comma.qcow2")
    return local(folder / "image, with comma.qcow2", DiskFormat.QCOW2)


def root_on_second(folder: Path) -> LocalImage:
    """As cloud images are: a small ext /boot first, then the root."""
    boot = folder / "boot"
    boot.mkdir()
    (boot / "vmlinuz").write_bytes(b"kernel")
    path = ext_disk(folder / "two.img", tree(folder / "tree"), SIZE, partitioned=False)
    with path.open("r+b") as disk:
        content = disk.read()
        disk.truncate(2 * SIZE)
        disk.seek(SIZE)
        disk.write(content)
    mbr(path, (0x83, START, 16 * MIB), (0x83, SIZE, SIZE))
    sh("mke2fs", "-q", "-F", "-t", "ext2", "-E", f"offset={START}", "-d", boot, path, "16M")
    return local(path)


def block_size(path: Path) -> int:
    """Of the ext file system in the first partition."""
    with path.open("rb") as disk:
        disk.seek(START + 1024 + 24)
        return 1024 << int(struct.unpack("<I", disk.read(4))[0])


def dirty(folder: Path) -> LocalImage:
    """A journal that must be replayed: what it holds is not in the file system yet."""
    image = raw(folder)
    block = folder / "block"
    target = f"{image.frontend.path}?offset={START}"
    path = "/etc/network/interfaces"
    number = sh("debugfs", "-R", f"bmap {path} 0", target).stdout.split()[-1]
    size = block_size(image.frontend.path)
    block.write_bytes(b"auto eth9\n".ljust(size, b"\n"))
    script = folder / "script"
    script.write_text(f"jo\njw -b {number} {block}\njc\n")
    sh("debugfs", "-w", "-f", script, target)
    return image


KINDS: dict[str, Callable[[Path], LocalImage]] = {
    "raw": raw, "whole_disk": whole_disk, "qcow2": qcow2, "root_on_second": root_on_second, "dirty": dirty,
}  # fmt: skip


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A short path: a socket's name has a limit. Nothing may be left in it."""
    folder = tmp_path / "s"
    yield folder
    assert not folder.exists() or list(folder.iterdir()) == []
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


@pytest.fixture(params=[True, False], ids=["fuse", "no-fuse"])
def fuse(request: pytest.FixtureRequest) -> bool:
    """Whether this machine has FUSE, as far as the store is told."""
    return bool(request.param)


@pytest.fixture
def store(tmp_path: Path, scratch: Path, fuse: bool) -> DiskStore:
    return FileDiskStore(tmp_path / "disks", lambda: "tcg", scratch, lambda: fuse)


@pytest.fixture(params=KINDS)
def image(request: pytest.FixtureRequest, tmp_path: Path) -> LocalImage:
    (tmp_path / "images").mkdir()
    return KINDS[request.param](tmp_path / "images")


@pytest.fixture
def plain(tmp_path: Path) -> LocalImage:
    (tmp_path / "images").mkdir()
    return raw(tmp_path / "images")


def test_clones_are_edited_apart_and_the_image_stays_as_it_is(store: DiskStore, image: LocalImage) -> None:
    before = image.frontend.path.read_bytes()
    disks = [store.clone(image, Role.COMPUTE, "demo", NodeName(f"n{number}")) for number in range(3)]
    with store.edit(disks) as guests:
        for guest, disk in zip(guests, disks, strict=True):
            assert guest.disk == disk
            guest.apply([Write("/etc/hostname", disk.node.encode()), Move("/etc/network", "/saved/network")])
    with store.edit(disks) as guests:
        assert [guest.read("/etc/hostname") for guest in guests] == [b"n0", b"n1", b"n2"]
        assert guests[0].listdir("/saved/network") == ("interfaces",)
    assert image.frontend.path.read_bytes() == before
    if image.frontend.path.name == "raw.img":
        fsck(disks[0].path)


def test_a_source_is_inspected_for_reading_only(store: DiskStore, image: LocalImage) -> None:
    before = image.frontend.path.read_bytes()
    with store.inspect(image.frontend) as guest:
        assert guest.disk == image.frontend
        assert guest.read("/etc/hostname") == b"image\n"
        assert guest.is_dir("/var/run")
        assert guest.listdir("/nope") == ()
        assert guest.readlink("/var/run") == "/run"
        with pytest.raises(GuestError, match="reading only"):
            guest.apply([Remove("/etc/hostname")])
    assert image.frontend.path.read_bytes() == before


def test_a_journal_is_replayed_before_anything_is_read(store: DiskStore, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    image = dirty(tmp_path / "images")
    disk = store.clone(image, Role.FRONTEND, "demo", NodeName("demo"))
    with store.inspect(image.frontend) as guest:
        assert guest.read("/etc/network/interfaces") == b"auto eth9\n"
    with store.edit([disk]) as (guest,):
        guest.apply([Write("/etc/hosts", b"x")])
        assert guest.read("/etc/network/interfaces") == b"auto eth9\n"
    fsck(disk.path)


def test_a_clone_names_its_image_in_full_and_is_for_its_owner_alone(store: DiskStore, image: LocalImage) -> None:
    disk = store.clone(image, Role.FRONTEND, "demo", NodeName("demo"))
    told = json.loads(sh("qemu-img", "info", "--output=json", disk.path).stdout)
    assert told["backing-filename"] == str(image.frontend.path)
    assert told["backing-filename-format"] == image.frontend.format
    assert disk.path.stat().st_mode & 0o777 == 0o600
    assert disk.path.parent.stat().st_mode & 0o777 == 0o711


def test_a_clone_of_a_huge_image_is_small(store: DiskStore, tmp_path: Path) -> None:
    huge = tmp_path / "huge.img"
    with huge.open("wb") as file:
        file.truncate(3 * 1024**4)
    disk = store.clone(local(huge), Role.FRONTEND, "demo", NodeName("demo"))
    assert disk.path.stat().st_blocks * 512 < MIB
    assert json.loads(sh("qemu-img", "info", "--output=json", disk.path).stdout)["virtual-size"] == 3 * 1024**4


def test_a_leftover_is_replaced(store: DiskStore, plain: LocalImage) -> None:
    disk = store.clone(plain, Role.FRONTEND, "demo", NodeName("demo"))
    with store.edit([disk]) as (guest,):
        guest.apply([Write("/etc/hostname", b"old")])
    again = store.clone(plain, Role.FRONTEND, "demo", NodeName("demo"))
    with store.edit([again]) as (guest,):
        assert guest.read("/etc/hostname") == b"image\n"


def test_backing_files_are_those_of_every_clusters_disks(store: DiskStore, plain: LocalImage) -> None:
    assert store.backing_files() == frozenset()
    for cluster in ("one", "two"):
        store.clone(plain, Role.FRONTEND, cluster, NodeName(cluster))
    store.delete("one")
    assert store.backing_files() == {plain.frontend.path}


def test_a_disk_whose_backing_file_cannot_be_told_is_an_error(
    store: DiskStore, plain: LocalImage, tmp_path: Path
) -> None:
    disk = store.clone(plain, Role.FRONTEND, "one", NodeName("one"))
    for content in (b"", bytes(100), b"QFI\xfb" + b"\xff" * 100):
        disk.path.write_bytes(content)
        with pytest.raises(GuestError, match="cannot be told which image"):
            store.backing_files()


def test_delete_removes_a_clusters_disks_and_may_be_repeated(store: DiskStore, plain: LocalImage) -> None:
    disk = store.clone(plain, Role.FRONTEND, "demo", NodeName("demo"))
    other = store.clone(plain, Role.FRONTEND, "other", NodeName("other"))
    store.delete("demo")
    store.delete("demo")
    assert not disk.path.parent.exists()
    assert other.path.exists()


@pytest.mark.parametrize("cluster", ["", ".", "..", "a/b"])
def test_no_folder_but_a_clusters_own_is_ever_removed(store: DiskStore, cluster: str) -> None:
    with pytest.raises(PragmaError):
        store.delete(cluster)


def test_the_export_ends_when_the_block_fails(store: DiskStore, plain: LocalImage) -> None:
    disk = store.clone(plain, Role.FRONTEND, "demo", NodeName("demo"))
    with pytest.raises(KeyboardInterrupt), store.edit([disk]):
        raise KeyboardInterrupt
    with store.edit([disk]) as (guest,):
        assert guest.exists("/etc")


def test_a_disk_in_use_is_refused(store: DiskStore, plain: LocalImage) -> None:
    disk = store.clone(plain, Role.FRONTEND, "demo", NodeName("demo"))
    with store.edit([disk]), pytest.raises(GuestError, match="cannot be opened"), store.edit([disk]):
        pass


def test_no_disks_are_no_work(store: DiskStore) -> None:
    with store.edit([]) as guests:
        assert guests == []


def garbage(kind: str, path: Path) -> None:
    content = {
        "empty": b"",
        "zeros": bytes(SIZE),
        "noise": os.urandom(SIZE),
        "no root": bytes(SIZE),
        "short table": bytes(510) + b"\x55\xaa",
        "broken ext": b"",
    }[kind]
    path.write_bytes(content)
    if kind == "no root":
        mbr(path, (0x83, START, SIZE - START))
    if kind == "broken ext":
        ext_disk(path, tree(path.parent / "tree"), SIZE)
        with path.open("r+b") as disk:
            disk.seek(START + 4096)
            disk.write(os.urandom(MIB))


@pytest.mark.parametrize("kind", ["empty", "zeros", "noise", "no root", "short table", "broken ext"])
def test_a_disk_without_a_root_is_refused_with_a_mend(store: DiskStore, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad.img"
    garbage(kind, path)
    with pytest.raises(GuestError) as failure, store.inspect(local(path).frontend):
        pass
    assert failure.value.resolution
    assert str(path) in failure.value.message


def test_an_ext_disk_without_an_etc_is_refused(store: DiskStore, tmp_path: Path) -> None:
    (tmp_path / "data/files").mkdir(parents=True)
    image = local(ext_disk(tmp_path / "data.img", tmp_path / "data", SIZE))
    with pytest.raises(GuestError, match="no partition has an /etc"), store.inspect(image.frontend):
        pass


def test_recorded_errors_that_preening_does_not_mend_are_reported(store: DiskStore, plain: LocalImage) -> None:
    target = f"{plain.frontend.path}?offset={START}"
    block = int(sh("debugfs", "-R", "bmap /etc/network 0", target).stdout)
    sh("debugfs", "-w", "-R", "ssv state 2", target)
    with plain.frontend.path.open("r+b") as file:
        file.seek(START + block * block_size(plain.frontend.path))
        file.write(b"\xff" * 512)
    disk = store.clone(plain, Role.FRONTEND, "demo", NodeName("demo"))
    with pytest.raises(GuestError, match="has errors") as failure, store.edit([disk]):
        pass
    assert "e2fsck" in str(failure.value.resolution)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A full disk, or nearly: 1 MiB of memory."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    sh("mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", folder)
    yield folder
    sh("umount", folder)


def test_a_full_disk_is_told_when_cloning_and_nothing_is_left(small: Path, plain: LocalImage) -> None:
    (small / "ballast").write_bytes(b"x" * (MIB - 150 * 1024))
    store = FileDiskStore(small / "disks", lambda: "tcg")
    with pytest.raises(PragmaError, match="cannot write") as failure:
        store.clone(plain, Role.FRONTEND, "demo", NodeName("demo"))
    assert "space" in str(failure.value.resolution)
    assert list((small / "disks").iterdir()) == []


def test_a_full_disk_is_told_when_editing(small: Path, plain: LocalImage) -> None:
    store = FileDiskStore(small / "disks", lambda: "tcg")
    disk = store.clone(plain, Role.FRONTEND, "demo", NodeName("demo"))
    with pytest.raises(GuestError, match="cannot be"), store.edit([disk]) as (guest,):
        guest.apply([Write("/etc/big", os.urandom(2 * MIB))])


def test_many_threads_edit_disks_side_by_side(store: DiskStore, plain: LocalImage) -> None:
    failures: list[BaseException] = []

    def one(number: int) -> None:
        try:
            disk = store.clone(plain, Role.COMPUTE, "demo", NodeName(f"n{number}"))
            with store.edit([disk]) as (guest,):
                guest.apply([Write("/etc/hostname", str(number).encode())])
                assert guest.read("/etc/hostname") == str(number).encode()
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


KILLED = """
import sys, time
from pathlib import Path
from pragma_boot.image.qcow2 import FileDiskStore
from pragma_boot.model import *
path, folder = Path(sys.argv[1]), Path(sys.argv[2])
source = LocalDisk(path, DiskFormat.RAW, path.stat().st_size)
store = FileDiskStore(folder / "disks", lambda: "tcg", folder / "s")
with store.edit([Disk(NodeName("demo"), folder / "disks/demo/demo.qcow2", DiskFormat.QCOW2, source)]):
    print("open", flush=True)
    time.sleep(60)
"""


def test_a_killed_command_hinders_nobody(store: DiskStore, plain: LocalImage, tmp_path: Path) -> None:
    disk = store.clone(plain, Role.FRONTEND, "demo", NodeName("demo"))
    words = [sys.executable, "-c", KILLED, str(plain.frontend.path), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout
        assert process.stdout.readline() == b"open\n"
        daemon = os.pidfd_open(_child(process.pid))
        process.send_signal(signal.SIGKILL)
    assert select.select([daemon], [], [], 20)[0], "the storage daemon outlives its command"
    os.close(daemon)
    with store.edit([disk]) as (guest,):
        guest.apply([Write("/etc/hostname", b"again")])


def _child(process: int) -> int:
    return int(Path(f"/proc/{process}/task/{process}/children").read_text().split()[0])


def test_partition_tables_may_be_gpt(store: DiskStore, plain: LocalImage) -> None:
    with plain.frontend.path.open("r+b") as disk:
        disk.truncate(SIZE + MIB)
    script = plain.frontend.path.parent / "gpt"
    script.write_text(f"label: gpt\nstart={START // 512}, size={(SIZE - START) // 512}\n")
    sh("sh", "-c", f"sfdisk -q {plain.frontend.path} < {script}")
    assert struct.unpack("<8s", plain.frontend.path.read_bytes()[512:520]) == (b"EFI PART",)
    with store.inspect(local(plain.frontend.path).frontend) as guest:
        assert guest.exists("/etc/hostname")
