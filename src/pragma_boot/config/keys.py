"""Every key of `site_conf.conf` and of the drivers' files: one row each (repository_keys.py has the others).

From these rows come the parsing, the defaults, the templates in ``etc/`` and the tables of ``docs/site-config.md``.
"""

from __future__ import annotations

from collections.abc import Mapping

from pragma_boot.config import netvalues, values
from pragma_boot.config.cloudstack_keys import CLOUDSTACK_KEYS, CLOUDSTACK_OWN
from pragma_boot.config.key import Key
from pragma_boot.config.qemu_keys import QEMU_ADDRESS_KEYS
from pragma_boot.config.settings import Accel

SITE_FILE = "site_conf.conf"
"""The file that a folder must hold to be a site's configuration."""

DRIVERS = ("libvirt", "qemu", "kvm_rocks", "cloudstack")
"""Drivers of real sites; ``memory`` beside them runs nothing and serves tests."""


SITE_KEYS: tuple[Key, ...] = (
    Key(
        "site_ve_driver",
        values.choice(*DRIVERS, "memory"),
        "The driver of this site's virtualization engine; its own settings are in DRIVER.conf beside this file.",
        default="libvirt",
        example="libvirt",
    ),
    Key(
        "temp_directory",
        values.path,
        "Folder for temporary files.",
        default="/var/tmp",  # noqa: S108 - files in it are made by mkstemp
        example="/state/partition1/temp",
        aliases=("temporary_directory",),
    ),
    Key(
        "log_directory",
        values.path,
        "Folder for log files, one per command.",
        absent="`/var/log/pragma_boot` for root, else `log` in the state folder",
        example="/var/log/pragma_boot",
    ),
    Key(
        "state_directory",
        values.path,
        "Folder for the site database, locks, clusters and their disks.",
        absent="`/var/lib/pragma_boot` for root, else `$XDG_STATE_HOME/pragma_boot`",
        example="/var/lib/pragma_boot",
    ),
    Key(
        "repository_settings",
        lambda value: value,  # its entries have rows of their own
        "Where images come from; the keys in it are below.",
        required=True,
        example={"repository_class": "local", "repository_dir": "/var/lib/pragma_boot/images"},
    ),
)

_ADDRESS_KEYS: tuple[Key, ...] = (
    Key(
        "public_ips",
        netvalues.pool,
        'Public addresses for clusters, one each, taken in this order; "FIRST-LAST" stands for a whole range.',
        required=True,
        example=["198.51.100.10", "198.51.100.11"],
    ),
    Key("netmask", netvalues.netmask, "Mask of the public network.", required=True, example="255.255.255.0"),
    Key("gw", netvalues.address, "Gateway of the public network.", required=True, example="198.51.100.1"),
    Key(
        "dns",
        netvalues.addresses,
        "DNS servers for the nodes: one, several with blanks or commas between them, or a list.",
        required=True,
        example="198.51.100.1",
    ),
    Key(
        "vlans",
        netvalues.vlans,
        "VLAN ids for private networks, one per cluster: a list, or range(FIRST, LAST + 1).",
        required=True,
        example=range(22, 24),
    ),
    Key(
        "diskdir",
        values.optional_path,
        'Folder for the nodes\' disks, on NFS for example; "" for the usual place.',
        default="",
        example="/export/pragma/disks",
    ),
    Key(
        "num_processors_reserved",
        values.whole(0, 4096),
        "CPUs of each host that clusters never get.",
        default=0,
        example=2,
    ),
    Key(
        "cpu_overcommit",
        values.whole(1, 64),
        "How many CPUs of nodes may be promised for one CPU of a host.",
        default=1,
        example=4,
    ),
)

_NODE_KEYS: tuple[Key, ...] = (
    Key(
        "private_network",
        netvalues.interface,
        "The frontend's address and mask in every cluster's private network.",
        default="10.1.1.1/16",
        example="10.7.1.1/16",
    ),
    Key(
        "domain",
        values.domain,
        "Domain of a cluster's full name where its public address has no name in the DNS.",
        default="internal",
        example="clusters.example.org",
    ),
    Key("cpus_per_node", values.whole(1, 1024), "Most CPUs of one compute node.", default=2, example=4),
    Key("memory", values.whole(64, 16 * 1024 * 1024), "Memory of a node, MiB.", default=2048, example=4096),
    Key(
        "wait",
        values.wait,
        "How long boot waits for nodes to be ready, seconds; False: not at all.",
        default=600,
        example=False,
    ),
    Key(
        "shutdown_grace",
        values.seconds(0, 3600),
        "How long a node may take to shut down before it is switched off, seconds.",
        default=60,
        example=120,
    ),
    Key("parallel", values.whole(1, 256), "Nodes that are made ready at the same time.", default=4, example=8),
    Key(
        "additional_interfaces",
        netvalues.additional_interfaces,
        "Further networks that clusters may ask for, each with the host's interface on it, or with bridge, type"
        " (bridge or openvswitch), vlan, mtu and cidr.",
        default={},
        example={"openflow": "ovs"},
    ),
    Key(
        "ent",
        netvalues.ent,
        "The PRAGMA-ENT network of an ENT site.",
        default={},
        example={"subnet_name": "openflow", "interface_name": "ovs"},
    ),
    Key(
        "overlay_cidr",
        netvalues.overlay_network,
        "Addresses of overlays that clusters of this site found (enable-ipop-server=).",
        default="",
        example="172.20.0.0/22",
        absent="a random /22 of 172.16.0.0/12 for each",
    ),
    Key(
        "ipop_timeout",
        values.seconds(0, 7 * 24 * 3600),
        "How long a boot waits for the overlay that it shall join (enable-ipop-client=), seconds.",
        default=1800,
        example=300,
    ),
)

_LIBVIRT_KEYS: tuple[Key, ...] = (
    Key(
        "hosts",
        values.uris,
        "libvirt URI of each host that runs nodes.",
        default=["qemu:///system"],
        example=["qemu:///system"],
    ),
    Key(
        "public_network",
        netvalues.public_network,
        'How the public network is reached: {"nat": NAME}, a NAT network that pragma creates, or {"bridge": DEVICE}.',
        default={"nat": "pragma-public"},
        example={"bridge": "br0"},
    ),
    Key(
        "accel",
        values.choice(*Accel),
        "Acceleration: auto takes KVM where it is proved to work, else TCG.",
        default="auto",
        example="tcg",
    ),
    Key(
        "direct_kernel",
        values.boolean,
        "Start nodes' kernels directly, which spares the boot loader's slow way through the firmware.",
        default=True,
        example=False,
    ),
)

_ROCKS_KEYS: tuple[Key, ...] = (
    Key(
        "available_containers",
        values.words,
        "VM containers that may host compute nodes: a list, or one text with blanks.",
        default="",
        example="vm-container-0-0 vm-container-0-1",
        absent="all",
    ),
    Key(
        "frontend_container",
        values.optional_text,
        "The host that runs virtual frontends; it must be on the public network.",
        default="",
        example="vm-container-0-0",
        absent="the physical frontend",
    ),
    Key(
        "rocks",
        values.command,
        "The rocks program; words before it, of sudo or ssh say, are allowed.",
        default="/opt/rocks/bin/rocks",
        example="sudo /opt/rocks/bin/rocks",
    ),
    Key(
        "ssh",
        values.command,
        "The ssh program that reaches the hosts as root, with its options.",
        default="ssh",
        example="ssh -i /root/.ssh/id_rsa",
    ),
)

_NOT_OF_QEMU = {row.name for row in QEMU_ADDRESS_KEYS} | {"hosts", "public_network", "ent", "additional_interfaces"}
_QEMU_KEYS = QEMU_ADDRESS_KEYS + tuple(
    row for row in _ADDRESS_KEYS + _LIBVIRT_KEYS + _NODE_KEYS if row.name not in _NOT_OF_QEMU
)

DRIVER_KEYS: Mapping[str, tuple[Key, ...]] = {
    "libvirt": _ADDRESS_KEYS + _LIBVIRT_KEYS + _NODE_KEYS,
    "qemu": _QEMU_KEYS,
    "kvm_rocks": _ADDRESS_KEYS + _ROCKS_KEYS + _NODE_KEYS,
    "cloudstack": CLOUDSTACK_KEYS + tuple(row for row in _NODE_KEYS if row.name not in CLOUDSTACK_OWN),
    "memory": _ADDRESS_KEYS + _NODE_KEYS,
}
"""The rows of each driver's file, by driver."""


def driver_file(driver: str) -> str:
    """The name of a driver's own file."""
    return f"{driver}.conf"
