"""Parsers of network values: addresses, masks, VLANs, and how nodes are attached to networks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from pragma_boot.config.settings import PublicNetwork
from pragma_boot.config.values import WrongValueError, choice, entry, network_tag, text, whole, words

POOL_LIMIT = 65536
"""Most public addresses of one site."""

_DEVICE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def address(value: object) -> IPv4Address:
    """One IPv4 address."""
    try:
        return IPv4Address(text(value).strip())
    except ValueError:
        raise WrongValueError("is no IPv4 address", 'write it in quotes: "192.0.2.1"') from None


def addresses(value: object) -> tuple[IPv4Address, ...]:
    """IPv4 addresses in their order: a list, or one text with commas or blanks between them."""
    return tuple(_named(word) for word in words(value))


def pool(value: object) -> tuple[IPv4Address, ...]:
    """`addresses` where ``"FIRST-LAST"`` stands for a whole range; at least one, at most `POOL_LIMIT`."""
    found: list[IPv4Address] = []
    for word in words(value):
        found += _range(word) if "-" in word else [_named(word)]
        if len(found) > POOL_LIMIT:
            raise WrongValueError("has too many addresses", f"name at most {POOL_LIMIT}")
    if not found:
        raise WrongValueError("has no address in it", 'name one address per cluster: ["192.0.2.10", "192.0.2.11"]')
    return tuple(found)


def _named(word: str) -> IPv4Address:
    try:
        return IPv4Address(word.strip())
    except ValueError:
        raise WrongValueError(f"{word!r} is no IPv4 address", 'write each in quotes: "192.0.2.1"') from None


def _range(word: str) -> list[IPv4Address]:
    first, _, last = word.partition("-")
    low, high = _named(first), _named(last)
    if high < low:
        raise WrongValueError(f"{word!r} ends before it begins", "write the lower address first")
    if int(high) - int(low) >= POOL_LIMIT:
        raise WrongValueError(f"{word!r} has too many addresses", f"name at most {POOL_LIMIT}")
    return [IPv4Address(number) for number in range(int(low), int(high) + 1)]


def netmask(value: object) -> IPv4Address:
    """A network mask as text, ``"255.255.255.0"``, or as the number of its bits, 8 to 30."""
    written = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    try:
        if re.fullmatch(r"/?[0-9]{1,2}", written):
            mask = IPv4Network(f"0.0.0.0/{written.lstrip('/')}").netmask
        else:
            mask = IPv4Address(written)
    except ValueError:
        raise WrongValueError("is no network mask", 'write it like "255.255.255.0"') from None
    # A mask's inverse is a row of ones: adding one to it leaves a single bit.
    host = ~int(mask) & 0xFFFFFFFF
    if host & (host + 1) or not 2**2 <= host + 1 <= 2**24:
        raise WrongValueError("is no network mask from /8 to /30", 'write it like "255.255.255.0"')
    return mask


def interface(value: object) -> IPv4Interface:
    """An address with its mask, ``"10.1.1.1/16"``: a node's own, neither the network's nor the broadcast address."""
    mend = 'write the frontend\'s address and the mask: "10.1.1.1/16"'
    try:
        found = IPv4Interface(text(value).strip())
    except ValueError:
        raise WrongValueError("is no address with a mask", mend) from None
    if not 8 <= found.network.prefixlen <= 29:
        raise WrongValueError("has no mask from /8 to /29", mend)
    if found.ip in (found.network.network_address, found.network.broadcast_address):
        raise WrongValueError("is the network's own or its broadcast address", mend)
    return found


def overlay_network(value: object) -> IPv4Network | None:
    """A private network from /12 to /25 for an overlay, which has 64 slots; empty for none."""
    if value in (None, ""):
        return None
    mend = 'write it like "172.20.0.0/22"'
    try:
        found = IPv4Network(text(value).strip())
    except ValueError:
        raise WrongValueError("is no network", mend) from None
    if not 12 <= found.prefixlen <= 25 or not found.is_private:
        raise WrongValueError("is no private network from /12 to /25", mend)
    return found


def vlans(value: object) -> tuple[int, ...]:
    """VLAN ids in order of preference: a range, a list, one number, or a text of numbers; repetitions are dropped."""
    items = words(value) if isinstance(value, str) else value if isinstance(value, list | tuple | range) else [value]
    parse = whole(1, 4094)
    try:
        found = tuple(dict.fromkeys(parse(item) for item in items))
    except WrongValueError:
        raise WrongValueError("has something that is no VLAN id", "write numbers from 1 to 4094") from None
    if not found:
        raise WrongValueError("has no VLAN in it", "name one VLAN per cluster; range(22, 24) is 22 and 23")
    return found


def public_network(value: object) -> PublicNetwork:
    """``{"nat": NAME}``, a libvirt network that we create, or ``{"bridge": DEVICE}``, a bridge that is there."""
    mend = 'write {"nat": "pragma-public"} or {"bridge": "br0"}'
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in ("nat", "bridge"):
        raise WrongValueError("is neither a NAT network nor a bridge", mend)
    ((kind, name),) = value.items()
    if not isinstance(name, str) or not (_DEVICE if kind == "bridge" else _NAME).fullmatch(name):
        raise WrongValueError(f"has the name {name!r}, which a {kind} cannot have", mend)
    return PublicNetwork(kind, name)


def ent(value: object) -> Mapping[str, str]:
    """``{"subnet_name": NETWORK, "interface_name": HOST INTERFACE}`` of an ENT site; empty for none (guest.md 7.2)."""
    if value in (None, "", {}):
        return {}
    mend = 'write {"subnet_name": "openflow", "interface_name": "ovs"}'
    if not isinstance(value, dict):
        raise WrongValueError("is no dictionary", mend)
    found = entry(value, {"subnet_name": network_tag, "interface_name": text})
    if len(found) != 2:
        raise WrongValueError("needs both subnet_name and interface_name", mend)
    return found


def additional_interfaces(value: object) -> Mapping[str, object]:
    """Networks that clusters may ask for, each with the host's interface (old form) or a description (guest.md 7.4).

    The description: bridge (required), type (bridge or openvswitch), vlan, mtu, cidr (an `IPv4Network`).
    """
    if value in (None, ""):
        return {}
    if not isinstance(value, dict):
        raise WrongValueError("is no dictionary", 'write {"openflow": "ovs"}')
    return {network_tag(name): _attachment(name, content) for name, content in value.items()}


def _attachment(name: object, value: object) -> str | Mapping[str, Any]:
    if not isinstance(value, dict):
        return text(value)
    found = entry(value, _ATTACHMENT)
    if "bridge" not in found:
        raise WrongValueError(f"{name} names no bridge", 'write {"openflow": {"bridge": "br-ent"}}')
    return {"type": "bridge", **found}


def _network(value: object) -> IPv4Network:
    try:
        return IPv4Network(text(value).strip())
    except ValueError:
        raise WrongValueError("is no IPv4 network", 'write it like "10.103.0.0/16"') from None


def _device(value: object) -> str:
    if not isinstance(value, str) or not _DEVICE.fullmatch(value):
        raise WrongValueError("is no name of a network device", "use up to 15 letters, digits, '_', '.' and '-'")
    return value


_ATTACHMENT = {
    "bridge": _device,
    "type": choice("bridge", "openvswitch"),
    "vlan": whole(1, 4094),
    "mtu": whole(576, 65535),
    "cidr": _network,
}
