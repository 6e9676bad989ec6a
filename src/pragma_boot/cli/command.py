"""Commands and their groups: click's machinery under our grammar, help and errors.

A command is one module below `commands/` that holds a `Command` called COMMAND; `commands/__init__.py` lists the
modules by the words that call them, and only the module that is called gets imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from pragma_boot.cli.args import COMMON, Parameter, Positional, normalise, wants_help
from pragma_boot.cli.values import nearest
from pragma_boot.errors import UsageError
from pragma_boot.model import shorten

if TYPE_CHECKING:
    from pragma_boot.cli.session import Session

PROGRAM = "pragma"

FOREIGN_VERBS = {
    "attach": "console", "create": "boot", "delete": "clean", "destroy": "clean", "doctor": "check site",
    "down": "shutdown", "exec": "ssh", "halt": "shutdown", "images": "list repository", "info": "list cluster",
    "launch": "boot", "logs": "console", "ls": "list cluster", "poweroff": "shutdown", "ps": "list cluster",
    "pull": "sync repository", "remove": "clean", "resume": "start", "rm": "clean", "run": "boot", "shell": "ssh",
    "status": "list cluster", "stop": "shutdown", "undefine": "clean", "up": "boot",
}  # fmt: skip
"""What other tools call our commands; only to name the right one when somebody tries theirs."""


class Command(click.Command):
    """One command, described by its rows.

    words: what calls it ("list cluster"). summary: one line, an imperative. body: further paragraphs of its help.
    run: called with the session and one keyword per row; may return an exit status.
    keeps_log: whether it changes something, so that it writes a log without being asked; a name: always that file.
    tail: whether what follows ``--`` is a command for somewhere else; *run* gets it as keyword `tail`.
    examples: (command line, what it does). notes: for callers of older versions; in docs/commands.md only.
    """

    def __init__(
        self,
        words: str,
        summary: str,
        run: Callable[..., int | None],
        rows: Sequence[Positional | Parameter] = (),
        *,
        examples: Sequence[tuple[str, str]],
        body: Sequence[str] = (),
        notes: Sequence[str] = (),
        keeps_log: bool | str = False,
        tail: bool = False,
    ) -> None:
        super().__init__(words.rpartition(" ")[2], params=[*rows, *COMMON], callback=run, add_help_option=False)
        self.words, self.summary, self.body = words, summary, tuple(body)
        self.examples, self.notes = tuple(examples), tuple(notes)
        self.keeps_log, self.tail = keeps_log, tail

    @property
    def positionals(self) -> list[Positional]:
        """The words that stand for themselves, in order."""
        return [row for row in self.params if isinstance(row, Positional)]

    @property
    def parameters(self) -> list[Parameter]:
        """The command's own ``name=value`` rows, without the common ones."""
        return [row for row in self.params if isinstance(row, Parameter) and row not in COMMON]

    @property
    def usage(self) -> str:
        """``pragma boot {vc-name} {num-cpus} [key=file] …`` in one line."""
        common = [row.usage for row in COMMON]
        return " ".join([PROGRAM, self.short_usage, *common, *(["[-- command ...]"] if self.tail else [])])

    @property
    def short_usage(self) -> str:
        """The same without the program's name and the common parameters."""
        words = [row.usage for row in self.positionals] + [row.usage for row in self.parameters]
        return " ".join([self.words, *words])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse words of our grammar; raises UsageError (exit 2) that ends with how to get help."""
        session: Session = ctx.obj
        if wants_help(args):
            from pragma_boot.cli.help import command_help  # noqa: PLC0415 - only who asks for help pays for it

            session.out(command_help(self))
            ctx.exit()
        try:
            normal, ctx.meta["tail"] = normalise(args, self.params, tail=self.tail)
            return super().parse_args(ctx, normal)
        except UsageError as error:
            error.resolution = _and_help(error.resolution, self.words)
            raise

    def invoke(self, ctx: click.Context) -> int | None:
        """Set the session up from the common parameters, then run."""
        session: Session = ctx.obj
        values = dict(ctx.params)
        common = {row.name: values.pop(row.name or "") for row in COMMON}
        session.begin(self.words, keeps_log=self.keeps_log, **common)
        if self.tail:
            values["tail"] = ctx.meta["tail"]
        assert self.callback is not None
        status: int | None = self.callback(session, **values)
        return status


class Group(click.Group):
    """Commands by their first (or next) word, imported when they are called.

    members: word → module below `commands/`, or a further mapping for words that lead on (``list cluster``).
    """

    def __init__(self, words: str, members: Mapping[str, str | Mapping[str, str]]) -> None:
        super().__init__(words.rpartition(" ")[2] or PROGRAM, add_help_option=False, no_args_is_help=False)
        self.words, self.members = words, members

    def list_commands(self, ctx: click.Context | None = None) -> list[str]:
        """The words that may follow, in the order of the help."""
        return list(self.members)

    def get_command(self, ctx: click.Context | None, cmd_name: str) -> click.Command | None:
        """The command or group of that word; imports its module. None when there is none."""
        member = self.members.get(cmd_name)
        if member is None:
            return None
        if not isinstance(member, str):
            return Group(f"{self.words} {cmd_name}".strip(), member)
        command = importlib.import_module(f"pragma_boot.cli.commands.{member}").COMMAND
        assert isinstance(command, Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the next word; help and version are words, too."""
        from pragma_boot.cli.help import group_help, overview  # noqa: PLC0415

        session: Session = ctx.obj
        if (not args and not self.words) or (args and args[0] in ("-h", "--help")):
            session.out(group_help(self) if self.words else overview(self))
            ctx.exit()
        if args and args[0] in ("-V", "--version") and not self.words:
            args = ["version", *args[1:]]
        if not args:
            raise UsageError(
                f"'{PROGRAM} {self.words}' needs one more word",
                resolution=f"say one of {', '.join(f'{PROGRAM} {self.words} {word}' for word in self.members)}",
            )
        return super().parse_args(ctx, ["--", *args])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of the first word; raises UsageError that names the nearest when there is none."""
        command = self.get_command(ctx, args[0])
        if command is None:
            raise self.unknown(args[0])
        return args[0], command, args[1:]

    def unknown(self, word: str) -> UsageError:
        """The error for a word that is no command here."""
        call = f"{self.words} {word}".strip()
        near = nearest(word, self.members) or (None if self.words else FOREIGN_VERBS.get(word.lower()))
        kind = "parameter before the command" if word.startswith("-") or "=" in word else "command"
        mend = "parameters follow the command; " if kind != "command" else ""
        return UsageError(
            f"unknown {kind} {shorten(call)!r}",
            details=f"did you mean '{' '.join([PROGRAM, self.words, near]).replace('  ', ' ')}'?" if near else None,
            resolution=f"{mend}'{' '.join([PROGRAM, 'help', self.words]).strip()}' lists the commands",
        )


def find(root: Group, words: Sequence[str]) -> Command | Group:
    """The command or group that *words* call; raises UsageError that names the nearest."""
    found: Command | Group = root
    for word in words:
        if isinstance(found, Command):
            raise UsageError(f"'{PROGRAM} {found.words}' is a whole command", resolution=_and_help(None, found.words))
        member = found.get_command(None, word)
        if member is None:
            raise found.unknown(word)
        assert isinstance(member, Command | Group)
        found = member
    return found


def every(group: Group) -> list[Command]:
    """All commands of a group and below, in the order of the help. Imports all their modules."""
    commands: list[Command] = []
    for word in group.list_commands():
        member = group.get_command(None, word)
        if isinstance(member, Group):
            commands += every(member)
        else:
            assert isinstance(member, Command)
            commands.append(member)
    return commands


def _and_help(resolution: str | None, words: str) -> str:
    hint = f"'{PROGRAM} help {words}' explains the command"
    return f"{resolution}\n{hint}" if resolution else hint
