"""The one way to the `rocks` program: quoted command form, arguments as words, time limits, errors told apart.

Exit statuses and error texts: rocks.md 1.1 to 1.3.
"""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pragma_boot.errors import CommandError, DriverError
from pragma_boot.run import Completed, run_gently

_log = logging.getLogger(__name__)

READ_LIMIT, CHANGE_LIMIT = 60.0, 900.0
"""Seconds that a read, and a command that changes something, may take."""
PER_NODE_LIMIT = 20.0
"""Further seconds for each virtual host whose state is asked for: a container that is down costs a TCP timeout."""
_TRIES = 3

Parameters = Mapping[str, str | int]


class RocksError(DriverError):
    """A `rocks` command that failed. text: its own message; crashed: it ended in a traceback, not by decision."""

    def __init__(self, words: str, text: str, *, crashed: bool = False, resolution: str | None = None) -> None:
        super().__init__(f"'rocks {words}' failed: {text}", resolution=resolution or _mend(text))
        self.text = text
        self.crashed = crashed


class NoSuchCommandError(RocksError):
    """The site's Rocks does not have this command: a roll is missing or too old."""


class Rocks:
    """The `rocks` program. command: its path, with the words of `sudo` or `ssh HOST` before it where wanted.

    Safe to use from several threads at once.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        # ssh hands all its words to a shell of the other side, which splits them again.
        self._remote = os.path.basename(self._command[0]) == "ssh"  # noqa: PTH119 - a word, maybe no path

    @property
    def command(self) -> tuple[str, ...]:
        """The words that our own come after."""
        return self._command

    def read(self, words: str, *names: str, parameters: Parameters | None = None, limit: float = READ_LIMIT) -> str:
        """The output of a command that changes nothing; tried again when it crashed (rocks.md 3.13: races).

        Raises RocksError, NoSuchCommandError, or DriverError when it gives no answer in time.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                return self._call(words, names, parameters or {}, limit)
            except RocksError as error:
                if not error.crashed or attempt == _TRIES:
                    raise
                _log.debug("%s; asking again", error.message)
        raise AssertionError

    def change(self, words: str, *names: str, parameters: Parameters | None = None) -> str:
        """Run a command that changes something, once; its output.

        Commands that act on hosts act on *all* hosts when none is named (rocks.md 1.5): *names* must not be empty,
        but for `sync config`. Raises as `read`; after an error the site's state is to be read anew.
        """
        if not names and words != "sync config":
            raise DriverError(f"'rocks {words}' needs a host", resolution="report this as a bug of pragma_boot")
        return self._call(words, names, parameters or {}, CHANGE_LIMIT)

    def execute(self, words: Sequence[str], limit: float) -> Completed:
        """Run the program with *words*. Raises CommandError when it cannot be started or its time is over."""
        argv = [*self._command, *(map(shlex.quote, words) if self._remote else words)]
        return run_gently(argv, timeout=limit, env={"LC_ALL": "C"})

    def _call(self, words: str, names: Sequence[str], parameters: Parameters, limit: float) -> str:
        own = [words, *names, *(f"{key}={value}" for key, value in parameters.items())]
        if "" in own or any("\0" in word for word in own):
            raise DriverError(f"'rocks {words}' was given an empty word", resolution="report this as a bug")
        try:
            done = self.execute(own, limit)
        except CommandError as error:
            raise DriverError(
                f"'rocks {words}': {error.message}", details=error.details, resolution=error.resolution
            ) from error
        return _checked(words, done)


def together(*calls: Callable[[], Any]) -> list[Any]:
    """The results of *calls*, made side by side: each `rocks` takes a second for itself. Raises the first failure."""
    with ThreadPoolExecutor(max_workers=max(1, len(calls))) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def _checked(words: str, done: Completed) -> str:
    """The output of a command that went well: status 0 alone does not say so."""
    text = done.text
    said = done.stderr.decode(errors="replace").strip()
    lines = text.splitlines()
    wrong = next((number for number, line in enumerate(lines) if line.startswith(("Error: ", "error - "))), None)
    if done.status == 0 and wrong is None:
        if said:
            _log.debug("rocks %s said: %s", words, said[-2000:])
        return text
    if wrong is not None:
        message = _message(lines[wrong:])
        if "invalid rocks command" in message:
            raise NoSuchCommandError(words, message)
        raise RocksError(words, message)
    crashed = "Traceback" in said
    last = said.splitlines()[-1] if said else f"it ended with status {done.status} and said nothing"
    if done.status == 255 and lines and not crashed:  # an incomplete command: the complete ones are listed
        raise NoSuchCommandError(words, last)
    raise RocksError(words, last, crashed=crashed)


def _message(lines: Sequence[str]) -> str:
    """From an error's first line to the line before the usage, which is the last."""
    first = lines[0].removeprefix("Error: ").removeprefix("error - ")
    return " ".join([first, *lines[1:-1]]).strip()


def _mend(text: str) -> str | None:
    if "OperationalError" in text:
        return "see that Rocks' database runs: systemctl status foundation-mysql (or: service foundation-mysql status)"
    if "connect to server" in text or "libvirt" in text:
        return "see that the VM container is up and its libvirtd runs, then repeat"
    if "Message could not be delivered" in text:
        return "see that the NAS and its img-storage daemon run, then repeat"
    return "'rocks list cluster' and 'rocks list host vm' show how things stand; mend what is said, then repeat"
