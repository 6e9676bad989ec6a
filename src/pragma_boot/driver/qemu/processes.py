"""Processes that are known by the lock they hold: found, and ended, without ever trusting a number."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from pragma_boot import files
from pragma_boot.errors import DriverError

_PROC = Path("/proc")
_TICK = 0.02
_LOOK = 0.2
"""Seconds that `files.is_locked` of another process surely does not take."""
LIMIT = 30.0
"""Seconds that a killed process may take: the kernel writes back its memory, or a disk hangs."""


@contextlib.contextmanager
def claimed(lock: Path) -> Iterator[int | None]:
    """The descriptor of *lock*, held while the block runs and by whoever inherits it; None when it is held already.

    Raises PragmaError when it cannot be made.
    """
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise files.refused("lock", lock, error) from error
    try:
        yield descriptor if _acquired(descriptor) else None
    finally:
        os.close(descriptor)


def _acquired(descriptor: int) -> bool:
    """Take the lock; one that is held only for a moment, by somebody who looks at it, is waited for."""
    deadline = time.monotonic() + _LOOK
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_TICK / 10)


def wait_for_end(lock: Path, seconds: float) -> bool:
    """Wait until nobody holds *lock*; whether that came true in time."""
    deadline = time.monotonic() + seconds
    while files.is_locked(lock):  # the end of a process that is not our child is no event that we could wait for
        if time.monotonic() >= deadline:
            return False
        time.sleep(_TICK)
    return True


def end(lock: Path, what: str, limit: float = LIMIT) -> None:
    """End whoever holds *lock*, at once, and wait until that is true; no error when nobody does. Raises DriverError."""
    deadline = time.monotonic() + limit
    while files.is_locked(lock):
        for process in holders(lock):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if wait_for_end(lock, 1):
            return
        if time.monotonic() >= deadline:
            raise DriverError(
                f"{what} does not end",
                details=f"processes {', '.join(map(str, holders(lock))) or 'of another user'}",
                resolution=f"look what it waits for, or end whatever holds {lock}, then repeat",
            )


def holders(lock: Path) -> list[int]:
    """The processes of ours, but for this one, that have the file *lock* open."""
    try:
        wanted = lock.stat()
    except OSError:
        return []
    found = []
    for process in _PROC.glob("[0-9]*"):
        if process.name != str(os.getpid()):
            with contextlib.suppress(OSError):  # it has ended, or it is another user's
                if any(
                    _is(each, wanted) and _holds(process / "fdinfo" / each.name) for each in (process / "fd").iterdir()
                ):
                    found.append(int(process.name))
    return sorted(found)


def _holds(info: Path) -> bool:
    """Whether an open file has its lock for itself: who only looks (`files.is_locked`) shares it, or has none."""
    with contextlib.suppress(OSError):
        words = (line.split() for line in info.read_text().splitlines() if line.startswith("lock:"))
        return any("FLOCK" in each and "WRITE" in each for each in words)
    return False


def _is(descriptor: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(descriptor.stat(), wanted)
    except OSError:
        return False
