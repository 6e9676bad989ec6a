"""Files that are pieces of a larger object (an ISO image, here or behind HTTP), and how their errors read."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass

from pragma_boot.errors import ImageError
from pragma_boot.model import shorten
from pragma_boot.repository.source import Reader, Source, read_at

PIECE = 1024 * 1024
"""The most that one element of a stream has, bytes."""

AGAIN = "copy or make the image again"


def refused(name: str, why: str, mend: str = AGAIN) -> ImageError:
    """The error for a Clonezilla image, or a file of one, that cannot be restored."""
    return ImageError(f"{shorten(name, 200)} cannot be restored", details=why, resolution=mend)


def cut(name: str) -> ImageError:
    """The error for a file that is shorter than it should be."""
    return refused(name, "a part of it is missing: it is cut short")


@dataclass(frozen=True, slots=True)
class Content:
    """One file: *extents* (offset, length) of a source, one after the other."""

    name: str
    source: Source
    extents: tuple[tuple[int, int], ...]

    @classmethod
    def whole(cls, name: str, source: Source) -> Content:
        """All of a source."""
        return cls(name, source, ((0, source.size),))

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(length for _, length in self.extents)

    def stream(self) -> Iterator[bytes]:
        """The whole content, one request per extent. Raises ImageError when it is cut."""
        for offset, length in self.extents:
            if length:
                with self.source.open_range(offset, length) as reader:
                    while piece := reader.read(PIECE):
                        yield piece


class Window:
    """A source whose small ranges are taken from larger ones that are kept: fewer requests to a server."""

    _SIZE, _KEPT = 256 * 1024, 8

    def __init__(self, source: Source) -> None:
        self.name, self.size, self._source = source.name, source.size, source
        self._windows: dict[int, bytes] = {}

    @contextlib.contextmanager
    def open_range(self, start: int, length: int) -> Iterator[Reader]:
        """See `Source.open_range`."""
        if length >= self._SIZE or start + length > self.size:
            with self._source.open_range(start, length) as reader:
                yield reader
            return
        first, last = start // self._SIZE, (start + length - 1) // self._SIZE
        data = b"".join(self._window(number) for number in range(first, last + 1))
        yield io.BytesIO(data[start - first * self._SIZE :][:length])

    def _window(self, number: int) -> bytes:
        if number not in self._windows:
            at = number * self._SIZE
            data = read_at(self._source, at, min(self._SIZE, self.size - at))
            while len(self._windows) >= self._KEPT:
                del self._windows[next(iter(self._windows))]
            self._windows[number] = data
        return self._windows[number]


__all__ = ["AGAIN", "PIECE", "Content", "Source", "Window", "cut", "read_at", "refused"]
