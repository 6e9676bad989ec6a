"""Who may come in: keys, signatures, dates, roles, rates; and how those who may not are told."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .errors import ApiError, unauthorized
from .model import Account
from .registry import Command
from .wire import expiry, sign

if TYPE_CHECKING:
    from .cloud import Cloud

_READS = re.compile(r"(get|list|query|find)\w+")


class Gate:
    """Remembers when each account called."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._recent: dict[str, list[float]] = {}

    def account_of(
        self, pairs: list[tuple[str, str]], sent: dict[str, str], made: Command | None, method: str
    ) -> Account:
        enforced = self._cloud.config.enforce_post_and_timestamps
        if made is not None and enforced and method != "POST" and not _READS.match(made.name):
            raise ApiError(400, f"State changing command {made.name} needs to be sent using POST request")
        if made is None:
            raise unauthorized()
        key, signature = sent.get("apikey"), sent.get("signature")
        account = next((one for one in self._cloud.state.accounts.values() if one.apikey == key), None)
        if account is None or signature is None or not account.enabled:
            raise unauthorized()
        now = self._cloud.clock.now()
        if sent.get("signatureversion") == "3":
            until = expiry(sent.get("expires", ""))
            late = until is None or until < now
            if late or (self._cloud.config.enforce_post_and_timestamps and until is not None and until > now + 900):
                raise unauthorized()
        elif self._cloud.config.enforce_post_and_timestamps:
            raise unauthorized()
        if sign(pairs, account.secretkey) != signature:
            raise unauthorized()
        if made.admin and not account.admin:
            raise unauthorized(
                f"The given command '{made.name}' either does not exist, is not available for user.", 9999
            )
        return account

    def throttle(self, account: Account) -> None:
        if self._cloud.config.api_limit is None:
            return
        now = self._cloud.clock.now()
        recent = [one for one in self._recent.get(account.id, []) if one > now - self._cloud.config.api_interval]
        if len(recent) >= self._cloud.config.api_limit:
            raise throttled(recent[0] + self._cloud.config.api_interval - now)
        self._recent[account.id] = [*recent, now]


def throttled(seconds: float) -> ApiError:
    return ApiError(
        429,
        "The given user has reached his/her account api limit, please retry after "
        f"[{max(1, round(seconds * 1000))}] ms.",
    )


def error_body(error: ApiError, made: Command | None, account: Account | None) -> dict[str, Any]:
    key = "errorresponse" if made is None or error.code == 432 else made.answer
    inner: dict[str, Any] = {"uuidList": [], "errorcode": error.code}
    if error.cserror is not None:
        inner["cserrorcode"] = error.cserror
    inner["errortext"] = error.shown_to(account is not None and account.admin)
    return {key: inner}
