"""A node's serial console as a growing log file: its new lines, and its last ones for a message.

The log is written by the engine (virtlogd for libvirt) while we read. It may not exist yet, may be made anew, and is
rotated when it gets large (``NAME.log`` becomes ``NAME.log.0``). What is in it comes from the guest and is untrusted.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

TAIL = 64 * 1024
"""So many characters of a console are remembered."""

_READ = 1024 * 1024
_LINE = 4096
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[()*+][0-9A-Za-z]|[@-_=>78c])")
_JUMPS = re.compile(r"\x1bc|\x1b\[[\d;]*[HfJ]")
"""A firmware's or boot loader's way to begin a line: clear the screen, or go to a place on it."""
_LINE_ENDS = re.compile(r"[\r\n]+")


def plain(text: str) -> str:
    """The text without a terminal's escape sequences, its line ends all newlines."""
    return _ESCAPES.sub("", _JUMPS.sub("\n", text)).replace("\r\n", "\n").replace("\r", "\n")


def clean(text: str, width: int = 160) -> str:
    """A guest's line fit for a terminal: no escape sequences, no control characters, at most *width* long."""
    bare = _ESCAPES.sub("", text[: 4 * width])
    bare = "".join(character if character.isprintable() else " " for character in bare).strip()
    return bare if len(bare) <= width else bare[: width - 1] + "…"


class ConsoleLog:
    """Follows one log. `read` takes what is new; `tail` and `last_lines` look back at what this start has written.
    `has_more` after a `read` that was cut at its limit.

    offset: bytes of the file that earlier starts have written; a file that is shorter was made anew.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.tail = ""
        self.has_more = False
        self._offset = offset
        self._descriptor: int | None = None
        self._rest = ""

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def read(self) -> str:
        """The text that was added since the last call, at most 1 MiB; empty while the file does not exist.

        Goes on in the new file when the log was rotated. Raises PermissionError when we may not read it.
        """
        if self._descriptor is None and not self._open(self._offset):
            return ""
        text = self._take()
        if not self.has_more and self._is_replaced():
            self.close()
            if self._open(0):
                text += self._take()
        self.tail = (self.tail + text)[-TAIL:]
        return text

    def lines(self, text: str) -> list[str]:
        """The lines that *text*, fresh from `read`, completes; an unfinished one is kept for the next call."""
        *whole, rest = _LINE_ENDS.split(self._rest + text)
        self._rest = rest[-_LINE:]
        return [line for line in whole if line]

    def last_lines(self, count: int = 10) -> list[str]:
        """The last lines that say anything, cleaned for a message."""
        cleaned = (clean(line) for line in plain(self.tail[-TAIL // 4 :]).split("\n"))
        return [line for line in cleaned if line][-count:]

    def _open(self, offset: int) -> bool:
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        size = os.fstat(self._descriptor).st_size
        os.lseek(self._descriptor, offset if offset <= size else 0, os.SEEK_SET)
        self._offset = 0
        return True

    def _take(self) -> str:
        assert self._descriptor is not None
        position = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if os.fstat(self._descriptor).st_size < position:  # emptied and written from its start
            os.lseek(self._descriptor, 0, os.SEEK_SET)
        data = os.read(self._descriptor, _READ)
        self.has_more = len(data) == _READ
        return data.decode(errors="replace")

    def _is_replaced(self) -> bool:
        assert self._descriptor is not None
        try:
            return os.stat(self.path).st_ino != os.fstat(self._descriptor).st_ino  # noqa: PTH116 - the pair of fstat
        except FileNotFoundError:
            return False
