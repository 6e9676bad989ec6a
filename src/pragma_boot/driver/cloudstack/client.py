"""Calls of the CloudStack API (cloudstack.md a). Safe to use from several threads.

Reads are repeated when an answer does not come. Of a write it is never known then whether it was carried out: it ends
in LostAnswerError, and `crew.carried_out` looks before anything is repeated. No key, signature, user data or
password is ever in a message or a log: of a request only its command and harmless parameters are.
"""

from __future__ import annotations

import json
import logging
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pragma_boot import connect
from pragma_boot.driver.cloudstack import sign
from pragma_boot.driver.cloudstack.sign import Value
from pragma_boot.errors import DriverError
from pragma_boot.model import shorten

_log = logging.getLogger(__name__)

READS = 6
"""Attempts of a read; the pauses between them make up half a minute."""
PAGE = 500
"""Rows of one page; a server that allows fewer says how many."""
PAGES = 1000

_INTERNAL, _INTERNAL_TRIES = (530, 534), 3
"""Errors inside the server, and how often a read is tried for them: some are of that moment only."""

_CONNECT = 15.0
_SLICE = 0.5
"""Seconds after which a pause notices that it is to end."""
_LONGEST_WAIT = 120.0
"""Seconds that a server may ask us to wait before it takes the next request."""
_LARGEST = 64 << 20
"""Bytes of an answer; thousands of machines take a few million."""
_SECRET = {"userdata", "password", "publickey", "url"}
_WAIT = re.compile(r"retry after \[?(\d+)\]? ?ms")
_PAGE_SIZE = re.compile(r"max allowed page size value: (\d+)")
_KEYS = "see baseurl, apikey and secretkey in cloudstack.conf, that the account is enabled, and this machine's clock"


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, so that tests need none. now: monotonic seconds; wall: seconds since 1970; pause: sleep that long."""

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    pause: Callable[[float], None] = time.sleep


class ApiError(DriverError):
    """The server refused. code: of the table in cloudstack.md a.5, 0 for none; text: its own words."""

    code = 0
    text = ""
    command = ""

    @property
    def gone(self) -> bool:
        """Whether what was to be changed or removed does not exist (any more)."""
        missing = ("entity does not exist", "doesn't exist", "unable to find", "unknown jobid")
        return self.code == 431 and any(words in self.text.lower() for words in missing)


class LostAnswerError(DriverError):
    """A request went out and no answer came: it may or may not have been carried out."""


class UnsentError(DriverError):
    """A request that surely nothing has come of: the server was not reached, or takes nothing just now."""

    wait: float | None = None


def refusal(command: str, code: int, text: str) -> ApiError:
    """The error for a refusal of the server."""
    error = ApiError(f"CloudStack refused {command}", details=f"{code}: {shorten(text, 500)}", resolution=_mend(code))
    error.code, error.text, error.command = code, text, command
    return error


class Client:
    """One account at one server.

    timeout: seconds for one answer. halted: whoever pauses is to come to an end.
    """

    def __init__(
        self,
        url: str,
        apikey: str,
        secretkey: str,
        *,
        ca_file: Path | None = None,
        timeout: float = 30.0,
        clock: Clock | None = None,
    ) -> None:
        self.url, self.clock, self.halted = url, clock or Clock(), False
        self._apikey, self._secretkey = apikey, secretkey
        self._connections, self._timeout = connect.Connections(ca_file), timeout

    def read(self, command: str, **parameters: Value) -> dict[str, Any]:
        """A command that changes nothing, as often as it takes. Raises ApiError, or DriverError at last."""
        for attempt in range(READS):
            try:
                return self._patiently(command, parameters)
            except (LostAnswerError, UnsentError, ApiError) as error:
                often = _INTERNAL_TRIES if isinstance(error, ApiError) else READS
                if attempt >= often - 1 or (isinstance(error, ApiError) and error.code not in _INTERNAL):
                    raise
                _log.info("%s: %s (%s); once more", command, error.message, error.details)
                asked = error.wait if isinstance(error, UnsentError) else None
                self.pause(min(asked or 2**attempt * 0.5, _LONGEST_WAIT))
        raise AssertionError

    def write(self, command: str, **parameters: Value) -> dict[str, Any]:
        """A command that changes something, once; again only where the server surely did nothing.

        Raises LostAnswerError, ApiError, or DriverError when the server is not reached.
        """
        for attempt in range(READS):
            try:
                return self._patiently(command, parameters)
            except UnsentError as error:
                if attempt == READS - 1:
                    raise
                _log.info("%s: %s (%s); once more", command, error.message, error.details)
                self.pause(min(error.wait or 2**attempt * 0.5, _LONGEST_WAIT))
        raise AssertionError

    def rows(self, command: str, key: str, **parameters: Value) -> list[dict[str, Any]]:
        """All rows of a list command, page by page. *key*: what the rows are called in the answer."""
        found: dict[str, dict[str, Any]] = {}
        size, page = PAGE, 1
        while page <= PAGES:
            try:
                answer = self.read(command, **parameters, page=page, pagesize=size)
            except ApiError as error:
                allowed = _PAGE_SIZE.search(error.text)
                if error.code != 431 or not allowed or not 0 < int(allowed[1]) < size:
                    raise
                size = int(allowed[1])
                continue
            rows = answer.get(key) or []
            new = {_identity(row): row for row in rows if _identity(row) not in found}
            found |= new
            if not new or len(rows) < size:
                break
            page += 1
        return list(found.values())

    def pause(self, seconds: float) -> None:
        """Sleep; raises DriverError when everything is to come to an end meanwhile."""
        end = self.clock.now() + seconds
        while (left := end - self.clock.now()) > 0:
            if self.halted:
                raise DriverError("interrupted", resolution="repeat")
            self.clock.pause(min(left, _SLICE))

    def _patiently(self, command: str, parameters: Mapping[str, Value]) -> dict[str, Any]:
        """One request; a refused signature once more: it may have been too old when it arrived."""
        try:
            return self._once(command, parameters)
        except ApiError as error:
            if error.code != 401:
                raise
            _log.info("%s: not authorized; once more with a fresh signature", command)
        return self._once(command, parameters)

    def _once(self, command: str, parameters: Mapping[str, Value]) -> dict[str, Any]:
        body = sign.body(parameters, command, self._apikey, self._secretkey, self.clock.wall())
        _log.debug("%s %s", command, _harmless(parameters))
        status, data = self.send(command, body)
        try:
            answer = json.loads(data, strict=False)
            ((_, inner),) = answer.items()
        except (ValueError, AttributeError):
            inner = None
        if not isinstance(inner, dict):
            raise LostAnswerError(
                f"the answer to {command} is none of CloudStack's", details=f"HTTP status {status}", resolution=_REACH
            )
        if status == 200 and "errorcode" not in inner:
            return inner
        raise _refused(command, status, inner)

    def send(self, command: str, body: bytes) -> tuple[int, bytes]:
        """One attempt to have an answer: its HTTP status and body. Raises UnsentError or LostAnswerError."""
        from urllib3 import Timeout  # noqa: PLC0415 - slow to import
        from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError  # noqa: PLC0415

        try:
            answer = self._connections.to(self.url).request(
                "POST",
                self.url,
                body=body,
                headers={"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "pragma_boot"},
                timeout=Timeout(connect=_CONNECT, read=self._timeout),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            data = answer.read(_LARGEST + 1, decode_content=True)
            if len(data) > _LARGEST:
                answer.close()
                raise LostAnswerError(f"the answer to {command} does not end", resolution=_REACH)
            answer.release_conn()
            return answer.status, data
        except (HTTPError, OSError) as error:
            cause = connect.root_cause(error)
            place = connect.shown(self.url)
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise DriverError(
                    f"{place} has a certificate that is not trusted",
                    details=cause.verify_message,
                    resolution="give the authority's certificate as ca_file in cloudstack.conf",
                ) from error
            if isinstance(error, (NewConnectionError, ConnectTimeoutError, ssl.SSLError)):
                raise UnsentError(f"{place} is not reached", details=_why(cause), resolution=_REACH) from error
            raise LostAnswerError(
                f"no answer to {command} from {place}", details=_why(cause), resolution=_REACH
            ) from error


_REACH = "see that this machine reaches the server, and baseurl in cloudstack.conf; then repeat"


def _refused(command: str, status: int, inner: Mapping[str, Any]) -> DriverError:
    code = inner.get("errorcode", status)
    code = code if isinstance(code, int) else status
    text = str(inner.get("errortext", ""))
    if code not in (429, 503):
        return refusal(command, code, text)
    waiting = UnsentError(f"CloudStack takes no {command} just now", details=text, resolution="repeat later")
    asked = _WAIT.search(text)
    waiting.wait = int(asked[1]) / 1000 if asked else None
    return waiting


def _mend(code: int) -> str:
    return {
        401: _KEYS + "; and that the account's role allows this command",
        531: "see that the account may use this",
        532: "have the account's limits raised, or clean clusters that are no longer needed",
        533: "repeat later, or ask for fewer or smaller nodes",
        535: "have the account's limits raised, or clean clusters that are no longer needed",
    }.get(code, "see what the server says, and docs/cloudstack.md; then repeat")


def _harmless(parameters: Mapping[str, Value]) -> str:
    return " ".join(
        f"{name}={'…' if name.lower() in _SECRET else shorten(str(value), 120)}" for name, value in parameters.items()
    )


def _identity(row: Mapping[str, Any]) -> str:
    return str(row.get("id") or sorted((key, str(value)) for key, value in row.items()))


def _why(cause: BaseException) -> str:
    return cause.strerror if isinstance(cause, OSError) and cause.strerror else type(cause).__name__
