"""What single values cannot tell: whether the networks of one site fit together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

Finding = tuple[str, str, str]
"""The key that is wrong, what is wrong, and the mend."""


def check_networks(values: Mapping[str, Any], *, forwarded: bool = False) -> Iterator[Finding]:
    """Look at the parsed values of a driver's file; keys that are missing or wrong in themselves are not in it.

    forwarded: public addresses are not in the network of gateway and mask, but are translated to one there.
    """
    public = None
    pool = values.get("public_ips", ())
    if "gw" in values and "netmask" in values:
        public = IPv4Network((values["gw"], str(values["netmask"])), strict=False)
        yield from _check_gateway(values["gw"], public)
        if not forwarded:
            yield from _check_pool(pool, values["gw"], public)
    yield from _check_twice(pool)
    private = values["private_network"].network if "private_network" in values else None
    if public and private and public.overlaps(private):
        yield (
            "private_network",
            f"{private} overlaps the public network {public}",
            'choose another, for example "10.7.1.1/16"',
        )
    for name, further in _further(values):
        for kind, other in (("public", public), ("private", private)):
            if other and other.overlaps(further):
                mend = f"choose another cidr for {name}"
                yield "additional_interfaces", f"the cidr {further} of {name} overlaps the {kind} network {other}", mend


def _check_gateway(gateway: IPv4Address, public: IPv4Network) -> Iterator[Finding]:
    if gateway in (public.network_address, public.broadcast_address):
        mend = "mend gw or netmask: hosts have the addresses between these two"
        yield "gw", f"{gateway} is the network or broadcast address of {public}", mend


def _check_pool(pool: tuple[IPv4Address, ...], gateway: IPv4Address, public: IPv4Network) -> Iterator[Finding]:
    outside = [address for address in pool if address not in public]
    ends = [address for address in pool if address in (public.network_address, public.broadcast_address)]
    if outside:
        mend = f"name addresses of {public}, or mend gw and netmask"
        yield "public_ips", f"{_some(outside)} not in the network {public} of gw and netmask", mend
    if ends:
        yield "public_ips", f"{_some(ends)} the network or broadcast address of {public}", "leave it out"
    if gateway in pool:
        yield "public_ips", f"{gateway} is the gateway", "leave it out: clusters need addresses of their own"


def _check_twice(pool: tuple[IPv4Address, ...]) -> Iterator[Finding]:
    twice = [address for address, count in Counter(pool).items() if count > 1]
    if twice:
        yield "public_ips", f"{_some(twice)} named twice", "name each address once"


def _some(addresses: list[IPv4Address]) -> str:
    shown = ", ".join(map(str, addresses[:3]))
    more = f" and {len(addresses) - 3} more" if len(addresses) > 3 else ""
    return f"{shown}{more} {'is' if len(addresses) == 1 else 'are'}"


def _further(values: Mapping[str, Any]) -> Iterator[tuple[str, IPv4Network]]:
    for name, attachment in values.get("additional_interfaces", {}).items():
        if not isinstance(attachment, str) and "cidr" in attachment:
            yield name, attachment["cidr"]
