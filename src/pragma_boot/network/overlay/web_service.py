"""An exchange that is a web service: the old program's contract, and what `pragma serve exchange` adds to it.

Old: GET of the URL and ``&action=put&KEY=VALUE…`` or ``&action=get`` (an empty body: nothing is there yet). A service
that answers with the header `MODERN` takes changes by POST, so that no secret stands in a query, and knows ``claim``,
``release``, ``members`` and ``withdraw``, too. Redirects are not followed: a secret goes where it was sent, or nowhere.
"""

from __future__ import annotations

import functools
import logging
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from pragma_boot import connect, log
from pragma_boot.errors import ExchangeAwayError, ExchangeError, PragmaError
from pragma_boot.model import shorten
from pragma_boot.network.overlay.claims import Member, NameTakenError, NoSlotsError, check_claim
from pragma_boot.network.overlay.exchange import nothing_there
from pragma_boot.network.overlay.information import LIMIT, JoinInformation, is_name, parse

_log = logging.getLogger(__name__)

MODERN = "Pragma-Exchange"
"""Header of every answer of a service that knows more than put and get."""

FULL, NOTHING, TAKEN = "full", "nothing", "name"
"""What ``error=`` says in a refusal (409) of a claim: too few slots are free (``free=``), nothing is published, another
holder's node has the name (``name=``)."""

_ANSWER = LIMIT * 8
"""Most bytes of an answer: members of a large overlay take more room than join information."""

_CONNECT, _READ = 10.0, 30.0
_AWAY = (408, 425, 429, 500, 502, 503, 504)
_REDIRECT = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    modern: bool
    text: str
    where: str = ""

    @property
    def pairs(self) -> dict[str, str]:
        lines = (line.partition("=") for line in self.text.splitlines())
        return {key: unquote(value) for key, _, value in lines}


@dataclass(frozen=True, slots=True)
class WebService:
    """An `Exchange`. url: without fragment. token: the job's, or empty.

    attempts: of a change; a look is one attempt, as who waits repeats it. sleep: for the pauses between them.
    """

    url: str = field(repr=False)
    token: str = field(default="", repr=False)
    connections: connect.Connections = field(default_factory=connect.Connections, repr=False)
    attempts: int = 3
    sleep: Callable[[float], None] = time.sleep

    @property
    def shown(self) -> str:
        """See `Exchange`: the URL's place, and of its query the job alone."""
        job = next((value for key, value in parse_qsl(urlsplit(self.url).query) if key.lower() == "jobid"), "")
        return connect.shown(self.url) + (f"?jobId={shorten(log.printable(job))}" if job else "")

    @property
    def ticket(self) -> str:
        """See `Exchange`."""
        options = {"token": self.token, "ca-file": str(self.connections.ca_file or "")}
        words = urlencode({key: value for key, value in options.items() if value})
        return self.url + (f"#{words}" if words else "")

    def publish(self, information: JoinInformation) -> None:
        """See `Exchange`. What was put is read again: an exchange that changes it is of no use."""
        if self._is_modern():
            self._change("put", information.pairs())
        else:
            self._retried(lambda: self._accepted(self._ask("put", information.pairs())))
        if self.fetch() != information:
            raise ExchangeError(
                f"{self.shown} does not give back what was put there",
                resolution="see that its URL names an exchange (docs/exchange.md), and that no other cluster uses it",
            )

    def fetch(self) -> JoinInformation | None:
        """See `Exchange`."""
        text = self._accepted(self._ask("get")).text
        return parse(text, self.shown) if text.strip() else None

    def claim(self, holder: str, names: Sequence[str]) -> tuple[int, ...]:
        """See `Exchange`. Raises ExchangeError with the mend where the service keeps no claims."""
        check_claim(holder, names)
        if not self._is_modern():
            raise ExchangeError(
                f"{self.shown} keeps no claims of slots",
                resolution="agree with the overlay's other clusters which slots are yours, and name the first of them"
                " after the URL: URL#first=17",
            )
        words = {"n": str(len(names)), "holder": holder, "names": ",".join(names)}
        pairs = self._change("claim", words).pairs
        try:
            slots = tuple(int(word) for word in pairs["slots"].split(","))
        except (KeyError, ValueError):
            slots = ()
        if len(slots) != len(names) or len(set(slots)) != len(slots) or min(slots) < 1:
            raise self._strange("claim")
        return slots

    def release(self, holder: str) -> None:
        """See `Exchange`."""
        if self._is_modern():
            self._change("release", {"holder": holder})

    def members(self) -> Mapping[int, Member]:
        """See `Exchange`."""
        if not self._is_modern(attempts=1):
            return {}
        members = {}
        for slot, value in self._accepted(self._ask("members")).pairs.items():
            holder, _, name = value.partition("/")
            if not _number(slot) or not holder:
                raise self._strange("members")
            members[int(slot)] = Member(holder, name)
        return members

    def withdraw(self, hub_key: str) -> None:
        """See `Exchange`. An old service cannot forget: what it has is of no use without the hub."""
        if self._is_modern():
            self._change("withdraw", {"hub_public_key": hub_key})
        else:
            _log.info("%s cannot forget join information", self.shown)

    def _is_modern(self, attempts: int | None = None) -> bool:
        """Whether the service knows more than put and get.

        Only an answer of its own tells: a proxy's "bad gateway" has no header either, and secrets in a query, or a
        slot that is taken to be given back, would come of that.
        """
        return self._retried(lambda: self._accepted(self._ask("get")), attempts).modern

    def _change(self, action: str, words: Mapping[str, str]) -> _Answer:
        return self._retried(lambda: self._accepted(self._ask(action, words, post=True)))

    def _retried(self, ask: Callable[[], _Answer], attempts: int | None = None) -> _Answer:
        for attempt in range(1, attempts or self.attempts):
            try:
                return ask()
            except ExchangeAwayError as error:
                _log.info("%s: %s; trying again", error.message, error.details)
                self.sleep(float(attempt))
        return ask()

    def _ask(self, action: str, words: Mapping[str, str] | None = None, *, post: bool = False) -> _Answer:
        """One request. Raises ExchangeAwayError when nobody answers, ExchangeError for an untrusted certificate."""
        import urllib3  # noqa: PLC0415 - slow to import

        if connect.is_open_wire(self.url):
            _warn_of_open_wire(self.shown)
        asked = [("action", action), *(() if post or not words else words.items())]
        url, user = connect.without_user(_with_query(self.url, asked))
        headers = {"User-Agent": "pragma_boot", "Accept-Encoding": "identity"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        elif user:
            headers |= urllib3.util.make_headers(basic_auth=user)
        body = None
        if post:
            body = urlencode(words or {}).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            reply = self.connections.to(url).request(
                "POST" if post else "GET", url, body=body, headers=headers, redirect=False, retries=False,
                timeout=urllib3.Timeout(connect=_CONNECT, read=_READ), preload_content=False, decode_content=False,
            )  # fmt: skip
            with reply:
                data = reply.read(_ANSWER + 1)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(error) from error
        if len(data) > _ANSWER:
            raise self._strange(action)
        text = data.decode("utf-8", "replace")
        return _Answer(reply.status, MODERN in reply.headers, text, reply.headers.get("location", ""))

    def _accepted(self, answer: _Answer) -> _Answer:
        """The answer, or what its refusal means."""
        if answer.status == 200:
            return answer
        told = answer.pairs if answer.modern else {}
        if answer.status == 409 and told.get("error") == FULL:
            raise NoSlotsError(_number(told.get("wanted")), _number(told.get("free")))
        if answer.status == 409 and told.get("error") == NOTHING:
            raise nothing_there(self.shown)
        if answer.status == 409 and told.get("error") == TAKEN and is_name(told.get("name", "")):
            raise NameTakenError(told["name"])
        details = f"HTTP status {answer.status}"
        if "message" in told:
            details += f": {log.printable(shorten(told['message'], 200))}"
        if answer.status in _AWAY:
            raise ExchangeAwayError(f"{self.shown} does not serve just now", details=details, resolution="repeat later")
        if answer.status in _REDIRECT:
            details += f", to {connect.shown(log.printable(answer.where))}"
        raise ExchangeError(f"{self.shown} refuses", details=details, resolution=_mend(answer.status))

    def _strange(self, action: str) -> ExchangeError:
        return ExchangeError(
            f"{self.shown} answers {action} with something else",
            resolution="see that the URL names an exchange (docs/exchange.md)",
        )

    def _unreachable(self, error: Exception) -> PragmaError:
        cause = connect.root_cause(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ExchangeError(
                f"{self.shown} has a certificate that is not trusted",
                details=cause.verify_message,
                resolution="name the file with its authority's certificate after the URL: URL#ca-file=/PATH",
            )
        why = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
        return ExchangeAwayError(
            f"{self.shown} cannot be reached",
            details=log.masked(why),
            resolution="see that this machine reaches it (proxies are taken from http_proxy, https_proxy and no_proxy)",
        )


@functools.cache
def _warn_of_open_wire(shown: str) -> None:
    """Said once in a command, however often it looks."""
    _log.warning("%s is not encrypted: on the way everybody can read how to join the overlay; use https", shown)


def _with_query(url: str, words: Iterable[tuple[str, str]]) -> str:
    """The URL with further words in its query, percent-encoded."""
    parts = urlsplit(url)
    added = "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in words)
    query = f"{parts.query.rstrip('&')}&{added}" if parts.query else added
    return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", query, ""))


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 9 else 0


def _mend(status: int) -> str:
    if status in (401, 403):
        return "give the job's token ('pragma exchange token JOB' makes one): in a file, URL#token-file=/PATH"
    if status in _REDIRECT:
        return "give the URL that it leads to, if you trust it"
    return "see that the URL names an exchange (docs/exchange.md)"
