"""Sites on the fake CloudStack server: drivers whose time is the server's own, and whole sites around them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

from fakes.cloudstack import USER, Cloud, Config, Credentials, Server, default_site
from fakes.cluster_site import FakeDisks, go_on
from fakes.cluster_site import settings as site_settings
from fakes.engine import plan
from fakes.repository import MemoryRepository
from pragma_boot.cluster.site import Site
from pragma_boot.config.settings import CloudStackSettings, ClusterSettings
from pragma_boot.driver.cloudstack.client import Client, Clock, LostAnswerError
from pragma_boot.driver.cloudstack.driver import CloudStackDriver, open_client
from pragma_boot.files import StateFolder
from pragma_boot.model import Allocation, FileSource, Image, ImageName, Leases, NodeImage, Packing, Plan

OFFERING = "DefaultIsolatedNetworkOfferingWithSourceNatService"


def clusters_of(settings: ClusterSettings, *, parallel: int = 4) -> ClusterSettings:
    """Settings as a site on a cloud has them."""
    return replace(
        settings,
        public_ips=(),
        vlans=(),
        dns=(),
        private_network=IPv4Interface("10.3.3.2/24"),
        cpus_per_node=1024,
        parallel=parallel,
    )


def settings_for(url: str, clusters: ClusterSettings, keys: Credentials = USER, **more: Any) -> CloudStackSettings:
    """cloudstack.conf."""
    chosen = CloudStackSettings(
        url=url,
        apikey=keys.apikey,
        secretkey=keys.secretkey,
        template_filter="executable",
        network_offering=OFFERING,
        zone="zone1",
        public_network="",
        offerings=(),
        ports=(22, 80, 443),
        ca_file=None,
        timeout=10,
        anti_affinity=False,
        public_first=True,
        clusters=clusters,
    )
    return replace(chosen, **more)


def clock_of(cloud: Cloud) -> Clock:
    """The cloud's own time: waiting costs none."""
    return Clock(now=cloud.clock.now, wall=cloud.clock.now, pause=cloud.sleep)


class Killed(BaseException):
    """The process is no more."""


class QuickClient(Client):
    """Calls without a network: hundreds of clusters in a test.

    dies_at: the call whose answer is never seen, as nothing that comes after it is; -1: none.
    """

    def __init__(self, cloud: Cloud, keys: Credentials = USER, dies_at: int = -1) -> None:
        super().__init__("http://cloud.example.org/client/api", keys.apikey, keys.secretkey, clock=clock_of(cloud))
        self._cloud, self._left = cloud, dies_at

    def send(self, command: str, body: bytes) -> tuple[int, bytes]:
        answer = self._cloud.request("POST", "/client/api", body)
        self._left -= 1
        if self._left == -1:
            raise Killed
        if answer.dropped:
            raise LostAnswerError(f"no answer to {command}")
        return answer.status, answer.body


class CloudRepository(MemoryRepository):
    """Images whose disks are called as the fake cloud's templates."""

    def describe(self, name: ImageName) -> Image:
        found = super().describe(name)
        frontend, compute = (
            NodeImage(FileSource(f"{file}.img", Packing.RAW, (f"{file}.img",))) for file in ("frontend", "compute")
        )
        return replace(found, frontend=frontend, compute=compute) if name == "demo" else found


@dataclass
class CloudSite:
    """A site in *root* on a cloud; `driver` and `site` give new ones on the same state, as the next command has."""

    root: Path
    cloud: Cloud
    settings: CloudStackSettings
    over_http: bool

    @property
    def state(self) -> StateFolder:
        return StateFolder(self.root / "state")

    @property
    def driver(self) -> CloudStackDriver:
        return self.driver_that()

    def driver_that(self, dies_at: int = -1) -> CloudStackDriver:
        """One whose process is killed when it has made so many calls."""
        client = open_client(self.settings, clock_of(self.cloud)) if self.over_http else None
        return CloudStackDriver(self.settings, self.state, client or QuickClient(self.cloud, dies_at=dies_at))

    @property
    def site(self) -> Site:
        chosen = site_settings(self.root, addresses=0, wait=0)
        chosen = replace(chosen, clusters=self.settings.clusters, cloudstack=self.settings)
        images = self.root / "images"
        images.mkdir(parents=True, exist_ok=True)
        repository = CloudRepository(images)
        repository.offer("demo")
        driver = self.driver
        return Site(
            chosen,
            repository=lambda: repository,
            driver=lambda: driver,
            disks=lambda: FakeDisks(self.root / "disks", go_on),
        )


@contextmanager
def cloud_site(
    root: Path,
    *,
    config: Config | None = None,
    parallel: int = 4,
    delays: dict[str, float | tuple[float, float]] | None = None,
    more: dict[str, Any] | None = None,
    over_http: bool = False,
    **site: Any,
) -> Iterator[CloudSite]:
    """A site on a cloud of its own, in this process unless *over_http*.

    site: of `default_site`; more: of `settings_for`.
    """
    cloud = Cloud(default_site(**site), config or Config(allow_user_expunge=True), delays=delays)
    clusters = clusters_of(site_settings(root, addresses=0, wait=0).clusters, parallel=parallel)
    server = Server(cloud) if over_http else None
    url = server.url if server else "http://cloud.example.org/client/api"
    if server:
        server.start()
    try:
        yield CloudSite(root, cloud, settings_for(url, clusters, **(more or {})), over_http)
    finally:
        if server:
            server.close()
    cloud.check()


def wish(cluster: str = "lab", computes: int = 1, **more: Any) -> Plan:
    """A plan of tiny nodes of the fake cloud's template `frontend`."""
    return replace(plan(cluster, computes), image=ImageName("frontend"), **more)


def boot(site: CloudSite, wanted: Plan | None = None, *, size: int = 5) -> Allocation:
    """Boot a cluster by the driver alone; size: of the nodes' documents."""
    driver, wanted = site.driver, wanted or wish()
    allocation = driver.allocate(
        driver.fit(wanted), Leases(wanted.cluster, None, f"{wanted.cluster}.example.org", 0, {})
    )
    documents = {node.name: f"<vc name='{node.name}'/>".ljust(size).encode() for node in allocation.nodes}
    driver.deploy(allocation, {}, {}, documents=documents)
    return allocation
