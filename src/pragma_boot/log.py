"""One log file per command, a quiet console, and secrets masked in both.

The record format ``time - logger - LEVEL - message`` and some INFO lines are read by schedulers (guest.md 9.2).
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from pragma_boot.errors import PragmaError

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"

TOLD = "told"
"""Key of `extra` for records whose reader has been told already: they go to the log file only."""

_ROOT = "pragma_boot"
_MASK = "********"
_PATTERNS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
    re.compile(
        r"(?i)(?<=[?&#\s])((?:signature|policy|key-pair-id|apikey|secretkey|token|password|psk|slot_seed|x-amz-[a-z-]+)=)[^&\s\"']+"
    ),
)
_tracebacks = logging.Formatter()


class _Mask(logging.Filter):
    """Replaces what looks like a secret, and every text given to `hide`, by asterisks."""

    def __init__(self) -> None:
        super().__init__()
        self.words: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self.clean(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = self.clean(_tracebacks.formatException(record.exc_info))
        return True

    def clean(self, text: str) -> str:
        for word in self.words:
            text = text.replace(word, _MASK)
        for pattern in _PATTERNS:
            text = pattern.sub(lambda match: (match.group(1) if match.lastindex else "") + _MASK, text)
        return text


_mask = _Mask()


def hide(secrets: Iterable[str]) -> None:
    """Never let these texts appear in a log or on the console from now on (texts under 6 characters are ignored)."""
    _mask.words.update(secret for secret in secrets if len(secret) >= 6)


def masked(text: str) -> str:
    """The text with every secret in it replaced; for messages that do not go through logging."""
    return _mask.clean(text)


def printable(text: str) -> str:
    """The text as one line that cannot steer a terminal: what is not printable is shown as its escape."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def set_up(logfile: Path | None, level: str) -> None:
    """Send our log records to *logfile* (0600, appended) at *level*, and warnings to standard error.

    Called once per command; a second call replaces the first. Raises PragmaError when the file cannot be opened.
    """
    logger = logging.getLogger(_ROOT)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(_console())
    if logfile:
        logger.addHandler(_file(logfile, level))


def default_logfile(folder: Path, command: str) -> Path:
    """A new file name for one run of *command*: ``FOLDER/pragma-COMMAND-20260131-120000-PID.log``."""
    return folder / f"pragma-{command}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"


class _Console(logging.StreamHandler[TextIO]):
    """Writes to what standard error is just now: a progress view stands in for it while it draws."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        """Nothing to keep; the base class sets it."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(record, TOLD, False) and bool(super().filter(record))

    def format(self, record: logging.LogRecord) -> str:
        lines = [printable(line) for line in record.getMessage().splitlines()]
        return "\n  ".join([f"pragma: {record.levelname.lower()}: {lines[0] if lines else ''}", *lines[1:]])


def _console() -> logging.Handler:
    handler = _Console()
    handler.setLevel(logging.WARNING)
    handler.addFilter(_mask)
    return handler


def _file(path: Path, level: str) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)
        handler = logging.FileHandler(path, delay=False, encoding="utf-8")
    except OSError as error:
        raise PragmaError(
            f"cannot write the log file {path}",
            details=error.strerror,
            resolution="name another file with logfile=, or set log_directory in site_conf.conf",
        ) from error
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter(FORMAT))
    handler.addFilter(_mask)
    return handler
