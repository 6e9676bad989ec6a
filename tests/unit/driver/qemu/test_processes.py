"""Processes that are known by the locks they hold."""

from __future__ import annotations

import fcntl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from pragma_boot import files
from pragma_boot.driver.qemu import processes
from pragma_boot.errors import CommandError, DriverError, PragmaError
from pragma_boot.run import detached


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def start(lock: Path, *words: str) -> None:
    with processes.claimed(lock) as descriptor:
        assert descriptor is not None
        detached(words, errors=lock.with_suffix(".err"), keep=[descriptor])


def test_what_inherits_a_lock_holds_it_until_its_end(lock: Path) -> None:
    start(lock, "sleep", "300")
    assert files.is_locked(lock)
    with processes.claimed(lock) as descriptor:
        assert descriptor is None
    (holder,) = processes.holders(lock)
    assert Path(f"/proc/{holder}/cmdline").read_bytes() == b"sleep\x00300\x00"
    assert Path(f"/proc/{holder}/stat").read_text().rpartition(")")[2].split()[3] == str(holder), "its own session"
    processes.end(lock, "sleep")
    assert not files.is_locked(lock)
    processes.end(lock, "sleep")
    assert processes.holders(lock) == []


def test_what_it_says_is_kept(lock: Path) -> None:
    start(lock, "sh", "-c", "echo one; echo two >&2")
    assert processes.wait_for_end(lock, 10)
    assert lock.with_suffix(".err").read_text() == "one\ntwo\n"


def test_a_program_that_is_not_there_ends_at_once(lock: Path) -> None:
    start(lock, "/nowhere/program")
    assert processes.wait_for_end(lock, 10)
    assert "/nowhere/program" in lock.with_suffix(".err").read_text()


def test_what_cannot_be_started_at_all_is_told(lock: Path) -> None:
    with pytest.raises(CommandError, match="cannot run setsid"):
        detached(["sleep", "1"], errors=lock, keep=[10**6])


def test_who_only_looks_does_not_keep_a_lock_from_being_taken(lock: Path) -> None:
    lock.touch()
    with lock.open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        timer = threading.Timer(0.05, looking.close)
        timer.start()
        with processes.claimed(lock) as descriptor:
            assert descriptor is not None
        timer.join()


def test_waiting_has_an_end(lock: Path) -> None:
    with processes.claimed(lock):
        began = time.monotonic()
        assert not processes.wait_for_end(lock, 0.1)
        assert time.monotonic() - began < 5
        with pytest.raises(DriverError, match="the node does not end"):
            processes.end(lock, "the node", limit=0)


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(PragmaError, match="cannot lock"), processes.claimed(tmp_path / "no" / "lock"):
        pass


def test_others_with_the_same_name_are_not_taken_for_it(lock: Path) -> None:
    start(lock, "sleep", "300")
    with subprocess.Popen(["sleep", "300"]) as other:
        processes.end(lock, "sleep")
        assert other.poll() is None
        other.kill()


def test_who_only_has_the_file_open_is_left_alone(lock: Path) -> None:
    start(lock, "sleep", "300")
    with lock.open() as reading, subprocess.Popen(["sleep", "300"], stdin=reading) as bystander:
        with lock.open() as looking, pytest.raises(BlockingIOError):
            fcntl.flock(looking, fcntl.LOCK_SH | fcntl.LOCK_NB)
        processes.end(lock, "sleep")
        assert bystander.poll() is None
        bystander.kill()
