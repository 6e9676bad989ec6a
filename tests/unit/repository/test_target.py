"""Raw and qcow2 files hold what was written, in any order; zeros take no room."""

from __future__ import annotations

import json
import random
import subprocess
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pragma_boot.repository.target import GRANULE, Qcow2Target, RawTarget, Target, behind, runs

SIZE = 3 * 1024 * 1024 + 512


def written(
    kind: type[RawTarget | Qcow2Target], path: Path, parts: list[tuple[int, bytes]], size: int | None = SIZE
) -> bytes:
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


@pytest.mark.parametrize("kind", [RawTarget, Qcow2Target])
def test_a_disk_of_unknown_size_ends_where_its_writes_end(kind: type[RawTarget | Qcow2Target], tmp_path: Path) -> None:
    parts = [(0, b"boot" * 128), (512, bytes(SIZE - 512))]
    assert written(kind, tmp_path / "disk", parts, None) == expected(parts)


def test_an_unfinished_qcow2_is_none(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.touch()
    target = Qcow2Target(path, SIZE)
    target.write(0, memoryview(b"data" * 100_000))
    target.close()
    assert not path.read_bytes().startswith(b"QFI")


def test_tables_that_were_put_away_are_gone_on_with(tmp_path: Path) -> None:
    """A disk with data in more tables than are kept in memory, written twice over."""
    step, size = 512 * 1024**2, 5 * 1024**4
    places = [number * step for number in range(80)]
    path = tmp_path / "disk"
    path.touch()
    tracemalloc.start()
    target = Qcow2Target(path, size)
    for shift in (0, GRANULE):
        for place in places:
            target.write(place + shift, memoryview(f"{place + shift:512}".encode()))
    target.write(size - 512, memoryview(b"end!" * 128))
    target.finish()
    target.close()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 1024**2
    assert path.stat().st_blocks * 512 < 24 * 1024**2
    checked = subprocess.run(["qemu-img", "check", path], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    asked = [word for shift in (0, GRANULE) for place in places for word in ("-c", f"read -v {place + shift + 496} 16")]
    seen = subprocess.run(["qemu-io", "-r", *asked, path], capture_output=True, text=True, check=True).stdout
    shown = [bytes.fromhex(line.split(":  ")[1][:47]) for line in seen.splitlines() if ":  " in line]
    assert shown == [f"{place + shift:16}".encode() for shift in (0, GRANULE) for place in places]


class Recorder:
    """A target that keeps what it is given, and fails when it is told to."""

    def __init__(self, fails_at: int = -1) -> None:
        self.seen: list[tuple[int, bytes]] = []
        self.finished = self.closed = False
        self._fails_at = fails_at

    def write(self, offset: int, data: memoryview) -> None:
        if offset == self._fails_at:
            raise OSError(28, "No space left on device")
        self.seen.append((offset, bytes(data)))

    def finish(self) -> None:
        self.finished = True

    def close(self) -> None:
        self.closed = True


def test_a_writer_behind_writes_everything_in_order() -> None:
    recorder = Recorder()
    with behind(recorder) as target:
        for number in range(100):
            target.write(number, memoryview(b"x"))
        target.finish()
    assert recorder.seen == [(number, b"x") for number in range(100)]
    assert recorder.finished
    assert recorder.closed


def test_a_fault_of_the_writer_reaches_whoever_writes_and_nobody_waits() -> None:
    recorder = Recorder(fails_at=3)
    with pytest.raises(OSError, match="No space"), behind(recorder) as target:
        for number in range(100):
            target.write(number, memoryview(b"x"))
        target.finish()
    assert (recorder.finished, recorder.closed) == (False, True)
    assert [offset for offset, _ in recorder.seen] == [0, 1, 2]


def test_a_source_that_fails_ends_the_writer() -> None:
    recorder = Recorder()
    with pytest.raises(KeyError), behind(recorder) as target:
        target.write(0, memoryview(b"x"))
        raise KeyError
    assert (recorder.finished, recorder.closed) == (False, True)
    assert "write" not in [thread.name for thread in threading.enumerate()]


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
