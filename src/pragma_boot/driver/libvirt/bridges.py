"""The host's bridges that further networks are on: Linux's own, or Open vSwitch's.

The kernel tells which in its list of interfaces, to every user: a Linux bridge has a folder `bridge` there; a bridge
of Open vSwitch has an interface of its name, which is a tap (`tun_flags`) where packets are switched in user space.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pragma_boot.config.settings import SiteNetwork
from pragma_boot.driver.libvirt.documents import Interface
from pragma_boot.errors import CommandError, Fault
from pragma_boot.model import Mac
from pragma_boot.run import run, which

INTERFACES = Path("/sys/class/net")
VLANS_ON_LINUX_BRIDGES = 11_000_000
"""libvirt 11.0.0, as it counts: before it a VLAN tag needs Open vSwitch."""

_INSTALL = "apt install openvswitch-switch, or dnf install openvswitch"
_NO_BRIDGE = 2
"""`ovs-vsctl br-exists`: its exit status for "no"."""


def is_linux(bridge: str, interfaces: Path = INTERFACES) -> bool:
    """Whether the device is a Linux bridge."""
    return (interfaces / bridge / "bridge").is_dir()


def interface(network: SiteNetwork, mac: Mac, interfaces: Path = INTERFACES) -> Interface:
    """A node's interface on a further network. Where the site does not say what its bridge is, the host does.

    Open vSwitch's user space passes packets on as they are, whereas guests of one host leave checksums to whoever
    sends a packet out: there, nodes must compute them themselves.
    """
    bridge = network.interface
    openvswitch = network.kind == "openvswitch" or (not network.kind and not is_linux(bridge, interfaces))
    userspace = openvswitch and (interfaces / bridge / "tun_flags").exists()
    return Interface(
        mac,
        bridge=bridge,
        openvswitch=openvswitch,
        vlan=network.vlan,
        mtu=network.mtu,
        checksums=userspace,
    )


def faults(
    network: SiteNetwork, libvirt: int, interfaces: Path = INTERFACES, *, root: bool | None = None
) -> Iterator[Fault]:
    """What is wrong with a further network on this host. libvirt: its version, as it counts.

    root: whether Open vSwitch may be asked, which answers nobody else; by default whether we are root.
    """
    bridge, where = network.interface, f"network {network.name}"
    if is_linux(bridge, interfaces):
        yield from _linux_faults(network, libvirt, interfaces)
    elif network.kind == "bridge":
        what = "is no Linux bridge" if (interfaces / bridge).exists() else "is not there"
        mend = f"create it (ip link add {bridge} type bridge), or set 'type' to 'openvswitch' in additional_interfaces"
        yield Fault(where, f"its bridge {bridge} {what}", mend)
    else:
        there = (interfaces / bridge).exists()
        yield from _openvswitch_faults(where, bridge, there, ask=os.geteuid() == 0 if root is None else root)


def _linux_faults(network: SiteNetwork, libvirt: int, interfaces: Path) -> Iterator[Fault]:
    bridge, where = network.interface, f"network {network.name}"
    if network.kind == "openvswitch":
        yield Fault(where, f"{bridge} is a Linux bridge", "set its 'type' to 'bridge' in additional_interfaces")
        return
    if network.vlan and libvirt < VLANS_ON_LINUX_BRIDGES:
        mend = "leave out 'vlan' and name a bridge whose uplink is the VLAN's own device, eth1.100 say"
        yield Fault(where, "libvirt before 11.0 has VLAN tags with Open vSwitch only", mend)
    own = int((interfaces / bridge / "mtu").read_text())
    if network.nodes_mtu > own:
        what = f"its bridge {bridge} carries packets of {own} bytes, nodes would send {network.nodes_mtu}"
        yield Fault(where, what, f"set its 'mtu' to {own} in additional_interfaces, or: ip link set {bridge} mtu ...")


def _openvswitch_faults(where: str, bridge: str, there: bool, *, ask: bool) -> Iterator[Fault]:
    if not which("ovs-vsctl"):
        mend = f"create the bridge it is on, {bridge}, with ip link add; or for Open vSwitch: {_INSTALL}"
        yield Fault(where, "Open vSwitch is not installed", mend)
        return
    if ask:
        try:
            answer = run(["ovs-vsctl", "--timeout=5", "br-exists", bridge], check=False)
        except CommandError as error:
            yield Fault(where, f"{error.message}: {error.details}", _INSTALL)
            return
        if answer.status not in (0, _NO_BRIDGE):
            what = f"Open vSwitch does not answer: {answer.stderr.decode(errors='replace').strip()}"
            yield Fault(where, what, "systemctl enable --now openvswitch-switch")
            return
        there = answer.status == 0
    if not there:
        yield Fault(where, f"Open vSwitch has no bridge {bridge}", f"create it: ovs-vsctl add-br {bridge}")
