"""Forwarded ports from the engine to the record and to what people see."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from fakes.cluster_site import make_site
from fakes.engine import CLUSTERS, leases, plan
from pragma_boot.cluster import records, waiting
from pragma_boot.cluster.boot import BootRequest, boot
from pragma_boot.cluster.site import Site
from pragma_boot.cluster.stop import shutdown, start
from pragma_boot.cluster.view import cluster
from pragma_boot.config.settings import ClusterSettings
from pragma_boot.driver import placing
from pragma_boot.driver.base import NO_KERNELS
from pragma_boot.driver.memory import MemoryDriver
from pragma_boot.files import StateFolder
from pragma_boot.model import (
    Allocation,
    ClusterName,
    ImageName,
    Leases,
    NodeName,
    NodeStatus,
    Plan,
    ProgressSink,
    PublicSide,
    Role,
    no_progress,
)

DEMO = ClusterName("demo")


class Forwarding(MemoryDriver):
    """An engine behind which ports are forwarded; each start finds the last one taken, and takes the next."""

    def __init__(self, state: StateFolder, clusters: ClusterSettings) -> None:
        super().__init__(state, clusters)
        self.port = 10022

    def allocate(self, plan: Plan, leases: Leases) -> Allocation:
        return replace(super().allocate(plan, leases), ports={22: self.port})

    def start(self, cluster: ClusterName, progress: ProgressSink = no_progress, kernels: Mapping = NO_KERNELS) -> None:
        self.port += 1000
        super().start(cluster, progress, kernels)

    def status(self, cluster: ClusterName) -> Mapping[NodeName, NodeStatus]:
        return {
            name: replace(status, ports={22: self.port}) if status.role is Role.FRONTEND else status
            for name, status in super().status(cluster).items()
        }


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = make_site(tmp_path)
    driver = Forwarding(made.settings.site.state, made.settings.clusters)
    return Site(made.settings, repository=lambda: made.repository, driver=lambda: driver, disks=lambda: made.disks)


def recorded(site: Site) -> Mapping[int, int]:
    record = site.store.get(DEMO)
    assert record
    assert record.allocation
    return record.allocation.ports


def test_a_boot_records_and_shows_them(site: Site) -> None:
    assert boot(site, BootRequest(ImageName("demo"), 1)).ssh_port == 10022
    assert recorded(site) == {22: 10022}


def test_those_that_a_start_has_replaced_are_recorded_shown_and_waited_at(site: Site) -> None:
    boot(site, BootRequest(ImageName("demo"), 1))
    shutdown(site, DEMO)
    assert start(site, DEMO).ssh_port == 11022
    assert recorded(site) == {22: 11022}
    assert cluster(site, DEMO).state == "active"


def test_the_engines_word_counts_where_there_is_no_record(site: Site) -> None:
    boot(site, BootRequest(ImageName("demo"), 1))
    site.store.forget(DEMO)
    assert cluster(site, DEMO).ports == {22: 10022}


def test_a_banner_is_looked_for_at_the_forwarded_port(site: Site) -> None:
    boot(site, BootRequest(ImageName("demo"), 1))
    record = site.store.get(DEMO)
    assert record
    assert record.allocation
    watch = waiting.begin(site, record.allocation, reports=False)
    assert watch.nodes[0].port == 10022
    assert watch.at({22: 2222}).nodes[0].port == 2222
    assert watch.at({}).nodes[0].port == 22


def test_records_keep_them_and_older_ones_have_none() -> None:
    wanted = plan("demo", 1)
    side = PublicSide(CLUSTERS.public_network, CLUSTERS.gw, (), IPv4Address("198.51.100.3"))
    made = placing.allocation(wanted, leases(wanted), side, dict.fromkeys((node.name for node in wanted.nodes), "here"))
    assert str(made.frontend.nic("public").address) == "198.51.100.3/24"
    assert made.public_ip == CLUSTERS.public_ips[0]
    made = replace(made, ports={22: 10022, 80: 10080})
    stored = json.loads(json.dumps(records.dump_allocation(made)))
    assert records.load_allocation(stored) == made
    del stored["ports"]
    assert records.load_allocation(stored).ports == {}
