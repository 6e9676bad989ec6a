"""What every renderer is given: one node, and the image and cluster around it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from pragma_boot.image.profile import GuestProfile, Naming
from pragma_boot.model import PRIVATE, Access, Allocation, KeyPair, Mac, Nic, NodeAllocation, Role

_DEVICE = re.compile(r"(?!eth\d|lo$|all$|default$)[a-z][a-z0-9_]{0,14}")
BEGIN, END = "# BEGIN pragma", "# END pragma"
"""Around our lines in files that others write, too (guest.md 8.6)."""

SEARCH = "local"
"""The search domain of every node (guest.md 4.1)."""


@dataclass(frozen=True, slots=True)
class Target:
    """One node of a cluster, to be prepared from an image.

    access: on a disk of ours complete. A guest that has no more than an old vc-out document lacks host keys (`hosts`
    has no such node, or a pair without its private part) and the cluster's key (empty texts).
    devices: the names of devices by MAC where they are known, for images without udev.
    """

    profile: GuestProfile
    allocation: Allocation
    node: NodeAllocation
    access: Access
    devices: Mapping[Mac, str] = field(default_factory=dict)

    @property
    def is_frontend(self) -> bool:
        """Whether the node is the cluster's frontend."""
        return self.node.role is Role.FRONTEND

    @property
    def hostname(self) -> str:
        """The node's host name: a frontend's full name, ``NAME.local`` of a compute node (guest.md 8.6)."""
        return self.allocation.fqdn if self.is_frontend else f"{self.node.name}.{SEARCH}"

    @property
    def dns(self) -> tuple[IPv4Address, ...]:
        """The site's resolvers."""
        return self.allocation.dns

    @property
    def own_host_key(self) -> KeyPair | None:
        """The host key that the node gets; None where it keeps, or makes, its own."""
        pair = self.access.hosts.get(self.node.name)
        return pair if pair and pair.private and self.profile.ed25519 else None

    @property
    def private(self) -> Nic:
        """The node's interface on the private network."""
        return self.node.nic(PRIVATE)

    def carries_dns(self, nic: Nic) -> bool:
        """Whether a network manager is told the resolvers with this interface: the one of the default route."""
        return nic.gateway is not None

    def device(self, nic: Nic) -> str:
        """The name of the device in the guest, where files go by names."""
        index = self.node.nics.index(nic)
        if self.profile.naming is Naming.KERNEL:
            return self.devices.get(nic.mac, f"eth{index}")
        return nic.network if _DEVICE.fullmatch(nic.network) else f"net{index}"

    def zone(self, nic: Nic) -> str | None:
        """The firewalld zone that a network manager is told with this interface (guest.md 8.5), or None."""
        if not self.profile.firewalld:
            return None
        if nic.network == PRIVATE:
            return "trusted"
        return "external" if self.is_frontend and nic.gateway else None


def without_block(text: str) -> str:
    """*text* without our own lines in it; ends in a newline unless empty."""
    kept = re.sub(rf"(?ms)^{BEGIN}((?: overlay)?)$.*?^{END}\1$\n?", "", text)
    return kept if not kept or kept.endswith("\n") else kept + "\n"


def block(lines: list[str] | tuple[str, ...]) -> str:
    """Our lines between their marks."""
    return "\n".join((BEGIN, *lines, END)) + "\n"
