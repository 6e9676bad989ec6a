"""Who has which slots of an overlay: what an exchange keeps, and how it grants them. Pure.

A holder is a cluster by a name that no other one has (clusters of two sites may well share theirs). Asking again gives
the same slots again, so a boot that is repeated after a failure loses none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pragma_boot.errors import CapacityError, UsageError
from pragma_boot.model import shorten
from pragma_boot.network.overlay.information import is_name

_HOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,199}")

MOST = 4096
"""Nodes of one claim."""


class NoSlotsError(CapacityError):
    """An overlay has not *wanted* slots for one holder: there are *free*, with those that it has already."""

    def __init__(self, wanted: int, free: int) -> None:
        super().__init__(
            f"the overlay has {free} free slots, not {wanted}",
            resolution="clean a cluster that has joined it and is no longer needed, or boot fewer nodes",
        )
        self.wanted, self.free = wanted, free


class NameTakenError(UsageError):
    """A node's name that another holder's node has in this overlay. name: that one."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the overlay has another node called {name}", resolution="give the cluster another name (name=)"
        )
        self.name = name


@dataclass(frozen=True, slots=True)
class Member:
    """A node that has a slot: its cluster, and its host name or nothing."""

    holder: str
    name: str


@dataclass(frozen=True, slots=True)
class Claims:
    """All slots that are held."""

    members: Mapping[int, Member] = field(default_factory=dict)

    def of(self, holder: str) -> tuple[int, ...]:
        """The slots of one holder, in the order of its nodes (which is ascending)."""
        return tuple(sorted(slot for slot, member in self.members.items() if member.holder == holder))


def check_claim(holder: str, names: Sequence[str]) -> None:
    """Raise UsageError for a holder or node names that cannot be recorded; a name may be empty."""
    if not _HOLDER.fullmatch(holder):
        raise UsageError(
            f"{shorten(holder)!r} cannot hold slots", resolution="use up to 200 of A-Z, a-z, 0-9 and '._@:-'"
        )
    if not 1 <= len(names) <= MOST:
        raise UsageError(f"{len(names)} slots cannot be claimed", resolution=f"claim 1 to {MOST}")
    if wrong := next((name for name in names if name and not is_name(name)), None):
        raise UsageError(f"{shorten(wrong)!r} cannot name a node", resolution="use host names of a-z, 0-9, '-' and '.'")
    if len(given := [name for name in names if name]) != len(set(given)):
        raise UsageError("two nodes of a claim have one name", resolution="name each node once")


def grant(claims: Claims, holder: str, names: Sequence[str], slots: int) -> Claims:
    """The claims after *holder* has asked for one slot a node, of *slots* that there are.

    What it holds already stays its own, as far as it is still asked for; what is missing are the lowest free slots.
    Raises NoSlotsError, NameTakenError, and UsageError as `check_claim`.
    """
    check_claim(holder, names)
    others = {slot: member for slot, member in claims.members.items() if member.holder != holder}
    if taken := {member.name for member in others.values() if member.name}.intersection(names):
        raise NameTakenError(min(taken))
    kept = [slot for slot in claims.of(holder) if slot <= slots][: len(names)]
    free = [slot for slot in range(1, slots + 1) if slot not in others and slot not in kept]
    missing = len(names) - len(kept)
    if missing > len(free):
        raise NoSlotsError(len(names), len(free) + len(kept))
    granted = sorted(kept + free[:missing])
    return Claims(others | {slot: Member(holder, name) for slot, name in zip(granted, names, strict=True)})


def give_back(claims: Claims, holder: str) -> Claims:
    """The claims without those of *holder*; the same when it has none."""
    return Claims({slot: member for slot, member in claims.members.items() if member.holder != holder})


def listed(claims: Claims) -> Iterable[tuple[int, Member]]:
    """All slots that are held, ascending."""
    return sorted(claims.members.items())
