"""Drivers and settings on an emulated Rocks site."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from emulators.rocks.emulator.faults import Fault, meet
from emulators.rocks.emulator.remote import HOST
from emulators.rocks.emulator.store import FOLDER
from emulators.rocks.site import RocksSite
from fakes.cluster_site import FakeDisks, Hook, go_on, settings
from fakes.engine import CLUSTERS, EmptyDisks, leases, plan
from fakes.repository import MemoryRepository
from pragma_boot.cluster.site import Site
from pragma_boot.config.settings import ClusterSettings, KvmRocksSettings
from pragma_boot.driver.kvm_rocks.driver import KvmRocksDriver
from pragma_boot.driver.kvm_rocks.hosts import Hosts
from pragma_boot.driver.kvm_rocks.names import machine_of
from pragma_boot.driver.kvm_rocks.transport import Rocks
from pragma_boot.files import StateFolder
from pragma_boot.model import Allocation, ClusterName, Disk, LocalImage, NodeName, NodeState, Role
from pragma_boot.run import Completed, run

VERSIONS = ("6.2", "6.2u", "7.0")
PAUSE = 0.01


def rocks_settings(
    site: RocksSite,
    clusters: ClusterSettings = CLUSTERS,
    *,
    containers: tuple[str, ...] = (),
    frontend: str | None = None,
) -> KvmRocksSettings:
    """Settings that reach *site*."""
    return KvmRocksSettings(containers, frontend, (str(site.rocks),), (str(site.bin / "ssh"),), clusters)


class QuickRocks(Rocks):
    """The emulator within this process: the same answers, without the time that a program takes to start."""

    def __init__(self, site: RocksSite) -> None:
        super().__init__((str(site.rocks),))
        self.site = site

    def execute(self, words: Sequence[str], limit: float) -> Completed:
        done = self.site.call(*words)
        return Completed(done.status, done.out.encode(), done.err.encode())


class QuickHosts(Hosts):
    """`ssh` without a root folder for each host, for a site whose paths are the same everywhere.

    Scripts run as they are. Hosts that are down, and faults that answer in place of a call or after it, are as with
    the emulator's own `ssh`.
    """

    def __init__(self, site: RocksSite) -> None:
        super().__init__((str(site.bin / "ssh"),))
        self.site = site

    def command(self, host: str, script: str, words: Sequence[str]) -> list[str]:
        fault = meet(self.site.folder, "ssh", super().command(host, script, words))
        if host in self.site.state().down:
            return saying(255, stderr=f"ssh: connect to host {host} port 22: No route to host\n")
        if fault.rc is not None and fault.when == "before":
            return saying(fault.rc, fault.stdout, fault.stderr)
        return self.inside(host, script, words, fault)

    def inside(self, host: str, script: str, words: Sequence[str], fault: Fault) -> list[str]:
        """The words that run a script for *host*, with what a fault does to its end."""
        known = {HOST: host, FOLDER: self.site.folder, "PATH": f"{self.site.bin}:/usr/sbin:/usr/bin"}
        end = f"\nexit {fault.rc}" if fault.rc is not None else ""
        inside = ["sh", "-c", f"({script}\n){end}", "pragma", *words]
        return ["env", *(f"{name}={value}" for name, value in known.items()), *inside]


def saying(status: int, stdout: str = "", stderr: str = "") -> list[str]:
    """The words of a program that says this and ends so."""
    return ["sh", "-c", 'printf %s "$1"; printf %s "$2" >&2; exit "$3"', "ssh", stdout, stderr, str(status)]


class RocksBench:
    """One site and one driver on it, with everything that is needed to look behind the driver."""

    def __init__(
        self, folder: Path, version: str = "7.0", *, containers: int = 3, clusters: ClusterSettings = CLUSTERS
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.site = RocksSite.create(folder / "site", version, containers=containers)
        self.state = StateFolder(folder / "state")
        self.disks = EmptyDisks(folder)
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.settings = rocks_settings(self.site, clusters)
        self.rocks: Rocks = QuickRocks(self.site)
        self.ssh: Hosts = QuickHosts(self.site)

    @property
    def driver(self) -> KvmRocksDriver:
        """As the next command would have it."""
        return KvmRocksDriver(self.settings, self.state, self.scratch, PAUSE, self.rocks, ssh=self.ssh)

    def allocate(self, cluster: str, computes: int = 1, number: int = 0, **more: int) -> Allocation:
        wanted = plan(cluster, computes, **more)
        return self.driver.allocate(wanted, leases(wanted, number))

    def boot(self, cluster: str, computes: int = 1, number: int = 0) -> Allocation:
        allocation = self.allocate(cluster, computes, number)
        self.driver.deploy(allocation, self.disks.of(allocation), {})
        return allocation

    def remove(self, cluster: str) -> None:
        self.driver.release(ClusterName(cluster))

    def states(self, cluster: str) -> dict[str, NodeState]:
        return {str(name): status.state for name, status in self.driver.status(ClusterName(cluster)).items()}

    def file_of(self, allocation: Allocation, index: int) -> Path:
        """Where a node's disk is on its host, by the paths of a site whose paths are the same everywhere."""
        node = allocation.nodes[index]
        name = machine_of(allocation.cluster, node.name)
        return self.site.folder / "hosts" / node.host / "state/partition1/kvm/disks" / f"{name}.vda"

    def words(self) -> list[str]:
        """The commands that were called, without their arguments."""
        return [call["argv"][0] for call in self.site.calls()]

    @contextmanager
    def leaves_nothing(self) -> Iterator[None]:
        """What is there after the block was there before it; no disk was made up, no installer ran."""
        before = self.site.inventory()
        yield
        assert self.site.inventory() == before
        state = self.site.state()
        assert state.blanks == []
        assert state.installed == []


def with_settings(bench: RocksBench, **changes: object) -> RocksBench:
    """The same site for a driver with other settings of clusters."""
    bench.settings = replace(bench.settings, clusters=replace(bench.settings.clusters, **changes))
    return bench


class OverlayDisks(FakeDisks):
    """Disks that are real overlays, so that they can be sent; the guests in them are kept in memory."""

    def __init__(self, root: Path, before_step: Hook) -> None:
        super().__init__(root, before_step)
        self.backing = EmptyDisks(root).image
        self.empty = root / "empty.overlay"
        if not self.empty.exists():
            run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self.backing.path, self.empty])

    def clone(self, image: LocalImage, role: Role, cluster: str, node: NodeName) -> Disk:
        made = super().clone(image, role, cluster, node)
        shutil.copyfile(self.empty, made.path)
        return replace(made, backing=self.backing)


def rocks_site(
    folder: Path, emulated: RocksSite, rocks: Rocks | None = None, *, ssh: Hosts | None = None, addresses: int = 4
) -> Site:
    """The cluster layer on an emulated site; opened again it finds what an earlier one left."""
    chosen = settings(folder, addresses=addresses)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "disks").mkdir(exist_ok=True)
    repository = MemoryRepository(folder / "images")
    repository.offer("demo")
    clusters = replace(chosen.clusters, cpu_overcommit=8)
    driver = KvmRocksDriver(
        rocks_settings(emulated, clusters),
        chosen.site.state,
        folder,
        PAUSE,
        rocks or QuickRocks(emulated),
        ssh=ssh or QuickHosts(emulated),
    )
    disks = OverlayDisks(folder / "disks", go_on)
    return Site(
        replace(chosen, clusters=clusters), repository=lambda: repository, driver=lambda: driver, disks=lambda: disks
    )
