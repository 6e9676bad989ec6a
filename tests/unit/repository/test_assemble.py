import gzip
import random
from pathlib import Path

import pytest

from fakes.repository import DISK, MIB
from pragma_boot.errors import ImageError
from pragma_boot.model import DiskFormat, Packing, Progress
from pragma_boot.repository.assemble import DEFAULT_LIMITS, Limits, Recipe, build
from pragma_boot.repository.unpack import ZLIB, Engine, fastest_engine
from pragma_boot.run import run

ENGINES = pytest.mark.parametrize("engine", [ZLIB, fastest_engine()], ids=["zlib", "fastest"])
NOISE = random.Random(1).randbytes(MIB)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target"
    path.touch()
    return path


def parts(folder: Path, *contents: bytes) -> tuple[Path, ...]:
    paths = tuple(folder / f"part{number}" for number in range(len(contents)))
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def inflate(folder: Path, target: Path, engine: Engine, *contents: bytes, limits: Limits = DEFAULT_LIMITS) -> bytes:
    build(Recipe(Packing.SPLIT_GZIP, parts(folder, *contents)), target, "demo", limits=limits, engine=engine)
    return target.read_bytes()


def refusal(folder: Path, target: Path, engine: Engine, *contents: bytes, limits: Limits = DEFAULT_LIMITS) -> str:
    with pytest.raises(ImageError) as caught:
        inflate(folder, target, engine, *contents, limits=limits)
    assert caught.value.resolution
    return caught.value.details or ""


def test_parts_are_joined_in_their_order(tmp_path: Path, target: Path) -> None:
    build(Recipe(Packing.SPLIT, parts(tmp_path, DISK[:1000], DISK[1000:MIB], DISK[MIB:])), target, "demo")
    assert target.read_bytes() == DISK


@ENGINES
@pytest.mark.parametrize("cut", [1, 2, 9, 400])
def test_one_gzip_stream_may_be_cut_anywhere(tmp_path: Path, target: Path, engine: Engine, cut: int) -> None:
    packed = gzip.compress(DISK + NOISE)
    assert inflate(tmp_path, target, engine, packed[:cut], packed[cut:]) == DISK + NOISE


@ENGINES
@pytest.mark.parametrize("padding", [b"", bytes(3), bytes(600_000)])
def test_members_follow_each_other_and_zeros_are_padding(
    tmp_path: Path, target: Path, engine: Engine, padding: bytes
) -> None:
    packed = gzip.compress(DISK) + gzip.compress(b"") + gzip.compress(NOISE) + padding
    assert inflate(tmp_path, target, engine, packed) == DISK + NOISE


@ENGINES
def test_damaged_gzip_says_what_is_wrong(tmp_path: Path, target: Path, engine: Engine) -> None:
    packed = gzip.compress(NOISE)
    flipped = packed[:5000] + bytes([packed[5000] ^ 255]) + packed[5001:]
    checksum = packed[:-8] + bytes(4) + packed[-4:]
    for data, why in [
        (packed[:-1], "cut"),
        (packed[: len(packed) // 2], "cut"),
        (packed[:1], "cut"),
        (b"", "cut"),
        (flipped, "corrupt"),
        (checksum, "corrupt"),
        (packed + b"x", "something else"),
        (packed + bytes(9) + b"x", "something else"),
        (NOISE, "no gzip file"),
    ]:
        assert why in refusal(tmp_path, target, engine, data)


@ENGINES
def test_data_that_unpacks_without_measure_is_stopped(tmp_path: Path, target: Path, engine: Engine) -> None:
    bomb = gzip.compress(bytes(64 * MIB))
    assert "almost nothing of it data" in refusal(tmp_path, target, engine, bomb, limits=Limits(floor=8 * MIB))
    assert "almost nothing of it data" in refusal(tmp_path, target, engine, bomb, limits=Limits(size=8 * MIB))
    assert len(inflate(tmp_path, target, engine, bomb)) == 64 * MIB


def test_zeros_become_holes(tmp_path: Path, target: Path) -> None:
    disk = bytes(32 * MIB) + NOISE + bytes(31 * MIB)
    assert inflate(tmp_path, target, fastest_engine(), gzip.compress(disk, 1)) == disk
    assert target.stat().st_blocks * 512 <= MIB + 2 * 65536


@pytest.mark.parametrize("packing", [Packing.GZIP, Packing.SPLIT])
def test_a_raw_disk_is_kept_as_qcow2_where_the_site_wants_that(tmp_path: Path, target: Path, packing: Packing) -> None:
    packed = gzip.compress(DISK) if packing is Packing.GZIP else DISK
    build(Recipe(packing, parts(tmp_path, packed[:5000], packed[5000:]), DiskFormat.QCOW2), target, "demo")
    assert target.read_bytes().startswith(b"QFI\xfb")
    (tmp_path / "raw").write_bytes(DISK)
    run(["qemu-img", "check", target])
    run(["qemu-img", "compare", "-f", "qcow2", "-F", "raw", target, tmp_path / "raw"])


def test_a_qcow2_disk_is_not_packed_into_another(tmp_path: Path, target: Path) -> None:
    disk = b"QFI\xfb" + NOISE
    build(Recipe(Packing.GZIP, parts(tmp_path, gzip.compress(disk)), DiskFormat.QCOW2), target, "demo")
    assert target.read_bytes() == disk


@pytest.mark.parametrize(
    ("content", "why"),
    [(gzip.compress(DISK), "gzip"), (b"KDMV" + NOISE, "VMDK"), (DISK[:-1], "no multiple of 512"), (b"", "empty")],
)
def test_what_is_no_disk_does_not_become_a_qcow2_disk(tmp_path: Path, target: Path, content: bytes, why: str) -> None:
    with pytest.raises(ImageError) as caught:
        build(Recipe(Packing.GZIP, parts(tmp_path, gzip.compress(content)), DiskFormat.QCOW2), target, "demo")
    assert why in (caught.value.details or "")
    assert not target.read_bytes().startswith(b"QFI\xfb")


def test_progress_counts_packed_bytes_and_ends_at_the_whole(tmp_path: Path, target: Path) -> None:
    reports: list[Progress] = []
    recipe = Recipe(Packing.SPLIT, parts(tmp_path, DISK, NOISE))
    build(recipe, target, "demo", reports.append)
    total = len(DISK) + len(NOISE)
    assert (reports[-1].phase, reports[-1].subject, reports[-1].done, reports[-1].total) == (
        "decompress",
        "demo",
        total,
        total,
    )


def test_a_part_that_cannot_be_read_is_named(tmp_path: Path, target: Path) -> None:
    for part in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ImageError, match=str(part)):
            build(Recipe(Packing.SPLIT, (part,)), target, "demo")
