"""Address translation on the frontend, so that compute nodes reach what the frontend reaches (guest.md 8.6).

Matched by the private subnet, never by device names. The rules are ours alone (an own nft table, or rules that are
looked for before they are added), so they do not meddle with the image's own firewall.
"""

from __future__ import annotations

from pragma_boot.image.base import Edit, Write
from pragma_boot.image.profile import MARK, Backend, Nat
from pragma_boot.image.render.target import Target

_ZONED = {Backend.NETWORK_MANAGER, Backend.IFCFG, Backend.WICKED}
"""Back ends that put their interfaces into firewalld's zones; `external` translates addresses by itself."""

SCRIPT = "/etc/pragma/nat"
TRIED = "/run/pragma-nat"
"""A file that is there as soon as `SCRIPT` has run since the node's start, whatever came of it."""


def zoned(target: Target) -> bool:
    """Whether firewalld does it all."""
    return target.profile.firewalld and target.profile.backend in _ZONED


def needs_script(target: Target) -> bool:
    """Whether the node's boot has to run `SCRIPT`."""
    return (
        target.is_frontend
        and bool(target.allocation.computes)
        and not zoned(target)
        and target.profile.nat is not Nat.NONE
    )


def forwarding(target: Target) -> list[Edit]:
    """Forwarding, translation, and the private network's place in firewalld."""
    edits: list[Edit] = []
    if target.profile.firewalld and not zoned(target):
        edits.append(Write("/etc/firewalld/zones/pragma.xml", _zone(target).encode()))
    if not (target.is_frontend and target.allocation.computes):
        return edits
    edits.append(Write("/etc/sysctl.d/90-pragma.conf", f"{MARK}\nnet.ipv4.ip_forward = 1\n".encode()))
    if needs_script(target):
        rules = _NFT if target.profile.nat is Nat.NFT else _IPTABLES
        if target.profile.nat is Nat.NFT and any(nic.mtu != target.private.mtu for nic in target.node.nics):
            rules += _NFT_CLAMP
        text = _HEAD + rules.replace("@NET@", str(target.private.address.network))
        edits.append(Write(SCRIPT, text.encode(), 0o755))
    return edits


def _zone(target: Target) -> str:
    network = target.private.address.network
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<zone target="ACCEPT">\n  <short>pragma</short>\n'
        f'  <source address="{network}"/>\n</zone>\n'
    )


_HEAD = f"""#!/bin/sh
{MARK}
# Lets the compute nodes out through this frontend; may run again at any time.
PATH=$PATH:/usr/sbin:/sbin:/usr/bin:/bin
trap 'echo 2> /dev/null > {TRIED}' EXIT
echo 1 > /proc/sys/net/ipv4/ip_forward
"""
# The first line makes a table to delete where there is none; kernels before 4.18 want both nat chains.
_NFT = """nft -f - << 'END'
table ip pragma_nat { }
delete table ip pragma_nat
table ip pragma_nat {
    chain prerouting { type nat hook prerouting priority -100; }
    chain postrouting {
        type nat hook postrouting priority 100;
        ip saddr @NET@ ip daddr != @NET@ masquerade
    }
}
END
"""
_NFT_CLAMP = """status=$?
# Networks with a smaller MTU need this; kernels with few modules cannot do it.
nft -f - 2> /dev/null << 'END'
table ip pragma_nat {
    chain clamp {
        type filter hook forward priority -150;
        ip saddr @NET@ tcp flags syn tcp option maxseg size set rt mtu
    }
}
END
exit $status
"""
_IPTABLES = """add() { # TABLE CHAIN RULE...: unless it is there
    table=$1 chain=$2
    shift 2
    iptables -t "$table" -C "$chain" "$@" 2> /dev/null || iptables -t "$table" -I "$chain" "$@"
}
add nat POSTROUTING -s @NET@ ! -d @NET@ -j MASQUERADE
add filter FORWARD -s @NET@ -j ACCEPT
add filter FORWARD -d @NET@ -m state --state ESTABLISHED,RELATED -j ACCEPT
add mangle FORWARD -s @NET@ -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
"""
