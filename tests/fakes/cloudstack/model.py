"""What the cloud remembers. Rows name each other by id, so that the whole of it can be copied and written as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ISOLATED_SERVICES = (
    "Dhcp",
    "Dns",
    "UserData",
    "Firewall",
    "Gateway",
    "Lb",
    "SourceNat",
    "StaticNat",
    "PortForwarding",
    "Vpn",
)


@dataclass
class Account:
    id: str
    name: str
    apikey: str
    secretkey: str
    role: str = "user"
    domain: str = "ROOT"
    domainid: str = ""
    userid: str = ""
    enabled: bool = True
    limits: dict[str, int] = field(default_factory=dict)

    @property
    def admin(self) -> bool:
        return self.role == "admin"


@dataclass
class Zone:
    """vlans: the physical network's pool. storage: GiB of primary storage that is up."""

    id: str
    name: str
    networktype: str = "Advanced"
    securitygroups: bool = False
    enabled: bool = True
    guestcidr: str = "10.1.1.0/24"
    dns1: str = "192.0.2.53"
    vlans: list[int] = field(default_factory=list)
    storage: int = 1000


@dataclass
class NetworkOffering:
    id: str
    name: str
    guestiptype: str = "Isolated"
    state: str = "Enabled"
    egress_allow: bool = False
    specifyvlan: bool = False
    persistent: bool = False
    conservemode: bool = True
    forvpc: bool = False
    system: bool = False
    isdefault: bool = True
    availability: str = "Optional"
    networkmode: str = "NATTED"
    services: list[str] = field(default_factory=lambda: list(ISOLATED_SERVICES))
    zones: list[str] = field(default_factory=list)
    created: float = 0


@dataclass
class ServiceOffering:
    """cpus, speed (MHz) and memory (MB) are None where the user chooses; ranges: (min, max) of a constrained one."""

    id: str
    name: str
    cpus: int | None = None
    speed: int | None = None
    memory: int | None = None
    cpu_range: list[int] | None = None
    memory_range: list[int] | None = None
    state: str = "Active"
    zones: list[str] = field(default_factory=list)
    created: float = 0

    @property
    def custom(self) -> bool:
        return self.cpus is None


@dataclass
class Template:
    """zones: id of a zone → when its copy is ready (None: never). failure: what status says instead."""

    id: str
    name: str
    account: str
    zones: dict[str, float | None] = field(default_factory=dict)
    public: bool = True
    featured: bool = False
    size: int = 1 << 30
    hypervisor: str = "KVM"
    format: str = "QCOW2"
    ostypeid: str = ""
    url: str = ""
    failure: str | None = None
    displaytext: str = ""
    checksum: str | None = None
    passwordenabled: bool = False
    sshkeyenabled: bool = False
    shared_with: list[str] = field(default_factory=list)
    templatetype: str = "USER"
    created: float = 0
    removed: bool = False


@dataclass
class Network:
    """stuck: never leaves Implementing. free_since: when the collector first saw it without running machines."""

    id: str
    name: str
    displaytext: str
    account: str
    zoneid: str
    offeringid: str
    kind: str
    cidr: str
    gateway: str
    domain: str
    state: str = "Allocated"
    vlan: int | None = None
    requested_vlan: int | None = None
    dns1: str | None = None
    free_since: float | None = None
    stuck: bool = False
    shared: bool = False
    created: float = 0
    removed: bool = False


@dataclass
class Router:
    id: str
    networkid: str
    address: str
    state: str = "Running"


@dataclass
class Nic:
    id: str
    networkid: str
    ip: str | None
    mac: str
    default: bool
    device: int


@dataclass
class Machine:
    id: str
    name: str
    displayname: str
    account: str
    zoneid: str
    templateid: str
    offeringid: str
    cpus: int
    speed: int
    memory: int
    number: int
    state: str = "Stopped"
    nics: list[Nic] = field(default_factory=list)
    userdata: str = ""
    userdataid: str | None = None
    keypairs: list[str] = field(default_factory=list)
    affinity: list[str] = field(default_factory=list)
    group: str | None = None
    hostid: str | None = None
    hypervisor: str = "KVM"
    details: dict[str, str] = field(default_factory=dict)
    delete_protection: bool = False
    rootsize: int = 1
    created: float = 0
    updated: float = 0
    destroyed: float | None = None
    removed: bool = False

    @property
    def instance(self) -> str:
        return f"i-2-{self.number}-VM"

    @property
    def present(self) -> bool:
        return not self.removed and self.state not in ("Destroyed", "Expunging")

    def nic_on(self, networkid: str) -> Nic | None:
        return next((nic for nic in self.nics if nic.networkid == networkid), None)


@dataclass
class Address:
    """A public address; the row outlives its owners. vmip: what static NAT maps it to."""

    id: str
    ip: str
    zoneid: str
    state: str = "Free"
    account: str | None = None
    networkid: str | None = None
    sourcenat: bool = False
    staticnat: bool = False
    vmid: str | None = None
    vmip: str | None = None
    allocated: float | None = None
    quarantine: list[Any] = field(default_factory=list)
    """Until when, and for whom it is kept."""


@dataclass
class Rule:
    """kind: pf, fw or egress. Ports None: all of them."""

    id: str
    kind: str
    account: str
    networkid: str
    protocol: str
    addressid: str | None = None
    start: int | None = None
    end: int | None = None
    private_start: int | None = None
    private_end: int | None = None
    vmid: str | None = None
    vmip: str | None = None
    cidrs: list[str] = field(default_factory=list)
    destinations: list[str] = field(default_factory=list)
    icmp: list[int] | None = None
    state: str = "Add"
    removed: bool = False


@dataclass
class Tag:
    id: str
    kind: str
    resourceid: str
    key: str
    value: str
    account: str


@dataclass
class KeyPair:
    id: str
    name: str
    account: str
    publickey: str
    fingerprint: str


@dataclass
class UserData:
    id: str
    name: str
    account: str
    userdata: str
    params: str | None = None


@dataclass
class AffinityGroup:
    id: str
    name: str
    account: str
    kind: str
    description: str | None = None
    removed: bool = False


@dataclass
class Host:
    """taken_*: used by machines that this model does not know."""

    id: str
    name: str
    zoneid: str
    cpus: int
    memory: int
    taken_cpus: int = 0
    taken_memory: int = 0
    up: bool = True


@dataclass
class Job:
    id: str
    command: str
    account: str
    userid: str
    kind: str | None
    instanceid: str | None
    created: float
    status: int = 0
    code: int = 0
    result: dict[str, Any] | None = None
    completed: float | None = None
    started: float | None = None
    lag: float = 0
    """Seconds that polls are late to see its end."""
