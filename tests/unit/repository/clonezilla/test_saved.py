"""Image directories that cannot be restored are refused with their reason, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.clonezilla import small_disk, small_image, write_files
from pragma_boot.errors import ImageError, PragmaError
from pragma_boot.repository.clonezilla import saved
from pragma_boot.repository.clonezilla.directory import ImageDirectory, from_folder
from pragma_boot.repository.clonezilla.table import read_dump

FILES = small_image(small_disk(bytes(400 * 512)))


def read(tmp_path: Path, changes: dict[str, bytes | None]) -> saved.SavedDisk:
    files = {name: data for name, data in (FILES | changes).items() if data is not None}
    return saved.read(from_folder(write_files(tmp_path / "image", files)))


def test_a_plain_image_is_read(tmp_path: Path) -> None:
    disk = read(tmp_path, {})
    assert (disk.name, disk.size) == ("vda", (64 + 400 + 4) * 512)
    assert [image.files for image in disk.images] == [
        ("vda-hidden-data-after-mbr",),
        ("vda1.dd-ptcl-img.gz",),
    ]


def dump(*rows: str, header: str = "label: dos\n") -> bytes:
    return (header + "unit: sectors\n\n" + "".join(f"/dev/vda{row}\n" for row in rows)).encode()


PARTED = FILES["vda-pt.parted"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ecryptfs.info": b"disk_size=1"}, "encrypted (ecryptfs)"),
        ({"luks-dev.list": b"/dev/vda1 abc\n"}, "encrypted (LUKS)"),
        ({"disk": None}, "only partitions were saved"),
        ({"disk": None, "parts": None}, "no Clonezilla image"),
        ({"disk": b"vda vdb\n"}, "2 disks were saved together: vda, vdb"),
        ({"disk": b"\n"}, "0 disks"),
        ({"disk": b"../../etc\n"}, "no name of a disk"),
        ({"disk": b"md126\n"}, "RAID"),
        ({"vda-pt.parted": None}, "does not tell the disk's size"),
        ({"vda-pt.parted": PARTED.replace(b"512B/512B", b"4096B/4096B")}, "4096 bytes"),
        ({"vda-pt.parted": PARTED.replace(b"468s", b"999999999999999s")}, "makes no sense"),
        ({"vda-pt.parted": PARTED.replace(b"468s", b"463s")}, "leaves the disk"),
        ({"vda-pt.sf": None}, "has no partitions"),
        ({"vda-pt.sf": dump("1 : start= x, size= 400, type=83")}, "makes no sense"),
        ({"vda-pt.sf": dump("1 : start= 64, size= 400, type=83", "2 : start= 100, size= 9, type=83")}, "overlaps"),
        ({"vda-pt.sf": dump("1 : start= 64, size= 400, type=83", header="sector-size: 4096\n")}, "4096 bytes"),
        ({"vda-pt.sf": dump("1 : start= 0, size= 400, type=83")}, "larger than the gap"),
        ({"vda-pt.sf": dump("1 : start= 64, size= 5000000000, type=83")}, "makes no sense"),
        ({"vda-pt.sf": dump("5 : start= 64, size= 400, type=83")}, "vda5 is not where it can be"),
        ({"vda-pt.sf": dump("1 : start=99, size=9, type=5", "5 : start=64, size=4, type=83")}, "vda5 is not where"),
        ({"vda-pt.sf": dump("1 : start=64, size=9, type=5", "2 : start=80, size=9, type=f")}, "makes no sense"),
        ({"vda-mbr": b"short"}, "missing or cut"),
        ({"vda-hidden-data-after-mbr": bytes(64 * 512)}, "larger than the gap"),
        ({"parts": b"vda1 vda2\n"}, "the data of vda2 is missing"),
        ({"vda1.dd-ptcl-img.gz": None}, "vda1 is missing"),
        ({"vda1.dd-ptcl-img.gz": None, "vda1.aa": b"x"}, "partimage"),
        ({"vda1.dd-ptcl-img.gz": None, "vda1.ntfs-img.aa": b"x"}, "ntfsclone"),
        ({"vda1.ext4-ptcl-img.gz": b"x"}, "saved twice"),
        ({"vda1.dd-ptcl-img.gz": None, "vda1.dd-ptcl-img.gz.ab": b"x"}, "a part of"),
        ({"vda1.dd-ptcl-img.gz": None, "vda1.dd-ptcl-img.gz.aa": b"x", "vda1.dd-ptcl-img.gz.ac": b"x"}, "a part of"),
        ({"lvm_vg_dev.list": b"vg /dev/vdb1 x\n"}, "on another disk"),
        ({"lvm_vg_dev.list": b"vg /dev/vda1 x\n"}, "volume group vg makes no sense"),
        ({"swappt-vda1.info": b'UUID="zebra"\n'}, "UUID of a swap space"),
        ({"vda-pt.parted": PARTED.replace(b"msdos", b"gpt")}, "no GUIDs"),
    ],
)
def test_what_cannot_be_restored_is_refused_with_its_reason(
    changes: dict[str, bytes | None], why: str, tmp_path: Path
) -> None:
    with pytest.raises(ImageError) as caught:
        read(tmp_path, changes)
    assert why in (caught.value.details or "")
    assert caught.value.resolution


def test_an_empty_list_of_encrypted_devices_is_none(tmp_path: Path) -> None:
    assert read(tmp_path, {"luks-dev.list": b"# none\n\n"}).size


@pytest.mark.parametrize("name", ["disk", "vda-pt.sf", "vda-pt.parted", "parts"])
def test_a_huge_text_is_refused(name: str, tmp_path: Path) -> None:
    directory = from_folder(write_files(tmp_path / "image", FILES))
    with (tmp_path / "image" / name).open("r+b") as file:
        file.truncate(100 * 1024 * 1024)
    directory = from_folder(tmp_path / "image")
    with pytest.raises(ImageError, match=name):
        saved.read(directory)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=300))
def test_any_partition_table_text_is_read_or_refused(text: str) -> None:
    try:
        read_dump(f"label: dos\n/dev/vda1 : {text}", "dump")
    except ImageError as error:
        assert error.message


class Texts(ImageDirectory):
    """An image directory in memory."""

    def data(self, name: str, limit: int) -> bytes:
        return FILES[name] if isinstance(self.files[name], int) else bytes(self.files[name])  # type: ignore[arg-type]

    def size(self, names: object) -> int:
        return 0


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_texts_are_read_or_refused(data: st.DataObject) -> None:
    files = dict(FILES)
    for name in data.draw(st.lists(st.sampled_from(["disk", "parts", "vda-pt.sf", "vda-pt.parted", "vda-mbr"]))):
        damaged = bytearray(files[name])
        for _ in range(3):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        files[name] = bytes(damaged)
    try:
        saved.read(Texts("image", files))  # type: ignore[arg-type]
    except PragmaError as error:
        assert error.resolution
