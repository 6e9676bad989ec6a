"""`pragma help`: all commands, or one explained."""

from __future__ import annotations

from collections.abc import Iterable

from pragma_boot.cli.args import Positional
from pragma_boot.cli.command import Command, Group, find
from pragma_boot.cli.commands import COMMANDS
from pragma_boot.cli.help import command_help, group_help, overview
from pragma_boot.cli.session import Session
from pragma_boot.cli.values import Value


class _Word(Value):
    """A word of a command."""

    name = "command"

    def choices(self, session: Session) -> Iterable[str]:
        return COMMANDS


def _run(session: Session, *, command: tuple[str, ...]) -> None:
    root = Group("", COMMANDS)
    found = find(root, command)
    if found is root:
        session.out(overview(root))
    else:
        session.out(group_help(found) if isinstance(found, Group) else command_help(found))


COMMAND = Command(
    "help",
    "List the commands, or explain one of them",
    _run,
    (Positional("command", _Word(), "The command's words, 'list cluster' for example.", several=True),),
    examples=(
        ("pragma help", "every command in a line"),
        ("pragma help boot", "all about 'pragma boot'; 'pragma boot --help' says the same"),
    ),
)
