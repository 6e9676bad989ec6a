"""Connections to HTTP servers, the same for all who make requests: proxies of the environment, trusted certificates.

What a request says and what its answer means is their own matter.
"""

from __future__ import annotations

import ipaddress
import ssl
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from pragma_boot.errors import PragmaError
from pragma_boot.model import shorten

if TYPE_CHECKING:
    from urllib3 import PoolManager


def shown(url: str) -> str:
    """A URL for messages and files: no user, no password, no query (signatures stand there), no fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a URL that cannot be read"
    return shorten(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")), 500)


def without_user(url: str) -> tuple[str, str]:
    """The URL without ``user:password@``, and these two as they were meant."""
    parts = urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, place, parts.path, parts.query, "")), unquote(user)


def is_open_wire(url: str) -> bool:
    """Whether others can read on the way what goes to *url*: it is plain http, and to another machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def is_loopback(host: str) -> bool:
    """Whether a host, by its address or as ``localhost``, is this machine alone."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def root_cause(error: BaseException) -> BaseException:
    """What is at the bottom of a library's wrapped error: a certificate's fault, where there is one."""
    while not isinstance(error, ssl.SSLError):
        inner = [error.__cause__, getattr(error, "reason", None), *error.args[:1], error.__context__]
        following = next((one for one in inner if isinstance(one, BaseException)), None)
        if following is None:
            break
        error = following
    return error


class Connections:
    """Keeps connections open from one request to the next. Safe to use from several threads.

    ca_file: certificates (PEM) that are trusted beside the system's.
    """

    def __init__(self, ca_file: Path | None = None) -> None:
        self.ca_file = ca_file
        self._pools: dict[tuple[str, bool], PoolManager] = {}

    def to(self, url: str) -> PoolManager:
        """The connections to *url*'s server: directly, or through the environment's proxy.

        Raises PragmaError for a proxy or a file of certificates that cannot be used.
        """
        import urllib3  # noqa: PLC0415 - slow to import
        from urllib3.util import make_headers  # noqa: PLC0415

        parts = urlsplit(url)
        proxies = urllib.request.getproxies()
        bypassed = urllib.request.proxy_bypass(parts.netloc)
        proxy = "" if bypassed else proxies.get(parts.scheme) or proxies.get("all") or ""
        secure = "https" in (parts.scheme, urlsplit(proxy).scheme)
        key = (proxy, secure)
        if key not in self._pools:
            context = self._context() if secure else None  # reading all authorities takes its time
            if proxy:
                place, user = without_user(proxy if "://" in proxy else f"http://{proxy}")
                if not place.startswith(("http://", "https://")):
                    raise PragmaError(
                        f"the proxy {place} is no http or https proxy", resolution="mend http_proxy or https_proxy"
                    )
                words = make_headers(proxy_basic_auth=user) if user else None
                self._pools[key] = urllib3.ProxyManager(place, proxy_headers=words, ssl_context=context, maxsize=8)
            else:
                self._pools[key] = urllib3.PoolManager(ssl_context=context, maxsize=8)
        return self._pools[key]

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self.ca_file:
            try:
                context.load_verify_locations(self.ca_file)
            except (OSError, ssl.SSLError) as error:
                raise PragmaError(
                    f"the certificates in {self.ca_file} cannot be read",
                    details=str(error),
                    resolution="write them in PEM form, and mend ca_file in the configuration",
                ) from error
        return context
