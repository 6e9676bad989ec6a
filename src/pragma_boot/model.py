"""The nouns that the packages share; all frozen, all plain data.

Words: design's glossary in docs/architecture.md. Sizes are bytes unless the name ends in ``_mib``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import NewType, Protocol

from pragma_boot.errors import CapacityError, UsageError

ClusterName = NewType("ClusterName", str)
ImageName = NewType("ImageName", str)
NodeName = NewType("NodeName", str)
Mac = NewType("Mac", str)
"""Lower case, zero-padded, colon-separated: consumers in guests compare it as text (guest.md 3.3, rule 5)."""

_CLUSTER = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_RESERVED = re.compile(r"compute-\d+|frontend|localhost|local")
_IMAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+-]{0,126}[A-Za-z0-9_+-])?")


def cluster_name(text: str) -> ClusterName:
    """Check a cluster's name: it becomes the frontend's host name, so a DNS label in lower case.

    Raises UsageError for anything else, and for names that nodes of every cluster bear.
    """
    if _RESERVED.fullmatch(text):
        raise UsageError(f"{text!r} cannot name a cluster: nodes bear that name", resolution="choose another name")
    if not _CLUSTER.fullmatch(text):
        raise UsageError(
            f"{shorten(text)!r} cannot name a cluster",
            resolution="use 1 to 63 of a-z, 0-9 and '-', a letter first and no '-' at the end",
        )
    return ClusterName(text)


def image_name(text: str) -> ImageName:
    """Check an image's name: 1 to 128 of letters, digits and ``._+-``; raises UsageError."""
    if not _IMAGE.fullmatch(text):
        raise UsageError(
            f"{shorten(text)!r} cannot name an image",
            resolution="use 1 to 128 of A-Z, a-z, 0-9, '.', '_', '+' and '-', beginning with a letter or digit;"
            " 'pragma list repository' shows the names",
        )
    return ImageName(text)


def shorten(text: str, width: int = 60) -> str:
    """A text that came from outside, cut to *width* characters for a message."""
    return text if len(text) <= width else text[: width - 1] + "…"


# ----------------------------------------------------------------------------------------------------------- images


class Role(StrEnum):
    """The two roles of a node."""

    FRONTEND = "frontend"
    COMPUTE = "compute"


class DiskFormat(StrEnum):
    """What a disk file is, as probed."""

    RAW = "raw"
    QCOW2 = "qcow2"


class Packing(StrEnum):
    """How an image's file is packed in the repository (guest.md 2.2; `splited` is read as `split`).

    `compressed` is zstd, xz, bzip2 or gzip: its first bytes say which.
    """

    RAW = "raw"
    GZIP = "gzip"
    SPLIT = "split"
    SPLIT_GZIP = "split_gzip"
    COMPRESSED = "compressed"
    SPLIT_COMPRESSED = "split_compressed"


@dataclass(frozen=True, slots=True)
class FileSource:
    """A disk image that is a file: *file* is the assembled name, *parts* what to assemble it from.

    All names are relative to the folder of the vc-in document and never leave it. parts is never empty: an
    unpacked image has itself as its only part.
    """

    file: str
    packing: Packing
    parts: tuple[str, ...]
    declared_format: DiskFormat | None = None


@dataclass(frozen=True, slots=True)
class VolumeSource:
    """A disk image that is a volume: a zvol on the NAS *host*, or a volume of a libvirt pool when host is None."""

    pool: str
    volume: str
    host: str | None = None


@dataclass(frozen=True, slots=True)
class NodeImage:
    """What the image says of one role; memory and CPUs are defaults below the command line's."""

    source: FileSource | VolumeSource
    memory_mib: int | None = None
    vcpus: int | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """A vc-in document, normalised (guest.md 2.3).

    origin: where the document was read from (a path or URL, for messages).
    directory: the local folder that relative file names start from.
    compute: None where the frontend's disk serves the compute nodes.
    compute_delay: seconds between the frontend's start and the first compute's (`wait type=clock`).
    """

    name: ImageName
    arch: str
    origin: str
    directory: Path
    frontend: NodeImage
    compute: NodeImage | None = None
    private_network: IPv4Interface | None = None
    compute_delay: int = 0
    description: str = ""

    def for_role(self, role: Role) -> NodeImage:
        """The role's part; the frontend's serves a compute node that has none."""
        return self.compute if role is Role.COMPUTE and self.compute else self.frontend


@dataclass(frozen=True, slots=True)
class LocalDisk:
    """A read-only source disk on this machine, verified and of a *probed* format. Size is the virtual one.

    volume: where it is not here but on a volume of the site; *path* is for messages then, and *size* 0.
    """

    path: Path
    format: DiskFormat
    size: int
    volume: VolumeSource | None = None


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image whose disks are here and right."""

    image: Image
    frontend: LocalDisk
    compute: LocalDisk

    def for_role(self, role: Role) -> LocalDisk:
        """The source disk of *role*."""
        return self.compute if role is Role.COMPUTE else self.frontend


@dataclass(frozen=True, slots=True)
class Disk:
    """One node's own writable disk: an overlay (or clone) over *backing*; or *volume*, and *path* for messages then."""

    node: NodeName
    path: Path
    format: DiskFormat
    backing: LocalDisk
    volume: VolumeSource | None = None


@dataclass(frozen=True, slots=True)
class KernelBoot:
    """Kernel, initrd and command line that the image's own boot loader would choose, copied out of the image.

    Used for a node's first start only, to spare the boot loader's slow reads through the firmware (ADR 2).
    """

    kernel: Path
    initrd: Path | None
    cmdline: str


# --------------------------------------------------------------------------------------------- clusters and their nodes

PRIVATE = "private"
PUBLIC = "public"
"""Tags of the two networks that every cluster has; further ones match ``[a-z][a-z0-9_]*``."""

OVERLAY = "overlay"
"""What the names of all nodes in an overlay end in."""


def overlay_name(cluster: str, node: str) -> str:
    """What a node is called in an overlay: ``demo.overlay``, a frontend, or ``compute-0.demo.overlay``."""
    return f"{cluster}.{OVERLAY}" if node == cluster else f"{node}.{cluster}.{OVERLAY}"


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node as planned: nothing of the site in it yet. The frontend's name is the cluster's."""

    name: NodeName
    role: Role
    cpus: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class ExtraNetwork:
    """A further network of the site that every node of a cluster is on (guest.md 7); it has no gateway.

    name: its tag, also the site's name for it. network: with the mask that nodes get. first: the frontend's address;
    computes have those after it. mtu: bytes.
    """

    name: str
    network: IPv4Network
    first: IPv4Address
    mtu: int = 1500

    def address(self, index: int) -> IPv4Interface:
        """The address of the plan's node of that index, the frontend's is 0, with the network's mask."""
        return IPv4Interface((self.first + index, self.network.prefixlen))


@dataclass(frozen=True, slots=True)
class Plan:
    """What shall be: pure data, made by cluster.plan from the wish, the image and the settings.

    keys: the user's public keys, one authorized_keys line each.
    private_network: the frontend's address in it and its mask, 10.1.1.1/16 by default.
    extra: further networks, each name once; all their addresses are free hosts of the network.
    templates: what an engine that has images of its own calls this one's disks, by role; empty for all others.
    """

    cluster: ClusterName
    image: ImageName
    nodes: tuple[NodeSpec, ...]
    private_network: IPv4Interface
    keys: tuple[str, ...] = ()
    extra: tuple[ExtraNetwork, ...] = ()
    templates: Mapping[Role, str] = field(default_factory=dict)

    @property
    def frontend(self) -> NodeSpec:
        """The one frontend; always the first node."""
        return self.nodes[0]

    @property
    def computes(self) -> tuple[NodeSpec, ...]:
        """All nodes but the frontend."""
        return self.nodes[1:]


def compute_addresses(frontend: IPv4Interface, count: int) -> tuple[IPv4Interface, ...]:
    """Private addresses of *count* compute nodes: downwards from the network's last host address.

    With the default 10.1.1.1/16 these are 10.1.255.254, 10.1.255.253, … (guest.md 3.1). The frontend's own address is
    left out. Raises CapacityError when the network is too small.
    """
    network = frontend.network
    last = int(network.broadcast_address) - 1
    free = network.num_addresses - 3  # network, broadcast, frontend
    if count > free:
        raise CapacityError(
            f"the private network {network} has room for {max(free, 0)} compute nodes, not for {count}",
            resolution="set a larger 'private_network', or more 'cpus_per_node'",
        )
    candidates = (IPv4Address(last - step) for step in range(count + 1))
    chosen = [address for address in candidates if address != frontend.ip][:count]
    return tuple(IPv4Interface((address, network.prefixlen)) for address in chosen)


@dataclass(frozen=True, slots=True)
class PublicSide:
    """How clusters are reached from outside: one address of *network*, the site's gateway and resolvers.

    inside: the address that every frontend has itself, where the leased one is translated to it.
    """

    network: IPv4Network
    gateway: IPv4Address
    dns: tuple[IPv4Address, ...]
    inside: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class Leases:
    """What a cluster holds in the site database. MACs are keyed by node, then by network tag.

    Addresses on further networks are held, too: they follow from the plan (`ExtraNetwork.address`).
    Where the engine assigns addresses itself only the names are held: no address, VLAN 0, no MACs.
    """

    cluster: ClusterName
    public_ip: IPv4Address | None
    fqdn: str
    vlan: int
    macs: Mapping[NodeName, Mapping[str, Mac]]


@dataclass(frozen=True, slots=True)
class InUse:
    """What the site's engine knows to be taken, whether or not our database does.

    extra: addresses on further networks, each with the network's name: two networks may use the same addresses.
    """

    addresses: frozenset[IPv4Address] = frozenset()
    vlans: frozenset[int] = frozenset()
    macs: frozenset[Mac] = frozenset()
    clusters: frozenset[ClusterName] = frozenset()
    extra: frozenset[tuple[str, IPv4Address]] = frozenset()


@dataclass(frozen=True, slots=True)
class Nic:
    """One network interface of a node; *address* carries the mask; gateway where the default route leaves."""

    network: str
    mac: Mac
    address: IPv4Interface
    gateway: IPv4Address | None = None
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class NodeAllocation:
    """A node with everything decided: names, host, addresses.

    nics[0] is private; a frontend's nics[1] public; further networks come after these, in the plan's order.
    """

    name: NodeName
    role: Role
    cpus: int
    memory_mib: int
    host: str
    nics: tuple[Nic, ...]

    def nic(self, network: str) -> Nic:
        """The interface on *network*; KeyError when the node has none there."""
        for nic in self.nics:
            if nic.network == network:
                return nic
        raise KeyError(network)


@dataclass(frozen=True, slots=True)
class OverlayPeer:
    """Whom a node of an overlay exchanges packets with (a WireGuard peer).

    allowed: addresses of the overlay that are behind it. endpoint: ``ADDRESS:PORT``, or empty: it calls first.
    keepalive: seconds between two packets that keep a way through address translation open; 0: none.
    """

    public_key: str
    preshared_key: str = field(repr=False)
    allowed: IPv4Network
    endpoint: str = ""
    keepalive: int = 0


@dataclass(frozen=True, slots=True)
class OverlayMember:
    """A node in an overlay. address: with the whole overlay's mask. port: where it listens by UDP; 0: anywhere."""

    address: IPv4Interface
    private_key: str = field(repr=False)
    peers: tuple[OverlayPeer, ...]
    port: int = 0


@dataclass(frozen=True, slots=True)
class Overlay:
    """A cluster's part in a WireGuard network that joins clusters of several sites (guest.md 6.7).

    hub: the address, in it, of the frontend that all packets between members pass. mtu: bytes.
    members: every node of this cluster. names_key: by which frontends of other clusters tell the hub their names;
    all clusters of the overlay derive the same.
    """

    hub: IPv4Address
    mtu: int
    members: Mapping[NodeName, OverlayMember]
    names_key: KeyPair = field(repr=False)

    @property
    def network(self) -> IPv4Network:
        """All its addresses."""
        return next(iter(self.members.values())).address.network


@dataclass(frozen=True, slots=True)
class Allocation:
    """What the site has set aside for a cluster; final after `Driver.allocate`.

    public_ip: where the cluster is reached from outside. Behind address translation, the frontend's own interface on
    `public` has another. vlan: 0 where only the engine knows it.
    ports: guest port → the port of public_ip that leads to it; empty: all ports of it are the frontend's own.
    overlay: of a cluster in one, while it is being booted: it is secret, and kept nowhere but in the nodes.
    """

    cluster: ClusterName
    image: ImageName
    fqdn: str
    public_ip: IPv4Address
    vlan: int
    dns: tuple[IPv4Address, ...]
    nodes: tuple[NodeAllocation, ...]
    overlay: Overlay | None = None
    ports: Mapping[int, int] = field(default_factory=dict)

    @property
    def frontend(self) -> NodeAllocation:
        """The one frontend; always the first node."""
        return self.nodes[0]

    @property
    def computes(self) -> tuple[NodeAllocation, ...]:
        """All nodes but the frontend."""
        return self.nodes[1:]


class NodeState(StrEnum):
    """A node as its engine tells it. Schedulers match `active|Running`: no other state may contain these words."""

    ACTIVE = "active"
    SHUTDOWN = "shutdown"
    PAUSED = "paused"
    CRASHED = "crashed"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node's running form; *host* may be empty when it is missing. ports: a frontend's, as in `Allocation`."""

    name: NodeName
    role: Role
    state: NodeState
    host: str = ""
    public_ip: IPv4Address | None = None
    image: str = ""
    ports: Mapping[int, int] = field(default_factory=dict)


class ClusterState(StrEnum):
    """Where a cluster is in its life, as recorded in the site database."""

    PLANNED = "planned"
    ALLOCATED = "allocated"
    RUNNING = "running"
    STOPPED = "stopped"
    CLEANING = "cleaning"


@dataclass(frozen=True, slots=True)
class HostCapacity:
    """What a host has and what is free: CPUs less the reserved, memory less what all defined nodes take.

    roles: the nodes that may go there.
    """

    host: str
    cpus: int
    cpus_free: int
    memory_mib: int
    memory_free_mib: int
    roles: frozenset[Role] = frozenset(Role)


@dataclass(frozen=True, slots=True)
class Capacity:
    """All hosts of a site."""

    hosts: tuple[HostCapacity, ...]


# ------------------------------------------------------------------------------------------------------------- progress


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of long work: *subject* is a node, image or file; *done*/*total* in bytes or seconds, if known.

    phase is one of PHASES; text adds what a person wants to know ("waiting for sshd").
    """

    phase: str
    subject: str
    text: str = ""
    done: int | None = None
    total: int | None = None


PHASES = ("download", "decompress", "prepare", "boot", "ready")
ProgressSink = Callable[[Progress], None]
"""Called from any thread; must not block and must not raise."""


def no_progress(_: Progress) -> None:
    """The sink for callers that do not watch."""


# -------------------------------------------------------------------------------------------------------------- volumes


class Volumes(Protocol):
    """Volumes of a site that nodes' disks are made on (zvols of a NAS): a driver has them, a disk store uses them.

    Each call raises DriverError with what went wrong on the volume's host.
    """

    def clone(self, source: VolumeSource, cluster: ClusterName, node: NodeName) -> tuple[VolumeSource, int]:
        """Make a node's own volume without copying, and have the node use it; replaces a leftover. Size in bytes."""

    def mapped(self, volume: VolumeSource, size: int) -> AbstractContextManager[Path]:
        """Have a volume as a block device of this machine while the block runs; unmapped for sure after it."""

    def look(self, source: VolumeSource) -> AbstractContextManager[tuple[Path, int]]:
        """Have a clone of an image's volume as a block device, and its size; gone after the block."""


# ------------------------------------------------------------------------------------------------------------ templates


class Templates(Protocol):
    """Images that an engine keeps itself, as its templates."""

    def ready(self) -> frozenset[str]:
        """The names of those that nodes can be made from now. Raises DriverError."""

    def publish(self, name: str, url: str, checksum: str = "", progress: ProgressSink = no_progress) -> None:
        """Have the engine fetch a disk image from *url* (http or https) as a template; returns when it is ready.

        checksum: `{SHA-256}HEX`, or empty. No error when a template of that name is ready already.
        Raises DriverError, with the engine's own words, when it cannot be had.
        """


# ------------------------------------------------------------------------------------------------------------- catalogs


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One line of vcdb.txt: the image's name, its vc-in document, and where the line stands."""

    name: ImageName
    path: Path
    line: int


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a repository offers, in file order; *warnings* are about lines that were left out or look wrong.

    notes: what else a person may want to know, the age of a list that could not be refreshed, say.
    """

    entries: tuple[CatalogEntry, ...]
    warnings: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())

    def find(self, name: ImageName) -> CatalogEntry | None:
        """The entry of that name, or None."""
        return next((entry for entry in self.entries if entry.name == name), None)


# --------------------------------------------------------------------------------------------------- access and reports


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An ssh key pair in OpenSSH's formats: the private part (PEM, ends in a newline), the public one-line part."""

    private: str = field(repr=False)
    public: str


@dataclass(frozen=True, slots=True)
class Access:
    """Who may log in where: made anew for each cluster, on the host.

    user_keys: authorized_keys lines of the user. cluster: the cluster-internal key: its private part goes to the
    frontend only, its public part to every node. hosts: each node's own ssh host key, so that nobody is ever asked
    to believe an unknown one.
    """

    user_keys: tuple[str, ...]
    cluster: KeyPair
    hosts: Mapping[NodeName, KeyPair]


REPORT_MARK = "pragma-node:"
"""A prepared node reports on its serial console, a line each: ``pragma-node: NAME ready`` or
``pragma-node: NAME waiting CAUSE`` (image.render writes the guest's side, cluster.ready reads it)."""
