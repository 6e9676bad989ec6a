"""`pragma list help`: the usage of all commands."""

from __future__ import annotations

from pragma_boot.cli.args import Parameter
from pragma_boot.cli.command import Command, Group, every, find
from pragma_boot.cli.commands import COMMANDS
from pragma_boot.cli.help import usage_lines
from pragma_boot.cli.session import Session
from pragma_boot.cli.values import Text


def _run(session: Session, *, subdir: str | None) -> None:
    place = find(Group("", COMMANDS), (subdir or "").replace("/", " ").split())
    session.out(usage_lines(every(place) if isinstance(place, Group) else [place]))


COMMAND = Command(
    "list help",
    "List the usage of all commands, a line each",
    _run,
    (Parameter("subdir", Text("word"), "Only the commands that begin with this word.", unsaid="all commands"),),
    examples=(
        ("pragma list help", "every command"),
        ("pragma list help subdir=list", "the commands that begin with 'list'"),
    ),
)
