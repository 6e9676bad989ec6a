"""One HTTP client for all remote repositories: proxies, certificates, redirects, ranges, and what is worth another try.

A request is one attempt. It ends in a `Reply`, in TransientError (try again later, see `Tries`), or in an error that
no repetition mends. Whatever a class adds to its requests (signatures, keys) is added anew for each attempt by its
`Access`, and is in no message, log or file.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from pragma_boot import log
from pragma_boot.connect import Connections, root_cause, shown, without_user
from pragma_boot.errors import PragmaError, RepositoryError
from pragma_boot.repository.address import addresses, check_redirect
from pragma_boot.repository.patience import (
    Patience,
    StatusError,
    TransientError,
    Tries,
    retry_after,
    timestamp,
    whole_number,
)

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

_log = logging.getLogger(__name__)

PIECE = 1024 * 1024
"""The most that one read gives, bytes."""

REDIRECTS = 5
"""How many redirects are followed."""

_CODE = re.compile(rb"<Code>([A-Za-z]{1,64})</Code>")  # how object stores tell it
_BODY = 4096  # of an error's body
_GIVEN_BACK = (200, 206, 304, 416)
_BODILESS = (304, 416)
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_REDIRECT = (301, 302, 303, 307, 308)
_REACH = (
    "see that this machine reaches the server (proxies are taken from http_proxy, https_proxy and no_proxy), and"
    " repository_url in site_conf.conf; then repeat"
)


@dataclass(frozen=True, slots=True)
class Request:
    """A URL as it is really asked for (signed, with keys), further header lines, and what is sent with POST."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


class Access:
    """What a repository class adds to requests, and how it reads refusals; this one adds nothing."""

    def prepare(self, url: str) -> Request:
        """Dress *url* for one attempt. Raises PragmaError when it cannot (no key, say)."""
        return Request(url)

    def judge(self, status: int, headers: Mapping[str, str], body: bytes) -> PragmaError | None:
        """A better error for a refusal (TransientError: try again), or None. *body*: its first 4 KiB."""
        return None

    def mend(self, status: int) -> str:
        """What to do about a refusal that `judge` leaves; empty: what is said of every server."""
        return ""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose body is being read. *status*: 200, 206, 304 or 416. *url*: for messages, without secrets."""

    status: int
    headers: Mapping[str, str]
    url: str
    _raw: BaseHTTPResponse

    @property
    def length(self) -> int | None:
        """Bytes of this body, where the server says so."""
        return whole_number(self.headers.get("content-length"))

    @property
    def delimited(self) -> bool:
        """Whether a cut body can be told from a whole one."""
        return self.length is not None or "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def content_range(self) -> tuple[int | None, int | None]:
        """First byte and total size of ``Content-Range``; None for what is not told."""
        unit, _, rest = self.headers.get("content-range", "").partition(" ")
        where, _, total = rest.partition("/")
        first = where.partition("-")[0] if unit == "bytes" else ""
        return whole_number(first), whole_number(total)

    @property
    def validator(self) -> str:
        """What ``If-Range`` may say: a strong ETag, else a modification time that is past for sure; or empty."""
        etag, modified = self.headers.get("etag", ""), self.headers.get("last-modified", "")
        if etag:
            return "" if etag.startswith("W/") else etag
        changed, now = timestamp(modified), timestamp(self.headers.get("date", ""))
        return modified if changed is not None and now is not None and now - changed >= 1 else ""

    def read(self, most: int = PIECE) -> bytes:
        """The next piece of the body, at most *most* bytes; empty at its end.

        Raises TransientError when the body is cut or does not come.
        """
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        try:
            return self._raw.read1(most, decode_content=False)
        except (HTTPError, OSError) as error:
            raise _unreachable(self.url, error) from error


class Web:
    """Makes requests. Safe to use from several threads.

    access: what requests are dressed with. ca_file: certificates (PEM) that are trusted beside the system's.
    resolve: a host's addresses, for the rules of redirects.
    """

    def __init__(
        self,
        access: Access | None = None,
        *,
        ca_file: Path | None = None,
        patience: Patience | None = None,
        resolve: Callable[[str], frozenset[str]] = addresses,
    ) -> None:
        self.access = access or Access()
        self.patience = patience or Patience()
        self._connections, self._resolve = Connections(ca_file), resolve

    def hasty(self, attempts: int = 1) -> Web:
        """The same client with little patience, for what a person waits for or the cache can answer, too."""
        other, own = copy.copy(self), self.patience
        connect, read = min(own.connect, 5.0), min(own.read, 15.0)
        other.patience = replace(own, attempts=min(own.attempts, attempts), connect=connect, read=read)
        return other

    @contextlib.contextmanager
    def open(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        patience: Patience | None = None,
        body: bytes | None = None,
    ) -> Iterator[Reply]:
        """One attempt at *url*; the reply is open for the block. body: what is sent (with POST), never logged.

        Raises TransientError, StatusError, or RepositoryError for a redirect that is not followed.
        """
        target, public = url, url
        for _ in range(REDIRECTS + 1):
            request = self.access.prepare(target) if _same_host(target, url) else Request(target)
            request = replace(request, body=body if target == url else None)
            raw = self._send(method, request, dict(headers or {}), public)
            try:
                where = raw.headers.get("location")
                if raw.status in _REDIRECT and where:
                    target = _joined(request.url, where, public)
                    check_redirect(url, target, self._resolve)
                    public = shown(target)
                    _log.debug("redirected to %s", public)
                    continue
                reply = Reply(raw.status, {key.lower(): value for key, value in raw.headers.items()}, shown(url), raw)
                self._check(reply)
                yield reply
                return
            finally:
                if raw.status in _BODILESS:
                    raw.drain_conn()
                raw.close()  # a connection whose body was not read to its end serves nothing else
        raise RepositoryError(
            f"{shown(url)} is redirected without end", resolution="mend repository_url in site_conf.conf"
        )

    def document(self, url: str, limit: int) -> bytes:
        """A small object as a whole, with all tries. Raises StatusError, or RepositoryError above *limit* bytes."""
        tries = Tries(self.patience)
        while True:
            try:
                with self.open(url) as reply:
                    return read_all(reply, limit)
            except TransientError as error:
                tries.failed(error)

    def _send(self, method: str, request: Request, headers: dict[str, str], public: str) -> BaseHTTPResponse:
        from urllib3 import Timeout  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415
        from urllib3.util import make_headers  # noqa: PLC0415

        url, user = without_user(request.url)
        sent = {"User-Agent": "pragma_boot", "Accept-Encoding": "identity"} | headers | dict(request.headers)
        if user:
            log.hide([user.partition(":")[2]])
            sent |= make_headers(basic_auth=user)
        timeout = Timeout(connect=self.patience.connect, read=self.patience.read)
        try:
            return self._pool(url).request(
                method, url, headers=sent, timeout=timeout, retries=False, redirect=False, preload_content=False,
                decode_content=False, body=request.body,
            )  # fmt: skip
        except (HTTPError, OSError) as error:
            raise _unreachable(public, error) from error

    def _pool(self, url: str) -> PoolManager:
        try:
            return self._connections.to(url)
        except PragmaError as error:
            raise RepositoryError(error.message, details=error.details, resolution=error.resolution) from error

    def _check(self, reply: Reply) -> None:
        """Raise what a refusal means; statuses that tell something are given back."""
        if reply.status in _GIVEN_BACK:
            return
        body = b""
        with contextlib.suppress(TransientError):
            while len(body) < _BODY and (piece := reply.read(_BODY - len(body))):
                body += piece
        better = self.access.judge(reply.status, reply.headers, body)
        if better:
            raise better
        if reply.status in _TRANSIENT:
            transient = TransientError(
                f"{reply.url} cannot be had just now", details=f"HTTP status {reply.status}",
                resolution="repeat later; what is here already is kept",
            )  # fmt: skip
            transient.wait = retry_after(reply.headers)
            raise transient
        raise _refusal(reply, body, self.access.mend(reply.status))


def read_all(reply: Reply, limit: int) -> bytes:
    """A reply's whole body. Raises RepositoryError when it is longer than *limit* bytes."""
    body = bytearray()
    while piece := reply.read():
        body += piece
        if len(body) > limit:
            raise RepositoryError(
                f"{reply.url} is larger than {limit // 1024} KiB",
                resolution="see that it is what its name says, and repository_url in site_conf.conf",
            )
    return bytes(body)


def _same_host(one: str, other: str) -> bool:
    return urlsplit(one)[:2] == urlsplit(other)[:2]


def _joined(base: str, where: str, public: str) -> str:
    try:
        return urljoin(without_user(base)[0], where)
    except ValueError as error:
        raise RepositoryError(
            f"{public} is redirected to nowhere", resolution="mend the server, or repository_url in site_conf.conf"
        ) from error


def _refusal(reply: Reply, body: bytes, better: str) -> StatusError:
    mend = better or {
        401: "the server wants a user and a password: write them into repository_url (https://user:password@host/…)",
        403: "see that this machine may read the repository, and that the object is there",
        404: "see that the object is there, and repository_url in site_conf.conf",
    }.get(reply.status, "see the server's log, and repository_url in site_conf.conf")
    code = _CODE.search(body)
    details = f"HTTP status {reply.status}" + (f" ({code[1].decode(errors='replace')})" if code else "")
    refused = StatusError(f"{reply.url} cannot be had", details=details, resolution=mend)
    refused.status = reply.status
    return refused


def _unreachable(url: str, error: Exception) -> PragmaError:
    """What a failure of the network means; certificates are never a matter of patience."""
    cause = root_cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return RepositoryError(
            f"{shown(url)} has a certificate that is not trusted",
            details=cause.verify_message,
            resolution="give the authority's certificate as ca_file in repository_settings of site_conf.conf",
        )
    why = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return TransientError(f"{shown(url)} cannot be reached", details=log.masked(why), resolution=_REACH)
