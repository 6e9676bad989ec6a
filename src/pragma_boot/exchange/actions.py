"""What may be asked of the exchange, without HTTP: words come in, a status and lines go out."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pragma_boot.errors import PragmaError, UsageError
from pragma_boot.exchange.jobs import Jobs, NothingPublishedError
from pragma_boot.network.overlay.claims import MOST, NameTakenError, NoSlotsError, check_claim, listed
from pragma_boot.network.overlay.information import lines
from pragma_boot.network.overlay.web_service import FULL, NOTHING, TAKEN

_log = logging.getLogger(__name__)

PAIRS, VALUE = 64, 256 * 1024
"""A job keeps so many pairs at most, and so many characters in one value."""

_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OWN = ("action", "jobId", "jobid", "token")
"""Words of the contract itself: never among the pairs that are kept."""

Words = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """status: HTTP's. text: lines ``key=value``, or nothing."""

    status: int
    text: str = ""


class Actions:
    """The contract of docs/exchange.md over *jobs*."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._actions: Mapping[str, Callable[[str, Words], Reply]] = {
            "put": self._put,
            "get": self._get,
            "claim": self._claim,
            "release": self._release,
            "members": self._members,
            "withdraw": self._withdraw,
        }

    def known(self, action: str) -> str:
        """The action's name for a log; ``-`` for what is none."""
        return action if action in self._actions else "-"

    def perform(self, job: str, token: str, words: Words) -> Reply:
        """Do what *words* ask for, for whoever has that job's token. Never raises."""
        try:
            if not self._jobs.admits(job, token):
                return _refusal(403, "token", "this job and token are not known here")
            action = self._actions.get(words.get("action", ""))
            if action is None:
                return _refusal(400, "action", f"action is none of {', '.join(self._actions)}")
            return action(job, words)
        except UsageError as error:
            return _refusal(400, "words", error.message)
        except PragmaError as error:
            _log.error("%s: %s", error.message, error.details)
            return _refusal(503, "busy", "the exchange cannot use its database")

    def _put(self, job: str, words: Words) -> Reply:
        pairs = {key: value for key, value in words.items() if key not in _OWN}
        if not pairs or len(pairs) > PAIRS:
            raise UsageError(f"put takes 1 to {PAIRS} pairs")
        for key, value in pairs.items():
            if not _KEY.fullmatch(key) or len(value) > VALUE or not value.isprintable():
                raise UsageError("put takes keys of up to 64 letters, digits, '_', '.' and '-', and printable values")
        self._jobs.put(job, pairs)
        return Reply(200)

    def _get(self, job: str, _: Words) -> Reply:
        return Reply(200, lines(self._jobs.get(job)))

    def _claim(self, job: str, words: Words) -> Reply:
        holder, count, given = words.get("holder", ""), words.get("n", ""), words.get("names", "")
        if not re.fullmatch(r"[0-9]{1,5}", count) or not 1 <= int(count) <= MOST:
            raise UsageError(f"n is no number of nodes from 1 to {MOST}")
        names = given.split(",") if given else [""] * int(count)
        if len(names) != int(count):
            raise UsageError("there are not n names")
        check_claim(holder, names)
        try:
            slots = self._jobs.claim(job, holder, names)
        except NothingPublishedError as error:
            return _refusal(409, NOTHING, error.message)
        except NoSlotsError as error:
            return _refusal(409, FULL, error.message, wanted=error.wanted, free=error.free)
        except NameTakenError as error:
            return _refusal(409, TAKEN, error.message, name=error.name)
        return Reply(200, lines({"slots": ",".join(map(str, slots))}))

    def _release(self, job: str, words: Words) -> Reply:
        if not words.get("holder"):
            raise UsageError("release needs a holder")
        self._jobs.release(job, words["holder"])
        return Reply(200)

    def _members(self, job: str, _: Words) -> Reply:
        held = listed(self._jobs.members(job))
        return Reply(200, lines({str(slot): f"{member.holder}/{member.name}" for slot, member in held}))

    def _withdraw(self, job: str, words: Words) -> Reply:
        if not words.get("hub_public_key"):
            raise UsageError("withdraw needs the hub's public key")
        self._jobs.withdraw(job, words["hub_public_key"])
        return Reply(200)


def _refusal(status: int, error: str, message: str, **more: int | str) -> Reply:
    pairs = {"error": error, "message": message} | {key: str(value) for key, value in more.items()}
    return Reply(status, lines(pairs))
