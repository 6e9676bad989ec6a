"""`pragma completion`: the script that teaches a shell our commands."""

from __future__ import annotations

from pragma_boot.cli.args import Positional
from pragma_boot.cli.command import Command
from pragma_boot.cli.complete import SCRIPTS
from pragma_boot.cli.session import Session
from pragma_boot.cli.values import Choice


def _run(session: Session, *, shell: str) -> None:
    session.out(SCRIPTS[shell])


COMMAND = Command(
    "completion",
    "Write the script that completes pragma's words in a shell",
    _run,
    (Positional("shell", Choice(tuple(SCRIPTS)), "bash, zsh or fish."),),
    examples=(
        ('eval "$(pragma completion bash)"', "in ~/.bashrc (zsh: in ~/.zshrc, after compinit)"),
        ("pragma completion fish > ~/.config/fish/completions/pragma.fish", "once, for fish"),
    ),
)
