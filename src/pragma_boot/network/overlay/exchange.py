"""What may be asked of an exchange, the place where a hub publishes its join information: a file, or a web service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pragma_boot.errors import ExchangeError
from pragma_boot.network.overlay.claims import Member
from pragma_boot.network.overlay.information import JoinInformation


class Exchange(Protocol):
    """One overlay's entry at an exchange. Made by `opening.open_exchange`; nothing has been asked by then.

    Every call may raise ExchangeAwayError (later it may succeed) and ExchangeError (it never will so). Calls may be
    repeated, also by another process after a kill: a second one finds what the first has done.
    """

    @property
    def shown(self) -> str:
        """What to call it in messages, logs and lists: no token, no query."""

    @property
    def ticket(self) -> str:
        """A URL that `open_exchange` takes later, in another environment, to reach the same entry.

        Secret when it has a token: keep it in a file with mode 0600, for `clean`.
        """

    def publish(self, information: JoinInformation) -> None:
        """Put a hub's join information there in one step; readers see the old one or the new.

        The claims of another hub's overlay that was there are void with it; the same hub's stay.
        """

    def fetch(self) -> JoinInformation | None:
        """The join information, None while there is none. Raises JoinInformationError when it cannot be used."""

    def claim(self, holder: str, names: Sequence[str]) -> tuple[int, ...]:
        """Take one slot for each of *names*, a cluster's nodes, in their order; never another holder's.

        holder: names the cluster among those of all sites (its name, '@', its frontend's public address, say).
        A holder that has slots keeps them: asking twice gives the same. Raises CapacityError when there are not so
        many, UsageError for texts that cannot be recorded, and for a name of another holder's; nothing is taken then.
        """

    def release(self, holder: str) -> None:
        """Give all slots of *holder* back. No error when it has none, or when the overlay is gone."""

    def members(self) -> Mapping[int, Member]:
        """Who has which slot; empty where the exchange keeps no claims."""

    def withdraw(self, hub_key: str) -> None:
        """Take the join information of that hub away, with all claims. Another hub's stays; no error when gone."""


class FixedSlots:
    """An exchange whose cluster was told its first slot (``URL#first=17``): it keeps no claims itself."""

    def __init__(self, exchange: Exchange, first: int) -> None:
        self._exchange, self._first = exchange, first

    @property
    def shown(self) -> str:
        """See `Exchange`."""
        return f"{self._exchange.shown}#first={self._first}"

    @property
    def ticket(self) -> str:
        """See `Exchange`."""
        ticket = self._exchange.ticket
        return f"{ticket}{'&' if '#' in ticket else '#'}first={self._first}"

    def publish(self, information: JoinInformation) -> None:
        """See `Exchange`."""
        self._exchange.publish(information)

    def fetch(self) -> JoinInformation | None:
        """See `Exchange`."""
        return self._exchange.fetch()

    def claim(self, holder: str, names: Sequence[str]) -> tuple[int, ...]:
        """The slots from the first on. Raises ExchangeError when the overlay has not so many, or one is claimed."""
        information = self.fetch()
        if information is None:
            raise nothing_there(self.shown)
        last = self._first + len(names) - 1
        if last > information.slots:
            raise ExchangeError(
                f"{len(names)} nodes need the slots {self._first} to {last}, the overlay has {information.slots}",
                resolution="agree with the overlay's other clusters on another first slot, or boot fewer nodes",
            )
        slots = tuple(range(self._first, last + 1))
        if taken := [slot for slot in self._exchange.members() if slot in slots]:
            raise ExchangeError(
                f"slot {taken[0]} is claimed by another cluster",
                resolution="leave #first= out: this exchange keeps claims, and gives free slots",
            )
        return slots

    def release(self, holder: str) -> None:
        """Nothing was recorded."""

    def members(self) -> Mapping[int, Member]:
        """Nothing was recorded."""
        return {}

    def withdraw(self, hub_key: str) -> None:
        """See `Exchange`."""
        self._exchange.withdraw(hub_key)


def nothing_there(shown: str) -> ExchangeError:
    """The error for an exchange without join information, where some is needed."""
    return ExchangeError(
        f"there is no join information at {shown}",
        resolution="boot the overlay's hub first (enable-ipop-server= with the same URL)",
    )
