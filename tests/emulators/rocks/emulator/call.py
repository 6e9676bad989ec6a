"""One call of a command: its arguments, what it prints, and how it lets others in between its steps."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from .errors import AbortError, CrashError
from .faults import Fault
from .model import State
from .store import Store
from .table import Row, as_json, as_table

_TRUE = ("on", "yes", "y", "true", "1")


@dataclass(frozen=True)
class Command:
    """A command of `rocks`: its words, usage line and code.

    old: asks the database through the old interface.   nas: is there only with the img-storage roll.
    """

    words: str
    usage: str
    run: Callable[[Call], None]
    old: bool = False
    nas: bool = False


COMMANDS: dict[str, Command] = {}
"""All commands by their words."""


def command(
    words: str, usage: str = "", *, old: bool = False, nas: bool = False
) -> Callable[[Callable[[Call], None]], Callable[[Call], None]]:
    """Decorator: this function is the command *words*."""

    def add(run: Callable[[Call], None]) -> Callable[[Call], None]:
        COMMANDS[words] = Command(words, usage, run, old, nas)
        return run

    return add


class Call:
    """A running command. `state` is always the current one; rows fetched before a step are stale after it."""

    def __init__(self, store: Store, command: Command, args: Sequence[str], params: dict[str, str], fault: Fault):
        self.store, self.command, self.fault = store, command, fault
        self.args, self.params = list(args), params
        self.out: list[str] = []
        self.err: list[str] = []

    @property
    def state(self) -> State:
        return self.store.state

    def say(self, line: str) -> None:
        """Print a line."""
        self.out.append(line + "\n")

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean parameter: anything but on, yes, y, true, 1 is false."""
        return self.params[name].lower() in _TRUE if name in self.params else default

    def positional(self, *names: str) -> list[str | None]:
        """Values that may be parameters or trailing arguments; the latter are taken from the end."""
        values = [
            self.params[name] if name in self.params else (self.args.pop() if self.args else None)
            for name in reversed(names)
        ]
        return values[::-1]

    def number(self, name: str, default: int, complaint: str) -> int:
        """An integer parameter; aborts with *complaint*."""
        try:
            return int(self.params.get(name, default))
        except ValueError:
            raise AbortError(complaint) from None

    def table(self, header: Sequence[str], rows: Sequence[Row], *, trim: bool = True) -> None:
        """Print rows as the formatter does, or as JSON when asked for and known to this version."""
        if self.fault.shuffle_rows is not None:
            import random

            groups: list[list[Row]] = []
            for owner, same in groupby(rows, key=lambda row: row[0]):
                if owner or not groups:
                    groups.append(list(same))
                else:  # a frontend's clients stay behind it
                    groups[-1] += same
            random.Random(self.fault.shuffle_rows).shuffle(groups)
            rows = [row for group in groups for row in group]
        if self.flag("json") and self.state.version != "6.2":
            *_, before, last = ("", *self.command.words.split())
            self.out.append(as_json(before if last == header[0].lower() else last, header, rows))
            return
        shown = self.flag("output-header", True)
        self.out.append(as_table(header, rows, trim=trim, show_header=shown, only=self.params.get("output-col")))

    def plain(self, lines: Sequence[str]) -> None:
        """Print lines of a command without a header, which cannot write JSON."""
        if lines and self.flag("json") and self.state.version != "6.2":
            raise CrashError("IndexError", "list index out of range")
        self.out += [line + "\n" for line in lines]

    def step(self, name: str) -> None:
        """A step is done and kept: let other calls in, and let a fault strike here."""
        with self.store.unlocked():
            if self.fault.at == name:
                suffer(self.fault)
        if self.fault.abort_at == name:
            raise AbortError(self.fault.message)
        if self.fault.crash_at == name:
            raise CrashError("RuntimeError", self.fault.message)

    def is_down(self, host: str) -> bool:
        """Whether the host's libvirt does not answer."""
        return host in self.state.down or host in self.fault.libvirt_down


def suffer(fault: Fault) -> None:
    """Take the time, and run the hook, that a fault asks for; without the site's lock."""
    if fault.race:
        import subprocess

        subprocess.run(
            fault.race, check=False, stdin=subprocess.DEVNULL, env={**os.environ, "CALLER": str(os.getppid())}
        )
    if fault.delay or fault.hang:
        time.sleep(fault.delay or fault.hang)
