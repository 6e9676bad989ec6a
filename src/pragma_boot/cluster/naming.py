"""Which address a cluster gets and what it is called."""

from __future__ import annotations

import itertools
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from pragma_boot.cluster.plan import name_after_image
from pragma_boot.errors import CapacityError, UsageError
from pragma_boot.model import ClusterName, ImageName, InUse, cluster_name
from pragma_boot.network.pool import free_addresses

_LOOKUP_LIMIT = 2.0
"""Seconds that a reverse lookup may take: a site without DNS must not wait for it."""

_HOST_NAME = re.compile(r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}")

_SHORT = 40
"""Characters of an image's name that leave every engine room for more."""

Lookup = Callable[[IPv4Address], str | None]


@dataclass(frozen=True, slots=True)
class Identity:
    """A public address that is free, its fully qualified name, and the cluster's name.

    address: None where the engine assigns it later.
    """

    address: IPv4Address | None
    fqdn: str
    cluster: ClusterName


def reverse_name(address: IPv4Address) -> str | None:
    """What DNS (or /etc/hosts) calls *address*: lower case, with a dot in it; None when nothing comes in time."""
    answer: list[str] = []

    def ask() -> None:
        try:
            answer.append(socket.gethostbyaddr(str(address))[0])
        except OSError:
            return

    thread = threading.Thread(target=ask, daemon=True)  # a resolver cannot be told to give up
    thread.start()
    thread.join(_LOOKUP_LIMIT)
    name = answer[0].lower().rstrip(".") if answer else ""
    return name if _HOST_NAME.fullmatch(name) else None


def choose(
    image: ImageName,
    wanted: ClusterName | None,
    pool: tuple[IPv4Address, ...],
    *,
    used: InUse,
    domain: str,
    lookup: Lookup = reverse_name,
    refused: str = "",
) -> Identity:
    """The first free address of *pool*, and a free name: *wanted*, else by reverse DNS, else after the image.

    refused: a regular expression of names that the engine cannot give to a cluster.

    Raises UsageError for a *wanted* name that is refused, CapacityError when no address is free. Whether *wanted* is
    free is decided by the reservation.
    """
    _check(wanted, refused)
    address = next(free_addresses(pool, used.addresses), None)
    if address is None:
        raise CapacityError(
            f"all {len(pool)} public addresses of the site are in use",
            resolution="clean a cluster that is no longer needed ('pragma list cluster'), or add to 'public_ips'",
        )
    found = lookup(address)
    name = wanted or _from_dns(found, used, refused) or _from_image(image, used, refused)
    return Identity(address, found or f"{name}.{domain}", name)


def choose_name(
    image: ImageName, wanted: ClusterName | None, *, used: InUse, domain: str, refused: str = ""
) -> Identity:
    """A free name alone, where the engine assigns addresses: *wanted*, else after the image; raises as `choose`."""
    _check(wanted, refused)
    name = wanted or _from_image(image, used, refused)
    return Identity(None, f"{name}.{domain}", name)


def _check(wanted: ClusterName | None, refused: str) -> None:
    if wanted and _refuses(refused, wanted):
        raise UsageError(
            f"{wanted!r} cannot name a cluster at this site: its engine would misread it",
            resolution="choose another name",
        )


def _from_dns(fqdn: str | None, used: InUse, refused: str) -> ClusterName | None:
    if fqdn is None:
        return None
    try:
        name = cluster_name(fqdn.partition(".")[0])
    except UsageError:
        return None
    return None if name in used.clusters or _refuses(refused, name) else name


def _from_image(image: ImageName, used: InUse, refused: str) -> ClusterName:
    base = name_after_image(image)
    if _refuses(refused, base) or _refuses(refused, f"{base}-2"):
        base = f"vc-{base[:_SHORT].rstrip('-')}"
    names = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
    return next(ClusterName(name) for name in names if name not in used.clusters)


def _refuses(pattern: str, name: str) -> bool:
    return bool(pattern) and re.fullmatch(pattern, name) is not None
