"""`pragma boot` of 1 + 3 tiny nodes beside its floor.

The floor is as many bare QEMU processes, started side by side on copies of overlays that pragma has prepared, wired
with taps to bridges of their own so that the guests do the same work, until each console says ready. Two floors:
through the disk's boot loader, and with the kernel started directly. What pragma does besides (its own start, choosing
names and addresses, locks, the site database, cloning and filling disks, libvirt) is in its time and not in theirs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from bench_site import BenchSite, bench_site, done, note, quick, rounds, row, timed

from pragma_boot import accel
from pragma_boot.cluster import prepare
from pragma_boot.cluster.ready import Watched, wait_until_ready
from pragma_boot.cluster.site import open_site
from pragma_boot.config.validate import load_settings
from pragma_boot.files import StateFolder
from pragma_boot.model import (
    PRIVATE,
    PUBLIC,
    Allocation,
    ClusterName,
    ImageName,
    KernelBoot,
    Mac,
    Nic,
    NodeAllocation,
    NodeName,
    NodeState,
    NodeStatus,
    Role,
    no_progress,
)
from pragma_boot.run import background

ROUNDS = 5
COMPUTES = 1 if quick() else 3
MEMORY = 256
BRIDGES = {PRIVATE: "pbench0", PUBLIC: "pbench1"}


@dataclass(frozen=True)
class Prepared:
    """The overlays to copy, and the kernels to start directly."""

    allocation: Allocation
    disks: Mapping[NodeName, Path]
    kernels: Mapping[NodeName, KernelBoot]


def main() -> None:
    with bench_site(memory=MEMORY) as site:
        site.need_image("tiny")
        os.environ["PRAGMA_BOOT_ETC"] = str(site.folder / "etc")
        ready = prepare_floor(site)
        boots, loaders, directs = [], [], []
        boot(site)  # fills caches: the image's, the kernel's, and the proof of KVM
        with bridges():
            for number in range(rounds(ROUNDS)):
                boots.append(boot(site))
                loaders.append(floor(site, ready, direct=False))
                directs.append(floor(site, ready, direct=True))
                note(f"round {number + 1}: boot {boots[-1]:.2f} s, floors {loaders[-1]:.2f} s, {directs[-1]:.2f} s")
    ratio_loader = [boot / bare for boot, bare in zip(boots, loaders, strict=True)]
    ratio_direct = [boot / bare for boot, bare in zip(boots, directs, strict=True)]
    done(
        [
            row(f"pragma boot tiny, 1 + {COMPUTES} nodes, until ready", boots, "s"),
            row("floor: bare QEMU through the boot loader", loaders, "s"),
            row("floor: bare QEMU, direct kernel", directs, "s"),
            row("pragma / floor through the boot loader", ratio_loader, "", target="≤ 1.10", most=1.10),
            row("pragma / floor with direct kernel", ratio_direct, "", target="≤ 1.10", most=1.10),
        ]
    )


def boot(site: BenchSite) -> float:
    """Seconds of a boot of four nodes; they are gone afterwards."""
    seconds = timed(lambda: site.pragma("boot", "tiny", str(COMPUTES), "name=bench", f"key={site.key}.pub"))
    site.pragma("shutdown", "bench")
    site.pragma("clean", "bench")
    return seconds


def prepare_floor(site: BenchSite) -> Prepared:
    """Have pragma prepare the disks of a cluster that it does not start."""
    opened = open_site(load_settings())
    image = opened.repository.fetch(opened.repository.describe(ImageName("tiny")))
    allocation = _allocation()
    keys = (site.key.with_suffix(".pub").read_text().strip(),)
    prepared = prepare.prepare(opened, allocation, image, keys, no_progress)
    return Prepared(allocation, {name: disk.path for name, disk in prepared.disks.items()}, prepared.kernels)


def _allocation() -> Allocation:
    names = [NodeName("floor"), *(NodeName(f"compute-{index}") for index in range(COMPUTES))]
    nodes = []
    for index, name in enumerate(names):
        private = "10.201.1.1/16" if index == 0 else f"10.201.255.{255 - index}/16"
        gateway = None if index == 0 else IPv4Address("10.201.1.1")
        nics = [Nic(PRIVATE, Mac(f"52:54:00:be:0c:{index:02x}"), IPv4Interface(private), gateway)]
        if index == 0:
            public = IPv4Interface("198.19.9.9/17")
            nics.append(Nic(PUBLIC, Mac("52:54:00:be:0d:00"), public, IPv4Address("198.19.0.1")))
        role = Role.COMPUTE if index else Role.FRONTEND
        nodes.append(NodeAllocation(name, role, 1, MEMORY, "localhost", tuple(nics)))
    return Allocation(
        ClusterName("floor"), ImageName("tiny"), "floor.internal", IPv4Address("198.19.9.9"), 4000,
        (IPv4Address("198.19.0.1"),), tuple(nodes),
    )  # fmt: skip


@contextmanager
def bridges() -> Iterator[None]:
    """Two bridges without a way out; gone afterwards."""
    try:
        for bridge in BRIDGES.values():
            _ip("link", "add", bridge, "type", "bridge")
            _ip("link", "set", bridge, "up")
        yield
    finally:
        for bridge in BRIDGES.values():
            _ip("link", "delete", bridge, check=False)


def floor(site: BenchSite, prepared: Prepared, *, direct: bool) -> float:
    """Seconds from the first QEMU's start until all consoles said ready."""
    folder = site.folder / "floor"
    folder.mkdir()
    accelerator = accel.works(StateFolder(site.folder / "state"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        commands = []
        for node in prepared.allocation.nodes:
            shutil.copyfile(prepared.disks[node.name], folder / f"{node.name}.qcow2")
            taps = [stack.enter_context(_tap(f"pbt{node.name[-1]}{index}", nic)) for index, nic in enumerate(node.nics)]
            kernel = prepared.kernels[node.name] if direct else None
            commands.append(_qemu(folder, node, taps, kernel, accelerator))
        watched = [Watched(node.name, node.role, folder / f"{node.name}.log") for node in prepared.allocation.nodes]
        states = {one.node: NodeStatus(one.node, one.role, NodeState.ACTIVE) for one in watched}

        def start_all() -> None:
            for command in commands:
                stack.enter_context(background(command))
            wait_until_ready(watched, timeout=300, status=lambda: states)

        return timed(start_all)


@contextmanager
def _tap(name: str, nic: Nic) -> Iterator[str]:
    _ip("tuntap", "add", "dev", name, "mode", "tap")
    try:
        _ip("link", "set", name, "master", BRIDGES[nic.network], "up")
        yield name
    finally:
        _ip("link", "delete", name, check=False)


def _qemu(
    folder: Path, node: NodeAllocation, taps: list[str], kernel: KernelBoot | None, accelerator: str
) -> list[str]:
    command = [
        "qemu-system-x86_64", "-machine", "q35", "-accel", accelerator,
        "-cpu", "host" if accelerator == "kvm" else "max", "-m", str(node.memory_mib), "-smp", str(node.cpus),
        "-nodefaults", "-no-user-config", "-display", "none",
        "-serial", f"file:{folder / node.name}.log",
        "-drive", f"file={folder / node.name}.qcow2,format=qcow2,if=virtio",
        "-device", "virtio-rng-pci",
    ]  # fmt: skip
    for tap, nic in zip(taps, node.nics, strict=True):
        command += ["-netdev", f"tap,id={tap},ifname={tap},script=no,downscript=no"]
        command += ["-device", f"virtio-net-pci,netdev={tap},mac={nic.mac}"]
    if kernel:
        command += ["-kernel", str(kernel.kernel), "-append", kernel.cmdline]
        command += ["-initrd", str(kernel.initrd)] if kernel.initrd else []
    return command


def _ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True)


if __name__ == "__main__":
    main()
