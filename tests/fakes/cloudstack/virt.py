"""Machines of the modelled cloud as libvirt domains of this host, for tests that boot a cluster through its API.

Each network is a libvirt network: its DHCP server has the gateway's address, hands out what the model says, and the
same address answers HTTP as a virtual router does. Public addresses are the host's own (take them from 127.0.0.0/8)
and lead to guests by a proxy. Everything is transient, bears the prefix, and goes with :meth:`LibvirtHypervisor.close`.

    disks = {"frontend": Path("/var/tmp/…/tiny.qcow2"), "compute": …}      # by the template's name
    with LibvirtHypervisor("mytest", folder, disks) as real:                # the folder is one that QEMU may read
        cloud = Cloud(default_site(first_ip="127.77.0.10"), clock=Clock(speed=1), hypervisor=real)
        with serving(cloud) as server: …

The guests' networks must not be in use on the host: give the driver CIDRs of the test's own.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lxml import etree

from pragma_boot import accel
from pragma_boot.driver.libvirt.documents import Domain, Interface, domain_xml
from pragma_boot.driver.libvirt.marks import Marks
from pragma_boot.files import StateFolder
from pragma_boot.model import ClusterName, Disk, DiskFormat, LocalDisk, Mac, NodeName
from pragma_boot.run import run

from .hypervisor import Forward, HypervisorError
from .model import Machine, Network, Nic, Template
from .router import Forwarder, Guest, UserDataServer

_OVERLAY = ".overlay.qcow2"


def network_xml(name: str, network: Network) -> str:
    """A wire with a DHCP server that offers itself as the router; addresses are added with the machines."""
    subnet = ipaddress.IPv4Network(network.cidr)
    root = etree.Element("network")
    etree.SubElement(root, "name").text = name
    etree.SubElement(root, "forward", mode="open")  # no rules of libvirt's own; the router is offered to guests
    etree.SubElement(root, "bridge", stp="off", delay="0")
    if network.kind == "L2":
        return etree.tostring(root, encoding="unicode")
    ip = etree.SubElement(root, "ip", address=network.gateway, netmask=str(subnet.netmask))
    etree.SubElement(ip, "dhcp")
    return etree.tostring(root, encoding="unicode")


class LibvirtHypervisor:
    """prefix: of domains and networks. memory: MiB of each machine at most. grace: seconds for a soft stop.

    kind: `kvm` or `tcg`; None: whatever works here. port: where the routers serve user data.
    """

    def __init__(
        self,
        prefix: str,
        folder: Path,
        disks: Mapping[str, Path],
        *,
        uri: str = "qemu:///system",
        memory: int = 256,
        grace: float = 5,
        kind: str | None = None,
        port: int = 80,
    ) -> None:
        import libvirt

        self._libvirt = libvirt
        self._prefix, self._folder, self._memory, self._grace = prefix, folder, memory, grace
        self._disks = dict(disks)
        self._kind = kind or accel.works(StateFolder(folder / "state"))
        self._port = port
        self._forwarder = Forwarder()
        self.routers: dict[str, UserDataServer] = {}
        """By the network's id; ``routers[id].asked`` is what guests asked for."""
        libvirt.registerErrorHandler(lambda *_: None, None)
        self._connection = libvirt.open(uri)

    def __enter__(self) -> LibvirtHypervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _overlay(self, machine: Machine) -> Path:
        return self._folder / f"{machine.id}{_OVERLAY}"

    def console(self, machine: Machine) -> Path:
        """The log of its serial console."""
        return self._folder / f"{machine.id}.log"

    def close(self) -> None:
        """Everything with the prefix goes, and the machines' disks; consoles stay to be read."""
        self._forwarder.close()
        for domain in self._connection.listAllDomains():
            if domain.name().startswith(f"{self._prefix}-"):
                with suppress(self._libvirt.libvirtError):
                    domain.destroy()
        for server in self.routers.values():
            server.close()
        self.routers.clear()
        for network in self._connection.listAllNetworks():
            if network.name().startswith(f"{self._prefix}-"):
                with suppress(self._libvirt.libvirtError):
                    network.destroy()
        self._connection.close()
        for path in self._folder.glob(f"*{_OVERLAY}"):
            path.unlink()

    # --- networks --------------------------------------------------------------------------------

    def _name(self, ident: str) -> str:
        return f"{self._prefix}-{ident[:8]}"

    def adopt(self, networks: list[Network], machines: list[Machine]) -> None:
        """Wires and routers are made again; machines went with their last process, as in a power cut."""
        for network in networks:
            if network.id not in self.routers:
                self.network_up(network)

    def network_up(self, network: Network) -> None:
        try:
            self._connection.networkCreateXML(network_xml(self._name(network.id), network))
            if network.kind != "L2":
                self.routers[network.id] = UserDataServer(network.gateway, self._port)
        except (self._libvirt.libvirtError, OSError) as error:
            self.network_down(network)
            raise HypervisorError(f"network {network.name}: {error}") from error

    def network_down(self, network: Network) -> None:
        server = self.routers.pop(network.id, None)
        if server is not None:
            server.close()
        with suppress(self._libvirt.libvirtError):
            self._connection.networkLookupByName(self._name(network.id)).destroy()

    def _lease(self, machine: Machine, nic: Nic) -> None:
        """Its DHCP server knows the NIC from now on."""
        lib = self._libvirt
        network = self._connection.networkLookupByName(self._name(nic.networkid))
        host = etree.tostring(
            etree.Element("host", mac=nic.mac, name=machine.name, ip=nic.ip or ""), encoding="unicode"
        )
        where = (lib.VIR_NETWORK_SECTION_IP_DHCP_HOST, -1, host, lib.VIR_NETWORK_UPDATE_AFFECT_LIVE)
        with suppress(lib.libvirtError):
            network.update(lib.VIR_NETWORK_UPDATE_COMMAND_DELETE, *where)
        network.update(lib.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, *where)

    # --- machines --------------------------------------------------------------------------------

    def start(self, machine: Machine, networks: dict[str, Network], template: Template) -> None:
        try:
            for nic in machine.nics:
                if nic.ip is not None:
                    self._lease(machine, nic)
            self.userdata(machine)
            self._connection.createXML(self._document(machine, self._disk(machine, template)))
        except self._libvirt.libvirtError as error:
            raise HypervisorError(str(error)) from error

    def _disk(self, machine: Machine, template: Template) -> Disk:
        if template.name not in self._disks:
            raise HypervisorError(f"there is no disk for the template {template.name}")
        base = self._disks[template.name]
        form = DiskFormat.QCOW2 if base.suffix == ".qcow2" else DiskFormat.RAW
        path = self._overlay(machine)
        if not path.exists():
            run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", str(form), "-b", base, path])
        source = LocalDisk(base, form, base.stat().st_size)
        return Disk(NodeName(machine.name), path, DiskFormat.QCOW2, source)

    def _document(self, machine: Machine, disk: Disk) -> str:
        nics = sorted(machine.nics, key=lambda one: one.device)
        domain = Domain(
            Marks(str(self._folder), ClusterName(self._domain(machine)), NodeName(machine.name)),
            min(machine.cpus, 2),
            min(machine.memory, self._memory),
            self._kind,
            disk,
            tuple(Interface(Mac(nic.mac), network=self._name(nic.networkid)) for nic in nics),
            self.console(machine),
        )
        return domain_xml(domain)

    def _domain(self, machine: Machine) -> str:
        return f"{self._prefix}-{machine.id[:8]}"

    def _found(self, machine: Machine) -> Any:
        wanted = f"{self._domain(machine)}."
        return next((one for one in self._connection.listAllDomains() if one.name().startswith(wanted)), None)

    def stop(self, machine: Machine, forced: bool) -> None:
        domain = self._found(machine)
        until = time.monotonic() + (0 if forced else self._grace)
        with suppress(self._libvirt.libvirtError):  # it may be gone by now
            if domain is not None and not forced:
                domain.shutdown()
            while domain is not None and time.monotonic() < until and domain.isActive():
                time.sleep(0.1)
            if domain is not None:
                domain.destroy()

    def destroy(self, machine: Machine) -> None:
        self.stop(machine, forced=True)
        for nic in machine.nics:
            server = self.routers.get(nic.networkid)
            if server is not None:
                server.guests.pop(nic.ip or "", None)
        (self._overlay(machine)).unlink(missing_ok=True)

    def userdata(self, machine: Machine) -> None:
        for nic in machine.nics:
            server = self.routers.get(nic.networkid)
            if server is not None and nic.ip:
                server.guests[nic.ip] = Guest(machine.name, machine.id, nic.ip, machine.userdata)

    def forward(self, forwards: frozenset[Forward]) -> None:
        self._forwarder.set(forwards)

    def running(self, machine: Machine) -> bool:
        return self._found(machine) is not None
