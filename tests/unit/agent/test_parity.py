"""The agent in a running machine writes what offline preparation writes on a disk, byte for byte."""

from __future__ import annotations

import pickle
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fakes import images, machine
from fakes.pythons import oldest
from pragma_boot.agent.main import Agent
from pragma_boot.agent.root import LiveRoot
from pragma_boot.image.inspect import inspect
from pragma_boot.image.render import edits
from pragma_boot.model import Allocation, NodeAllocation
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
