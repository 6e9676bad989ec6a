#!/usr/bin/env python3
"""How quickly clusters come up on CloudStack: against the tests' server, whose jobs take one to three seconds.

Beside it, in the same run, a client that does one thing after the other. The floor is what the server's jobs take with
as many of them at once as the site allows, where those that need each other's results wait for them. The server's time
runs SPEED times as fast as real time, and so our own work counts SPEED times.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path

from bench_site import CHECKOUT, done, note, quick, row

for folder in ("src", "tests"):
    sys.path.insert(0, str(CHECKOUT / folder))

from fakes.cloud_site import clusters_of, settings_for  # noqa: E402
from fakes.cloudstack import Clock, Cloud, Config, Server, default_site  # noqa: E402
from fakes.cloudstack.model import Job  # noqa: E402
from fakes.engine import CLUSTERS, plan  # noqa: E402
from pragma_boot.driver.cloudstack import client  # noqa: E402
from pragma_boot.driver.cloudstack.driver import CloudStackDriver, open_client  # noqa: E402
from pragma_boot.files import StateFolder  # noqa: E402
from pragma_boot.model import ClusterName, ImageName, Leases  # noqa: E402

NODES = (1, 8, 32, 100)
PARALLEL = 8
SPEED = 4.0
JOBS = (1.0, 3.0)
DOCUMENT = b"<vc>".ljust(2000) + b"</vc>"


def cloud_of(nodes: int) -> Cloud:
    """A cloud with room for that many nodes."""
    many = {"user_vm": nodes + 5, "cpu": 2 * nodes + 50, "memory": 10**6, "volume": nodes + 5}
    state = default_site(hosts=4, host_cpus=2 * nodes, host_memory=10**6, limits=many)
    delays = {"default": JOBS, "implement": JOBS}
    return Cloud(state, Config(allow_user_expunge=True), clock=Clock(SPEED), delays=delays)


def boot(cloud: Cloud, url: str, folder: Path, nodes: int, parallel: int) -> tuple[float, int]:
    """Seconds of the cloud's time for one cluster, and the calls that it took."""
    clusters = replace(clusters_of(CLUSTERS, parallel=parallel), private_network=IPv4Interface("10.3.0.2/22"))
    settings = settings_for(url, clusters)

    def pause(seconds: float) -> None:
        client.time.sleep(seconds / SPEED)

    now = cloud.clock.now
    made = CloudStackDriver(
        settings, StateFolder(folder), open_client(settings, client.Clock(now=now, wall=now, pause=pause))
    )
    started, calls = now(), len(cloud.log)
    wanted = made.fit(replace(plan("bench", nodes - 1), image=ImageName("frontend")))
    allocation = made.allocate(wanted, Leases(ClusterName("bench"), None, "bench.example.org", 0, {}))
    made.deploy(allocation, {}, {}, documents={node.name: DOCUMENT for node in allocation.nodes})
    return now() - started, len(cloud.log) - calls


def floor(jobs: Sequence[Job]) -> float:
    """Seconds that these jobs take at least: PARALLEL at once, and none before those whose results it needs."""
    took: dict[str, list[float]] = defaultdict(list)
    for job in sorted(jobs, key=lambda job: job.created):
        took[job.command].append((job.completed or 0) - (job.started or 0))
    addresses, tags = took["associateIpAddress"], took["createTags"]
    public = [addresses[0], tags[0] + sum(took["createEgressFirewallRule"])]
    chains = [
        sum(addresses[1:]) + min(tags[1:3]) + sum(took["createFirewallRule"]),
        took["deployVirtualMachine"][0] + sum(took["updateDefaultNicForVirtualMachine"]),
    ]
    work = sum(addresses[1:]) + sum(tags[1:3]) + sum(took["createFirewallRule"])
    work += sum(took["deployVirtualMachine"]) + sum(took["updateDefaultNicForVirtualMachine"])
    starts = took["startVirtualMachine"]
    stages: list[tuple[list[float], float]] = [
        (public, sum(public)),
        (chains, work),
        (tags[3:], sum(tags[3:])),
        (starts[:1], starts[0]),
        (starts[1:], sum(starts[1:])),
    ]
    return sum(max([*each, total / PARALLEL]) for each, total in stages)


def measured(nodes: int, parallel: int) -> tuple[float, int, float]:
    """Time, calls and floor of one boot."""
    cloud = cloud_of(nodes)
    server = Server(cloud)
    server.start()
    try:
        with tempfile.TemporaryDirectory(prefix="pragma-cloud-", dir="/var/tmp") as folder:
            seconds, calls = boot(cloud, server.url, Path(folder), nodes, parallel)
    finally:
        server.close()
    cloud.check()
    return seconds, calls, floor(list(cloud.state.jobs.values()))


def main() -> None:
    rows = []
    tell: Callable[[str], None] = note
    for nodes in NODES[:2] if quick() else NODES:
        tell(f"cloudstack: {nodes} nodes")
        seconds, calls, least = measured(nodes, PARALLEL)
        tell(f"cloudstack: {nodes} nodes, one thing after the other")
        slow, _, _ = measured(nodes, 1)
        rows.append(row(f"N = {nodes}: boot, the cloud's time", [seconds], "s"))
        rows.append(row(f"N = {nodes}: one thing after the other", [slow], "s"))
        rows.append(row(f"N = {nodes}: of jobs ÷ parallelism", [seconds / least], "", target="≤ 1.3", most=1.3))
        rows.append(row(f"N = {nodes}: API calls per node", [calls / nodes], ""))
    done(rows)


if __name__ == "__main__":
    main()
