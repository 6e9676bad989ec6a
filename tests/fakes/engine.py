"""Settings, plans and disks for drivers under test. Addresses are from the ranges for documentation."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from pragma_boot.config.settings import Accel, ClusterSettings, LibvirtSettings, PublicNetwork, QemuSettings
from pragma_boot.files import lock
from pragma_boot.model import (
    Allocation,
    ClusterName,
    Disk,
    DiskFormat,
    ImageName,
    Leases,
    LocalDisk,
    Mac,
    NodeName,
    NodeSpec,
    Plan,
    Role,
)
from pragma_boot.run import run

CLUSTERS = ClusterSettings(
    public_ips=tuple(IPv4Address(f"198.51.100.{last}") for last in range(10, 20)),
    netmask=IPv4Address("255.255.255.0"),
    gw=IPv4Address("198.51.100.1"),
    dns=(),
    vlans=tuple(range(3950, 3960)),
    diskdir=None,
    num_processors_reserved=0,
    cpu_overcommit=8,
    private_network=IPv4Interface("10.1.1.1/16"),
    domain="internal",
    cpus_per_node=1,
    memory_mib=128,
    wait=60,
    shutdown_grace=1,
    parallel=4,
)
LIBVIRT = LibvirtSettings(("qemu:///system",), PublicNetwork("nat", "drv-public"), Accel.AUTO, True, CLUSTERS)
QEMU = QemuSettings(
    (22,),
    "slirp",
    Accel.AUTO,
    True,
    replace(
        CLUSTERS,
        public_ips=tuple(IPv4Address(f"127.0.113.{last}") for last in range(10, 20)),
        gw=IPv4Address("192.0.2.1"),
    ),
)


@contextmanager
def engine_room() -> Iterator[Path]:
    """A folder for tests on real libvirt, where QEMU's own user can read; one test run at a time has it.

    It is the same each time, so that its site can release what a run that was killed has left.
    """
    room = Path("/var/tmp/pragma_boot-tests/engine")
    with lock(room.with_suffix(".lock")):
        shutil.rmtree(room, ignore_errors=True)
        room.mkdir(parents=True)
        try:
            yield room
        finally:
            shutil.rmtree(room)


def plan(cluster: str, computes: int = 1, *, cpus: int = 1, memory_mib: int = 32) -> Plan:
    """A plan of tiny nodes."""
    nodes = [NodeSpec(NodeName(cluster), Role.FRONTEND, cpus, memory_mib)]
    nodes += [NodeSpec(NodeName(f"compute-{index}"), Role.COMPUTE, cpus, memory_mib) for index in range(computes)]
    return Plan(ClusterName(cluster), ImageName("nothing"), tuple(nodes), CLUSTERS.private_network)


def leases(wanted: Plan, number: int = 0) -> Leases:
    """What the site database would have reserved for the *number*-th cluster of a test."""
    macs = {}
    for index, node in enumerate(wanted.nodes):
        macs[node.name] = {"private": Mac(f"52:54:00:dd:{number:02x}:{2 * index:02x}")}
        if node.role is Role.FRONTEND:
            macs[node.name]["public"] = Mac(f"52:54:00:dd:{number:02x}:{2 * index + 1:02x}")
        for at, extra in enumerate(wanted.extra):
            macs[node.name][extra.name] = Mac(f"52:54:00:de:{number:02x}:{8 * index + at:02x}")
    return Leases(
        cluster=wanted.cluster,
        public_ip=CLUSTERS.public_ips[number],
        fqdn=f"{wanted.cluster}.example.org",
        vlan=CLUSTERS.vlans[number],
        macs=macs,
    )


@dataclass(frozen=True)
class EmptyDisks:
    """Overlays over one empty image: a machine's firmware finds nothing to boot and halts."""

    folder: Path

    @property
    def image(self) -> LocalDisk:
        """The image, made when first asked for."""
        path = self.folder / "image.raw"
        if not path.exists():
            path.write_bytes(bytes(1 << 20))
            path.chmod(0o644)
        return LocalDisk(path, DiskFormat.RAW, 1 << 20)

    def of(self, allocation: Allocation) -> dict[NodeName, Disk]:
        """A disk for each node."""
        folder = self.folder / "disks" / allocation.cluster
        folder.mkdir(parents=True, exist_ok=True)
        disks = {}
        for node in allocation.nodes:
            disk = Disk(node.name, folder / f"{node.name}.qcow2", DiskFormat.QCOW2, self.image)
            run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self.image.path, disk.path])
            disks[node.name] = disk
        return disks


def with_reserved(reserved: int) -> ClusterSettings:
    """The settings of a site that keeps CPUs for itself."""
    return replace(CLUSTERS, num_processors_reserved=reserved)
