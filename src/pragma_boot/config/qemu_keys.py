"""The rows of qemu.conf that no other driver has, and the settings that come of them.

All of them have defaults: a user's own site needs to decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pragma_boot.config import netvalues, values
from pragma_boot.config.key import Key
from pragma_boot.config.settings import Accel, ClusterSettings, QemuSettings

SSH = 22

QEMU_ADDRESS_KEYS: tuple[Key, ...] = (
    Key(
        "public_ips",
        netvalues.pool,
        "Addresses of this machine that clusters are reached at, one each, taken in this order: of its loopback"
        ' network, or others for users of other machines; "FIRST-LAST" stands for a whole range.',
        default=["127.0.0.2-127.0.0.254"],
        example=["127.0.0.2-127.0.0.20"],
    ),
    Key(
        "ports",
        values.ports,
        "TCP ports of a frontend that are reached from outside; each gets a free port from 1024 on. 22 is always one.",
        default=[SSH],
        example=[22, 8080],
    ),
    Key(
        "outside",
        values.choice("auto", "passt", "slirp"),
        "What carries the frontends' public side: QEMU's own slirp, or passt; auto takes passt only where there is no"
        " slirp.",
        default="auto",
        example="passt",
    ),
    Key(
        "gw",
        netvalues.address,
        "Gateway that every frontend sees; its network is inside of the clusters only.",
        default="10.0.2.2",
        example="192.0.2.1",
    ),
    Key(
        "netmask",
        netvalues.netmask,
        "Mask of the network that every frontend sees outside.",
        default="255.255.255.0",
        example="255.255.255.0",
    ),
    Key(
        "dns",
        netvalues.addresses,
        "DNS servers for the nodes.",
        default=[],
        example="198.51.100.1",
        absent="this machine's own, by translation",
    ),
    Key(
        "vlans",
        netvalues.vlans,
        "Numbers that clusters find in their vc-out, one each: a list, or range(FIRST, LAST + 1). No network has them.",
        default=range(100, 353),
        example=range(22, 24),
    ),
)


def qemu_settings(found: Mapping[str, Any], clusters: ClusterSettings) -> QemuSettings:
    """The settings of the driver `qemu` from the validated values of its file."""
    return QemuSettings(
        ports=tuple(dict.fromkeys((SSH, *found["ports"]))),
        outside=found["outside"],
        accel=Accel(found["accel"]),
        direct_kernel=found["direct_kernel"],
        clusters=clusters,
    )
