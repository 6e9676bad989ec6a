"""What is told of one key of a configuration file."""

from __future__ import annotations

from dataclasses import dataclass

from pragma_boot.config.values import Parser


@dataclass(frozen=True, slots=True)
class Key:
    """One key: how its value is parsed, what it is when absent, and what to tell about it.

    default: as one would write it in the file; None where absence means something, told by *absent*.
    required: there is no default. example: as one would write it; for templates, tables and mends.
    only: for keys of `repository_settings`, the classes that have it (empty: all);
    required_by: the classes that cannot do without it.
    secret: the value is never shown.
    """

    name: str
    parse: Parser
    help: str
    default: object = None
    example: object = None
    required: bool = False
    absent: str = ""
    aliases: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    required_by: tuple[str, ...] = ()
    secret: bool = False
