"""Which failures of servers and networks are worth another try, and how long they are borne."""

from __future__ import annotations

import email.utils
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pragma_boot.errors import RepositoryError

_log = logging.getLogger(__name__)


class TransientError(RepositoryError):
    """The server or the network failed in a way that may be over soon. *wait*: seconds that the server asked for."""

    wait: float | None = None


class StatusError(RepositoryError):
    """The server refused for good. *status*: the HTTP status."""

    status = 0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long failures are borne; seconds. *attempts* in a row without a byte of progress are the end."""

    attempts: int = 6
    first: float = 1.0
    most: float = 60.0
    asked: float = 900.0
    connect: float = 20.0
    read: float = 60.0
    sleep: Callable[[float], None] = time.sleep


class Tries:
    """Failures in a row of one task, and the pause after each: 2ⁿ seconds with jitter, or what the server asks."""

    def __init__(self, patience: Patience) -> None:
        self._patience, self._count = patience, 0

    def progressed(self) -> None:
        """Something was achieved: failures before do not count any more."""
        self._count = 0

    def failed(self, error: TransientError) -> None:
        """Wait before the next attempt; raises *error* when there shall be none."""
        self._count += 1
        asked = error.wait
        if self._count >= self._patience.attempts or (asked is not None and asked > self._patience.asked):
            raise error
        backoff = min(self._patience.first * 2 ** (self._count - 1), self._patience.most)
        pause = asked if asked is not None else backoff * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        _log.info("%s (%s): trying again in %.1f s", error.message, error.details, pause)
        self._patience.sleep(pause)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After`` asks for, as a number or a date; None without it."""
    text = headers.get("retry-after", "").strip()
    seconds = whole_number(text)
    if seconds is not None:
        return float(seconds)
    date = timestamp(text)
    return None if date is None else max(0.0, date - time.time())


def whole_number(text: str | None) -> int | None:
    """A header's number; None when it is none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else None


def timestamp(text: str) -> float | None:
    """A header's date in seconds since 1970; None when it is none."""
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return None
