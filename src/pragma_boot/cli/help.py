"""Help that teaches: one line, the usage in our grammar, each parameter with its default, examples.

Made from the commands' rows alone; 80 columns, no colour, so that it reads the same everywhere.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from pragma_boot.cli.args import COMMON, Parameter
from pragma_boot.cli.command import PROGRAM, Command, Group, every

WIDTH = 80
_WIDE = 26
"""Longer names stand on a line of their own."""


def overview(root: Group) -> str:
    """What `pragma` alone says: every command with its summary."""
    return "\n".join(
        [
            "pragma boots virtual clusters: a frontend, its compute nodes, a private network.",
            "",
            "Usage: pragma {command} [{word} ...] [name=value ...]",
            "",
            *_summaries(root),
            "",
            "'pragma help {command}' explains one of them, for example 'pragma help boot'.",
            "'pragma init' writes a configuration for this host; 'pragma check site' looks",
            "for what is wrong with it.",
            "",
        ]
    )


def group_help(group: Group) -> str:
    """What `pragma help list` says: the commands that begin with these words."""
    return "\n".join(
        [
            f"Commands that begin with '{PROGRAM} {group.words}':",
            "",
            *_summaries(group),
            "",
            f"'{PROGRAM} help {group.words} {group.list_commands()[0]}' explains one of them.",
            "",
        ]
    )


def command_help(command: Command) -> str:
    """The whole help of one command."""
    lines = [f"{command.summary}.", "", *_fold(f"Usage: {command.usage}", "       ")]
    for paragraph in command.body:
        lines += ["", *_fold(paragraph)]
    if command.positionals:
        lines += ["", *_rows((f"{{{row.label}}}", row.text) for row in command.positionals)]
    if command.parameters:
        lines += ["", "Parameters (name=value, --name=value and --name value are the same):"]
        lines += _rows(map(_described, command.parameters))
    lines += ["", "Parameters of every command:", *_rows(map(_described, COMMON))]
    lines += ["", "Examples:"]
    for line, meaning in command.examples:
        lines += [f"  {line}", f"      {meaning}"]
    return "\n".join([*lines, ""])


def usage_lines(commands: Iterable[Command]) -> str:
    """What `pragma list help` says: one command a line, its own words and parameters only."""
    return "".join(f"{command.short_usage}\n" for command in commands)


def default_sentence(row: Parameter) -> str:
    """``Default: …`` for a row's help, or nothing."""
    return f"Default: {row.default_text}." if row.default_text else ""


def _summaries(group: Group) -> list[str]:
    return _rows((command.words, f"{command.summary}.") for command in every(group))


def _described(row: Parameter) -> tuple[str, str]:
    short = f", {row.short}" if row.short else ""
    return f"{row.label}={row.value.name}{short}", f"{row.text} {default_sentence(row)}".strip()


def _rows(pairs: Iterable[tuple[str, str]]) -> list[str]:
    rows = list(pairs)
    indent = min(max(len(name) for name, _ in rows), _WIDE) + 4
    lines: list[str] = []
    for name, text in rows:
        folded = _fold(text, " " * indent, " " * indent)
        head = f"  {name}"
        if len(head) + 2 <= indent:
            folded[0] = head + folded[0][len(head) :]
            lines += folded
        else:
            lines += [head, *folded]
    return lines


def _fold(text: str, later: str = "", first: str = "") -> list[str]:
    # a usage such as [name=name] must not be torn at its hyphens
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False, break_long_words=False
    )
