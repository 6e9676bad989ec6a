#!/usr/bin/env python3
"""What a cluster costs in calls of `rocks`: allocate and clean, and a whole life, on the emulated site of the tests.

Every call is delayed by half a second, as long as a real one takes at least to start. Needs root or user namespaces.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from bench_site import CHECKOUT, done, note, row, timed

for folder in ("src", "tests"):
    sys.path.insert(0, str(CHECKOUT / folder))

from fakes.rocks import RocksBench  # noqa: E402
from pragma_boot.driver.kvm_rocks.hosts import Hosts  # noqa: E402
from pragma_boot.driver.kvm_rocks.transport import Rocks  # noqa: E402

NODES = (1, 8, 32)
DELAY = 0.5


def measure(bench: RocksBench, computes: int, *, whole: bool) -> tuple[float, Counter[str]]:
    """Seconds and calls by command for one cluster of that many computes and its frontend."""
    bench.site.forget_calls()

    def life() -> None:
        if whole:
            bench.boot("vc", computes)
        else:
            bench.allocate("vc", computes)
        bench.remove("vc")

    seconds = timed(life)
    return seconds, Counter(bench.words())


def formula(counts: dict[int, Counter[str]]) -> str:
    """Calls as a straight line through the smallest and the largest; what is not on it is told."""
    (few, low), *_, (many, high) = sorted((number, sum(found.values())) for number, found in counts.items())
    slope = (high - low) / (many - few)
    return f"{low - slope * few:.0f} + {slope:.2f} N"


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory(prefix="pragma-rocks-", dir="/var/tmp") as name:
        bench = RocksBench(Path(name), containers=16)
        bench.rocks, bench.ssh = Rocks(bench.settings.rocks), Hosts(bench.settings.ssh)
        with bench.site.change() as state:
            state.options.delay = DELAY
        for whole in (False, True):
            what = "boot + clean" if whole else "allocate + clean"
            counts = {}
            for computes in NODES:
                note(f"rocks: {what}, {computes} compute nodes")
                seconds, counts[computes] = measure(bench, computes, whole=whole)
                calls = sum(counts[computes].values())
                rows.append(row(f"{what}, N = {computes}: rocks calls", [calls], "", target="", most=None))
                rows.append(row(f"{what}, N = {computes}: time", [seconds], "s"))
            more = counts[NODES[-1]] - counts[NODES[0]]
            starts = NODES[-1] - NODES[0] if whole else 0
            rows.append(
                row(
                    f"{what}: calls = {formula(counts)}; beyond Rocks' needs",
                    [sum(more.values()) - starts],
                    "",
                    target="≤ 0",
                    most=0,
                )
            )
    done(rows)


if __name__ == "__main__":
    main()
