"""`pragma version`."""

from __future__ import annotations

from pragma_boot import __version__
from pragma_boot.cli.command import Command
from pragma_boot.cli.session import Session


def _run(session: Session) -> None:
    session.out(f"pragma_boot {__version__}\n")


COMMAND = Command(
    "version",
    "Say which version of pragma_boot this is",
    _run,
    examples=(("pragma version", "name and version"), ("pragma --version", "the same")),
)
