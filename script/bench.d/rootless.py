"""A site without root beside the system's: a boot against its floor, and throughput, in turns.

The boot is that of boot_tiny, with the driver `qemu`; its floor is the same, too. Throughput is iperf3's, between two
compute nodes, and from a compute node to this machine's own address, which both kinds of sites reach by their way out.
Without KVM the guests' CPUs are emulated: they are the limit then, not the switch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from bench_site import BenchSite, bench_site, done, note, quick, rounds, row
from boot_tiny import boot, bridges, floor, prepare_floor

ROUNDS = 5
SECONDS = 2 if quick() else 5
MEMORY = 256
IMAGE = "tiny-overlay"
"""The tiny image with iperf3 in it."""
PORT = 5391


class OwnSite(BenchSite):
    """A site as `pragma init --user` makes it, in a folder beside the system's; with the same images and key."""

    def __init__(self, beside: BenchSite) -> None:
        self.folder, self.images, self.key = beside.folder / "own", beside.images, beside.key
        self.folder.mkdir()
        self.pragma("init", "user=yes")
        site = self.folder / "etc/site_conf.conf"
        repository = f"\nrepository_settings = {{'repository_class': 'local', 'repository_dir': '{self.images}'}}\n"
        site.write_text(site.read_text() + repository)
        (self.folder / "etc/qemu.conf").write_text(
            f"cpus_per_node = 1\nmemory = {MEMORY}\ncpu_overcommit = 16\nshutdown_grace = 1\n"
        )

    @property
    def environment(self) -> dict[str, str]:
        """Its own folders; no other's."""
        folders = {f"XDG_{what}_HOME": str(self.folder / what.lower()) for what in ("STATE", "DATA", "CACHE")}
        return {**super().environment, **folders}


def main() -> None:
    with bench_site(memory=MEMORY) as system:
        for image in ("tiny", IMAGE):
            system.need_image(image)
        own = OwnSite(system)
        rows = [*boots(system, own), *throughputs(system, own)]
        done(rows)


def boots(system: BenchSite, own: OwnSite) -> Iterator[dict[str, object]]:
    """`pragma boot tiny 3` without root against bare QEMU."""
    os.environ["PRAGMA_BOOT_ETC"] = str(system.folder / "etc")
    ready = prepare_floor(system)
    taken, bare = [], []
    boot(own)  # fills caches, and proves KVM
    with bridges():
        for number in range(rounds(ROUNDS)):
            taken.append(boot(own))
            bare.append(floor(system, ready, direct=True))
            note(f"round {number + 1}: boot without root {taken[-1]:.2f} s, floor {bare[-1]:.2f} s")
    yield row("pragma boot tiny, 1 + 3 nodes, without root", taken, "s")
    yield row("floor: bare QEMU, direct kernel", bare, "s")
    ratio = [ours / theirs for ours, theirs in zip(taken, bare, strict=True)]
    yield row("pragma without root / floor", ratio, "", target="≤ 1.10", most=1.10)


def throughputs(system: BenchSite, own: OwnSite) -> Iterator[dict[str, object]]:
    """iperf3 in turns; one cluster of each site runs."""
    sites = {"system": system, "without root": own}
    found: dict[tuple[str, str], list[float]] = {}
    with running(system, own), server() as here:
        for number in range(rounds(ROUNDS)):
            for name, site in sites.items():
                found.setdefault(("two computes", name), []).append(iperf(site, "compute-1"))
                found.setdefault(("a compute to outside", name), []).append(iperf(site, here, PORT))
            note(
                f"round {number + 1}: " + ", ".join(f"{'; '.join(what)} {each[-1]:.0f}" for what, each in found.items())
            )
        mtu = on(own, "cat /sys/class/net/eth0/mtu")
    for (what, name), values in found.items():
        yield row(f"iperf3, {what}, {name}", values, "Mbit/s")
    for what in ("two computes", "a compute to outside"):
        pairs = zip(found[what, "without root"], found[what, "system"], strict=True)
        yield row(f"{what}: without root / system", [ours / theirs for ours, theirs in pairs], "")
    yield row("MTU of the private network without root", [float(mtu)], "bytes")


@contextmanager
def running(*sites: BenchSite) -> Iterator[None]:
    for site in sites:
        site.pragma("boot", IMAGE, "2", "name=bench-run", f"key={site.key}.pub")
        on(site, "iperf3 -s -D", "compute-1")
    yield
    for site in sites:
        site.pragma("shutdown", "bench-run")
        site.pragma("clean", "bench-run")


@contextmanager
def server() -> Iterator[str]:
    """iperf3 on this machine; gives its address, which is not the loopback's."""
    route = json.loads(
        subprocess.run(["ip", "-j", "route", "get", "192.0.2.1"], capture_output=True, check=True).stdout
    )
    with subprocess.Popen(["iperf3", "-s", "-p", str(PORT)], stdout=subprocess.DEVNULL) as program:
        try:
            yield str(route[0]["prefsrc"])
        finally:
            program.terminate()


def on(site: BenchSite, command: str, node: str = "compute-0") -> str:
    return site.pragma("ssh", "bench-run", node, "--", command).stdout


def iperf(site: BenchSite, target: str, port: int = 5201) -> float:
    """Mbit/s that arrive at *target* from compute-0."""
    report = json.loads(on(site, f"iperf3 -J -c {target} -p {port} -t {SECONDS}"))
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e6


if __name__ == "__main__":
    main()
