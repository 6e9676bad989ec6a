"""The join information of an overlay: what its hub publishes and every joining cluster reads (guest.md 6.7).

Lines ``key=value``; what could break a line is percent-encoded in values, and keys that are not known are ignored, so
that exchanges of the old program (which knew other keys) serve as they are. All of it is secret: it holds the preshared
key and the seed of the members' private keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from urllib.parse import quote, unquote

from pragma_boot.errors import Fault, JoinInformationError
from pragma_boot.model import shorten
from pragma_boot.network.overlay.keys import SIZE, is_key

KIND = "wireguard"
VERSION = "1"
PORT = 51820
"""UDP port of a hub, unless it says otherwise: WireGuard's usual one."""

MTU = 1420
"""Bytes: Ethernet's 1500 less what WireGuard adds over IPv6, its own default."""

LIMIT = 256 * 1024
"""Join information has at most that many bytes."""

NAMES = 4096
"""At most that many names of the hub's nodes."""

_PLAIN = ":/+=,@ "  # as they are in values: they break no line
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
_RERUN = "boot the cluster with enable-ipop-server= anew, and publish at an exchange that changes nothing"


@dataclass(frozen=True, slots=True)
class JoinInformation:
    """What it takes to join an overlay.

    network: addresses of all its nodes. mtu: bytes. hub, port: where the hub's WireGuard is reached by UDP.
    hub_key: the hub's public key. preshared: base64. slots: how many there are, numbered from 1.
    names: host names of the hub's own nodes, so that those who join can call them; may be empty.
    """

    network: IPv4Network
    hub: IPv4Address
    hub_key: str
    preshared: str = field(repr=False)
    seed: bytes = field(repr=False)
    slots: int
    mtu: int = MTU
    port: int = PORT
    names: Mapping[IPv4Address, str] = field(default_factory=dict)

    def pairs(self) -> dict[str, str]:
        """Keys and plain values, as an exchange keeps them. Secret."""
        pairs = {
            "overlay": KIND,
            "version": VERSION,
            "cidr": str(self.network),
            "mtu": str(self.mtu),
            "hub_endpoint": f"{self.hub}:{self.port}",
            "hub_public_key": self.hub_key,
            "psk": self.preshared,
            "slot_count": str(self.slots),
            "slot_seed": self.seed.hex(),
        }
        if self.names:
            pairs["names"] = ",".join(f"{name}@{address}" for address, name in self.names.items())
        return pairs

    def text(self) -> str:
        """The lines, as `parse` reads them. Secret."""
        return lines(self.pairs())


def lines(pairs: Mapping[str, str]) -> str:
    """``key=value`` lines; what could break a line is percent-encoded."""
    return "".join(f"{key}={quote(value, safe=_PLAIN)}\n" for key, value in pairs.items())


def is_name(text: str) -> bool:
    """Whether a text can name a node: DNS labels in lower case, with dots between them."""
    return _NAME.fullmatch(text) is not None


def parse(text: str, origin: str) -> JoinInformation:
    """Read join information. origin: where it is from, for messages.

    Raises JoinInformationError with every fault at once; no value of it is quoted, for all are secret.
    """
    found, faults = _pairs(text, origin)
    if foreign := _foreign(found):
        raise _refused(origin, [Fault(origin, *foreign)])
    values: dict[str, Any] = {}
    for key, read in _READERS.items():
        if key not in found:
            if key not in _OPTIONAL:
                faults.append(Fault(origin, f"{key} is missing"))
            continue
        try:
            values |= read(found[key])
        except ValueError as error:
            faults.append(Fault(origin, f"{key} {error}"))
    if not faults:
        faults = [Fault(origin, what) for what in _contradictions(**values)]
    if faults:
        raise _refused(origin, faults)
    return JoinInformation(**values)


def _pairs(text: str, origin: str) -> tuple[dict[str, str], list[Fault]]:
    if len(text) > LIMIT:
        raise _refused(origin, [Fault(origin, f"has more than {LIMIT // 1024} KiB")])
    pairs: dict[str, str] = {}
    faults = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        key = key.strip()
        if not equals or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", key):
            faults.append(Fault(f"{origin}, line {number}", "is not of the form key=value"))
        elif key in pairs:
            faults.append(Fault(f"{origin}, line {number}", f"{key} is there twice"))
        else:
            pairs[key] = unquote(value.strip(), errors="replace")
    return pairs, faults


def _foreign(pairs: Mapping[str, str]) -> tuple[str, str] | None:
    """What is wrong as a whole, and its mend: something else than an overlay that we know."""
    if "overlay" not in pairs:
        if "xmpp_host" in pairs:
            return "is of an IPOP server, which this program does not join", "boot its cluster anew with this program"
        return None
    if pairs["overlay"] != KIND:
        return f"is of an overlay of kind {shorten(pairs['overlay'], 20)!r}, not {KIND}", "update this program"
    if pairs.get("version", VERSION) != VERSION:
        return f"has version {shorten(pairs['version'], 20)!r}, this program reads {VERSION}", "update this program"
    return None


def _refused(origin: str, faults: Iterable[Fault]) -> JoinInformationError:
    return JoinInformationError(f"the join information at {origin} cannot be used", tuple(faults), resolution=_RERUN)


def _ignored(_: str) -> dict[str, Any]:
    return {}  # `_foreign` has looked at it


def _network(value: str) -> dict[str, Any]:
    try:
        network = IPv4Network(value)
    except ValueError:
        raise ValueError("is no IPv4 network") from None
    if not network.is_private or network.is_loopback or network.is_link_local or network.prefixlen > 30:
        raise ValueError("is no private network with room for nodes")
    return {"network": network}


def _number(name: str, least: int, most: int) -> Callable[[str], dict[str, Any]]:
    def read(value: str) -> dict[str, Any]:
        if not re.fullmatch(r"[0-9]{1,9}", value) or not least <= int(value) <= most:
            raise ValueError(f"is no number from {least} to {most}")
        return {name: int(value)}

    return read


def _endpoint(value: str) -> dict[str, Any]:
    address, _, port = value.rpartition(":")
    try:
        hub = IPv4Address(address)
        if re.fullmatch(r"[0-9]{1,5}", port) and 1 <= int(port) <= 65535 and not (hub.is_multicast or int(hub) == 0):
            return {"hub": hub, "port": int(port)}
    except ValueError:
        pass  # told below
    raise ValueError("is no IPv4 address with a port")


def _key(name: str) -> Callable[[str], dict[str, Any]]:
    def read(value: str) -> dict[str, Any]:
        if not is_key(value):
            raise ValueError("is no WireGuard key")
        return {name: value}

    return read


def _seed(value: str) -> dict[str, Any]:
    if not re.fullmatch(rf"[0-9a-fA-F]{{{2 * SIZE}}}", value):
        raise ValueError(f"is not of {2 * SIZE} hexadecimal digits")
    return {"seed": bytes.fromhex(value)}


def _names(value: str) -> dict[str, Any]:
    names: dict[IPv4Address, str] = {}
    words = value.split(",")
    if len(words) > NAMES:
        raise ValueError(f"has more than {NAMES} names")
    for word in words:
        name, _, address = word.partition("@")
        try:
            names[IPv4Address(address)] = name
        except ValueError:
            raise ValueError("has a word that is no name@address") from None
        if not is_name(name):
            raise ValueError("has a word that is no host name")
    return {"names": names}


_READERS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "overlay": _ignored,
    "version": _ignored,
    "cidr": _network,
    "mtu": _number("mtu", 576, 65535),
    "hub_endpoint": _endpoint,
    "hub_public_key": _key("hub_key"),
    "psk": _key("preshared"),
    "slot_count": _number("slots", 1, 2**16),
    "slot_seed": _seed,
    "names": _names,
}
_OPTIONAL = ("names",)


def _contradictions(*, network: IPv4Network, hub: IPv4Address, slots: int, **others: Any) -> Iterable[str]:
    """What single values do not show."""
    if slots > network.num_addresses - 3:
        yield f"cidr has no room for {slots} slots"
    if hub in network:
        yield "hub_endpoint lies within the overlay itself"
    for address in others.get("names", ()):
        if address not in network:
            yield "names has an address outside of the overlay"
