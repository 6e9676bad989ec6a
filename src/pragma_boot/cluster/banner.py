"""Asks a node's port 22 for an ssh banner, again and again, without ever blocking.

For nodes whose image cannot report: a banner is the most that can be seen of them from outside.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
from ipaddress import IPv4Address

_ATTEMPT = 2.0
"""Seconds for one attempt: a lost SYN is repeated by a fresh connection, quicker than by the kernel's back-off."""
_PAUSE = 0.5
_LIMIT = 4096
_REASONS = {
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ETIMEDOUT: "no answer",
}


class BannerProbe:
    """One node's attempts; *key* is what the caller's selector hands back for our socket.

    `failure` says why the last attempt got no banner, in a word or two.
    """

    def __init__(self, address: IPv4Address, port: int, selector: selectors.BaseSelector) -> None:
        self.address = address
        self.failure = "no answer"
        self._port = port
        self._selector = selector
        self._socket: socket.socket | None = None
        self._received = b""
        self._next = 0.0

    def due(self) -> float:
        """When `tick` has something to do, on the monotonic clock."""
        return self._next

    def tick(self, now: float) -> None:
        """Give up an attempt that takes too long, or start the next one, when it is time."""
        if now < self._next:
            return
        if self._socket is not None:
            self._fail("no answer", now)
        else:
            self._start(now)

    def advance(self, now: float) -> bool:
        """Go on after the selector saw our socket; True when the banner is here (the probe is closed then)."""
        assert self._socket is not None
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._fail(_reason(error), now)
            return False
        try:
            data = self._socket.recv(_LIMIT)
        except BlockingIOError:  # just connected
            self._selector.modify(self._socket, selectors.EVENT_READ, self)
            return False
        except OSError as failure:
            self._fail(_reason(failure.errno), now)
            return False
        self._received += data
        if _has_banner(self._received):
            self.close()
            return True
        if not data or len(self._received) >= _LIMIT:
            self._fail("no ssh banner", now)
        return False

    def close(self) -> None:
        """End the attempt that is under way, if any; may be called twice."""
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None

    def _start(self, now: float) -> None:
        self._received = b""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._selector.register(self._socket, selectors.EVENT_WRITE, self)
        self._next = now + _ATTEMPT
        result = self._socket.connect_ex((str(self.address), self._port))
        if result not in (0, errno.EINPROGRESS):
            self._fail(_reason(result), now)

    def _fail(self, why: str, now: float) -> None:
        self.close()
        self.failure = why
        self._next = now + _PAUSE


def _has_banner(received: bytes) -> bool:
    """RFC 4253 4.2: a server may send other lines before the one that begins with SSH-."""
    return any(line.startswith(b"SSH-") for line in received.split(b"\n"))


def _reason(number: int | None) -> str:
    return _REASONS.get(number or 0) or os.strerror(number or 0).lower()
