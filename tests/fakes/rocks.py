"""Drivers and settings on an emulated Rocks site."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from emulators.rocks.site import RocksSite
from fakes.engine import CLUSTERS, EmptyDisks, leases, plan
from pragma_boot.config.settings import ClusterSettings, KvmRocksSettings
from pragma_boot.driver.kvm_rocks.driver import KvmRocksDriver
from pragma_boot.driver.kvm_rocks.hosts import Hosts
from pragma_boot.driver.kvm_rocks.names import machine_of
from pragma_boot.driver.kvm_rocks.transport import Rocks
from pragma_boot.files import StateFolder
from pragma_boot.model import Allocation, ClusterName, NodeState

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
        self.rocks = Rocks(self.settings.rocks)
        self.ssh = Hosts(self.settings.ssh)

    @property
    def driver(self) -> KvmRocksDriver:
        """As the next command would have it."""
        return KvmRocksDriver(self.settings, self.state, self.scratch, PAUSE)

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
