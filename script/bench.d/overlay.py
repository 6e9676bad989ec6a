"""Throughput of an overlay beside the plain path: iperf3 between the frontends of two clusters, in turns.

Both are on one public network, so the difference is WireGuard's alone: encryption in both guests' kernels, on their
CPUs. Without KVM these are emulated, vector instructions and all, and the figure says little about real ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from bench_site import BenchSite, bench_site, done, note, quick, rounds, row

ROUNDS = 5
SECONDS = 2 if quick() else 5
IMAGE = "tiny-overlay"


def main() -> None:
    with bench_site(memory=256) as site:
        site.need_image(IMAGE)
        join = site.folder / "join"
        boot(site, "hub", f"enable-ipop-server=file://{join}")
        boot(site, "far", f"enable-ipop-client=file://{join}")
        on(site, "hub", "iperf3 -s -D")
        plain, overlay = [], []
        for number in range(rounds(ROUNDS)):
            plain.append(throughput(site, public_address(site)))
            overlay.append(throughput(site, "bench-hub.overlay"))
            note(f"round {number + 1}: plain {plain[-1]:.0f} Mbit/s, overlay {overlay[-1]:.0f} Mbit/s")
        for name in ("far", "hub"):
            site.pragma("shutdown", f"bench-{name}")
            site.pragma("clean", f"bench-{name}")
    ratio = [inside / outside for inside, outside in zip(overlay, plain, strict=True)]
    done(
        [
            row("iperf3 between two frontends, public addresses", plain, "Mbit/s"),
            row("iperf3 between the same, in the overlay", overlay, "Mbit/s"),
            row("overlay / plain", ratio, ""),
        ]
    )


def boot(site: BenchSite, name: str, option: str) -> None:
    site.pragma("boot", IMAGE, "0", f"name=bench-{name}", f"key={site.key}.pub", option)


def on(site: BenchSite, name: str, command: str) -> str:
    return site.pragma("ssh", f"bench-{name}", "--", command).stdout


def public_address(site: BenchSite) -> str:
    (hub,) = (
        found for found in json.loads(site.pragma("list", "cluster", "--json").stdout) if found["name"] == "bench-hub"
    )
    return str(hub["public_ip"])


def throughput(site: BenchSite, target: str) -> float:
    """Mbit/s that arrive at *target* from the other cluster's frontend."""
    report = json.loads(on(site, "far", f"iperf3 -J -c {target} -t {SECONDS}"))
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e6


if __name__ == "__main__":
    main()
