"""The XML documents that libvirt is given, built from typed values. Pure; golden files show them.

Choices, each measured or for a reason:

- Devices sit directly on the root bus at fixed slots: interfaces keep their names (``enp0s2`` private, ``enp0s3``
  public), old kernels find virtio's legacy form there, and no bridge needs to be scanned.
- No graphics, USB, sound or option ROMs: they cost start-up time and nobody sees them.
- The disk is a *file* whose whole backing chain is written out with formats: nothing is probed in what a guest could
  write, and AppArmor's helper sees every path. The image is not relabelled: many nodes share it.
- ``cache=writeback`` obeys the guest's flushes (safe), and all nodes read the image through one page cache.
- A panic that the guest reports leaves the domain `crashed`, for a look, until it is stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path
from typing import TYPE_CHECKING

from lxml import etree

from pragma_boot.driver.libvirt import marks
from pragma_boot.driver.libvirt.marks import Marks
from pragma_boot.model import Disk, DiskFormat, KernelBoot, Mac

if TYPE_CHECKING:
    from lxml.etree import _Element

_FIRST_NIC_SLOT = 0x02
_DISK_SLOT, _RNG_SLOT, _BALLOON_SLOT = 0x10, 0x11, 0x12
_KVM_CPU = {"mode": "host-passthrough", "check": "none"}
_TCG_CPU = {"mode": "maximum", "check": "none"}
_NO_OFFLOAD = dict.fromkeys(("csum", "tso4", "tso6", "ecn", "ufo"), "off")


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface: on the libvirt network *network*, or on the host's bridge *bridge*.

    openvswitch: the bridge is one of Open vSwitch's. vlan: the tag of its packets on the bridge. mtu: bytes; None: the
    bridge's. checksums: the node has to compute them itself, nobody does it for it on the way.
    """

    mac: Mac
    network: str = ""
    bridge: str = ""
    openvswitch: bool = False
    vlan: int | None = None
    mtu: int | None = None
    checksums: bool = False


@dataclass(frozen=True, slots=True)
class Domain:
    """A node as libvirt shall run it. accel: `kvm` or `tcg`. console: its log file on the host."""

    marks: Marks
    cpus: int
    memory_mib: int
    accel: str
    disk: Disk
    interfaces: tuple[Interface, ...]
    console: Path

    @property
    def name(self) -> str:
        """The domain's name."""
        return marks.domain_name(self.marks.cluster, self.marks.node)


def domain_xml(domain: Domain) -> str:
    """The domain's document: it starts by the disk's own boot loader."""
    root = _e(
        "domain",
        _e("name", domain.name),
        _e("uuid", marks.uuid_of(domain.marks.site, domain.name)),
        _e("title", f"{domain.marks.node} of virtual cluster {domain.marks.cluster}"),
        _e("metadata", marks.element(domain.marks)),
        _e("memory", str(domain.memory_mib), unit="MiB"),
        _e("vcpu", str(domain.cpus), placement="static"),
        _os(),
        _e("features", _e("acpi"), _e("apic"), _e("vmport", state="off")),
        _cpu(domain),
        _e(
            "clock", _e("timer", name="rtc", tickpolicy="catchup"), _e("timer", name="hpet", present="no"), offset="utc"
        ),
        _e("on_poweroff", "destroy"),
        _e("on_reboot", "restart"),
        _e("on_crash", "preserve"),
        _e("pm", _e("suspend-to-mem", enabled="no"), _e("suspend-to-disk", enabled="no")),
        _devices(domain),
        type="kvm" if domain.accel == "kvm" else "qemu",
    )
    return _text(root)


def with_kernel(document: str, kernel: KernelBoot) -> str:
    """A domain's document, changed to start *kernel* without the boot loader."""
    root = etree.fromstring(document, etree.XMLParser(remove_blank_text=True))
    type_ = root.find("os/type")
    assert type_ is not None
    words = [_e("kernel", str(kernel.kernel)), _e("cmdline", kernel.cmdline)]
    if kernel.initrd:
        words.insert(1, _e("initrd", str(kernel.initrd)))
    for word in reversed(words):
        type_.addnext(word)
    return _text(root)


def private_network_xml(cluster_marks: Marks) -> str:
    """A cluster's private network: a bridge that the host has no address on; nobody serves anything there."""
    assert cluster_marks.vlan is not None
    name = marks.network_name(cluster_marks.cluster)
    root = _e(
        "network",
        _e("name", name),
        _e("uuid", marks.uuid_of(cluster_marks.site, name)),
        _e("metadata", marks.element(cluster_marks)),
        _e("bridge", name=marks.bridge_name(cluster_marks.vlan), stp="off", delay="0"),
    )
    return _text(root)


def nat_network_xml(site: str, name: str, gateway: IPv4Interface) -> str:
    """The site's public network where no bridge is there: *gateway* is the host's address in it; it answers DNS.

    libvirt names the bridge; nobody hands out addresses: they are leased by the site and static in the nodes.
    """
    root = _e(
        "network",
        _e("name", name),
        _e("uuid", marks.uuid_of(site, name)),
        _e("forward", mode="nat"),
        _e("bridge", stp="off", delay="0"),
        _e("dns", enable="yes"),
        _e("ip", family="ipv4", address=str(gateway.ip), prefix=str(gateway.network.prefixlen)),
    )
    return _text(root)


def _os() -> _Element:
    return _e(
        "os",
        _e("type", "hvm", arch="x86_64", machine="q35"),
        _e("boot", dev="hd"),
        _e("bios", useserial="yes"),  # what the firmware says is in the console's log, too
    )


def _cpu(domain: Domain) -> _Element:
    mode = _KVM_CPU if domain.accel == "kvm" else _TCG_CPU
    return _e("cpu", _e("topology", sockets="1", cores=str(domain.cpus), threads="1"), **mode)


def _devices(domain: Domain) -> _Element:
    console = {"file": str(domain.console), "append": "on"}
    return _e(
        "devices",
        _disk(domain.disk),
        _e("controller", type="usb", model="none"),
        *(_interface(nic, _FIRST_NIC_SLOT + index) for index, nic in enumerate(domain.interfaces)),
        _e("serial", _e("log", **console), _e("target", type="isa-serial", port="0"), type="pty"),
        _e("console", _e("log", **console), _e("target", type="serial", port="0"), type="pty"),
        _e("rng", _e("backend", "/dev/urandom", model="random"), _slot(_RNG_SLOT), model="virtio"),
        _e("memballoon", _slot(_BALLOON_SLOT), model="virtio"),
        _e("panic", model="isa"),
    )


def _disk(disk: Disk) -> _Element:
    backing = disk.backing
    return _e(
        "disk",
        _e("driver", name="qemu", type=disk.format.value, cache="writeback", discard="unmap"),
        _e("source", file=str(disk.path)),
        _e(
            "backingStore",
            _e("format", type=backing.format.value),
            _e("source", _e("seclabel", model="dac", relabel="no"), file=str(backing.path)),
            *(() if backing.format is DiskFormat.QCOW2 else [_e("backingStore")]),  # a qcow2 may have one of its own
            type="file",
        ),
        _e("target", dev="vda", bus="virtio"),
        _slot(_DISK_SLOT),
        type="file",
        device="disk",
    )


def _interface(nic: Interface, slot: int) -> _Element:
    kind, source = ("bridge", {"bridge": nic.bridge}) if nic.bridge else ("network", {"network": nic.network})
    return _e(
        "interface",
        _e("mac", address=nic.mac),
        _e("source", **source),
        *([_e("vlan", _e("tag", id=str(nic.vlan)))] if nic.vlan else []),
        *([_e("virtualport", type="openvswitch")] if nic.openvswitch else []),
        _e("model", type="virtio"),
        *([_e("driver", _e("host", **_NO_OFFLOAD), _e("guest", **_NO_OFFLOAD))] if nic.checksums else []),
        *([_e("mtu", size=str(nic.mtu))] if nic.mtu else []),
        _e("rom", enabled="no"),
        _slot(slot),
        type=kind,
    )


def _slot(slot: int) -> _Element:
    return _e("address", type="pci", domain="0x0000", bus="0x00", slot=f"0x{slot:02x}", function="0x0")


def _e(tag: str, /, *children: _Element | str, **attributes: str) -> _Element:
    """An element with attributes and children; a text child is its text."""
    made = etree.Element(tag, attributes)
    for child in children:
        if isinstance(child, str):
            made.text = child
        else:
            made.append(child)
    return made


def _text(root: _Element) -> str:
    return etree.tostring(root, pretty_print=True, encoding="unicode")
