"""Two sites on this machine that only a routed path joins: each site's public network has a router of its own.

::

    clusters of a ─ bridge ─ router a ── 192.0.2.0/30 ── router b ─ bridge ─ clusters of b
                                                         translates addresses

Router a knows no way to b's addresses: whoever is there reaches a, and nobody in a reaches them unasked. This machine
has an address on both bridges, to log in, and passes nothing on between them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from live.site import LiveSite, live_site

LINK = ("192.0.2.1/30", "192.0.2.2/30")


def ip(*words: str, inside: str = "") -> None:
    netns = ["netns", "exec", inside, "ip"] if inside else []
    subprocess.run(["ip", *netns, *words], check=True, capture_output=True)


@contextmanager
def two_sites(image: Path) -> Iterator[tuple[LiveSite, LiveSite]]:
    """Both sites, configured; they offer *image*. All is removed at the end."""
    with ExitStack() as stack:
        a, b = stack.enter_context(live_site(image)), stack.enter_context(live_site(image))
        for site in (a, b):
            site.clear()  # their NAT networks: this machine must not route there
            stack.enter_context(_public(site))
            site.configure(public_network={"bridge": _bridge(site)})
        ip("link", "add", "out", "netns", _router(a), "type", "veth", "peer", "name", "out", "netns", _router(b))
        for site, address in zip((a, b), LINK, strict=True):
            ip("address", "add", address, "dev", "out", inside=_router(site))
            ip("link", "set", "out", "up", inside=_router(site))
        ip("route", "add", "default", "via", LINK[0].partition("/")[0], inside=_router(b))
        chain = 'chain out { type nat hook postrouting priority 100; oifname "out" masquerade; };'
        subprocess.run(["ip", "netns", "exec", _router(b), "nft", f"table ip outside {{ {chain} }}"], check=True)
        yield a, b


def _bridge(site: LiveSite) -> str:
    return f"br-{site.prefix}"


def _router(site: LiveSite) -> str:
    return f"router-{site.prefix}"


@contextmanager
def _public(site: LiveSite) -> Iterator[None]:
    """The site's public network: a bridge, and the router behind it."""
    hosts, inner = list(site.network.hosts()), f"r-{site.prefix}"
    ip("link", "add", _bridge(site), "type", "bridge")
    try:
        ip("netns", "add", _router(site))
        try:
            ip("address", "add", f"{hosts[1]}/24", "dev", _bridge(site))
            ip("link", "set", _bridge(site), "up")
            ip("link", "add", inner, "type", "veth", "peer", "name", "in", "netns", _router(site))
            ip("link", "set", inner, "master", _bridge(site), "up")
            ip("address", "add", f"{hosts[0]}/24", "dev", "in", inside=_router(site))
            ip("link", "set", "in", "up", inside=_router(site))
            forward = ["sysctl", "-qw", "net.ipv4.ip_forward=1"]
            subprocess.run(["ip", "netns", "exec", _router(site), *forward], check=True)
            yield
        finally:
            ip("netns", "del", _router(site))
    finally:
        ip("link", "del", _bridge(site))
