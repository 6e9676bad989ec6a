"""The program `pragma`: from words to an exit status.

0 done · 1 failed · 2 the command line is wrong · 3 removed, but for what goes later · 130, 143, 129 interrupted by
Ctrl-C, SIGTERM, SIGHUP · 141 the
reader of our output is gone.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import click

from pragma_boot import log
from pragma_boot.cli import render
from pragma_boot.cli.command import Group
from pragma_boot.cli.commands import COMMANDS
from pragma_boot.cli.session import Session
from pragma_boot.cli.site import ConfiguredSite, SiteAccess
from pragma_boot.errors import PragmaError, UsageError

_log = logging.getLogger("pragma_boot.cli.main")  # also when run as __main__

COMPLETE = "_PRAGMA_COMPLETE"
"""Set by the shells' completion scripts: the words are to be completed, not obeyed."""

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal that ends the command; whoever undoes its work on Ctrl-C does so for this, too."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def root() -> Group:
    """All commands, as the program offers them."""
    return Group("", COMMANDS)


def main(argv: Sequence[str] | None = None, site: SiteAccess | None = None) -> int:
    """Run one command and return its exit status; nothing is raised.

    argv: the words after the program's name, the process's own when None. site: what to work on, the configured
    site when None.
    """
    _open_standard_files()
    words = list(sys.argv[1:] if argv is None else argv)
    session = Session(site or ConfiguredSite(), words)
    log.set_up(None, "INFO")  # warnings of what runs before the command's own choice
    try:
        with _signals():
            return _run(words, session)
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except Interrupted as interrupted:
        return _interrupted(interrupted.number, session)
    except KeyboardInterrupt:
        return _interrupted(signal.SIGINT, session)
    except PragmaError as failure:
        return _failed(failure, session)
    except Exception as bug:  # noqa: BLE001 - the last resort: users get a short text, the log the whole story
        return _failed(_unexpected(bug, session), session)


def _run(words: list[str], session: Session) -> int:
    group = root()
    if COMPLETE in os.environ:
        from pragma_boot.cli.complete import answer  # noqa: PLC0415 - only shells ask for it

        session.out(answer(group, session, words, os.environ[COMPLETE]))
        return 0
    try:
        with group.make_context("pragma", words, obj=session) as context:
            return int(group.invoke(context) or 0)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as error:
        raise UsageError(error.format_message(), resolution="'pragma help' lists the commands") from error


def _failed(failure: PragmaError, session: Session) -> int:
    facts = "; ".join(filter(None, (failure.message, failure.details, failure.resolution)))
    _log.error("%s", facts, extra={log.TOLD: True})
    _log.debug("where it was raised", exc_info=failure)
    with contextlib.suppress(OSError):
        render.error(failure, sys.stderr, session.logfile)
    return failure.exit_code


def _unexpected(bug: Exception, session: Session) -> PragmaError:
    """An error for a fault of this program: a short text; the traceback goes into the log, or a file of its own."""
    import traceback  # noqa: PLC0415

    text = "".join(traceback.format_exception(bug))
    if session.logfile:
        _log.critical("unexpected %s\n%s", type(bug).__name__, text, extra={log.TOLD: True})
    else:
        session.logfile = _keep(text)
    return PragmaError(
        f"unexpected {type(bug).__name__}: {bug}",
        details="this is a fault of pragma_boot itself",
        resolution="report it together with the log" if session.logfile else "repeat the command with logfile=FILE",
    )


def _keep(text: str) -> Path | None:
    import tempfile  # noqa: PLC0415

    try:
        descriptor, name = tempfile.mkstemp(prefix="pragma-fault-", suffix=".log")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(log.masked(text))
    except OSError:
        return None
    return Path(name)


def _interrupted(number: int, session: Session) -> int:
    name = signal.Signals(number).name
    _log.info("interrupted by %s", name)
    with contextlib.suppress(OSError):
        kept = f"\n  log: {session.logfile}" if session.logfile else ""
        sys.stderr.write(f"pragma: interrupted by {'Ctrl-C' if number == signal.SIGINT else name}{kept}\n")
    return 128 + number


def _open_standard_files() -> None:
    """Give a process that was started with closed standard files some that go nowhere.

    Otherwise the next file that is opened (a log, a disk) would get their numbers and be written to by mistake.
    And let no character fail that the terminal's encoding lacks.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - it stays open
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Turn the signals that end us into `Interrupted`, once: the undo that follows is not to be cut short.

    The second such signal only says so, the third ends the undo as well (`pragma clean` removes what is left then).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    count = 0

    def receive(number: int, _: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count != 2:
            raise Interrupted(number)
        with contextlib.suppress(OSError):
            os.write(2, b"pragma: still undoing; once more leaves the rest to 'pragma clean'\n")

    before = {number: signal.getsignal(number) for number in _ENDING}
    # what the caller chose to ignore (nohup, a shell's background job) stays ignored
    ours = [number for number in _ENDING if before[number] is not signal.SIG_IGN]
    for number in ours:
        signal.signal(number, receive)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


if __name__ == "__main__":
    sys.exit(main())
