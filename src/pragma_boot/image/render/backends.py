"""Network files of each back end (guest.md 8.5). Devices are matched by MAC wherever the back end can.

Nothing may stall the first boot: no DHCP, no IPv6 autoconfiguration to wait for, and only the private network counts as
"online".
"""

from __future__ import annotations

import json
import shlex
import uuid
from collections.abc import Callable, Mapping

from pragma_boot.image.base import Edit, Symlink, Write
from pragma_boot.image.profile import MARK, Backend, Naming
from pragma_boot.image.render.target import SEARCH, Target
from pragma_boot.image.stale import LOOPBACK
from pragma_boot.model import PRIVATE, Nic

_CLUSTERS = uuid.UUID("0a6b8d1e-5f0f-4f0c-9a57-0d3f5a1c7e11")
"""Namespace of the connections' ids: the same cluster and MAC always give the same id."""


def network(target: Target) -> list[Edit]:
    """The files that bring up all interfaces of the node, whatever the image's back end."""
    edits = [*_device_names(target), *_BACKENDS[target.profile.backend](target)]
    if target.profile.network_manager:
        text = f"{MARK}\n[main]\nno-auto-default=*\n"
        edits.append(Write("/etc/NetworkManager/conf.d/90-pragma.conf", text.encode()))
    return edits


def _device_names(target: Target) -> list[Edit]:
    if target.profile.backend not in (Backend.IFUPDOWN, Backend.IFCFG, Backend.WICKED):
        return []
    if target.profile.naming is Naming.LINK:
        return [
            _lines(
                f"/etc/systemd/network/10-pragma-{target.device(nic)}.link",
                [MARK, "[Match]", f"MACAddress={nic.mac}", "", "[Link]", f"Name={target.device(nic)}"],
            )
            for nic in target.node.nics
        ]
    if target.profile.naming is Naming.RULES:
        rule = 'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{{address}}=="{}", ATTR{{type}}=="1", NAME="{}"'
        rules = [rule.format(nic.mac, target.device(nic)) for nic in target.node.nics]
        return [_lines("/etc/udev/rules.d/70-pragma-net.rules", [MARK, *rules])]
    return []


def _lines(path: str, lines: list[str], mode: int = 0o644) -> Write:
    return Write(path, ("\n".join(lines) + "\n").encode(), mode)


# ------------------------------------------------------------------------------------------------------ by MAC


def _networkd(target: Target) -> list[Edit]:
    edits: list[Edit] = [_networkd_file(target, nic) for nic in target.node.nics]
    if target.profile.enable_networkd:
        unit = "systemd-networkd.service"
        edits += [
            Symlink(f"/etc/systemd/system/{link}", f"/usr/lib/systemd/system/{unit}")
            for link in (f"multi-user.target.wants/{unit}", "dbus-org.freedesktop.network1.service")
        ]
    return edits


def _networkd_file(target: Target, nic: Nic) -> Write:
    lines = [MARK, "[Match]", f"MACAddress={nic.mac}", "Type=ether", "", "[Link]", f"MTUBytes={nic.mtu}"]
    if nic.network != PRIVATE:
        lines.append("RequiredForOnline=no")
    lines += ["", "[Network]", f"Address={nic.address}"]
    lines += [f"Gateway={nic.gateway}"] if nic.gateway else []
    lines += [*(f"DNS={ip}" for ip in target.dns), f"Domains={SEARCH}"] if target.carries_dns(nic) else []
    lines += ["DHCP=no", "IPv6AcceptRA=no", "LinkLocalAddressing=no"]
    return _lines(f"/etc/systemd/network/10-pragma-{nic.network}.network", lines)


def _network_manager(target: Target) -> list[Edit]:
    folder = "/etc/NetworkManager/system-connections"
    return [_lines(f"{folder}/vc-{nic.network}.nmconnection", _keyfile(target, nic), 0o600) for nic in target.node.nics]


def _keyfile(target: Target, nic: Nic) -> list[str]:
    name = uuid.uuid5(_CLUSTERS, f"{target.allocation.cluster}/{nic.mac}")
    zone = target.zone(nic)
    lines = [MARK, "[connection]", f"id=vc-{nic.network}", f"uuid={name}", "type=ethernet", "autoconnect-priority=100"]
    lines += [f"zone={zone}"] if zone else []
    lines += ["", "[ethernet]", f"mac-address={nic.mac}", f"mtu={nic.mtu}", "", "[ipv4]", "method=manual"]
    lines.append(f"address1={nic.address},{nic.gateway}" if nic.gateway else f"address1={nic.address}")
    if target.carries_dns(nic):
        lines += [f"dns={''.join(f'{ip};' for ip in target.dns)}"] if target.dns else []
        lines.append(f"dns-search={SEARCH};")
    else:
        lines.append("never-default=true")
    return [*lines, "", "[ipv6]", "method=ignore"]


def _netplan(target: Target) -> list[Edit]:
    """YAML, of which JSON's strings and lists are a part: so every value is quoted by a library."""
    lines = [MARK, "network:", "  version: 2", "  ethernets:"]
    for nic in target.node.nics:
        facts: dict[str, object] = {
            "match": {"macaddress": nic.mac},
            "dhcp4": False,
            "dhcp6": False,
            "accept-ra": False,
            "link-local": [],
            "mtu": nic.mtu,
            "addresses": [str(nic.address)],
        }
        if nic.network != PRIVATE:
            facts["optional"] = True
        if nic.gateway:
            facts["routes"] = [{"to": "0.0.0.0/0", "via": str(nic.gateway)}]
        if target.carries_dns(nic):
            facts["nameservers"] = {"addresses": [str(ip) for ip in target.dns], "search": [SEARCH]}
        lines.append(f"    vc-{nic.network}:")
        lines += [f"      {key}: {json.dumps(value)}" for key, value in facts.items()]
    return [_lines("/etc/netplan/60-pragma.yaml", lines, 0o600)]


def _script(target: Target) -> list[Edit]:
    nics = "".join(
        f"up {nic.mac} {nic.address.ip} {nic.address.netmask} {nic.address.network.prefixlen} {nic.mtu}"
        f" {nic.gateway or ''}".rstrip()
        + "\n"
        for nic in target.node.nics
    )
    return [Write("/etc/pragma/network", (_SCRIPT + nics).encode(), 0o755)]


_SCRIPT = f"""#!/bin/sh
{MARK}
# Brings up this node's interfaces, found by MAC: the image has no network service that we know.
PATH=$PATH:/usr/sbin:/sbin:/usr/bin:/bin
up() {{ # MAC ADDRESS NETMASK PREFIX MTU [GATEWAY]
    for device in /sys/class/net/*; do
        read -r mac < "$device/address" && [ "$mac" = "$1" ] || continue
        device=${{device##*/}}
        if command -v ip > /dev/null; then
            ip addr replace "$2/$4" broadcast + dev "$device"
            ip link set dev "$device" mtu "$5" up
            [ -z "$6" ] || ip route replace default via "$6" dev "$device"
        else
            ifconfig "$device" "$2" netmask "$3" mtu "$5" up
            [ -z "$6" ] || route add default gw "$6" dev "$device"
        fi
        return
    done
}}
[ -e /sys/class/net ] || mount -t sysfs sysfs /sys
{"ip link set dev lo up 2> /dev/null || ifconfig lo 127.0.0.1 up"}
"""


# ----------------------------------------------------------------------------------------------------- by name


def _ifupdown(target: Target) -> list[Edit]:
    lines = []
    for nic in target.node.nics:
        device = target.device(nic)
        lines += ["", f"auto {device}", f"iface {device} inet static", f"    address {nic.address.ip}"]
        lines += [f"    netmask {nic.address.netmask}", f"    mtu {nic.mtu}"]  # busybox knows no address/prefix
        lines += [f"    gateway {nic.gateway}"] if nic.gateway else []
        if target.carries_dns(nic):
            lines += [f"    dns-nameservers {' '.join(map(str, target.dns))}"] if target.dns else []
            lines.append(f"    dns-search {SEARCH}")
    if "source" in target.profile.text("/etc/network/interfaces"):
        return [_lines("/etc/network/interfaces.d/60-pragma", [MARK, *lines[1:]])]
    head = LOOPBACK.partition("\nsource")[0].rstrip()  # an ifup that may not know `source`
    return [_lines("/etc/network/interfaces", [head, *lines])]


def _ifcfg(target: Target) -> list[Edit]:
    edits: list[Edit] = []
    for nic in target.node.nics:
        device, zone = target.device(nic), target.zone(nic)
        facts = {
            "DEVICE": device,
            "NAME": f"vc-{nic.network}",
            "TYPE": "Ethernet",
            "HWADDR": nic.mac,
            "ONBOOT": "yes",
            "BOOTPROTO": "none",
            "IPADDR": str(nic.address.ip),
            "NETMASK": str(nic.address.netmask),
            "MTU": str(nic.mtu),
            "DEFROUTE": "yes" if nic.gateway else "no",
            **({"GATEWAY": str(nic.gateway)} if nic.gateway else {}),
            "PEERDNS": "no",
            **(_dns_facts(target) if target.carries_dns(nic) else {}),
            "IPV6INIT": "no",
            **({"ZONE": zone} if zone else {}),
        }
        lines = [MARK, *(f"{key}={shlex.quote(value)}" for key, value in facts.items())]
        edits.append(_lines(f"/etc/sysconfig/network-scripts/ifcfg-{device}", lines))
    return edits


def _dns_facts(target: Target) -> dict[str, str]:
    return {**{f"DNS{number}": str(ip) for number, ip in enumerate(target.dns[:3], 1)}, "DOMAIN": SEARCH}


def _wicked(target: Target) -> list[Edit]:
    edits: list[Edit] = []
    for nic in target.node.nics:
        facts = {"BOOTPROTO": "static", "STARTMODE": "auto", "IPADDR": str(nic.address), "MTU": str(nic.mtu)}
        zone = target.zone(nic)
        facts.update({"ZONE": zone} if zone else {})
        lines = [MARK, *(f"{key}='{value}'" for key, value in facts.items())]
        edits.append(_lines(f"/etc/sysconfig/network/ifcfg-{target.device(nic)}", lines))
    routes = [f"default {nic.gateway} - {target.device(nic)}" for nic in target.node.nics if nic.gateway]
    edits.append(_lines("/etc/sysconfig/network/routes", [MARK, *routes]))
    path = "/etc/sysconfig/network/config"
    wanted = {
        "NETCONFIG_DNS_STATIC_SERVERS": f'"{" ".join(map(str, target.dns))}"',
        "NETCONFIG_DNS_STATIC_SEARCHLIST": f'"{SEARCH}"',
    }
    return [*edits, Write(path, assigned(target.profile.text(path), wanted).encode())]


def assigned(old: str, values: Mapping[str, str | None]) -> str:
    """A file of ``KEY=value`` lines with some keys set (None: gone); every other line stays as it is."""
    kept = [line for line in old.splitlines() if line.partition("=")[0].strip() not in values]
    return "\n".join([*kept, *(f"{key}={value}" for key, value in values.items() if value is not None)]) + "\n"


_BACKENDS: Mapping[Backend, Callable[[Target], list[Edit]]] = {
    Backend.NETPLAN: _netplan,
    Backend.NETWORK_MANAGER: _network_manager,
    Backend.WICKED: _wicked,
    Backend.NETWORKD: _networkd,
    Backend.IFUPDOWN: _ifupdown,
    Backend.IFCFG: _ifcfg,
    Backend.SCRIPT: _script,
}
