"""Raw and qcow2 files hold what was written, in any order; zeros take no room."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pragma_boot.repository.clonezilla.target import GRANULE, Qcow2Target, RawTarget, Target, runs

SIZE = 3 * 1024 * 1024 + 512


def written(kind: type[RawTarget | Qcow2Target], path: Path, parts: list[tuple[int, bytes]], size: int = SIZE) -> bytes:
    """What a reader of the disk sees after these writes."""
    path.unlink(missing_ok=True)
    path.touch()
    target: Target = kind(path, size)
    for offset, data in parts:
        target.write(offset, memoryview(data))
    target.finish()
    target.close()
    if kind is RawTarget:
        return path.read_bytes()
    check = subprocess.run(["qemu-img", "check", "--output=json", path], capture_output=True, check=True)
    assert not {"corruptions", "leaks"} & json.loads(check.stdout).keys()
    raw = path.with_suffix(".converted")
    subprocess.run(["qemu-img", "convert", "-O", "raw", path, raw], check=True)
    return raw.read_bytes()


def expected(parts: list[tuple[int, bytes]], size: int = SIZE) -> bytes:
    out = bytearray(size)
    for offset, data in parts:
        out[offset : offset + len(data)] = data
    return bytes(out)


@pytest.mark.parametrize("kind", [RawTarget, Qcow2Target])
def test_any_place_and_order(kind: type[RawTarget | Qcow2Target], tmp_path: Path) -> None:
    noise = random.Random(3).randbytes
    parts = [
        (SIZE - 700, noise(700)), (1024 * 1024, noise(400_000)), (512, noise(1)), (0, noise(512)),
        (1024 * 1024 - 10, noise(10)), (2_000_000, noise(65536)),
    ]  # fmt: skip
    assert written(kind, tmp_path / "disk", parts) == expected(parts)


@pytest.mark.parametrize("kind", [RawTarget, Qcow2Target])
def test_nothing_written_is_a_disk_of_zeros(kind: type[RawTarget | Qcow2Target], tmp_path: Path) -> None:
    assert written(kind, tmp_path / "disk", [(0, bytes(SIZE))]) == bytes(SIZE)
    assert (tmp_path / "disk").stat().st_blocks * 512 < 5 * 65536


def test_an_unfinished_qcow2_is_none(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.touch()
    target = Qcow2Target(path, SIZE)
    target.write(0, memoryview(b"data" * 100_000))
    target.close()
    assert not path.read_bytes().startswith(b"QFI")


def test_the_tables_of_a_large_disk_stay_small_and_right(tmp_path: Path) -> None:
    size = 5 * 1024**4
    path = tmp_path / "disk"
    path.touch()
    target = Qcow2Target(path, size)
    target.write(size - 512, memoryview(b"end!" * 128))
    target.write(3 * 1024**4, memoryview(b"here"))
    target.finish()
    target.close()
    assert path.stat().st_blocks * 512 < 16 * 1024 * 1024
    done = subprocess.run(["qemu-img", "check", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    asked = ["qemu-io", "-r", "-c", f"read -v {3 * 1024**4} 4", path]
    assert "68 65 72 65" in subprocess.run(asked, capture_output=True, text=True, check=True).stdout


@settings(max_examples=100, deadline=None)
@given(
    offset=st.integers(0, 3 * GRANULE),
    parts=st.lists(st.tuples(st.sampled_from([0, 0, 1]), st.integers(1, 2 * GRANULE)), max_size=4),
)
def test_runs_leave_out_only_zeros_and_only_whole_granules(offset: int, parts: list[tuple[int, int]]) -> None:
    data = b"".join(bytes([value]) * length for value, length in parts)
    covered = bytearray(len(data))
    for start, end in runs(memoryview(data), offset):
        assert start < end
        covered[start:end] = data[start:end]
    assert covered == data
