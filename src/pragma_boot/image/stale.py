"""What an image carries that belongs to the machine it was built on (guest.md 5.2, groups A and B).

Files are moved below `SAVED`, never renamed in place: udev, netplan, networkd and NetworkManager read by suffix.
What we wrote ourselves in an earlier boot of the same disk is removed instead, so that cleaning twice saves nothing
over the user's originals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pragma_boot.image import peek
from pragma_boot.image.base import Edit, Files, MakeFolder, Move, Remove, Write
from pragma_boot.image.profile import MARK, SAVED

LOOPBACK = f"{MARK}\nauto lo\niface lo inet loopback\n\nsource /etc/network/interfaces.d/*\n"
"""/etc/network/interfaces as group A leaves it: what follows comes from interfaces.d."""

_MAC = re.compile(r"(?i)\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b")
_LINK_MAC = re.compile(r"(?im)^\s*(?:Permanent)?MACAddress\s*=")
_ON_ETHERNET = {"", "ethernet", "802-3-ethernet", "bridge", "bond", "team", "vlan"}
"""Profile types that are an Ethernet device or rest on one that is cleaned away."""
_VIRTUAL = re.compile(
    r"(?:br|docker|veth|virbr|wg|tun|tap|bond|team|dummy|vlan|lo$|wl|ww|v[bezt]-|mv-|vxlan|gre|ipip|sit|lx[cd]|cni"
    r"|flannel|cali|tailscale|zt|ib|can|ppp|macvlan|ipvlan|vrf|geneve)"
)
_CURTIN = ("50-curtin-networking", "90-installer-network", "99-installer", "subiquity-disable-cloudinit-networking")
_LEASES = (
    ("/var/lib/dhcp", "*"),
    ("/var/lib/dhclient", "*"),
    ("/var/lib/dhcpcd", "*"),
    ("/var/lib/NetworkManager", "*.lease"),
    ("/var/lib/NetworkManager", "internal-*"),
    ("/var/lib/wicked", "*"),
    ("/var/lib/pragma-guest", "*"),
)
_UNITS = "/etc/systemd/system"
_OVERLAY = (
    "/etc/pragma/names.conf",
    "/etc/pragma/names",
    "/etc/pragma/names.own",
    "/etc/pragma/names.known",
    "/etc/pragma/names.key",
    "/etc/pragma/names.dropbear",
    "/etc/pragma/overlay",
    "/etc/pragma/wg0.conf",
    "/etc/pragma/boot.d/10-overlay",
    "/etc/pragma/boot.d/10-names",
    "/etc/pragma/boot.d/20-overlay",
    "/etc/pragma/boot.d/20-names",
    "/etc/pragma/boot.d/30-names",
    "/etc/NetworkManager/system-connections/vc-overlay.nmconnection",
    "/etc/firewalld/policies/pragma-overlay.xml",
    "/etc/firewalld/zones/pragma-overlay.xml",
    "/etc/netplan/61-pragma-overlay.yaml",
    "/etc/sysctl.d/91-pragma-overlay.conf",
    "/etc/systemd/network/10-pragma-wg0.netdev",
    "/etc/systemd/network/10-pragma-wg0.network",
    *(
        f"{_UNITS}/{folder}pragma-{name}.service"
        for folder in ("multi-user.target.wants/", "")
        for name in ("overlay", "names")
    ),
)
"""What a node had as a member of an overlay (render.overlay); the first is always among it."""


def cleaning(guest: Files) -> tuple[Edit, ...]:
    """Group A: edits that take the old network configuration, names and leases away; for every image."""
    stale = [*_udev(guest), *_ifcfg(guest), *_managers(guest), *_cloud_installer(guest)]
    edits: list[Edit] = [_put_away(guest, path) for path in stale]
    edits += _interfaces(guest)
    edits += [Remove(path) for folder, pattern in _LEASES for path in peek.paths(guest, folder, pattern)]
    if guest.exists(_OVERLAY[0]):
        edits += [Remove(path) for path in _OVERLAY]
    edits += [Remove(path) for path in ("/root/vc-out.xml", "/root/vc-out.xml.old") if guest.exists(path)]
    if any(isinstance(edit, Move) for edit in edits):
        edits.insert(0, MakeFolder(SAVED, 0o700))
    return tuple(edits)


def identity(guest: Files, *, host_keys: bool) -> tuple[Edit, ...]:
    """Group B: edits that make a clone another machine; *host_keys*: whether the ssh host keys go, too."""
    edits: list[Edit] = []
    if guest.exists("/etc/machine-id"):
        edits.append(Write("/etc/machine-id", b"", 0o444))
    doomed = [
        "/var/lib/systemd/random-seed",
        "/var/lib/systemd/credential.secret",
        "/boot/loader/random-seed",
        "/boot/efi/loader/random-seed",
        *(f"/var/lib/cloud/{name}" for name in ("instance", "instances", "data", "sem", "seed")),
    ]
    if guest.readlink("/var/lib/dbus/machine-id") is None:
        doomed.append("/var/lib/dbus/machine-id")
    found = [path for path in doomed if guest.exists(path) or guest.readlink(path) is not None]
    found += peek.paths(guest, "/var/log", "cloud-init*.log")
    if host_keys:
        found += peek.paths(guest, "/etc/ssh", "ssh_host_*")
        found += peek.paths(guest, "/etc/dropbear", "dropbear_*_host_key")
    return (*edits, *map(Remove, found))


def _put_away(guest: Files, path: str) -> Edit:
    return Remove(path) if MARK in peek.text(guest, path) else Move(path, SAVED + path)


def _udev(guest: Files) -> Iterator[str]:
    rules = "/etc/udev/rules.d"
    yield from peek.paths(
        guest,
        rules,
        "70-persistent-net.rules",
        "75-persistent-net*",
        "70-persistent-cd.rules",
        "75-cloud-ifupdown.rules",
        "70-pragma-net.rules",
    )
    for path in peek.paths(guest, rules, "*net-name*.rules"):
        if _MAC.search(peek.text(guest, path)):
            yield path
    for path in peek.paths(guest, "/etc/systemd/network", "*.link"):
        if _LINK_MAC.search(peek.text(guest, path)):
            yield path


def _ifcfg(guest: Files) -> Iterator[str]:
    for folder in ("/etc/sysconfig/network-scripts", "/etc/sysconfig/network"):
        kept = {"lo"}
        for path in peek.paths(guest, folder, "ifcfg-*"):
            name = path.rpartition("ifcfg-")[2]
            if name == "lo" or not _rests_on_ethernet(peek.assignments(peek.text(guest, path)).get("TYPE", "")):
                kept.add(name)
            elif name != "template":  # SUSE's documentation file
                yield path
        for path in peek.paths(guest, folder, "route-*", "route6-*", "rule-*", "rule6-*", "keys-*", "ifroute-*"):
            if path.rpartition("/")[2].partition("-")[2] not in kept:
                yield path
    yield from peek.paths(guest, "/etc/sysconfig/network", "routes")


def _managers(guest: Files) -> Iterator[str]:
    for path in peek.paths(guest, "/etc/NetworkManager/system-connections", "*"):
        facts = peek.sections(peek.text(guest, path))
        if _rests_on_ethernet(next((value for _, key, value in facts if key == "type"), "")):
            yield path
    yield from peek.paths(guest, "/etc/netplan", "*.yaml", "*.yml")
    for path in peek.paths(guest, "/etc/systemd/network", "*.network"):
        if can_match_ethernet(peek.text(guest, path)):
            yield path


def _rests_on_ethernet(kind: str) -> bool:
    return kind.lower() in _ON_ETHERNET


def can_match_ethernet(network: str) -> bool:
    """Whether a .network file may take hold of an Ethernet device (no [Match] at all matches everything)."""
    match = [(key, value) for section, key, value in peek.sections(network) if section == "match"]
    for key, value in match:
        words = value.split()
        if key == "kind" and words and not words[0].startswith("!"):
            return False
        if key == "type" and words and not words[0].startswith("!") and "ether" not in words:
            return False
        if key in {"wlaninterfacetype", "ssid", "bssid"}:
            return False
        if key == "name" and words and all(_VIRTUAL.match(word) for word in words):
            return False
    return True


def _interfaces(guest: Files) -> list[Edit]:
    path = "/etc/network/interfaces"
    edits = [_put_away(guest, part) for part in peek.paths(guest, f"{path}.d", "*")]
    if not guest.exists(path):
        return edits
    old = peek.text(guest, path)
    return [*edits, *([] if MARK in old else [Move(path, SAVED + path)]), Write(path, LOOPBACK.encode())]


def _cloud_installer(guest: Files) -> Iterator[str]:
    yield from peek.paths(guest, "/etc/cloud/cloud.cfg.d", *(f"{name}.cfg" for name in _CURTIN))
