"""Tells when files in some folders grow, by inotify, as an event of a selector."""

from __future__ import annotations

import logging
import selectors
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

_log = logging.getLogger(__name__)

_PAUSE = 0.025
"""Seconds in which further events are left to gather: a serial console is written byte by byte, and to wake for each
would take from the guests the very CPU that they boot on."""
_FAR = 3600.0
_BLIND = 0.25
"""Seconds between two looks while a folder cannot be watched (not there yet, or no inotify instance left)."""


class FolderWatch:
    """A context manager: inside it, *selector* returns this object as `data` when something in a folder changed.

    Folders that cannot be watched are tried again; `due` is then near, so that the caller looks by itself.
    """

    def __init__(self, folders: Iterable[Path], selector: selectors.BaseSelector) -> None:
        self._missing = set(folders)
        self._selector = selector
        self._stack = ExitStack()
        self._registered = False
        self._resume = 0.0

    def __enter__(self) -> Self:
        from inotify_simple import INotify  # noqa: PLC0415 - loads ctypes

        try:
            self._inotify = self._stack.enter_context(INotify())
        except OSError as error:  # the user's instances are used up
            _log.debug("no inotify: %s", error)
            self._inotify = None
        self._add_missing()
        self._register()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pause()
        self._stack.close()

    def due(self, now: float) -> float:
        """Until when the caller may wait for an event at most; far away when all is watched."""
        if not self._registered and now >= self._resume:
            self._register()
        self._add_missing()
        if self._inotify is not None and not self._registered:
            return self._resume
        return now + (_BLIND if self._missing else _FAR)

    def drain(self, now: float) -> None:
        """Take the events away; the next one is seen after a short pause."""
        if self._inotify is not None:
            self._inotify.read(timeout=0)
            self._pause()
            self._resume = now + _PAUSE

    def _add_missing(self) -> None:
        if self._inotify is None:
            return
        from inotify_simple import flags  # noqa: PLC0415

        for folder in tuple(self._missing):
            try:
                self._inotify.add_watch(folder, flags.MODIFY | flags.CREATE | flags.MOVED_TO)
            except OSError as error:
                _log.debug("cannot watch %s: %s", folder, error)
            else:
                self._missing.discard(folder)

    def _register(self) -> None:
        if self._inotify is not None:
            self._selector.register(self._inotify.fileno(), selectors.EVENT_READ, self)
            self._registered = True

    def _pause(self) -> None:
        if self._registered and self._inotify is not None:
            self._selector.unregister(self._inotify.fileno())
        self._registered = False
