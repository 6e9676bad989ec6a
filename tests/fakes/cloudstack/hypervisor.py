"""What really runs: the seam between the modelled cloud and machines of this host.

The cloud calls it under its lock, with rows of the model that must not be changed. It raises HypervisorError, and the
job that asked fails as in the real cloud.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from .model import Machine, Network, Template


class HypervisorError(Exception):
    """It could not be done; the message ends up in the job's result."""


@dataclass(frozen=True, order=True)
class Forward:
    """A port of a public address that reaches a running machine. networkid: the NIC behind it."""

    ip: str
    port: int
    protocol: str
    networkid: str
    guest: str
    guest_port: int


class Hypervisor(Protocol):
    """Order: network_up of all its networks, start, userdata, forward…, stop, start, stop…, destroy, network_down."""

    def adopt(self, networks: list[Network], machines: list[Machine]) -> None:
        """The cloud was taken over from a saved state, with *networks* up and *machines* running."""

    def network_up(self, network: Network) -> None:
        """The network has a virtual router now: gateway, DHCP, user data."""

    def network_down(self, network: Network) -> None:
        """Router and wire are gone; no error when there were none."""

    def start(self, machine: Machine, networks: dict[str, Network], template: Template) -> None:
        """Power on; the disk is made from *template* at the first time. networks: by id, one per NIC."""

    def stop(self, machine: Machine, forced: bool) -> None:
        """Power off; the disk stays. No error when it does not run."""

    def destroy(self, machine: Machine) -> None:
        """The disk goes, the machine too if it runs. No error when there is neither."""

    def userdata(self, machine: Machine) -> None:
        """New user data for a machine that may run."""

    def forward(self, forwards: frozenset[Forward]) -> None:
        """All ports that are open to the outside; called after each request."""

    def running(self, machine: Machine) -> bool:
        """Whether it has power; a guest may switch itself off."""


@dataclass
class MemoryHypervisor:
    """Nothing runs. on: ids of machines with power. broken: names of machines whose start fails, and the text."""

    on: set[str] = field(default_factory=set)
    disks: set[str] = field(default_factory=set)
    networks: set[str] = field(default_factory=set)
    served: dict[str, str] = field(default_factory=dict)
    """User data by the guest's address in each network: ``NETWORK/IP``."""
    forwards: frozenset[Forward] = frozenset()
    broken: dict[str, str] = field(default_factory=dict)

    def adopt(self, networks: list[Network], machines: list[Machine]) -> None:
        self.networks = {one.id for one in networks}
        self.on = {one.id for one in machines}
        self.disks |= self.on
        for one in machines:
            self.userdata(one)

    def network_up(self, network: Network) -> None:
        self.networks.add(network.id)

    def network_down(self, network: Network) -> None:
        self.networks.discard(network.id)

    def start(self, machine: Machine, networks: dict[str, Network], template: Template) -> None:
        if machine.name in self.broken:
            raise HypervisorError(self.broken[machine.name])
        missing = {nic.networkid for nic in machine.nics} - self.networks
        if missing:
            raise HypervisorError(f"no such networks: {sorted(missing)}")
        self.on.add(machine.id)
        self.disks.add(machine.id)
        self.userdata(machine)

    def stop(self, machine: Machine, forced: bool) -> None:
        self.on.discard(machine.id)

    def destroy(self, machine: Machine) -> None:
        self.on.discard(machine.id)
        self.disks.discard(machine.id)
        for nic in machine.nics:
            self.served.pop(f"{nic.networkid}/{nic.ip}", None)

    def userdata(self, machine: Machine) -> None:
        for nic in machine.nics:
            if nic.networkid in self.networks:
                self.served[f"{nic.networkid}/{nic.ip}"] = machine.userdata

    def forward(self, forwards: frozenset[Forward]) -> None:
        self.forwards = forwards

    def running(self, machine: Machine) -> bool:
        return machine.id in self.on
