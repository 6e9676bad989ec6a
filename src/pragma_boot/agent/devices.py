"""Network devices of the running machine, found by MAC."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pragma_boot.agent.root import LiveRoot
from pragma_boot.agent.system import System
from pragma_boot.errors import GuestError
from pragma_boot.image.profile import Backend, GuestProfile, Naming
from pragma_boot.image.render.target import Target
from pragma_boot.model import Mac, Nic

_log = logging.getLogger(__name__)

_SYSFS = "/sys/class/net"
PATIENCE = 30.0
"""Seconds that a device may take to appear."""
_BY_NAME = (Backend.IFUPDOWN, Backend.IFCFG, Backend.WICKED)


def present(root: LiveRoot) -> dict[Mac, str]:
    """The names of all devices with hardware behind them by MAC; no bridge, VLAN, or bond's member is one."""
    found: dict[Mac, str] = {}
    for name in root.listdir(_SYSFS):
        folder = f"{_SYSFS}/{name}"
        if root.exists(f"{folder}/device") and not root.exists(f"{folder}/master"):
            try:
                found[Mac(root.read(f"{folder}/address").decode("ascii", "replace").strip().lower())] = name
            except GuestError:
                continue  # just renamed, or gone
    return found


def find(root: LiveRoot, system: System, nics: Sequence[Nic], patience: float = PATIENCE) -> dict[Mac, str]:
    """The devices of *nics*, as far as they appear within *patience* seconds."""
    wanted = {nic.mac for nic in nics}
    end = system.now() + patience
    found = present(root)
    while not wanted.issubset(found) and system.now() < end:
        system.wait(end - system.now())
        found = present(root)
    return {mac: name for mac, name in found.items() if mac in wanted}


def named(root: LiveRoot, system: System, target: Target) -> dict[Mac, str]:
    """Call devices as the back end's files will call them; what they are called then.

    From the next start on udev does it: this start's udev has seen its files too late.
    """
    if not by_name(target.profile):
        return dict(target.devices)
    if system.has("udevadm"):
        system.run(["udevadm", "settle", "--timeout=10"])
    now = present(root)
    for nic in target.node.nics:
        old, new = now.get(nic.mac), target.device(nic)
        if old and old != new:
            system.run(["ip", "link", "set", "dev", old, "down"])
            system.run(["ip", "link", "set", "dev", old, "name", new])
    return {mac: name for mac, name in present(root).items() if mac in {nic.mac for nic in target.node.nics}}


def by_name(profile: GuestProfile) -> bool:
    """Whether the image's network files name devices, which udev is told to name."""
    return profile.backend in _BY_NAME and profile.naming is not Naming.KERNEL


def configured(system: System, device: str, nic: Nic) -> bool:
    """Whether a device has its address already."""
    told = system.output(["ip", "-4", "-o", "addr", "show", "dev", device]) or ""
    return f" {nic.address} " in told
