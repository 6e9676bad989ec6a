"""A document's part on the WireGuard overlay (guest.md 6.7): `<pragma><overlay>`, and what other nodes are there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Protocol
from xml.etree import ElementTree

from pragma_boot.agent import values
from pragma_boot.errors import GuestError
from pragma_boot.model import KeyPair, NodeAllocation, NodeName, Overlay, OverlayMember, OverlayPeer

_KEY = re.compile(r"[A-Za-z0-9+/]{43}=")
_ENDPOINT = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}:[0-9]{1,5}|[A-Za-z0-9.-]{1,253}:[0-9]{1,5}")


class Extensions(Protocol):
    """Where our own elements are found."""

    def extension(self, tag: str) -> ElementTree.Element | None:
        """The first of that name."""

    def extensions(self, tag: str) -> list[ElementTree.Element]:
        """All of them."""


def read(source: Extensions, own: NodeAllocation, names: Sequence[NodeName], notes: list[str]) -> Overlay | None:
    """The overlay; None where there is none, or, with a note, where the document says too little or nonsense of it.

    names: all nodes of the cluster; each must have an address in it, which only whole documents tell.
    """
    element = source.extension("overlay")
    if element is None:
        return None
    addresses = {node.get("name", ""): node.get("overlay", "") for node in source.extensions("node")}
    try:
        member = _member(element)
        members = {own.name: member}
        for name in names:
            if name != own.name:
                address = values.address(addresses.get(name, ""), "node in the overlay")
                members[name] = OverlayMember(IPv4Interface((address, member.address.network.prefixlen)), "", ())
        key = source.extension("nameskey")
        pair = KeyPair("", "") if key is None else values.pair(key, key.get("public", ""), notes)
        return Overlay(_address(element, "hub"), values.mtu(element), members, pair)
    except GuestError as error:
        notes.append(f"the overlay is left alone: {error.message}")
        return None


def _member(element: ElementTree.Element) -> OverlayMember:
    try:
        address = IPv4Interface(element.get("address", ""))
    except ValueError as error:
        raise GuestError("its address is none") from error
    peers = tuple(map(_peer, element.findall("peer")))
    return OverlayMember(address, _key(element, "private-key"), peers, _number(element, "port", 65535))


def _peer(element: ElementTree.Element) -> OverlayPeer:
    try:
        allowed = IPv4Network(element.get("allowed-ips", ""))
    except ValueError as error:
        raise GuestError("a peer's allowed-ips are no network") from error
    endpoint = element.get("endpoint", "")
    if endpoint and not _ENDPOINT.fullmatch(endpoint):
        raise GuestError("a peer's endpoint is none")
    public, shared = _key(element, "public-key"), _key(element, "preshared-key")
    return OverlayPeer(public, shared, allowed, endpoint, _number(element, "keepalive", 65535))


def _key(element: ElementTree.Element, name: str) -> str:
    """A WireGuard key; it is never quoted in a message."""
    text = element.get(name, "")
    if not _KEY.fullmatch(text):
        raise GuestError(f"its {name} is none")
    return text


def _number(element: ElementTree.Element, name: str, most: int) -> int:
    text = element.get(name, "0")
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > most:
        raise GuestError(f"its {name} is none")
    return int(text)


def _address(element: ElementTree.Element, name: str) -> IPv4Address:
    return values.address(element.get(name, ""), name)
