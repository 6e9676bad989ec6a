"""Streams by hand in both formats and every checksum mode, whole and damaged."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.clonezilla import crc, stream_1, stream_2
from pragma_boot.errors import ImageError, PragmaError
from pragma_boot.repository.clonezilla.partclone import Checks, Header, restore
from pragma_boot.repository.clonezilla.reader import Reader

BLOCK = 512
BLOCKS = 100
DEVICE = random.Random(7).randbytes(BLOCK * BLOCKS)
USED = [0, 1, 2, 7, 8, 9, 10, 11, 50, 63, 64, 98, 99]
MODES = [0, 0x20, 0x30, 0x31]


def pieces(stream: bytes, size: int) -> Iterator[bytes]:
    return (stream[at : at + size] for at in range(0, len(stream), size))


def restored(stream: bytes, size: int = len(DEVICE), piece: int = 1000) -> tuple[Header, bytes]:
    out = bytearray(size)

    def write(offset: int, data: memoryview) -> None:
        out[offset : offset + len(data)] = data

    header = restore(Reader(pieces(stream, piece), "stream"), size, write)
    assert len(out) == size
    return header, bytes(out)


def expected(used: list[int], device: bytes = DEVICE) -> bytes:
    out = bytearray(len(device))
    for number in used:
        out[number * BLOCK : (number + 1) * BLOCK] = device[number * BLOCK : (number + 1) * BLOCK]
    return bytes(out)


@pytest.mark.parametrize("piece", [1, 37, 1 << 20])
def test_format_0001_gives_the_used_blocks(piece: int) -> None:
    header, out = restored(stream_1(DEVICE, USED), piece=piece)
    assert header.checks is Checks.OLD
    assert out == expected(USED)


@pytest.mark.parametrize("piece", [1, 37, 1 << 20])
@pytest.mark.parametrize("mode", MODES)
def test_format_0002_gives_the_used_blocks(mode: int, piece: int) -> None:
    header, out = restored(stream_2(DEVICE, USED, mode=mode), piece=piece)
    assert (header.checks, header.file_system) == (Checks(mode), "EXTFS")
    assert out == expected(USED)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("reseed", [True, False])
@pytest.mark.parametrize("per_check", [1, 3, 13, 256])
def test_checksums_of_any_distance_begin_anew_or_run_on(mode: int, reseed: bool, per_check: int) -> None:
    stream = stream_2(DEVICE, USED, mode=mode, per_check=per_check, reseed=reseed)
    assert restored(stream)[1] == expected(USED)


@pytest.mark.parametrize("mode", [0x20, 0x30, 0x31])
@pytest.mark.parametrize("place", [0, 3 * BLOCK, 12 * BLOCK + 100])
def test_a_changed_byte_of_data_is_found(mode: int, place: int) -> None:
    stream = bytearray(stream_2(DEVICE, USED, mode=mode))
    size = {0x20: 4, 0x30: 8, 0x31: 16}[mode]
    at = 110 + 13 + 4 + place + place // (4 * BLOCK) * size
    stream[at] ^= 1
    with pytest.raises(ImageError, match="cannot be restored") as caught:
        restored(bytes(stream))
    assert "checksum of its blocks is wrong" in (caught.value.details or "")


@pytest.mark.parametrize(("place", "what"), [(60, "checksum of its header"), (112, "checksum of its bitmap")])
def test_a_changed_header_or_bitmap_is_found(place: int, what: str) -> None:
    stream = bytearray(stream_2(DEVICE, USED))
    stream[place] ^= 4
    with pytest.raises(ImageError) as caught:
        restored(bytes(stream))
    assert what in (caught.value.details or "")


def test_no_used_blocks_means_no_checksum_and_nothing_written() -> None:
    assert restored(stream_2(DEVICE, []))[1] == bytes(len(DEVICE))


def test_a_full_device_needs_no_look_at_the_bitmap() -> None:
    assert restored(stream_2(DEVICE, list(range(BLOCKS))))[1] == DEVICE


@pytest.mark.parametrize("make", [stream_1, stream_2])
def test_every_cut_is_found(make: Callable[..., bytes]) -> None:
    stream = make(DEVICE, USED)
    for end in (0, 10, 35, 36, 80, 109, 112, 120, 4160, 4200, 4262, len(stream) - BLOCK, len(stream) - 1):
        if end < len(stream):
            with pytest.raises(ImageError, match="cannot be restored"):
                restored(stream[:end])


def test_what_follows_the_last_block_is_refused() -> None:
    with pytest.raises(ImageError) as caught:
        restored(stream_2(DEVICE, USED) + b"x")
    assert "something else after its last block" in (caught.value.details or "")


@pytest.mark.parametrize("make", [stream_1, stream_2])
def test_a_file_system_larger_than_its_partition_is_refused(make: Callable[..., bytes]) -> None:
    with pytest.raises(ImageError) as caught:
        restored(make(DEVICE, USED), size=len(DEVICE) - 1)
    assert "does not fit in its partition" in (caught.value.details or "")


def header_with(**changes: int) -> bytes:
    """A header of format 0002 with a right checksum but some other fields; *changes* are places and values."""
    fields = {"order": (34, "<H"), "blocks": (60, "<Q"), "size": (84, "<I"), "device": (52, "<Q"),
              "mode": (96, "<H"), "width": (98, "<H"), "every": (100, "<I"), "bitmap": (105, "<B")}  # fmt: skip
    data = bytearray(stream_2(DEVICE, USED)[:106])
    for name, value in changes.items():
        struct.pack_into(fields[name][1], data, fields[name][0], value)
    return bytes(data) + struct.pack("<I", crc(bytes(data))) + bytes(1000)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"order": 0xDEC0}, "big-endian"),
        ({"bitmap": 8}, "bitmap mode 8"),
        ({"mode": 0x40}, "checksum mode 0x40"),
        ({"mode": 0x30}, "checksum mode 0x30 of 4 bytes"),
        ({"every": 0}, "makes no sense"),
        ({"size": 0}, "makes no sense"),
        ({"size": 1 << 31}, "makes no sense"),
        ({"blocks": 1 << 60}, "makes no sense"),
        ({"blocks": 1 << 31}, "does not fit"),
        ({"device": 1 << 63}, "does not fit"),
    ],
)
def test_absurd_headers_are_refused_before_anything_is_read_for_them(changes: dict[str, int], what: str) -> None:
    with pytest.raises(ImageError) as caught:
        restored(header_with(**changes))
    assert what in (caught.value.details or "")


def test_other_formats_and_other_files_are_refused() -> None:
    stream = bytearray(stream_2(DEVICE, USED))
    stream[30:34] = b"0003"
    with pytest.raises(ImageError) as caught:
        restored(bytes(stream))
    assert "0003" in (caught.value.details or "")
    with pytest.raises(ImageError) as caught:
        restored(b"<html>" + bytes(200))
    assert "no partclone image" in (caught.value.details or "")


def test_a_stream_without_bitmap_has_every_block() -> None:
    data = bytearray(header_with(bitmap=0, mode=0, width=0)[:110])
    assert restored(bytes(data) + DEVICE)[1] == DEVICE


@settings(max_examples=60, deadline=None)
@given(
    used=st.sets(st.integers(0, BLOCKS - 1)),
    mode=st.sampled_from([*MODES, None]),
    per_check=st.integers(1, 20),
    reseed=st.booleans(),
    piece=st.integers(1, 3000),
)
def test_any_set_of_blocks_comes_back(
    used: set[int], mode: int | None, per_check: int, reseed: bool, piece: int
) -> None:
    chosen = sorted(used)
    if mode is None:
        stream = stream_1(DEVICE, chosen)
    else:
        stream = stream_2(DEVICE, chosen, mode=mode, per_check=per_check, reseed=reseed)
    assert restored(stream, piece=piece)[1] == expected(chosen)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_anywhere_ends_in_an_error_of_ours_or_changes_nothing_outside(data: st.DataObject) -> None:
    stream = bytearray(data.draw(st.sampled_from([stream_1(DEVICE, USED), stream_2(DEVICE, USED)])))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    del stream[data.draw(st.integers(1, len(stream))) :]
    try:
        restored(bytes(stream))
    except PragmaError as error:
        assert error.resolution
