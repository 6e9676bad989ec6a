"""The site that a new folder holds: a physical frontend, containers, a NAS and a plain compute node."""

from __future__ import annotations

from .hosts import next_ip
from .model import Appliance, Interface, Node, Options, Route, State, Subnet

_APPLIANCES = (
    ("frontend", "Frontend", "server"),
    ("compute", "Compute", "compute"),
    ("login", "Login", "login"),
    ("nas", "NAS Appliance", "nas"),
    ("network", "Ethernet Switch", None),
    ("power", "Power Units", None),
    ("vm-container", "VM Container", "client"),
    ("hosted-vm", "Hosted VM", None),
)
_ATTRS = {
    "Kickstart_PrivateDNSServers": "10.1.1.1",
    "Kickstart_PrivateGateway": "10.1.1.1",
    "Kickstart_PrivateHostname": "fiji",
    "Kickstart_PrivateKickstartHost": "10.1.1.1",
    "Kickstart_PrivateNetmask": "255.255.0.0",
    "Kickstart_PublicDNSServers": "8.8.8.8",
    "Kickstart_PublicGateway": "198.202.88.1",
    "Kickstart_PublicHostname": "fiji.example.org",
    "arch": "x86_64",
    "rocks_release": "Manzanita",
    "vm_mac_base_addr": "c6:ca:58:80:0:0",
    "vm_mac_base_addr_mask": "ff:ff:ff:c0:00:00",
}


def reference(
    version: str, *, containers: int = 3, cpus: int = 16, img_storage: str | None = "1.2", partition: str | None = None
) -> State:
    """A fresh site. partition: mount point of the largest partition; ``{host}`` in it is the host's name."""
    if version not in ("6.2", "6.2u", "7.0"):
        raise ValueError(f"no such version: {version}")
    state = State(version, "fiji", img_storage, Options())
    number = version[:3]
    state.attrs = _ATTRS | {"rocks_version": number, "rocks_version_major": number[0], "version": number}
    state.appliances = [Appliance(name, membership, "default", node) for name, membership, node in _APPLIANCES]
    state.appliance_attrs = {"hosted-vm": {"kickstartable": "no"}}
    state.subnets = [
        Subnet("private", "10.1.0.0", "255.255.0.0", 1500, "local", servedns=True),
        Subnet("public", "198.202.88.0", "255.255.255.0", 1500, "example.org"),
    ]
    state.routes = [
        Route("224.0.0.0", "255.255.255.0", subnet="private"),
        Route("255.255.255.255", "255.255.255.255", subnet="private"),
        Route("0.0.0.0", "0.0.0.0", "10.1.1.1"),
        Route("198.202.88.2", "255.255.255.255", "10.1.1.1"),
    ]
    disks = partition or "/state/partition1"
    frontend = _host(state, "fiji", "Frontend", 1, partition=disks)
    frontend.routes = [Route("0.0.0.0", "0.0.0.0", "198.202.88.1")]
    _card(state, frontend, "eth0", "00:25:90:2e:d4:a0", "private", "10.1.1.1")
    _card(state, frontend, "eth1", "00:25:90:2e:d4:a1", "public", "198.202.88.2")
    for index in range(containers):
        host = _host(state, f"vm-container-0-{index}", "VM Container", cpus, index, partition=disks)
        _card(state, host, "eth0", f"00:25:90:aa:00:{index:02x}", "private", next_ip(state, "private"))
        _card(state, host, "eth1", f"00:25:90:ab:00:{index:02x}", "public", None)
    nas = _host(state, "nas-0-0", "NAS Appliance", 8)
    _card(state, nas, "eth0", "00:25:90:ba:00:00", "private", next_ip(state, "private"))
    compute = _host(state, "compute-0-0", "Compute", 4)
    _card(state, compute, "eth0", "00:25:90:ca:00:00", "private", next_ip(state, "private"), module=None)
    return state


def _host(state: State, name: str, membership: str, cpus: int, rank: int = 0, *, partition: str = "") -> Node:
    node = Node(state.next_id(), name, membership, cpus, 0, rank)
    if partition:
        node.partitions = {"/": "16GB", partition.format(host=name): "1.7TB"}
    state.nodes.append(node)
    return node


def _card(
    state: State, node: Node, device: str, mac: str, subnet: str, ip: str | None, module: str | None = "igb"
) -> None:
    row = Interface(state.next_id(), node.id, device, mac, ip, node.name, subnet, module=module)
    state.interfaces.append(row)
