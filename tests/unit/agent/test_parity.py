"""The agent in a running machine writes what offline preparation writes on a disk, byte for byte."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from fakes import images, machine
from fakes.pythons import oldest
from pragma_boot.agent.document import parse
from pragma_boot.agent.main import Agent
from pragma_boot.agent.root import LiveRoot
from pragma_boot.image.inspect import inspect
from pragma_boot.image.render import edits
from pragma_boot.image.wireguard import with_wireguard
from pragma_boot.model import Allocation, NodeAllocation, Overlay
from pragma_boot.network.overlay import addresses, membership
from pragma_boot.network.vc_out import document

CHECKOUT = Path(__file__).parents[3]
CASES = {"frontend-2": (False, 0), "frontend-3": (True, 0), "compute-1": (False, 1), "compute-2": (True, 1)}
Tree = dict[str, tuple[int, bytes | str | None]]


def given(case: str) -> tuple[Allocation, NodeAllocation, bytes]:
    overlay, index = CASES[case]
    cluster = images.allocation(overlay=overlay)
    node = cluster.nodes[index]
    return cluster, node, document(cluster, node, (), images.access(cluster))


def offline(name: str, case: str) -> Tree:
    """What the foundation makes of the image's disk, but for what makes a clone another machine."""
    cluster, node, data = given(case)
    guest = images.root(name)
    profile = replace(inspect(guest), identity=())
    guest.apply(edits(profile, cluster, node, images.access(cluster), data))
    return guest.tree()


def start(name: str, case: str) -> tuple[Tree, list[tuple[str, str]]]:
    """The machine before the agent runs: the image with the document, and its devices under other names."""
    _, node, data = given(case)
    guest = images.root(name, **{"/root/vc-out.xml": data})
    prefix = "eth" if inspect(guest).naming == "kernel" else "ens"
    return guest.tree(), [(f"{prefix}{index}", nic.mac) for index, nic in enumerate(node.nics)]


def files(tree: Tree) -> Tree:
    """Files and links; and folders as far as they are closed to others."""
    return {path: entry for path, entry in tree.items() if entry[1] is not None or entry[0] == 0o700}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", sorted(images.ROOTS))
def test_it_writes_what_offline_preparation_writes(name: str, case: str, tmp_path: Path) -> None:
    machine.build(str(tmp_path), *start(name, case))
    system = machine.FakeSystem(str(tmp_path))
    assert Agent(LiveRoot(str(tmp_path)), system).run("local") == 0
    assert files(machine.tree_of(str(tmp_path))) == files(offline(name, case))


def test_the_bundle_does_so_in_the_oldest_python_there_is(tmp_path: Path) -> None:
    jobs = []
    for name in sorted(images.ROOTS):
        for case in CASES:
            tree, nics = start(name, case)
            jobs.append((f"{name}-{case}", tree, nics))
    (tmp_path / "jobs").write_bytes(pickle.dumps(jobs, protocol=2))
    argv = [oldest(), CHECKOUT / "tests/fakes/bundled.py", CHECKOUT / "guest/pragma-guest", tmp_path]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = pickle.loads((tmp_path / "results").read_bytes())
    assert len(results) == len(images.ROOTS) * len(CASES)
    for key, (status, found) in results.items():
        name, _, case = key.partition("-")
        assert (status, files(found)) == (0, files(offline(name, case))), key


GROUP = f"root:x:0:\nsystemd-network:x:{os.getgid() or 998}:\n"
TOOLS = {"/usr/bin/wg": "", "/sbin/ip": ""}
MEMBERS = [
    (name, kind, index)
    for name in ("networkd", "networkmanager", "ifupdown", "busybox")
    for kind in ("hub", "member")
    for index in (0, 1)
]


def overlaid(kind: str) -> Allocation:
    """A cluster in an overlay: its hub, or a member."""
    plain, network = images.allocation(computes=1), IPv4Network("172.20.4.0/22")
    information, members = membership.found(plain, network, slots=2, entropy=random.Random(7).randbytes)
    if kind == "member":
        members = membership.join(plain, information, (1, 2))
    hub = addresses.hub_address(network)
    return replace(plain, overlay=Overlay(hub, information.mtu, members, images.pair(9, "pragma-overlay")))


@pytest.mark.parametrize(("name", "kind", "index"), MEMBERS)
def test_nodes_of_an_overlay_are_the_same_too(name: str, kind: str, index: int, tmp_path: Path) -> None:
    cluster = overlaid(kind)
    node, access = cluster.nodes[index], images.access(cluster)
    data = document(cluster, node, (), access)
    image = images.root(name, **{"/etc/group": GROUP, **TOOLS})
    disk = images.root(name, **{"/etc/group": GROUP, **TOOLS, "/root/vc-out.xml": data})
    prefix = "eth" if name == "busybox" else "ens"
    machine.build(str(tmp_path), disk.tree(), [(f"{prefix}{i}", nic.mac) for i, nic in enumerate(node.nics)])
    assert Agent(LiveRoot(str(tmp_path)), machine.FakeSystem(str(tmp_path))).run("local") == 0
    profile = replace(with_wireguard(image, inspect(image)), identity=())
    image.apply(edits(profile, cluster, node, access, data))
    found = files(machine.tree_of(str(tmp_path)))
    assert found == files(image.tree())
    assert any("wg0" in path or "overlay" in path for path in found)


def test_a_document_with_half_an_overlay_is_a_node_without_one(tmp_path: Path) -> None:
    cluster = overlaid("member")
    found = parse(document(cluster, cluster.frontend, ()))
    assert found.allocation.overlay is None
    assert "the overlay is left alone" in found.notes[0]
