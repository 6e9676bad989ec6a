"""Disks saved with Debian's partclone come back sector by sector; so do hand-made ones."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fakes.clonezilla import (
    MIB,
    PACKERS,
    SECTOR,
    Part,
    Saver,
    make_iso,
    partclone_save,
    run,
    small_disk,
    small_image,
    sparse,
    stream_1,
    stream_2,
    write_files,
)
from pragma_boot.errors import ImageError
from pragma_boot.model import DiskFormat, Progress
from pragma_boot.repository.clonezilla.directory import ImageDirectory, from_folder, from_iso
from pragma_boot.repository.clonezilla.restore import restore_file
from pragma_boot.repository.source import FileSource

LINUX, BIOS_BOOT = "L", "21686148-6449-6E6F-744E-656564454649"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    noise = random.Random(1)
    for number in range(40):
        (root / f"file-{number}").write_bytes(noise.randbytes(noise.randrange(60_000)))
    (root / "zeros").write_bytes(bytes(MIB))
    return root


def ext(kind: str, tree: Path) -> Callable[[Path], None]:
    return lambda file: void(run("mke2fs", "-q", "-F", "-t", kind, "-d", tree, file))


def make(*argv: object) -> Callable[[Path], None]:
    return lambda file: void(run(*argv, file))


def void(_: object) -> None:
    pass


def noise(size: int) -> Callable[[Path], None]:
    return lambda file: void(file.write_bytes(random.Random(2).randbytes(size)))


def restored(directory: ImageDirectory, path: Path, form: DiskFormat = DiskFormat.RAW) -> Path:
    path.touch()
    restore_file(directory, path, form, "demo")
    return path


def by_partclone(saver: Saver) -> Path:
    """A GPT disk as partclone.restore gives it back, over zeros."""
    disk = sparse(saver.folder / "reference.raw", saver.disk.stat().st_size)
    original = saver.disk.read_bytes()
    with disk.open("r+b") as file:
        file.write(original[: min(part.start for part in saver.parts) * SECTOR])
        file.seek(-33 * SECTOR, os.SEEK_END)
        file.write(original[-33 * SECTOR :])
        for part in saver.parts:
            if part.file_system in ("swap", "dd"):
                file.seek(part.start * SECTOR)
                file.write(original[part.start * SECTOR :][: part.sectors * SECTOR])

    def put(row: tuple[int, Part]) -> None:
        number, part = row
        packed = next(saver.image.glob(f"{saver.device(number)}.*"))
        stream = saver.folder / f"stream-{number}"
        stream.write_bytes(run("gzip", "-dc", packed))
        argv = ["partclone.restore", "-C", "-s", stream, "-O", disk, "-E", part.start * SECTOR]
        run(*argv, "-L", f"{stream}.log", "-q", "-F")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, (row for row in saver.numbered() if row[1].file_system not in ("", "swap", "dd"))))
    return disk


def listed(disk: Path) -> str:
    return run("sfdisk", "-d", disk).decode().replace(str(disk), "X")


def same(one: Path, other: Path) -> bool:
    return subprocess.run(["cmp", "-s", one, other], check=False).returncode == 0


@pytest.fixture(scope="module")
def mbr(tmp_path_factory: pytest.TempPathFactory, tree: Path) -> Saver:
    swap = make("mkswap", "-q", "-L", "sw1", "-U", "99999999-8888-7777-6666-555555555555")
    parts = [
        Part(24, "83", ext("ext4", tree), "ext4", ", bootable"),
        Part(8, "83", ext("ext2", tree), "ext2"),
        Part(60, "5"),
        Part(16, "82", swap, "swap"),
        Part(24, "83", ext("ext3", tree), "ext3"),
    ]
    saver = Saver(tmp_path_factory.mktemp("mbr"), parts)
    with saver.disk.open("r+b") as disk:
        disk.write(random.Random(4).randbytes(440))
        disk.seek(SECTOR)
        disk.write(random.Random(5).randbytes(51_200))
    saver.save()
    return saver


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory, tree: Path) -> Saver:
    parts = [
        Part(1, BIOS_BOOT, noise(MIB), "dd"),
        Part(40, "U", make("mkfs.vfat", "-n", "EFI"), "vfat", ', name="EFI System", attrs="RequiredPartition"'),
        Part(16, "S", make("mkswap", "-q"), "swap"),
        Part(300, LINUX, make("mkfs.xfs", "-q"), "xfs"),
        Part(120, LINUX, make("mkfs.btrfs", "-q", "--rootdir", tree), "btrfs"),
        Part(16, "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", make("mkntfs", "-q", "-F", "-Q"), "ntfs"),
    ]
    saver = Saver(tmp_path_factory.mktemp("gpt"), parts, "gpt", name="nvme0n1")
    saver.save()
    return saver


def test_an_mbr_disk_is_the_same_to_the_last_byte(mbr: Saver, tmp_path: Path) -> None:
    assert same(restored(from_folder(mbr.image), tmp_path / "out"), mbr.disk)


def test_a_gpt_disk_is_what_partclone_makes_of_it(gpt: Saver, tmp_path: Path) -> None:
    out = restored(from_folder(gpt.image), tmp_path / "out")
    assert same(out, by_partclone(gpt))
    assert listed(out) == listed(gpt.disk)
    assert b"No problems found" in run("sgdisk", "-v", out)


def test_file_systems_are_in_order(mbr: Saver, gpt: Saver, tmp_path: Path) -> None:
    out = restored(from_folder(mbr.image), tmp_path / "mbr")
    for part in mbr.parts:
        if part.file_system.startswith("ext"):
            run("e2fsck", "-fn", f"{out}?offset={part.start * SECTOR}")
    assert same_files(out, mbr.parts[0].start, tmp_path, mbr.disk)
    gpt.disk, disk = restored(from_folder(gpt.image), tmp_path / "gpt"), gpt.disk
    for number, argv in ((1, ["fsck.vfat", "-n"]), (3, ["xfs_repair", "-n", "-f"]), (4, ["btrfs", "check"])):
        run(*argv, gpt.cut(gpt.parts[number]))
    gpt.disk = disk


def same_files(disk: Path, start: int, work: Path, other: Path) -> bool:
    for name, source in (("a", disk), ("b", other)):
        (work / name).mkdir()
        run("debugfs", "-R", f"rdump / {work / name}", f"{source}?offset={start * SECTOR}")
    return subprocess.run(["diff", "-r", work / "a", work / "b"], check=False).returncode == 0


@pytest.mark.parametrize("kind", ["mbr", "gpt"])
def test_qcow2_holds_the_same_disk(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    directory = from_folder(request.getfixturevalue(kind).image)
    raw, qcow2 = restored(directory, tmp_path / "raw"), restored(directory, tmp_path / "qcow2", DiskFormat.QCOW2)
    run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, qcow2)
    assert b"No errors" in run("qemu-img", "check", qcow2)


def test_free_blocks_and_zeros_take_no_room(mbr: Saver, tmp_path: Path) -> None:
    out = restored(from_folder(mbr.image), tmp_path / "out")
    assert out.stat().st_blocks * 512 < 8 * MIB


def test_a_gpt_of_an_older_clonezilla_comes_from_sgdisks_backup(gpt: Saver, tmp_path: Path) -> None:
    image = shutil.copytree(gpt.image, tmp_path / "image")
    (image / "nvme0n1-gpt-1st").unlink()
    run("sgdisk", "-b", image / "nvme0n1-gpt.gdisk", gpt.disk)
    size = gpt.disk.stat().st_size // SECTOR
    (image / "nvme0n1-pt.sf").write_text(
        f"# partition table of /dev/nvme0n1\nunit: sectors\n\n/dev/nvme0n1p1 : start= 1, size= {size - 1}, Id=ee\n"
        "/dev/nvme0n1p2 : start= 0, size= 0, Id= 0\n"
    )
    assert same(restored(from_folder(image), tmp_path / "out"), restored(from_folder(gpt.image), tmp_path / "ref"))


def test_a_gpt_can_be_made_from_the_dump_alone(gpt: Saver, tmp_path: Path) -> None:
    image = shutil.copytree(gpt.image, tmp_path / "image")
    (image / "nvme0n1-gpt-1st").unlink()
    (image / "nvme0n1-mbr").unlink()
    out = restored(from_folder(image), tmp_path / "out")
    assert listed(out) == listed(gpt.disk)
    assert b"No problems found" in run("sgdisk", "-v", out)


def test_an_old_dump_of_an_mbr_disk_will_do(mbr: Saver, tmp_path: Path) -> None:
    image = shutil.copytree(mbr.image, tmp_path / "image")
    rows = (image / "vda-pt.sf").read_text().splitlines()[5:]
    old = [row.replace("type=", "Id=") for row in rows if row] + ["/dev/vda4 : start= 0, size= 0, Id= 0"]
    (image / "vda-pt.sf").write_text("# partition table of /dev/vda\nunit: sectors\n\n" + "\n".join(old) + "\n")
    assert same(restored(from_folder(image), tmp_path / "out"), mbr.disk)


def test_a_file_system_without_a_partition_table(tmp_path: Path, tree: Path) -> None:
    file = sparse(tmp_path / "fs", 16 * MIB)
    ext("ext4", tree)(file)
    stream = partclone_save("ext4", file)
    parted = f"Disk /dev/vdb: {16 * MIB // SECTOR}s\nSector size (logical/physical): 512B/512B\nPartition Table: loop\n"
    files = {"disk": b"vdb", "parts": b"vdb", "vdb-pt.parted": parted.encode(), "vdb.ext4-ptcl-img.uncomp": stream}
    out = restored(from_folder(write_files(tmp_path / "image", files)), tmp_path / "out")
    assert same(out, file)


# ------------------------------------------------------------------------------------------- packers, parts, checksums


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, tree: Path) -> Saver:
    return Saver(tmp_path_factory.mktemp("small"), [Part(8, "83", ext("ext4", tree), "ext4")])


@pytest.fixture(scope="module")
def stream(small: Saver) -> bytes:
    small.save()
    return small.stream("vda1", small.parts[0])


@pytest.fixture
def empty(small: Saver, tmp_path: Path, stream: bytes) -> Saver:
    """The small disk's image without the data of its partition."""
    small.image = shutil.copytree(small.folder / "image", tmp_path / "image")
    next(small.image.glob("vda1.*")).unlink()
    return small


@pytest.mark.parametrize("split", [0, 100_000])
@pytest.mark.parametrize("packing", PACKERS)
def test_every_packer_whole_and_in_parts(packing: str, split: int, empty: Saver, stream: bytes, tmp_path: Path) -> None:
    empty.pack(f"vda1.ext4-ptcl-img.{packing}", stream, packing, split)
    assert same(restored(from_folder(empty.image), tmp_path / "out"), empty.disk)


@pytest.mark.parametrize("form", ["ext4-img", "dd-img.aa"])
@pytest.mark.parametrize("packing", PACKERS)
def test_older_names_do_not_tell_the_packer(
    packing: str, form: str, empty: Saver, stream: bytes, tmp_path: Path
) -> None:
    if form.startswith("dd"):
        stream = empty.cut(empty.parts[0]).read_bytes()
        (empty.image / "vda1.dd-img.info").write_text("x")
    empty.pack(f"vda1.{form}", stream, packing)
    assert same(restored(from_folder(empty.image), tmp_path / "out"), empty.disk)


@pytest.mark.parametrize("options", [["-a0"], ["-a1", "-k1000"], ["-a1", "-K"], ["-z", "10485760"]])
def test_partclones_own_options(options: list[str], empty: Saver, tmp_path: Path) -> None:
    empty.pack("vda1.ext4-ptcl-img.gz", empty.stream("vda1", empty.parts[0], *options), "gz")
    assert same(restored(from_folder(empty.image), tmp_path / "out"), empty.disk)


@pytest.mark.parametrize("stream", [stream_1, stream_2])
def test_streams_of_both_formats_in_an_iso(stream: Callable[..., bytes], tmp_path: Path) -> None:
    data = random.Random(6).randbytes(2000 * SECTOR)
    disk = small_disk(data)
    files = small_image(disk, stream(data, list(range(2000))), file_system="ext4")
    iso = make_iso(write_files(tmp_path / "image", files), tmp_path / "made.iso")
    assert restored(from_iso(FileSource(iso)), tmp_path / "out").read_bytes() == disk


@pytest.mark.parametrize(("program", "name"), [("md5sum", "MD5SUMS"), ("sha1sum", "SHA1SUMS"), ("b2sum", "B2SUMS")])
def test_clonezillas_own_checksums_are_looked_at(program: str, name: str, tmp_path: Path) -> None:
    image = write_files(tmp_path / "image", small_image(small_disk(bytes(64 * SECTOR))))
    names = [file.name for file in image.iterdir()]
    sums = subprocess.run([program, *names], cwd=image, capture_output=True, check=True).stdout
    (image / name).write_bytes(sums)
    restored(from_folder(image), tmp_path / "out")
    (image / "vda-mbr").write_bytes((image / "vda-mbr").read_bytes().replace(b"boot", b"root"))
    with pytest.raises(ImageError) as caught:
        restored(from_folder(image), tmp_path / "out2")
    assert "checksum is wrong" in (caught.value.details or "")


# -------------------------------------------------------------------------------------------------------------- faults


def files_of(tmp_path: Path, **changes: bytes) -> ImageDirectory:
    files = small_image(small_disk(random.Random(8).randbytes(400 * SECTOR)))
    files["vda1.dd-ptcl-img.gz"] = changes.pop("image", files["vda1.dd-ptcl-img.gz"])
    return from_folder(write_files(tmp_path / "image", files))


@pytest.mark.parametrize("end", [0, 5, 20, 5000, -9, -1])
def test_packed_data_that_is_cut_is_refused(end: int, tmp_path: Path) -> None:
    whole = small_image(small_disk(random.Random(8).randbytes(400 * SECTOR)))["vda1.dd-ptcl-img.gz"]
    with pytest.raises(ImageError, match="vda1") as caught:
        restored(files_of(tmp_path, image=whole[:end]), tmp_path / "out")
    assert caught.value.resolution


@pytest.mark.parametrize("size", [399, 401, 100_000])
def test_a_plain_copy_of_another_size_is_refused(size: int, tmp_path: Path) -> None:
    import gzip

    with pytest.raises(ImageError) as caught:
        restored(files_of(tmp_path, image=gzip.compress(bytes(size * SECTOR))), tmp_path / "out")
    assert "cut short" in (caught.value.details or "") or "more than" in (caught.value.details or "")


@pytest.mark.parametrize("packing", PACKERS)
def test_damage_in_the_middle_is_found(packing: str, empty: Saver, stream: bytes, tmp_path: Path) -> None:
    empty.pack(f"vda1.ext4-ptcl-img.{packing}", stream, packing)
    file = next(empty.image.glob("vda1.*"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x55
    file.write_bytes(data)
    with pytest.raises(ImageError) as caught:
        restored(from_folder(empty.image), tmp_path / "out")
    assert caught.value.resolution


def test_progress_ends_with_all_of_it(tmp_path: Path) -> None:
    reports: list[Progress] = []
    (tmp_path / "out").touch()
    restore_file(files_of(tmp_path), tmp_path / "out", DiskFormat.RAW, "demo", reports.append)
    assert (reports[-1].phase, reports[-1].subject) == ("decompress", "demo")
    assert reports[-1].done == reports[-1].total
