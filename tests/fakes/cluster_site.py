"""A whole site without a virtual machine: real cluster code, database and files; the engine and the disks are kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from fakes.guest import FakeGuest
from fakes.images import ROOTS
from fakes.memory_cloud import MemoryCloudDriver
from fakes.repository import MemoryRepository
from pragma_boot.cluster.site import Site
from pragma_boot.config.settings import ClusterSettings, RepositorySettings, Settings, SiteSettings
from pragma_boot.driver.memory import MemoryDriver
from pragma_boot.files import StateFolder
from pragma_boot.image.base import Guest
from pragma_boot.model import Disk, DiskFormat, LocalDisk, LocalImage, NodeName, Role

Hook = Callable[[str], None]


def go_on(_step: str) -> None:
    return


class FakeDisks:
    """A disk store whose disks are small files and whose guests are all the same Debian."""

    def __init__(self, root: Path, before_step: Hook) -> None:
        self.root = root
        self.before_step = before_step
        self.guests: dict[str, FakeGuest] = {}
        self.made: dict[str, set[Path]] = {}
        self.opens: Callable[[LocalDisk], Guest] = lambda _: FakeGuest.of(ROOTS["networkd"])

    def disks(self, cluster: str) -> Mapping[NodeName, LocalDisk]:
        found = sorted((self.root / cluster).glob("*.qcow2"))
        return {NodeName(path.stem): LocalDisk(path, DiskFormat.QCOW2, 0) for path in found}

    def way_to_edit(self) -> str:
        return "nodes' disks are remembered"

    def backing_files(self) -> frozenset[Path]:
        return frozenset(path for paths in self.made.values() for path in paths)

    def clone(self, image: LocalImage, role: Role, cluster: str, node: NodeName) -> Disk:
        path = self.root / cluster / f"{node}.qcow2"
        self.before_step(f"clone {node}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("overlay")
        self.made.setdefault(cluster, set()).add(image.for_role(role).path)
        return Disk(node, path, DiskFormat.QCOW2, image.for_role(role))

    @contextmanager
    def edit(self, disks: Sequence[Disk]) -> Iterator[Sequence[Guest]]:
        self.before_step("edit")
        for disk in disks:
            self.guests[disk.node] = FakeGuest.of(ROOTS["networkd"])
        yield [self.guests[disk.node] for disk in disks]

    @contextmanager
    def inspect(self, source: LocalDisk) -> Iterator[Guest]:
        self.before_step("inspect")
        yield self.opens(source)

    def delete(self, cluster: str) -> None:
        self.before_step(f"delete disks of {cluster}")
        shutil.rmtree(self.root / cluster, ignore_errors=True)


def settings(root: Path, *, addresses: int = 4, wait: float = 5) -> Settings:
    pool = tuple(IPv4Address("198.51.100.10") + step for step in range(addresses))
    clusters = ClusterSettings(
        public_ips=pool,
        netmask=IPv4Address("255.255.255.0"),
        gw=IPv4Address("198.51.100.1"),
        dns=(IPv4Address("198.51.100.53"),),
        vlans=tuple(range(22, 22 + 2 * addresses)),
        diskdir=None,
        num_processors_reserved=0,
        cpu_overcommit=1,
        private_network=IPv4Interface("10.1.1.1/16"),
        domain="internal",
        cpus_per_node=2,
        memory_mib=512,
        wait=wait,
        shutdown_grace=1,
        parallel=4,
    )
    state = StateFolder(root / "state")
    repository = RepositorySettings("local", root / "images", root / "images" / "vcdb.txt", root / "cache")
    site = SiteSettings("memory", root / "tmp", root / "log", state, repository)
    return Settings(root / "etc", site, clusters)


def make_site(
    root: Path,
    *,
    before_step: Hook = go_on,
    addresses: int = 4,
    wait: float = 5,
    silent: frozenset[NodeName] = frozenset(),
    hosts: dict[str, tuple[int, int]] | None = None,
) -> Site:
    """A site in *root*; opened again it finds what an earlier one left. before_step is called before each change."""
    chosen = settings(root, addresses=addresses, wait=wait)
    images = root / "images"
    images.mkdir(parents=True, exist_ok=True)
    repository = MemoryRepository(images)
    repository.offer("demo")
    driver = MemoryDriver(chosen.site.state, chosen.clusters, before_step=before_step, silent=silent, hosts=hosts)
    disks = FakeDisks(root / "disks", before_step)
    return Site(chosen, repository=lambda: repository, driver=lambda: driver, disks=lambda: disks)


def make_cloud(root: Path, *, before_step: Hook = go_on, wait: float = 0) -> tuple[Site, MemoryCloudDriver]:
    """A site whose engine has images of its own, assigns addresses and hands documents to nodes."""
    chosen = settings(root, addresses=0, wait=wait)
    chosen = replace(chosen, clusters=replace(chosen.clusters, cpus_per_node=1024))
    images = root / "images"
    images.mkdir(parents=True, exist_ok=True)
    repository = MemoryRepository(images)
    repository.offer("demo")
    driver = MemoryCloudDriver(chosen.site.state, chosen.clusters, before_step)

    def no_disks() -> FakeDisks:
        return FakeDisks(root / "disks", before_step)

    return Site(chosen, repository=lambda: repository, driver=lambda: driver, disks=no_disks), driver


def traces(root: Path) -> set[str]:
    """Every file that a cluster may leave, but for the lasting ones (docs/state.md)."""
    lasting = {"site.db", "memory-driver.json", "memory-driver.lock", "site.lock", "images.lock"}
    found = {path for path in root.rglob("*") if path.is_file() and path.name not in lasting}
    kept = (root / "images", root / "cache")
    return {str(path.relative_to(root)) for path in found if not any(map(path.is_relative_to, kept))}
