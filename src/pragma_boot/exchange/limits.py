"""What one client, and all of them together, may ask of the exchange."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """body: bytes. seconds: a whole request, from the connection to its end. connections: at the same time.

    each: of these, one address's: who opens all that it may, and says nothing, leaves some to others.
    rate: requests of one address in a minute. grace: seconds that requests may still take when the service ends.
    look: seconds between two looks for requests that take too long.
    """

    body: int = 1024 * 1024
    seconds: float = 30.0
    connections: int = 64
    each: int = 48
    rate: int = 300
    grace: float = 5.0
    look: float = 0.5


class Rate:
    """At most *most* requests a minute for each address; unused ones do not pile up. Safe for several threads."""

    def __init__(self, most: int, now: Callable[[], float] = time.monotonic) -> None:
        self._most, self._now = most, now
        self._left: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def admits(self, address: str) -> bool:
        """Count a request of *address*; False when it is one too many."""
        now = self._now()
        with self._lock:
            if len(self._left) > 10_000:  # those who have been silent for a minute have all of theirs again
                self._left = {one: at for one, at in self._left.items() if now - at[1] < _MINUTE}
            left, since = self._left.get(address, (float(self._most), now))
            left = min(self._most, left + (now - since) * self._most / _MINUTE)
            self._left[address] = (max(left - 1, 0.0) if left >= 1 else left, now)
            return left >= 1
