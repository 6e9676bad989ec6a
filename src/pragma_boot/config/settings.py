"""What a site has decided, validated and frozen. One field per key of the configuration files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from pragma_boot.files import StateFolder


class Accel(StrEnum):
    """How nodes are accelerated: `auto` proves KVM once per boot of the host, and takes TCG where it does not work."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True, slots=True)
class RepositorySettings:
    """`repository_settings` of site_conf.conf.

    directory: the local repository, or the cache of a remote one. catalog: vcdb_filename resolved against it.
    cache: where assembled (unpacked) disks are kept.
    others: the class's further keys by name, validated, defaults filled in; None or empty where nothing is set.
    """

    repository_class: str
    directory: Path
    catalog: Path
    cache: Path
    others: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """site_conf.conf."""

    site_ve_driver: str
    temp_directory: Path
    log_directory: Path
    state: StateFolder
    repository: RepositorySettings


@dataclass(frozen=True, slots=True)
class PublicNetwork:
    """How the public network is reached: a NAT network that we create, or a bridge that is there.

    kind: `nat` or `bridge`; name: the libvirt network's name, or the bridge device's.
    """

    kind: str
    name: str


_ETHERNET_MTU = 1500


@dataclass(frozen=True, slots=True)
class SiteNetwork:
    """A further network of the site that clusters may ask for (guest.md 7.4).

    interface: the host's interface or bridge on it. kind: `bridge` or `openvswitch`, or empty where the site says only
    the interface (the old form). mtu: bytes; None: as everywhere. cidr: whose addresses clusters get that name none.
    """

    name: str
    interface: str
    kind: str = ""
    vlan: int | None = None
    mtu: int | None = None
    cidr: IPv4Network | None = None

    @property
    def nodes_mtu(self) -> int:
        """The MTU of nodes' interfaces on it, bytes."""
        return self.mtu or _ETHERNET_MTU


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """What every driver's file says about clusters (libvirt.conf, kvm_rocks.conf, …); times in seconds.

    vlans: free for private networks, in order of preference. wait: 0 means do not wait.
    additional_interfaces: by network, the host's interface as text, or a mapping with `bridge`, `type` and, where
    given, `vlan`, `mtu`, `cidr` (an IPv4Network). ent: `subnet_name` and `interface_name`, or empty.
    overlay_cidr: None: each overlay takes a network at random.

    Where the engine chooses addresses itself (cloudstack), public_ips and vlans are empty, gw and netmask 0.0.0.0.
    """

    public_ips: tuple[IPv4Address, ...]
    netmask: IPv4Address
    gw: IPv4Address
    dns: tuple[IPv4Address, ...]
    vlans: tuple[int, ...]
    diskdir: Path | None
    num_processors_reserved: int
    cpu_overcommit: int
    private_network: IPv4Interface
    domain: str
    cpus_per_node: int
    memory_mib: int
    wait: float
    shutdown_grace: float
    parallel: int
    ent: Mapping[str, str] = field(default_factory=dict)
    additional_interfaces: Mapping[str, object] = field(default_factory=dict)
    overlay_cidr: IPv4Network | None = None
    ipop_timeout: float = 1800

    @property
    def public_network(self) -> IPv4Network:
        """The public network that gateway and mask describe."""
        return IPv4Network(f"{self.gw}/{self.netmask}", strict=False)

    @property
    def networks(self) -> Mapping[str, SiteNetwork]:
        """All further networks: those of additional_interfaces, and ENT's where only `ent` names it."""
        found: dict[str, SiteNetwork] = {}
        if self.ent:
            name = self.ent["subnet_name"]
            found[name] = SiteNetwork(name, self.ent["interface_name"])
        for name, given in self.additional_interfaces.items():
            found[name] = _site_network(name, given)
        return found


@dataclass(frozen=True, slots=True)
class LibvirtSettings:
    """libvirt.conf: the keys that only this driver has."""

    hosts: tuple[str, ...]
    public: PublicNetwork
    accel: Accel
    direct_kernel: bool
    clusters: ClusterSettings


@dataclass(frozen=True, slots=True)
class QemuSettings:
    """qemu.conf: the keys that only this driver has.

    ports: of a frontend, reached from outside. outside: `auto`, `passt` or `slirp`.
    """

    ports: tuple[int, ...]
    outside: str
    accel: Accel
    direct_kernel: bool
    clusters: ClusterSettings


@dataclass(frozen=True, slots=True)
class KvmRocksSettings:
    """kvm_rocks.conf: the keys that only this driver has.

    containers: the hosts that may run compute nodes; empty: all VM containers, or, at a site without any, the
    physical frontend. frontend_container: the host of virtual frontends; None: the physical frontend.
    rocks, ssh: the words that a command begins with. clusters.diskdir: a folder that all these hosts share, or None.
    """

    containers: tuple[str, ...]
    frontend_container: str | None
    rocks: tuple[str, ...]
    ssh: tuple[str, ...]
    clusters: ClusterSettings


@dataclass(frozen=True, slots=True)
class CloudStackSettings:
    """cloudstack.conf: the keys that only this driver has.

    public_network: name or id, or empty: the account's own. offerings: names, or empty: all of the site.
    timeout: seconds for one answer. public_first: whether the frontend's public interface is the cloud's default one.
    """

    url: str
    apikey: str = field(repr=False)
    secretkey: str = field(repr=False)
    template_filter: str
    network_offering: str
    zone: str
    public_network: str
    offerings: tuple[str, ...]
    ports: tuple[int, ...]
    ca_file: Path | None
    timeout: float
    anti_affinity: bool
    public_first: bool
    clusters: ClusterSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it; *folder* is where the files were found.

    drivers: by driver, all validated values of its file under the keys' names, for drivers without a type here.
    """

    folder: Path
    site: SiteSettings
    clusters: ClusterSettings
    libvirt: LibvirtSettings | None = None
    qemu: QemuSettings | None = None
    kvm_rocks: KvmRocksSettings | None = None
    cloudstack: CloudStackSettings | None = None
    drivers: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    @property
    def local(self) -> LibvirtSettings | QemuSettings | None:
        """The settings of a driver whose nodes run on this very machine; None where they are elsewhere."""
        return self.libvirt or self.qemu


def _site_network(name: str, given: object) -> SiteNetwork:
    if not isinstance(given, Mapping):
        return SiteNetwork(name, str(given))
    vlan, mtu, cidr = given.get("vlan"), given.get("mtu"), given.get("cidr")
    return SiteNetwork(name, given["bridge"], given["type"], vlan, mtu, cidr)
