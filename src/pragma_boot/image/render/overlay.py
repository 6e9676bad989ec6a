"""A node's part in a WireGuard overlay: its interface, what the hub's frontend passes on, and names (guest.md 6.7).

The interface comes from the image's back end where that can (networkd, NetworkManager, netplan), else from a script
with `wg` and `ip`. Names of other clusters are told from frontend to frontend, by names.sh; ADR 15 says why so.
"""

from __future__ import annotations

import json
import uuid
from importlib import resources

from pragma_boot.image.base import Edit, Write
from pragma_boot.image.profile import MARK, Backend, Nat, SshServer, WireGuard
from pragma_boot.image.render.dropbear import dropbear_key
from pragma_boot.image.render.target import Target
from pragma_boot.model import NodeAllocation, Overlay, OverlayMember, OverlayPeer, overlay_name

DEVICE = "wg0"
SCRIPT = "/etc/pragma/overlay"
NAMES = "/etc/pragma/names"
LEARNT = "/run/pragma-names/learnt"
"""A file that is there as soon as the other clusters' names are known on a frontend."""

_CONFIG = "/etc/pragma/wg0.conf"
_CONNECTIONS = uuid.UUID("6f6f0f3c-52a5-4f5c-8b0e-9d8a7d7a4d10")


def overlay(target: Target) -> list[Edit]:
    """All files that make a node a member; none for a cluster that is in no overlay."""
    part = target.allocation.overlay
    if part is None:
        return []
    member = part.members[target.node.name]
    edits = _native(target, part, member) if target.profile.wireguard is WireGuard.NATIVE else [_config(member)]
    script = _script(target, part, member)
    if script:
        edits.append(_lines(SCRIPT, script, 0o755))
    return edits + _forwarding(target, part) + _names(target, part)


def is_hub(target: Target) -> bool:
    """Whether all packets of the overlay pass this node."""
    part = target.allocation.overlay
    return part is not None and part.members[target.node.name].address.ip == part.hub


def needs_script(target: Target) -> bool:
    """Whether the node's boot has to run `SCRIPT`."""
    part = target.allocation.overlay
    return part is not None and bool(_script(target, part, part.members[target.node.name]))


def tells_names(target: Target) -> bool:
    """Whether the node's boot has to start ``NAMES sync``: a frontend that is not the hub."""
    return target.allocation.overlay is not None and target.is_frontend and not is_hub(target)


def facts(target: Target) -> dict[str, str]:
    """What the node's report has to check: its address, the hub's where it is another node, the names it learns."""
    part = target.allocation.overlay
    if part is None:
        return {}
    return {
        "overlay": str(part.members[target.node.name].address.ip),
        "hub": "" if is_hub(target) else str(part.hub),
        "learnt": LEARNT if tells_names(target) else "",
    }


def hosts_line(target: Target, node: NodeAllocation) -> list[str]:
    """The line of /etc/hosts for *node*'s address in the overlay; computes of this cluster have a short name, too."""
    part = target.allocation.overlay
    if part is None:
        return []
    names = known_as(target, node)[1:]
    short = [] if node == target.allocation.frontend else [f"{node.name}.overlay"]
    return [" ".join((str(part.members[node.name].address.ip), *names, *short))]


def known_as(target: Target, node: NodeAllocation) -> list[str]:
    """A node's address and name in the overlay; empty where there is none."""
    part = target.allocation.overlay
    if part is None:
        return []
    return [str(part.members[node.name].address.ip), overlay_name(target.allocation.cluster, node.name)]


def visitors(target: Target) -> list[str]:
    """The hub's authorized_keys line for frontends of other clusters: they may tell their names and nothing else."""
    part = target.allocation.overlay
    if part is None or not is_hub(target):
        return []
    options = ["no-pty", "no-port-forwarding", "no-agent-forwarding", "no-X11-forwarding"]
    if target.profile.sshd is SshServer.OPENSSH:
        options = ["restrict", f'from="{part.network}"']
    options.append(f'command="/bin/sh {NAMES} serve"')
    return [f"{','.join(options)} {part.names_key.public}"]


def _lines(path: str, lines: list[str], mode: int = 0o644, group: int = 0) -> Write:
    return Write(path, ("\n".join(lines) + "\n").encode(), mode, group)


# ------------------------------------------------------------------------------------------------------- interface


def _native(target: Target, part: Overlay, member: OverlayMember) -> list[Edit]:
    if target.profile.backend is Backend.NETWORKD:
        return _networkd(target, part, member)
    if target.profile.backend is Backend.NETWORK_MANAGER:
        return _network_manager(target, part, member)
    return _netplan(part, member)


def _networkd(target: Target, part: Overlay, member: OverlayMember) -> list[Edit]:
    lines = [MARK, "[NetDev]", f"Name={DEVICE}", "Kind=wireguard", f"MTUBytes={part.mtu}", ""]
    lines += ["[WireGuard]", f"PrivateKey={member.private_key}"]
    lines += [f"ListenPort={member.port}"] if member.port else []
    for peer in member.peers:
        lines += ["", "[WireGuardPeer]", *_peer(peer)]
    network = [MARK, "[Match]", f"Name={DEVICE}", "", "[Link]", "RequiredForOnline=no", "", "[Network]"]
    network += [f"Address={member.address}", "DHCP=no", "IPv6AcceptRA=no", "LinkLocalAddressing=no"]
    folder = "/etc/systemd/network"
    return [
        _lines(f"{folder}/10-pragma-{DEVICE}.netdev", lines, 0o640, target.profile.networkd_group),
        _lines(f"{folder}/10-pragma-{DEVICE}.network", network),
    ]


def _network_manager(target: Target, part: Overlay, member: OverlayMember) -> list[Edit]:
    name = uuid.uuid5(_CONNECTIONS, f"{target.allocation.cluster}/{target.node.name}/{member.address}")
    lines = [MARK, "[connection]", "id=vc-overlay", f"uuid={name}", "type=wireguard", f"interface-name={DEVICE}"]
    lines += ["zone=trusted"] if target.profile.firewalld else []
    lines += ["", "[wireguard]", f"private-key={member.private_key}", f"mtu={part.mtu}", "ip4-auto-default-route=0"]
    lines += [f"listen-port={member.port}"] if member.port else []
    for peer in member.peers:
        lines += ["", f"[wireguard-peer.{peer.public_key}]"]
        lines += [f"preshared-key={peer.preshared_key}", "preshared-key-flags=0", f"allowed-ips={peer.allowed};"]
        lines += [f"endpoint={peer.endpoint}"] if peer.endpoint else []
        lines += [f"persistent-keepalive={peer.keepalive}"] if peer.keepalive else []
    lines += ["", "[ipv4]", "method=manual", f"address1={member.address}", "never-default=true"]
    lines += ["", "[ipv6]", "method=ignore"]
    return [_lines("/etc/NetworkManager/system-connections/vc-overlay.nmconnection", lines, 0o600)]


def _netplan(part: Overlay, member: OverlayMember) -> list[Edit]:
    peers = []
    for peer in member.peers:
        facts: dict[str, object] = {
            "keys": {"public": peer.public_key, "shared": peer.preshared_key},
            "allowed-ips": [str(peer.allowed)],
        }
        facts.update({"endpoint": peer.endpoint} if peer.endpoint else {})
        facts.update({"keepalive": peer.keepalive} if peer.keepalive else {})
        peers.append(facts)
    values = {
        "mode": "wireguard",
        "key": member.private_key,
        "mtu": part.mtu,
        "optional": True,
        "link-local": [],
        "addresses": [str(member.address)],
        "peers": peers,
    }
    values.update({"port": member.port} if member.port else {})
    lines = [MARK, "network:", "  version: 2", "  tunnels:", f"    {DEVICE}:"]
    lines += [f"      {key}: {json.dumps(value)}" for key, value in values.items()]
    return [_lines("/etc/netplan/61-pragma-overlay.yaml", lines, 0o600)]


def _config(member: OverlayMember) -> Edit:
    """For `wg setconf`."""
    lines = [MARK, "[Interface]", f"PrivateKey = {member.private_key}"]
    lines += [f"ListenPort = {member.port}"] if member.port else []
    for peer in member.peers:
        lines += ["", "[Peer]", *(line.replace("=", " = ", 1) for line in _peer(peer))]
    return _lines(_CONFIG, lines, 0o600)


def _peer(peer: OverlayPeer) -> list[str]:
    lines = [f"PublicKey={peer.public_key}", f"PresharedKey={peer.preshared_key}", f"AllowedIPs={peer.allowed}"]
    lines += [f"Endpoint={peer.endpoint}"] if peer.endpoint else []
    return lines + ([f"PersistentKeepalive={peer.keepalive}"] if peer.keepalive else [])


def _script(target: Target, part: Overlay, member: OverlayMember) -> list[str]:
    """The lines of `SCRIPT`; empty where it has nothing to do."""
    lines = []
    if target.profile.wireguard is not WireGuard.NATIVE:
        lines = [
            "modprobe wireguard 2> /dev/null",
            f"[ -e /sys/class/net/{DEVICE} ] || ip link add dev {DEVICE} type wireguard",
            f"wg setconf {DEVICE} {_CONFIG}",
            f"ip addr replace {member.address} dev {DEVICE}",
            f"ip link set dev {DEVICE} mtu {part.mtu} up",
        ]
        if is_hub(target):
            lines.append("echo 1 > /proc/sys/net/ipv4/ip_forward")
    if target.profile.nat is Nat.IPTABLES and not target.profile.firewalld:
        lines += ['add() { iptables -C "$@" 2> /dev/null || iptables -I "$@"; }', f"add INPUT -i {DEVICE} -j ACCEPT"]
        if member.port:
            lines.append(f"add INPUT -p udp --dport {member.port} -j ACCEPT")
        if is_hub(target):
            lines.append(f"add FORWARD -i {DEVICE} -o {DEVICE} -j ACCEPT")
    return [*_HEAD, *lines] if lines else []


_HEAD = [
    "#!/bin/sh",
    MARK,
    "# Brings up this node's part of the overlay and lets its packets in; may run again at any time.",
    "PATH=$PATH:/usr/sbin:/sbin:/usr/bin:/bin",
]


# ------------------------------------------------------------------------------------------------------ forwarding


def _forwarding(target: Target, part: Overlay) -> list[Edit]:
    """The hub passes packets on, from the overlay to the overlay; its addresses are never translated."""
    edits: list[Edit] = []
    port = part.members[target.node.name].port
    native_zone = target.profile.backend is Backend.NETWORK_MANAGER and target.profile.wireguard is WireGuard.NATIVE
    if target.profile.firewalld and not native_zone:
        edits.append(Write("/etc/firewalld/zones/pragma-overlay.xml", _ZONE.format(network=part.network).encode()))
    if target.profile.firewalld and port:
        edits.append(Write("/etc/firewalld/policies/pragma-overlay.xml", _POLICY.format(port=port).encode()))
    if is_hub(target):
        edits.append(Write("/etc/sysctl.d/91-pragma-overlay.conf", f"{MARK}\nnet.ipv4.ip_forward = 1\n".encode()))
    return edits


_ZONE = """<?xml version="1.0" encoding="utf-8"?>
<zone target="ACCEPT">
  <short>pragma overlay</short>
  <source address="{network}"/>
</zone>
"""
_POLICY = """<?xml version="1.0" encoding="utf-8"?>
<policy target="CONTINUE">
  <short>pragma overlay</short>
  <ingress-zone name="ANY"/>
  <egress-zone name="HOST"/>
  <port port="{port}" protocol="udp"/>
</policy>
"""


# ----------------------------------------------------------------------------------------------------------- names


def _names(target: Target, part: Overlay) -> list[Edit]:
    script = resources.files("pragma_boot.image.render").joinpath("names.sh").read_bytes()
    computes = " ".join(node.name for node in target.allocation.computes) if target.is_frontend else ""
    conf = [
        MARK,
        f"hub={part.hub}",
        f"network={int(part.network.network_address)}",
        f"mask={int(part.network.netmask)}",
        f"computes='{computes}'",
    ]
    edits: list[Edit] = [
        Write(NAMES, script, 0o755),
        _lines("/etc/pragma/names.conf", conf),
        _lines("/etc/pragma/names.own", [_own_line(target, node) for node in target.allocation.nodes]),
    ]
    if tells_names(target):
        edits.append(Write("/etc/pragma/names.key", part.names_key.private.encode(), 0o600))
        if target.profile.sshd is SshServer.DROPBEAR:
            edits.append(Write("/etc/pragma/names.dropbear", dropbear_key(part.names_key), 0o600))
    return edits


def _own_line(target: Target, node: NodeAllocation) -> str:
    """ADDRESS NAME KEY, as names.sh has it."""
    pair = target.access.hosts.get(node.name) if target.profile.ed25519 else None
    return " ".join((*known_as(target, node), pair.public.split()[1] if pair else "-"))
