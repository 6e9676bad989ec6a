"""Time that tests turn by hand, or that runs at a multiple of the real one."""

from __future__ import annotations

import time
from datetime import UTC, datetime

EPOCH = datetime(2026, 8, 21, 14, 0, tzinfo=UTC).timestamp()


class Clock:
    """speed: virtual seconds per real second; None: time stands still but for :meth:`advance`.

    start: seconds since 1970; a running clock begins at the real time (signatures carry real dates), a standing one
    at a fixed moment.
    """

    def __init__(self, speed: float | None = None, start: float | None = None) -> None:
        self.speed = speed
        self._base = start if start is not None else (EPOCH if speed is None else time.time())
        self._since = time.monotonic()

    def now(self) -> float:
        """Seconds since 1970."""
        if self.speed is None:
            return self._base
        return self._base + (time.monotonic() - self._since) * self.speed

    def advance(self, seconds: float) -> None:
        self._base += seconds


def stamp(moment: float | None) -> str | None:
    """As answers write dates."""
    return None if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
