"""The grammar of the command line: ``name=value``, ``--name=value`` and ``--name value`` are the same.

Rows (`Positional`, `Parameter`) describe what a command takes; the parser, the help, docs/commands.md and the
shells' completion are all made from them. `normalise` turns words of our grammar into those that click parses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import click

from pragma_boot.cli.values import LOG_LEVEL, FileName, Value, YesNo, nearest
from pragma_boot.errors import UsageError
from pragma_boot.model import shorten

_ASSIGNMENT = re.compile(r"(?:--)?([A-Za-z][\w-]*)=(.*)", re.DOTALL | re.ASCII)
_NUMBER = re.compile(r"-[0-9.].*", re.ASCII)


class Positional(click.Argument):
    """A word that stands for itself, ``{vc-name}``; *name* in the spelling of the help."""

    def __init__(self, name: str, value: Value, text: str, *, required: bool = True, several: bool = False) -> None:
        super().__init__(
            [name.replace("-", "_")], type=value, required=required and not several, nargs=-1 if several else 1
        )
        self.value, self.text = value, text
        self.label = name

    @property
    def usage(self) -> str:
        """``{vc-name}``, in brackets where it may be missing."""
        return f"{{{self.label}}}" if self.required else f"[{{{self.label}}}]"


class Parameter(click.Option):
    """``name=value``.

    default: the parsed default. unsaid: what the help says of the default, where the value does not tell it.
    short: a one-letter form (``-q``), for switches only.
    """

    def __init__(
        self, name: str, value: Value, text: str, *, default: Any = None, unsaid: str = "", short: str = ""
    ) -> None:
        super().__init__([f"--{name}"], type=value, default=default)
        self.value, self.text = value, text
        self.label, self.unsaid, self.short = name, unsaid, short

    @property
    def usage(self) -> str:
        """``[name=value]``."""
        return f"[{self.label}={self.value.name}]"

    @property
    def default_text(self) -> str:
        """The default in words, or nothing."""
        if self.unsaid or self.default is None or callable(self.default):
            return self.unsaid
        return {True: "yes", False: "no"}.get(self.default, str(self.default))


COMMON = (
    Parameter(
        "logfile", FileName(), "Write the log to this file.",
        unsaid="a new file in log_directory for commands that change something",
    ),
    Parameter("loglevel", LOG_LEVEL,
        f"The least severity that the log keeps: {', '.join(LOG_LEVEL.words)}.", default="INFO"),
    Parameter("quiet", YesNo(), "No progress and no notes, only the result, warnings and errors.",
              default=False, short="-q"),
)  # fmt: skip
"""The parameters that every command takes."""


def normalise(
    words: Sequence[str], rows: Sequence[click.Parameter], *, tail: bool = False
) -> tuple[list[str], tuple[str, ...]]:
    """Put *words* into click's grammar: ``--name=value`` …, then ``--``, then the positionals.

    tail: whether what follows ``--`` is a command of its own (`pragma ssh`); it is then given back apart.

    Raises UsageError for a parameter that is unknown (naming the nearest), given twice, or without its value,
    and for positionals that are missing or too many.
    """
    parameters = {row.label: row for row in rows if isinstance(row, Parameter)}
    head, rest = _split(words)
    options: dict[str, str] = {}
    positionals: list[str] = []
    while head:
        word = head.pop(0)
        if found := _ASSIGNMENT.fullmatch(word):
            row, value = _lookup(found[1], parameters, word), found[2]
        elif word.startswith("-") and word != "-" and not _NUMBER.fullmatch(word):
            row = _lookup(word, parameters, word)
            value = _separate_value(row, head)
        else:
            positionals.append(word)
            continue
        _remember(options, row, value)
    if not tail:
        positionals, rest = positionals + rest, []
    _count(positionals, [row for row in rows if isinstance(row, Positional)])
    return [*(f"--{name}={value}" for name, value in options.items()), "--", *positionals], tuple(rest)


def wants_help(words: Sequence[str]) -> bool:
    """Whether ``-h`` or ``--help`` stands among *words*, before any ``--``."""
    return not {"-h", "--help"}.isdisjoint(_split(words)[0])


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    if "--" not in words:
        return list(words), []
    mark = list(words).index("--")
    return list(words[:mark]), list(words[mark + 1 :])


def _lookup(name: str, parameters: Mapping[str, Parameter], word: str) -> Parameter:
    for row in parameters.values():
        if name in (row.label, f"--{row.label}") or (row.short and name == row.short):
            return row
    near = nearest(name.lstrip("-").replace("_", "-"), parameters)
    raise UsageError(
        f"unknown parameter {shorten(word)!r}",
        resolution=f"did you mean '{near}='?"
        if near
        else f"this command takes {', '.join(f'{known}=' for known in parameters)}",
    )


def _separate_value(row: Parameter, head: list[str]) -> str:
    if head and row.value.is_value(head[0]):
        return head.pop(0)
    return row.value.bare or ""


def _remember(options: dict[str, str], row: Parameter, value: str) -> None:
    if row.label in options:
        raise UsageError(f"{row.label}= is given twice", resolution="give it once")
    if not value:
        raise UsageError(f"{row.label}= has no value", resolution=f"say {row.label}={row.value.name}, or leave it out")
    options[row.label] = value


def _count(words: Sequence[str], rows: Sequence[Positional]) -> None:
    if missing := [row for row in rows[len(words) :] if row.required]:
        raise UsageError(
            f"{' and '.join(row.usage for row in missing)} {'is' if len(missing) == 1 else 'are'} missing",
            details="\n".join(f"{row.usage}: {row.text}" for row in missing),
        )
    if len(words) > len(rows) and not any(row.nargs == -1 for row in rows):
        raise UsageError(
            f"one word too many: {shorten(words[len(rows)])!r}",
            details=f"this command takes {' '.join(row.usage for row in rows) or 'no words'} and name=value parameters",
        )
