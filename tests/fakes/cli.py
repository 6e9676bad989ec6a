"""How tests call the program in their own process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """What one command left: exit status, standard output, standard error."""

    status: int
    out: str
    err: str


Pragma = Callable[..., Result]
