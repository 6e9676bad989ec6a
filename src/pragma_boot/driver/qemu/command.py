"""The command line of a node's QEMU, from typed values. Pure; a golden file shows one.

It describes the machine that the libvirt driver defines (driver/libvirt/documents.py says why it is so): the same
board, devices and slots, so that an image behaves alike at both kinds of sites.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pragma_boot.driver.qemu.records import Machine
from pragma_boot.model import PRIVATE, DiskFormat, KernelBoot

_FIRST_NIC_SLOT = 0x02
_DISK_SLOT, _RNG_SLOT, _BALLOON_SLOT = 0x10, 0x11, 0x12
LAN = "lan"
"""The network back end that is a node's connection to its cluster's switch."""
PLUG = "plug"
"""What connects `LAN` to the hub that the private interface is on; both can be made anew while the node runs."""
HUB = 0
LAN_MTU = 9000
"""Bytes of a packet on the private network: each frame costs the same there, as nobody cuts large ones for the guests.
Guests that are not told otherwise take it from their interface."""


def command(
    machine: Machine,
    qemu: Path,
    *,
    monitor: int,
    lan: int,
    outside: str | None,
    kernel: KernelBoot | None,
) -> list[str]:
    """The words that start *machine*.

    monitor, lan: the descriptors of its listening monitor and of its connection to the switch. outside: the back end
    of the public interface (`-netdev`'s value, with the id `public`); None without one.
    """
    cores = machine.cpus
    words = [
        str(qemu),
        *("-name", f"{machine.cluster}.{machine.node}".replace(",", ",,")),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        # what the firmware says is on the console, too: graphics=off
        *("-machine", f"q35,accel={machine.accel},usb=off,vmport=off,hpet=off,graphics=off"),
        *("-cpu", "host" if machine.accel == "kvm" else "max"),
        *("-smp", f"{cores},sockets=1,cores={cores},threads=1", "-m", f"{machine.memory_mib}M"),
        *("-rtc", "base=utc,driftfix=slew", "-boot", "strict=on"),
        *("-global", "ICH9-LPC.disable_s3=1", "-global", "ICH9-LPC.disable_s4=1"),
        *("-action", "panic=pause", "-device", "pvpanic"),
        *("-chardev", f"socket,id=monitor,fd={monitor},server=on,wait=off", "-mon", "chardev=monitor,mode=control"),
        *("-chardev", f"file,id=console,path={machine.console.replace(',', ',,')},append=on"),
        *("-serial", "chardev:console"),
        *("-blockdev", json.dumps(_disk(machine))),
        *("-device", f"virtio-blk-pci,drive=disk,bootindex=1,{_slot(_DISK_SLOT)}"),
        *("-object", "rng-random,id=random,filename=/dev/urandom"),
        *("-device", f"virtio-rng-pci,rng=random,{_slot(_RNG_SLOT)}"),
        *("-device", f"virtio-balloon-pci,{_slot(_BALLOON_SLOT)}"),
        *("-netdev", f"socket,id={LAN},fd={lan}"),
        *("-netdev", f"hubport,id={PLUG},hubid={HUB},netdev={LAN}"),
        *("-netdev", f"hubport,id=private,hubid={HUB}"),
        *(("-netdev", outside) if outside else ()),
    ]
    for number, (network, mac) in enumerate(machine.macs.items()):
        mtu = f"host_mtu={LAN_MTU}," if network == PRIVATE else ""
        words += [
            "-device",
            f"virtio-net-pci,netdev={network},mac={mac},{mtu}romfile=,{_slot(_FIRST_NIC_SLOT + number)}",
        ]
    return words + (_first_start(kernel) if kernel else [])


def _first_start(kernel: KernelBoot) -> list[str]:
    initrd = ["-initrd", str(kernel.initrd)] if kernel.initrd else []
    return ["-kernel", str(kernel.kernel), *initrd, "-append", kernel.cmdline]


def _disk(machine: Machine) -> Mapping[str, object]:
    """The whole chain with its formats: nothing is probed in what a guest could write."""
    return {
        "node-name": "disk",
        "driver": machine.disk_format,
        "discard": "unmap",
        "file": _file(machine.disk) | {"discard": "unmap"},
        **({"backing": _backing(machine)} if machine.disk_format == DiskFormat.QCOW2 else {}),
    }


def _backing(machine: Machine) -> Mapping[str, object]:
    # a qcow2 image may have a backing file of its own, which it names itself
    return {"driver": machine.backing_format, "read-only": True, "file": _file(machine.backing) | {"read-only": True}}


def _file(path: str) -> dict[str, object]:
    return {"driver": "file", "filename": path}


def _slot(slot: int) -> str:
    return f"bus=pcie.0,addr=0x{slot:02x}"
