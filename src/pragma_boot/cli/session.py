"""One run of one command: where its output goes, its log, its progress, and the site it works on."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from pragma_boot import log
from pragma_boot.errors import PragmaError

if TYPE_CHECKING:
    from pragma_boot.cli.site import SiteAccess
    from pragma_boot.model import ProgressSink

_log = logging.getLogger(__name__)


class Session:
    """What every command gets. Results go to standard output, all else to standard error."""

    def __init__(self, site: SiteAccess, argv: Sequence[str]) -> None:
        self.site = site
        self.argv = tuple(argv)
        self.quiet = False
        self.logfile: Path | None = None

    def begin(self, words: str, *, keeps_log: bool | str, logfile: Path | None, loglevel: str, quiet: bool) -> None:
        """Set logging up: to *logfile*, else to a file of log_directory for commands that keep a log.

        keeps_log: that file's name, or True for a new one each time.

        Raises PragmaError when *logfile* cannot be written, ConfigError when log_directory must be known and is not.
        """
        self.quiet = quiet
        log.set_up(logfile, loglevel)
        self.logfile = logfile
        if keeps_log and not logfile:
            self._default_log(keeps_log if isinstance(keeps_log, str) else "", words, loglevel)
        if self.logfile:
            _log.info("%s", shlex.join(["pragma", *self.argv]))

    def out(self, text: str) -> None:
        """Write a result; *text* ends in a newline. Raises PragmaError when it cannot be written."""
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError as error:
            _forget_stdout()
            if isinstance(error, BrokenPipeError):
                raise
            raise PragmaError(
                "cannot write the result", details=error.strerror, resolution="free some space"
            ) from error

    def note(self, text: str) -> None:
        """Tell what a person may want to know; silent with quiet=yes."""
        if not self.quiet:
            self._tell("note", text)

    def warn(self, *texts: str) -> None:
        """Tell what is probably wrong."""
        for text in texts:
            self._tell("warning", text)

    def progress(self, subjects: Iterable[str] = ()) -> AbstractContextManager[ProgressSink]:
        """Show progress while a block runs; *subjects* are the lines that are known beforehand."""
        from pragma_boot.cli.progress import show  # noqa: PLC0415 - quick commands have none

        return show(sys.stderr, quiet=self.quiet, subjects=subjects)

    def _tell(self, kind: str, text: str) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more: the work goes on
            sys.stderr.write(f"pragma: {kind}: {log.printable(text)}\n")

    def _default_log(self, name: str, words: str, loglevel: str) -> None:
        folder = self.site.log_directory()
        path = folder / name if name else log.default_logfile(folder, words.replace(" ", "-"))
        try:
            log.set_up(path, loglevel)
        except PragmaError as error:
            self.warn(f"{error.message} ({error.details}): this command keeps no log; say logfile=FILE to have one")
        else:
            self.logfile = path


def _forget_stdout() -> None:
    """Let the interpreter's last flush go nowhere, as it would complain once more, with a status of its own."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
