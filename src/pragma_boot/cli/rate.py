"""How fast transfers go, and how long they will still take; from what they tell of themselves."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from pragma_boot.model import Progress

WINDOW = 10.0
"""Seconds that a rate is taken over."""

_LEAST = 1.0  # seconds: a shorter look tells nothing
_PHASES = ("download", "decompress")
_MIB = 1024 * 1024


@dataclass(slots=True)
class _Track:
    """When how much of a phase was done."""

    phase: str
    samples: deque[tuple[float, int]] = field(default_factory=deque)


class Rates:
    """The rates of all subjects. Not safe to use from several threads without a lock."""

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}

    def take(self, step: Progress, now: float) -> None:
        """Note how far a subject is, at *now* (seconds, monotonic)."""
        if step.done is None or step.phase not in _PHASES:
            return
        track = self._tracks.get(step.subject)
        started_over = track and track.samples and track.samples[-1][1] > step.done
        if track is None or track.phase != step.phase or started_over:
            track = self._tracks[step.subject] = _Track(step.phase)
        track.samples.append((now, step.done))
        while len(track.samples) > 2 and now - track.samples[1][0] >= WINDOW:
            track.samples.popleft()

    def text(self, step: Progress) -> str:
        """``12.3 MiB/s, 2 min left``; empty while nothing can be said."""
        track = self._tracks.get(step.subject)
        if track is None or track.phase != step.phase or step.done is None or step.done == step.total:
            return ""
        (begin, first), (end, last) = track.samples[0], track.samples[-1]
        if end - begin < _LEAST or last <= first:
            return ""
        rate = (last - first) / (end - begin)
        left = f", {_duration((step.total - step.done) / rate)} left" if step.total else ""
        return f"{rate / _MIB:.1f} MiB/s{left}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
