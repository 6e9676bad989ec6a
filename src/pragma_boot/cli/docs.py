"""docs/commands.md, made from the rows that make the help: ``python -m pragma_boot.cli.docs > docs/commands.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from pragma_boot.cli.args import COMMON, Parameter, Positional
from pragma_boot.cli.command import PROGRAM, Command, Group, every
from pragma_boot.cli.commands import COMMANDS

_HEAD = """\
# Commands

<!-- made by: python -m pragma_boot.cli.docs > docs/commands.md -->

`pragma` alone lists the commands, `pragma help {command}` (or `-h`, `--help` after a command) explains one.

## The grammar

A command is one or two words; words that stand for themselves (`{vc-name}`) follow in order. All else is a parameter,
in any place and in one of three forms that mean the same: `name=value`, `--name=value`, `--name value`. A switch may
be given bare (`--json`), or with any usual word for yes and no. Words after `--` are never parameters. An unknown
command, parameter or value is an error that names the nearest valid one.

In `boot` the `{vc-name}` is an image's, elsewhere a cluster's. Where it is no cluster's but exactly one cluster runs
that image, that one is meant.

## Output and exit status

Nothing but the result goes to standard output. Progress, notes (`-q` silences both), warnings and errors go to
standard error: on a terminal progress is a live view, one line a node, elsewhere plain lines
(`[ 12.3s] compute-0: waiting: its ssh port does not answer yet`). `NO_COLOR` is honoured. With `json=yes` the result
is JSON as [output.schema.json](output.schema.json) describes it; what is unknown is `null`.

| exit status | meaning |
|---|---|
| 0 | done, or done before |
| 1 | failed; the error says what happened, what to do, and where the log is |
| 2 | the command line is wrong; nothing was done |
| 129, 130, 143 | ended by SIGHUP, Ctrl-C, SIGTERM; what had begun was undone |
| 141 | the reader of the output is gone |

`pragma ssh` exits as the command on the node does.

## For callers of older versions

"""

_GENERAL_NOTES = (
    "The forms of the arguments, the log lines, the layout of `list cluster` and `list repository` and the exit status"
    " are those that schedulers know; they do not change.",
    "Log records are `time - logger - LEVEL - message`; without `logfile=` a new file in `log_directory` is written by"
    " each command that changes something.",
    "No command asks questions or needs a terminal. A parameter that is given twice, or without its value, is an"
    " error.",
)


def markdown() -> str:
    """The whole page."""
    commands = every(Group("", COMMANDS))
    notes = [(f"`{PROGRAM} {command.words}`: {note}") for command in commands for note in command.notes]
    parts = [_HEAD, *(f"- {note}\n" for note in [*_GENERAL_NOTES, *notes])]
    parts += ["\n## Parameters of every command\n\n", *_table(COMMON)]
    for command in commands:
        parts += _section(command)
    return "".join(parts)


def _section(command: Command) -> Iterable[str]:
    yield f"\n## {PROGRAM} {command.words}\n\n{command.summary}.\n\n```\n{PROGRAM} {command.short_usage}"
    yield " [-- command ...]\n```\n" if command.tail else "\n```\n"
    yield from (f"\n{_escaped(paragraph)}\n" for paragraph in command.body)
    rows: list[Positional | Parameter] = [*command.positionals, *command.parameters]
    if rows:
        yield "\n"
        yield from _table(rows)
    yield "\n```sh\n"
    width = max(len(line) for line, _ in command.examples)
    yield from (f"{line.ljust(width)}  # {meaning}\n" for line, meaning in command.examples)
    yield "```\n"


def _table(rows: Sequence[Positional | Parameter]) -> Iterable[str]:
    yield "| | | default |\n|---|---|---|\n"
    for row in rows:
        if isinstance(row, Positional):
            name, default = row.usage, ""
        else:
            name, default = f"{row.label}={row.value.name}", row.default_text
        short = f", {row.short}" if isinstance(row, Parameter) and row.short else ""
        cells = (f"`{_escaped(name + short)}`", _escaped(row.text), _escaped(default))
        yield f"| {' | '.join(cells)} |\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(markdown())
