"""The main path in real virtual machines: what a scheduler and a user see of a cluster, from boot to clean.

Two clusters of the tiny image run side by side, with the same private addresses; then one of the demo image.
"""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from live.site import LiveSite, Ran, live_site
from pragma_boot.model import ImageName

LIMIT = 600
"""Seconds for a boot on a busy host without KVM; none of it is spent where all is well."""
GRACE = 300
"""Seconds that nodes have to stop by themselves."""
NOT_THE_KERNEL = "_TRANSPORT=stdout + _TRANSPORT=syslog + _TRANSPORT=journal"
"""Whose errors count: the kernel tells some of its own when its CPU is emulated and slow."""
ONLY_LOOKED = "error: kex_exchange_identification: "
"""What sshd says of a node that looks whether it answers."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that was booted as a scheduler does it: by its key file, with a log of its own."""

    site: LiveSite
    name: str
    computes: int
    key: Path
    log: Path
    ran: Ran

    @property
    def nodes(self) -> list[str]:
        return [self.name, *(f"compute-{index}" for index in range(self.computes))]

    @property
    def public_ip(self) -> str:
        line = self.table()[0]
        found = re.search(r"([\d\.]+)\s*$", line)
        assert found, line
        return found[1]

    def table(self) -> list[str]:
        """The lines of `list cluster` but for the heading, as the scheduler takes them."""
        lines = self.site.pragma("list", "cluster", self.name).ok().out.splitlines()
        assert lines[0].split("  ")[0] == "FRONTEND"
        return lines[1:]

    def on(self, node: str, command: str) -> Ran:
        """Run a shell command on a node. ssh's own failures on a busy host (status 255) are tried again."""
        where = [] if node == self.name else [node]
        for _ in range(5):
            ran = self.site.pragma("ssh", self.name, *where, "--", command, timeout=LIMIT)
            if ran.status != 255:
                break
        return ran

    def says(self, node: str, command: str) -> str:
        return self.on(node, command).ok().out.strip()


def boot(site: LiveSite, image: str, name: str, computes: int) -> Cluster:
    key = site.root / "id_user"
    log = site.root / f"{name}.log"
    words = [f"name={name}", f"key={key}.pub", f"logfile={log}", "loglevel=DEBUG", f"wait={LIMIT}"]
    ran = site.pragma("boot", image, str(computes), *words, timeout=LIMIT + 60).ok()
    return Cluster(site, name, computes, key, log, ran)


def boot_all(site: LiveSite, wanted: Sequence[tuple[str, str, int]]) -> list[Cluster]:
    """Boot clusters side by side."""
    made: dict[str, Cluster] = {}

    def one(image: str, name: str, computes: int) -> None:
        made[name] = boot(site, image, name, computes)

    threads = [threading.Thread(target=one, args=each) for each in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == len(wanted), "a boot failed: see its error above"
    return [made[name] for _, name, _ in wanted]


@pytest.fixture(scope="module")
def site(tiny: Path) -> Iterator[LiveSite]:
    with live_site(tiny) as made:
        made.configure(shutdown_grace=GRACE)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", made.root / "id_user"], check=True)
        yield made
        assert made.left() == []


@pytest.fixture(scope="module")
def pair(site: LiveSite) -> Iterator[list[Cluster]]:
    """1 + 2 and 1 + 1 nodes at the same time."""
    yield boot_all(site, [("tiny", site.name("a"), 2), ("tiny", site.name("b"), 1)])
    remove(site, site.name("a"), site.name("b"))


@pytest.fixture(scope="module", params=["tiny", "demo"])
def cluster(request: pytest.FixtureRequest, site: LiveSite) -> Iterator[Cluster]:
    if request.param == "tiny":
        yield request.getfixturevalue("pair")[0]
        return
    site.add_image("demo", request.getfixturevalue("demo"))
    yield boot(site, ImageName("demo"), site.name("d"), 1)
    remove(site, site.name("d"))


def remove(site: LiveSite, *names: str) -> None:
    for name in names:
        site.pragma("shutdown", name, timeout=GRACE + 60)
        site.pragma("clean", name)


def test_two_clusters_have_the_same_private_addresses_and_do_not_see_each_other(pair: list[Cluster]) -> None:
    one, other = pair
    for each in pair:
        assert each.says("compute-0", f"echo {each.name} >/root/mine; grep -c '10.1.255.254 ' /etc/hosts") == "1"
    for each in pair:
        assert each.says(each.name, "ssh -o BatchMode=yes compute-0 cat /root/mine") == each.name
    assert one.on(one.name, "ping -c 1 -W 5 10.1.255.253").status == 0
    assert other.on(other.name, "ping -c 1 -W 5 10.1.255.253").status != 0, "that is the other's compute-1"
    assert one.public_ip != other.public_ip


def test_the_scheduler_finds_its_lines(cluster: Cluster) -> None:
    log = cluster.log.read_text()
    (named,) = re.findall(r"Allocated cluster (\S+)", log)
    assert named == cluster.name
    assert re.search(r"Found available public IP (\S+) -> (\S+)", log)[1] == cluster.public_ip  # type: ignore[index]
    assert f"Requesting {cluster.computes} CPUs" in log
    assert f"Successfully deployed frontend {cluster.name}" in log
    assert re.search(rf"Allocated cluster \S+ with compute nodes: {', '.join(cluster.nodes[1:])}$", log, re.MULTILINE)


def test_list_cluster_has_the_layout_that_schedulers_read(cluster: Cluster) -> None:
    out = cluster.site.pragma("list", "cluster", cluster.name).ok().out
    head, *lines = out.splitlines()
    assert re.fullmatch(r"FRONTEND +COMPUTE NODES +STATUS +PUBLIC IP", head)
    assert len(lines) == 1 + cluster.computes
    assert all(re.search("Running|active", line) for line in lines)
    assert re.fullmatch(rf"{cluster.name}: +-+ +active +{re.escape(cluster.public_ip)}", lines[0])
    for node, line in zip(cluster.nodes[1:], lines[1:], strict=True):
        assert re.fullmatch(rf": +{node} +active +-{{15}}", line)
    assert out.endswith("\n") and "" not in out.splitlines()


def test_the_users_key_logs_in_on_the_public_address(cluster: Cluster) -> None:
    options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes"]
    words = ["ssh", "-F", "none", "-i", cluster.key, *(f"-o{option}" for option in options)]
    done = subprocess.run(
        [*words, f"root@{cluster.public_ip}", "hostname"], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert (done.returncode, done.stdout.split(".")[0].strip()) == (0, cluster.name), done.stderr


def test_every_node_knows_all_names(cluster: Cluster) -> None:
    for node in cluster.nodes:
        assert cluster.says(node, "hostname").split(".")[0] == node
        for other in cluster.nodes:
            assert cluster.on(node, f"ping -c 1 -W 60 {other}").status == 0, f"{node} does not reach {other}"
        hosts = cluster.says(node, "cat /etc/hosts")
        addresses = {line.split()[0]: line.split()[1:] for line in hosts.splitlines() if line.startswith("10.1.")}
        assert cluster.name in addresses["10.1.1.1"]
        for index, compute in enumerate(cluster.nodes[1:]):
            assert {compute, f"{compute}.local"} <= set(addresses[f"10.1.255.{254 - index}"])


def test_root_on_the_frontend_reaches_each_compute_without_a_prompt(cluster: Cluster) -> None:
    for compute in cluster.nodes[1:]:
        assert cluster.says(cluster.name, f"ssh {compute} hostname </dev/null").split(".")[0] == compute
        assert cluster.says(cluster.name, f"ssh {compute}.local hostname </dev/null").split(".")[0] == compute


def test_a_compute_reaches_the_outside_as_its_frontend(cluster: Cluster) -> None:
    gateway = str(next(cluster.site.network.hosts()))
    with socket.create_server((gateway, 0)) as server:
        server.settimeout(LIMIT)
        port = server.getsockname()[1]
        listen = f"if command -v nc; then nc {gateway} {port}; else cat </dev/tcp/{gateway}/{port}; fi"
        with ThreadPoolExecutor(1) as pool:
            visit = pool.submit(cluster.says, cluster.nodes[-1], f"exec 2>&1; {listen}")
            connection, (source, _) = server.accept()
            with connection:
                connection.sendall(b"hello\n")
            assert visit.result().splitlines()[-1] == "hello"
    assert source == cluster.public_ip


def test_no_unit_has_failed(cluster: Cluster) -> None:
    for node in cluster.nodes:
        if cluster.on(node, "command -v systemctl").status == 0:
            assert cluster.says(node, "systemctl --failed --no-legend --plain") == ""
            said = cluster.says(node, f"journalctl -q -b -p err -o cat --no-pager {NOT_THE_KERNEL}").splitlines()
            assert [line for line in said if not line.startswith(ONLY_LOOKED)] == []


def test_shutdown_is_graceful_start_brings_all_back_and_clean_leaves_nothing(cluster: Cluster) -> None:
    site, name = cluster.site, cluster.name
    cluster.says("compute-0", "echo kept >/root/kept; sync")
    began = time.monotonic()
    ran = site.pragma("shutdown", name, timeout=GRACE + 60).ok()
    assert time.monotonic() - began < GRACE
    assert "forced" not in ran.err
    assert not any(re.search("Running|active", line) for line in cluster.table())
    told = site.pragma("start", name, f"wait={LIMIT}", timeout=LIMIT + 60).ok().err
    assert all(re.search(rf" {node}: ready in ", told) for node in cluster.nodes), told
    assert all(re.search("Running|active", line) for line in cluster.table())
    assert cluster.says("compute-0", "cat /root/kept") == "kept"
    assert site.pragma("clean", name).status == 1, "it runs"
    site.pragma("shutdown", name, timeout=GRACE + 60).ok()
    site.pragma("clean", name).ok()
    site.pragma("clean", name).ok()
    assert site.pragma("list", "cluster", name).status == 1
    assert not [left for left in site.left() if name in left]
