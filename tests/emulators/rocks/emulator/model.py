"""The state of an emulated site: the tables of Rocks' database, and what runs and lies on its hosts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Route:
    """A static route; subnet: its gateway is the host's device on that network (then gateway is None)."""

    network: str
    netmask: str
    gateway: str | None = None
    subnet: str | None = None


@dataclass
class Assignment:
    """A row of img_nas_server; nas and zpool are empty after `nas=none`."""

    id: int
    nas: str
    zpool: str


@dataclass
class Disk:
    """A row of vm_disks, shown as ``type:prefix/name,device,bus``; size in GB."""

    id: int
    type: str
    prefix: str
    name: str
    device: str
    bus: str
    size: int
    nas: Assignment | None = None

    @property
    def path(self) -> str:
        return f"{self.prefix}/{self.name}" if self.prefix else self.name

    @property
    def spec(self) -> str:
        return f"{self.type}:{self.path},{self.device},{self.bus}"


@dataclass
class Vm:
    """A row of vm_nodes; phys: id of the node that it runs on; mem in MB."""

    phys: int | None
    mem: int
    slice: int = 0
    virt: str = "hvm"
    cdrom: str | None = None
    disks: list[Disk] = field(default_factory=list)


@dataclass
class Node:
    """A host, physical or (with vm) virtual. boot: the boot action, or None; partitions: mount point to size."""

    id: int
    name: str
    membership: str
    cpus: int
    rack: int = 0
    rank: int = 0
    runaction: str | None = "os"
    installaction: str | None = "install"
    boot: str | None = None
    vm: Vm | None = None
    attrs: dict[str, str] = field(default_factory=dict)
    routes: list[Route] = field(default_factory=list)
    partitions: dict[str, str] = field(default_factory=dict)


@dataclass
class Interface:
    """A row of the table networks; node: id of its node; vlan 0 and None are different."""

    id: int
    node: int
    device: str | None
    mac: str | None = None
    ip: str | None = None
    name: str | None = None
    subnet: str | None = None
    vlan: int | None = None
    module: str | None = None
    options: str | None = None
    channel: str | None = None


@dataclass
class Subnet:
    """What `list network` calls a network."""

    name: str
    subnet: str
    netmask: str
    mtu: int = 1500
    dnszone: str = ""
    servedns: bool = False


@dataclass
class Appliance:
    """A kind of host; membership is its long name."""

    name: str
    membership: str
    graph: str = "default"
    node: str | None = None


@dataclass
class Volume:
    """A volume that the NAS's daemon has handled; since: virtual second of the state; device: on the remote host."""

    nas: str
    name: str
    zpool: str
    remotehost: str | None = None
    remotepool: str | None = None
    target: str | None = None
    state: str = "unmapped"
    since: float = 0
    locked: bool = False
    device: str | None = None


@dataclass
class Dataset:
    """What `zfs list` on the NAS knows: ``pool/volume`` or ``pool/volume@snapshot``; size in bytes."""

    nas: str
    name: str
    size: int
    origin: str | None = None


@dataclass
class Event:
    """Something that happens by itself at a virtual second."""

    at: float
    what: str
    args: list[str]


@dataclass
class Options:
    """How the emulator behaves; not part of the site.

    delay: seconds by which every `rocks` call is slowed.     tick: virtual seconds that every call takes.
    scale: virtual seconds per second of real time.           unmap_seconds: from a stop to its unmapping.
    shutdown_seconds: from ACPI to off; None: never.          copy_seconds: a copy to or from a container.
    devices: folder of the block devices that a NAS's volumes are mapped to.
    libvirt: settings of `machines` when virtual machines are to be real, else empty.
    """

    delay: float = 0
    tick: float = 1
    scale: float = 0
    unmap_seconds: float = 3
    shutdown_seconds: float | None = 5
    copy_seconds: float = 20
    devices: str = "/dev"
    libvirt: dict[str, str] = field(default_factory=dict)


@dataclass
class State:
    """All of it. version: ``7.0``, ``6.2`` or ``6.2u`` (6.2 with the update that knows JSON)."""

    version: str
    frontend: str
    img_storage: str | None = None
    options: Options = field(default_factory=Options)
    seq: int = 0
    now: float = 1_700_000_000
    wall: float = 0
    attrs: dict[str, str] = field(default_factory=dict)
    appliance_attrs: dict[str, dict[str, str]] = field(default_factory=dict)
    appliances: list[Appliance] = field(default_factory=list)
    subnets: list[Subnet] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    interfaces: list[Interface] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    dns: dict[str, str] = field(default_factory=dict)
    """Names that resolve elsewhere, to an address that no host here has."""
    domains: dict[str, dict[str, str]] = field(default_factory=dict)
    """Host, then VM, then its libvirt state (active, paused, shutdown, crashed); survives the VM's rows."""
    down: list[str] = field(default_factory=list)
    """Hosts that do not answer: no ssh, no libvirt, no NAS daemon."""
    volumes: list[Volume] = field(default_factory=list)
    datasets: list[Dataset] = field(default_factory=list)
    queue: list[Event] = field(default_factory=list)
    syncs: list[str] = field(default_factory=list)
    """Side effects asked for: ``config``, ``network HOST``, ``vlan HOST``."""
    blanks: list[str] = field(default_factory=list)
    """``HOST:PATH`` of every empty disk that Rocks made up because an image was missing."""
    installed: list[str] = field(default_factory=list)
    """Frontends that were started with the boot action `install`: they ran the installer, not their disk."""

    def next_id(self) -> int:
        """A new row's id."""
        self.seq += 1
        return self.seq

    def dump(self) -> str:
        """The state as JSON."""
        return json.dumps(self, default=vars)

    @classmethod
    def load(cls, text: str) -> State:
        """The state that `dump` wrote."""
        data = json.loads(text)
        data["options"] = Options(**data["options"])
        data["nodes"] = [_node(row) for row in data["nodes"]]
        data["routes"] = [Route(**row) for row in data["routes"]]
        kinds = {"appliances": Appliance, "subnets": Subnet, "interfaces": Interface}
        kinds |= {"volumes": Volume, "datasets": Dataset, "queue": Event}
        for key, kind in kinds.items():
            data[key] = [kind(**row) for row in data[key]]
        return cls(**data)


def _node(row: dict[str, Any]) -> Node:
    row["routes"] = [Route(**route) for route in row["routes"]]
    if row["vm"]:
        row["vm"]["disks"] = [_disk(disk) for disk in row["vm"]["disks"]]
        row["vm"] = Vm(**row["vm"])
    return Node(**row)


def _disk(row: dict[str, Any]) -> Disk:
    if row["nas"]:
        row["nas"] = Assignment(**row["nas"])
    return Disk(**row)
