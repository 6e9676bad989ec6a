"""Values of a vc-out document: each is what it claims to be, or a GuestError says what it is instead."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Interface, ip_address
from xml.etree import ElementTree

from pragma_boot.errors import GuestError
from pragma_boot.model import KeyPair

KEY = re.compile(r"(?:ssh-|ecdsa-|sk-)[a-z0-9@.-]{1,60} [A-Za-z0-9+/]{4,16384}={0,2}(?: [^\x00-\x1f\x7f]*)?")
"""An authorized_keys line without options."""
_PRIVATE_KEY = re.compile(
    r"-----BEGIN OPENSSH PRIVATE KEY-----\n(?:[A-Za-z0-9+/=]{1,100}\n){1,100}-----END OPENSSH PRIVATE KEY-----\n"
)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE | re.ASCII)


def dns_name(text: str, what: str) -> str:
    """A DNS name, in lower case."""
    if len(text) > 253 or not all(map(_LABEL.fullmatch, text.split("."))):
        raise GuestError(f"the vc-out document has no {what}", details=f"it has {text[:60]!r}")
    return text.lower()


def label(text: str, what: str) -> str:
    """One part of a DNS name, in lower case."""
    if "." in text:
        raise GuestError(f"the {what} has a dot", details=f"it is {text[:60]!r}")
    return dns_name(text, what)


def address(text: str, what: str) -> IPv4Address:
    """An IPv4 address; *what* is for the message."""
    try:
        return IPv4Address(text.strip())
    except ValueError as error:
        raise GuestError(f"{text[:60]!r} is no IPv4 address of a {what}") from error


def interface(text: str, mask: str) -> IPv4Interface:
    """An address that a machine may have, with its mask."""
    ip = address(text, "node")
    try:
        if not mask:
            raise ValueError("netmask is missing")
        interface = IPv4Interface(f"{ip}/{ip_address(mask.strip())}")
    except ValueError as error:
        raise GuestError(f"{mask[:60]!r} is no netmask") from error
    if ip.is_unspecified or ip.is_multicast or ip.is_loopback:
        raise GuestError(f"{ip} is no address for a node")
    return interface


def mtu(element: ElementTree.Element) -> int:
    """The element's `mtu`, bytes; 1500 where there is none."""
    text = element.get("mtu", "") or "1500"
    if not re.fullmatch(r"[0-9]{2,5}", text) or not 68 <= int(text) <= 65535:
        raise GuestError(f"{text[:20]!r} is no MTU")
    return int(text)


def cpus(element: ElementTree.Element) -> int:
    """The element's `cpus`; 1 where there is none, or none that makes sense."""
    text = element.get("cpus", "1")
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,3}", text) else 1


def pair(element: ElementTree.Element, public: str, notes: list[str]) -> KeyPair:
    """The key pair whose private part is the element's text; what is none of either is noted and left out."""
    private = (element.text or "").strip()
    text = f"{private}\n" if private else ""
    if text and not _PRIVATE_KEY.fullmatch(text):
        notes.append(f"<{element.tag}> is no private key")
        text = ""
    if not KEY.fullmatch(public):
        notes.append(f"<{element.tag}> has no public key")
        return KeyPair("", "")
    return KeyPair(text, public)
