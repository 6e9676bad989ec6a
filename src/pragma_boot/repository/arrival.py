"""A file that is arriving: one thread fetches it while another already reads it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from pragma_boot.errors import PragmaError
from pragma_boot.model import Progress, ProgressSink

_PIECE = 256 * 1024
_REPORT = 0.2  # seconds between two progress reports

T = TypeVar("T")


class StartedOverError(Exception):
    """What was read of a file before is of an older form of it: read it anew."""


class StoppedError(PragmaError):
    """The one who reads wants nothing more; never shown."""


class Arrival:
    """One file between its downloader (`deliver`: `begin` and `grow`, then `finish` or `fail`) and its reader (`read`,
    `stop`)."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._file: BinaryIO | None = None
        self._have = self._form = 0
        self._complete = False
        self._error: BaseException | None = None
        self._stopped = False

    def begin(self, path: Path, have: int) -> None:
        """The file is at *path*, which has *have* bytes of it; what was told before counts no more. Raises OSError."""
        file = path.open("rb", buffering=0)  # it may get another name at any time
        with self._changed:
            if self._file:
                self._file.close()
            self._file, self._have, self._form, self._complete = file, have, self._form + 1, False
            self._changed.notify_all()

    def grow(self, have: int) -> None:
        """So many bytes are there now. Raises StoppedError when nobody wants them any more."""
        with self._changed:
            self._have = have
            self._changed.notify_all()
            if self._stopped:
                raise StoppedError("nobody wants the file any more")

    def finish(self) -> None:
        """All of it is there, and right."""
        with self._changed:
            self._complete = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """It will never be there."""
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def deliver(self, work: Callable[[Meter, Arrival], T], meter: Meter) -> T:
        """Do the download, and tell the reader how it ended."""
        try:
            done = work(meter, self)
        except BaseException as error:
            self.fail(error)
            raise
        self.finish()
        return done

    def stop(self) -> None:
        """The reader wants nothing more: the downloader ends at its next piece."""
        with self._changed:
            self._stopped = True

    def close(self) -> None:
        """Nobody reads or fetches any more."""
        with self._changed:
            if self._file:
                self._file.close()
                self._file = None

    def read(self) -> Iterator[bytes]:
        """The file's content from its begin, as it arrives; its end is its end.

        Raises StartedOverError when the server has another object meanwhile, and whatever the downloader failed with.
        """
        form = self._first_form()
        offset = 0
        while piece := self._piece(form, offset):
            offset += len(piece)
            yield piece

    def _first_form(self) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._form or self._error)
            self._raise_error()
            return self._form

    def _piece(self, form: int, offset: int) -> bytes:
        """The next bytes at *offset*; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._have > offset or self._complete or self._error or self._form != form)
            self._raise_error()
            if self._form != form or self._file is None:
                raise StartedOverError
            return os.pread(self._file.fileno(), min(self._have - offset, _PIECE), offset)

    def _raise_error(self) -> None:
        if self._error:
            raise self._error


class Meter:
    """Adds up how far the files of one image are, and tells it, not too often. Safe to use from several threads."""

    def __init__(self, subject: str, progress: ProgressSink, files: int = 1) -> None:
        self._subject, self._progress, self._files = subject, progress, files
        self._done: dict[str, int] = {}
        self._totals: dict[str, int | None] = {}
        self._reported = 0.0
        self._lock = threading.Lock()

    def at(self, file: str, done: int, total: int | None, *, quiet: bool = False) -> None:
        """*done* bytes of *file* are here; *total* is its size, if known. quiet: that is no news to anybody."""
        with self._lock:
            self._done[file], self._totals[file] = done, total
            ended = done == total
            if quiet or (not ended and time.monotonic() - self._reported < _REPORT):
                return
            self._reported = time.monotonic()
            self.tell()

    def tell(self, text: str = "") -> None:
        """Report now."""
        sizes = [size for size in self._totals.values() if size is not None]
        known = len(sizes) == self._files
        self._progress(
            Progress("download", self._subject, text, sum(self._done.values()), sum(sizes) if known else None)
        )
