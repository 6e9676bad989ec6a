"""ISO images made by xorriso, and ones that are wrong in every way."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.clonezilla import make_iso, write_files
from pragma_boot.errors import ImageError, PragmaError
from pragma_boot.repository.clonezilla.directory import from_iso
from pragma_boot.repository.clonezilla.iso import BLOCK, Iso
from pragma_boot.repository.clonezilla.source import Content, read_at
from pragma_boot.repository.source import FileSource

LONG = "sda1.ext4-ptcl-img.gz.aa-" + "x" * 180
FILES = {"disk": b"sda\n", "parts": b"sda1\n", LONG: b"long", "sda-pt.sf": os.urandom(5000), "empty": b""}


@pytest.fixture(scope="module")
def iso(tmp_path_factory: pytest.TempPathFactory) -> Path:
    room = tmp_path_factory.mktemp("iso")
    return make_iso(write_files(room / "image", FILES), room / "made.iso", "centos7")


def content(content: Content) -> bytes:
    return b"".join(content.stream())


def test_files_are_found_by_their_real_names(iso: Path) -> None:
    found = from_iso(FileSource(iso))
    assert {name: content(file) for name, file in found.files.items()} == FILES
    assert "centos7" in found.name


def test_a_folder_of_thousands_of_files_is_walked(tmp_path: Path) -> None:
    files = {f"file-{number:05}": str(number).encode() for number in range(3000)} | {"disk": b"sda"}
    made = make_iso(write_files(tmp_path / "image", files | {"parts": b""}), tmp_path / "made.iso")
    found = from_iso(FileSource(made)).files
    assert len(found) == 3002
    assert content(found["file-02999"]) == b"2999"


def test_names_of_joliet_where_there_is_no_rock_ridge(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "image", {"disk": b"sda\n", "sda1.ext4-ptcl-img.gz.aa": b"data"})
    argv = ["xorriso", "-as", "mkisofs", "-quiet", "-J", "--norock", "-o", tmp_path / "made.iso", "-graft-points"]
    subprocess.run([*argv, f"/home/partimag/x/={folder}/"], check=True, capture_output=True)
    found = from_iso(FileSource(tmp_path / "made.iso")).files
    assert content(found["sda1.ext4-ptcl-img.gz.aa"]) == b"data"


def test_several_images_in_one_iso_are_refused(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "image", {"disk": b"sda\n"})
    argv = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", tmp_path / "made.iso", "-graft-points"]
    targets = [f"/home/partimag/{name}/={folder}/" for name in "ab"]
    subprocess.run([*argv, *targets], check=True, capture_output=True)
    with pytest.raises(ImageError) as caught:
        from_iso(FileSource(tmp_path / "made.iso"))
    assert "several Clonezilla images are in it: a, b" in (caught.value.details or "")


def test_something_else_is_no_iso(tmp_path: Path) -> None:
    page = tmp_path / "page.iso"
    for data in (b"", b"<html>sorry</html>", bytes(100_000)):
        page.write_bytes(data)
        with pytest.raises(ImageError) as caught:
            Iso(FileSource(page))
        assert "no ISO 9660 image" in (caught.value.details or "")


def test_an_iso_without_an_image_is_told(tmp_path: Path) -> None:
    write_files(tmp_path / "image", {"file": b"x"})
    argv = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", tmp_path / "made.iso", tmp_path / "image"]
    subprocess.run(argv, check=True, capture_output=True)
    with pytest.raises(ImageError) as caught:
        from_iso(FileSource(tmp_path / "made.iso"))
    assert "no Clonezilla image in /home/partimag" in (caught.value.details or "")


def test_an_iso_cut_short_is_told_before_anything_is_read(iso: Path, tmp_path: Path) -> None:
    whole = iso.read_bytes()
    last = max(extent[0] for file in from_iso(FileSource(iso)).files.values() for extent in file.extents)
    for end in (40_000, last + 1):
        (tmp_path / "cut.iso").write_bytes(whole[:end])
        with pytest.raises(ImageError, match=r"cut|cannot be restored"):
            from_iso(FileSource(tmp_path / "cut.iso"))


# ------------------------------------------------------------------------------------------------ directories by hand


class Bytes:
    """A source in memory."""

    def __init__(self, data: bytes) -> None:
        self.name, self.size, self._data = "memory.iso", len(data), data

    def open_range(self, start: int, length: int):  # type: ignore[no-untyped-def]
        from contextlib import nullcontext
        from io import BytesIO

        if start + length > self.size:
            raise ImageError(f"{self.name} is cut")
        return nullcontext(BytesIO(self._data[start : start + length]))


def record(name: bytes, block: int, size: int, flags: int = 0, area: bytes = b"") -> bytes:
    body = name + bytes(1 - len(name) % 2) + area
    head = struct.pack("<BBI4xI4x7xBBBHH", 33 + len(body), 0, block, size, flags, 0, 0, 1, 0)
    return (head + bytes([len(name)]) + body)[: 33 + len(body)]


def rock(name: bytes) -> bytes:
    return b"NM" + bytes([5 + len(name), 1, 0]) + name


SP = b"SP\x07\x01\xbe\xef\x00"


def image(*blocks: bytes) -> Bytes:
    """An image whose root directory is block 18 and what *blocks* put there and behind it."""
    primary = bytearray(BLOCK)
    primary[:7] = b"\x01CD001\x01"
    struct.pack_into("<H", primary, 128, BLOCK)
    root = record(b"\0", 18, BLOCK, 2)
    primary[156 : 156 + len(root)] = root
    end = b"\xffCD001\x01".ljust(BLOCK, b"\0")
    return Bytes(bytes(16 * BLOCK) + bytes(primary) + end + b"".join(block.ljust(BLOCK, b"\0") for block in blocks))


DOTS = record(b"\0", 18, BLOCK, 2, SP) + record(b"\1", 18, BLOCK, 2)


def test_the_extents_of_a_large_file_are_one_file() -> None:
    root = DOTS + record(b"BIG.;1", 19, BLOCK, 0x80, rock(b"big")) + record(b"BIG.;1", 20, 100, 0, rock(b"big"))
    iso = Iso(image(root, b"a" * BLOCK, b"b" * BLOCK))
    found = iso.find("big")
    assert found
    assert content(iso.content(found)) == b"a" * BLOCK + b"b" * 100


@pytest.mark.parametrize("rest", [b"", record(b"OTHER.;1", 20, 100, 0, rock(b"other"))])
def test_a_file_whose_further_extents_are_missing_is_refused(rest: bytes) -> None:
    iso = Iso(image(DOTS + record(b"BIG.;1", 19, BLOCK, 0x80, rock(b"big")) + rest, b"a" * BLOCK))
    with pytest.raises(ImageError) as caught:
        iso.find("big")
    assert "extents of 'big' are missing" in (caught.value.details or "")


def test_a_directory_that_contains_itself_ends() -> None:
    iso = Iso(image(DOTS + record(b"LOOP", 18, BLOCK, 2, rock(b"loop"))))
    assert iso.find("loop") is None
    assert iso.find("loop", "loop", "loop") is None


def test_a_name_that_continues_without_end_is_refused() -> None:
    again = b"CE\x1c\x01" + struct.pack("<I4xI4xI4x", 19, 0, 28)
    iso = Iso(image(DOTS + record(b"A.;1", 19, 1, 0, again), again))
    with pytest.raises(ImageError) as caught:
        iso.find("a")
    assert "continues without end" in (caught.value.details or "")


def test_a_name_that_continues_elsewhere_is_read_there() -> None:
    further = b"CE\x1c\x01" + struct.pack("<I4xI4xI4x", 19, 0, len(rock(b"-long")))
    iso = Iso(image(DOTS + record(b"A.;1", 19, 1, 0, b"NM\x06\x01\x01a" + further), rock(b"-long")))
    assert iso.find("a-long")


@pytest.mark.parametrize(
    ("root", "what"),
    [
        (record(b"HUGE", 18, 1 << 31, 2, rock(b"huge")), "larger than"),
        (record(b"FAR", 1 << 30, BLOCK, 2, rock(b"far")), "cut"),
        (b"\x10" * 16, "makes no sense"),
        (b"\xff" * 30, "is broken"),
    ],
)
def test_absurd_records_are_refused(root: bytes, what: str) -> None:
    iso = Iso(image(DOTS + root))
    with pytest.raises(ImageError) as caught:
        for name in ("huge", "far"):
            iso.find(name, "x")
    assert what in f"{caught.value.message} {caught.value.details}"


def test_a_file_behind_the_end_is_refused() -> None:
    iso = Iso(image(DOTS + record(b"F.;1", 19, BLOCK + 1, 0, rock(b"f")), b"x"))
    found = iso.find("f")
    assert found
    with pytest.raises(ImageError) as caught:
        iso.content(found)
    assert "cut short" in (caught.value.details or "")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_in_the_structure_ends_in_an_error_of_ours(iso: Path, data: st.DataObject) -> None:
    whole = bytearray(iso.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(16 * BLOCK, min(len(whole), 70 * BLOCK) - 1))
        whole[place] = data.draw(st.integers(0, 255))
    try:
        for file in from_iso(Bytes(bytes(whole))).files.values():
            assert len(content(file)) == file.size
    except PragmaError as error:
        assert "memory.iso" in error.message


def test_small_reads_of_a_remote_iso_are_few(iso: Path) -> None:
    class Counted(FileSource):
        asked = 0

        def open_range(self, start: int, length: int):  # type: ignore[no-untyped-def]
            self.asked += 1
            return super().open_range(start, length)

    source = Counted(iso)
    found = from_iso(source)
    for name in FILES:
        content(found.files[name])
    assert source.asked <= 3
    assert read_at(source, 32769, 5) == b"CD001"
