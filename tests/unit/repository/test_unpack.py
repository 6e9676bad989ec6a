import bz2
import gzip
import lzma
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from pragma_boot.errors import ImageError
from pragma_boot.model import Packing
from pragma_boot.repository.assemble import Limits, Recipe, build
from pragma_boot.repository.unpack import CODECS, gzip_codec, unpack

MIB = 1024 * 1024
DATA = random.Random(1).randbytes(100_000) + bytes(3 * MIB) + b"end"
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}
ALL = (gzip_codec(), *CODECS)
each = pytest.mark.parametrize("packer", PACKERS)


def unpacked(data: bytes, piece: int = 65536) -> bytes:
    def chunks() -> Iterator[bytes]:
        for at in range(0, len(data), piece):
            yield data[at : at + piece]

    pieces = list(unpack(chunks(), "here", ALL))
    assert all(len(one) <= MIB for one in pieces)
    return b"".join(pieces)


@each
@pytest.mark.parametrize("piece", [1000, 65536, 10**9])
def test_every_codec_is_told_by_its_first_bytes(packer: str, piece: int) -> None:
    assert unpacked(PACKERS[packer](DATA), piece) == DATA


@each
def test_members_follow_each_other_and_zeros_are_padding(packer: str) -> None:
    pack = PACKERS[packer]
    assert unpacked(pack(b"one") + pack(b"") + pack(b"two") + bytes(1000), 7) == b"onetwo"


@each
def test_damage_is_found(packer: str) -> None:
    packed = PACKERS[packer](DATA)
    for data, why in (
        (packed[:-3], "is cut"), (packed[:3], "is cut"), (packed + b"x", "something else after"),
        (packed[:600] + bytes(200) + packed[800:], "corrupt"),
    ):  # fmt: skip
        with pytest.raises(ImageError) as caught:
            unpacked(data)
        assert why in (caught.value.details or "")
        assert packer in (caught.value.details or "") or len(data) == 3


def test_something_else_names_what_it_could_be() -> None:
    with pytest.raises(ImageError) as caught:
        unpacked(b"plain text, no more")
    assert caught.value.details == "it is no gzip or zstd or xz or bzip2 file"


def test_frames_that_zstd_skips_are_skipped() -> None:
    assert unpacked(b"\x50\x2a\x4d\x18\x03\0\0\0abc" + zstd.compress(b"data")) == b"data"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(sorted(PACKERS)), st.integers(1, 50))
def test_any_cut_into_chunks_gives_the_same(data: bytes, packer: str, piece: int) -> None:
    assert unpacked(PACKERS[packer](data), piece) == data


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00", b"BZh9"]))
def test_garbage_is_one_plain_error(data: bytes, magic: bytes) -> None:
    try:
        unpacked(magic + data, 11)
    except ImageError as error:
        assert error.details


@pytest.mark.parametrize("packer", ["zstd", "xz", "bzip2"])
def test_a_bomb_is_stopped(packer: str, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(PACKERS[packer](bytes(32 * MIB)))
    (tmp_path / "target").touch()
    recipe = Recipe(Packing.COMPRESSED, (tmp_path / "part",))
    with pytest.raises(ImageError) as caught:
        build(recipe, tmp_path / "target", "demo", limits=Limits(floor=MIB, other_ratio=50))
    assert "almost nothing of it data" in (caught.value.details or "")
    with pytest.raises(ImageError) as caught:
        build(recipe, tmp_path / "target", "demo", limits=Limits(size=MIB, declared=True))
    assert f"the {MIB} bytes" in (caught.value.details or "")
