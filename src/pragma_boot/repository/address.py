"""Where a URL may lead: rules of redirects, paths as URLs."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from pathlib import PurePosixPath
from urllib.parse import quote, urlsplit, urlunsplit

from pragma_boot.connect import shown
from pragma_boot.errors import RepositoryError
from pragma_boot.model import shorten

_MEND = "mend the server's redirect, or name the right place as repository_url in site_conf.conf"


def joined(base: str, path: str) -> str:
    """The URL of *path* (plain text, relative) below the folder *base*; its segments are percent-encoded."""
    parts = urlsplit(base)
    whole = f"{parts.path.rstrip('/')}/{quote(str(PurePosixPath(path)), safe='/')}"
    return urlunsplit((parts.scheme, parts.netloc, whole, parts.query, ""))


def addresses(host: str) -> frozenset[str]:
    """The addresses of a host; empty when its name is not known here (a proxy may know it)."""
    try:
        return frozenset(str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return frozenset()


def check_redirect(origin: str, target: str, resolve: Callable[[str], frozenset[str]]) -> None:
    """Whether a redirect may be followed; raises RepositoryError when not.

    Only http and https lead on, https never to http, and a public server never to this machine or a private network:
    it must not make us read for it what it cannot reach itself.
    """
    first, then = urlsplit(origin), urlsplit(target)
    if then.scheme not in ("http", "https") or not then.hostname:
        why = f"to {shorten(then.scheme) or 'nowhere'}:, which is neither http nor https"
    elif first.scheme == "https" and then.scheme == "http":
        why = "from https to plain http"
    elif then.hostname != first.hostname and _inner(then.hostname, resolve) and not _inner(first.hostname, resolve):
        why = f"from a public server to {shorten(then.hostname)}, which is this machine or a private network"
    else:
        return
    raise RepositoryError(f"{shown(origin)} is redirected {why}", resolution=_MEND)


def _inner(host: str | None, resolve: Callable[[str], frozenset[str]]) -> bool:
    """Whether a host is this machine or on a private network, by any of its addresses."""
    if not host:
        return True
    try:
        found = frozenset([str(ipaddress.ip_address(host))])
    except ValueError:
        found = resolve(host)
    parsed = [ipaddress.ip_address(address.partition("%")[0]) for address in found]
    return any(not _outer(address) for address in parsed)


def _outer(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_global
