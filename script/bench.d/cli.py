"""Cold starts of the command line, and a site with a thousand recorded clusters."""

from __future__ import annotations

import sys
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from bench_site import BenchSite, bench_site, done, note, rounds, row, timed

from pragma_boot.cluster.store import Store
from pragma_boot.files import StateFolder
from pragma_boot.model import (
    Allocation,
    ClusterName,
    ClusterState,
    ImageName,
    InUse,
    Nic,
    NodeAllocation,
    NodeName,
    NodeSpec,
    Plan,
    Role,
)

RUNS = 15
CLUSTERS = 1000


def main() -> None:
    with bench_site(memory=256, clusters=CLUSTERS) as site:
        rows = [
            row("pragma help, cold start", _starts(site, "help"), "ms", target="≤ 200 ms", most=200),
            row("pragma list cluster, cold start", _starts(site, "list", "cluster"), "ms", target="≤ 200 ms", most=200),
        ]
        note(f"recording {CLUSTERS} clusters")
        record_clusters(site)
        label = f"pragma list cluster, {CLUSTERS} recorded clusters"
        rows.append(row(label, _starts(site, "list", "cluster"), "ms", target="≤ 1000 ms", most=1000))
    done(rows)


def _starts(site: BenchSite, *words: str) -> list[float]:
    """Milliseconds of some runs, each a process of its own; the first fills the disk cache and does not count."""
    site.pragma(*words)
    return [1000 * timed(lambda: site.pragma(*words)) for _ in range(rounds(RUNS))]


def record_clusters(site: BenchSite) -> None:
    """Put clusters of 1 + 3 nodes into the site database the way boots do, up to the allocation."""
    store = Store(StateFolder(site.folder / "state"))
    private = IPv4Interface("10.201.1.1/16")
    for number, text in enumerate(site.addresses(CLUSTERS)):
        name, address = ClusterName(f"recorded-{number}"), IPv4Address(text)
        specs = (
            NodeSpec(NodeName(name), Role.FRONTEND, 1, 256),
            *(NodeSpec(NodeName(f"compute-{index}"), Role.COMPUTE, 1, 256) for index in range(3)),
        )
        plan = Plan(name, ImageName("tiny"), specs, private)
        leases = store.reserve(
            plan,
            driver="libvirt",
            address=address,
            fqdn=f"{name}.internal",
            vlans=range(100, 100 + CLUSTERS),
            site=InUse(),
        )
        nodes = tuple(
            NodeAllocation(
                spec.name, spec.role, spec.cpus, spec.memory_mib, "localhost",
                tuple(Nic(tag, mac, private) for tag, mac in leases.macs[spec.name].items()),
            )
            for spec in specs
        )  # fmt: skip
        store.record_allocation(Allocation(name, plan.image, leases.fqdn, address, leases.vlan, (), nodes))
        store.record_state(name, ClusterState.RUNNING)


if __name__ == "__main__":
    main()
