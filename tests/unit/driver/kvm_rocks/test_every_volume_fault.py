"""Every kind of fault at every call that a node on a volume needs: what is left goes with the next clean-up."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.rocks import RocksBench
from fakes.rocks_faults import Call, Effects, Strike, StruckHosts, StruckRocks
from pragma_boot.errors import PragmaError
from pragma_boot.model import ClusterName, NodeName, VolumeSource

VC, NODE = ClusterName("vc"), NodeName("vc")
IMAGE = VolumeSource("pragma", "tiny-vol", "nas-0-0")
LOOK = "list host storagemap"
MAP, UNMAP, REMOVE, START, STOP = (
    "add host storagemap", "remove host storagemap", "remove host storageimg", "start host vm", "stop host vm"
)  # fmt: skip
CHANGES = ("set host vm", MAP, UNMAP, REMOVE, START, STOP)
KINDS: dict[str, tuple[tuple[str, ...], Effects]] = {
    "the NAS refuses": ((LOOK, *CHANGES), {"nas_error": "ZVol vc-vol is busy"}),
    "the NAS does not hear": ((MAP,), {"undeliverable": True}),
    "the NAS takes its time": ((UNMAP, STOP), {"nas_busy": 0.01}),
    "the end is not noticed": ((STOP,), {"no_unmap": True}),
    "it lies": (CHANGES, {"lie_ok": True}),
    "it fails when it is done": (CHANGES, {"rc": 1, "stdout": "Error: injected\n{host}\n", "when": "after"}),
    "it is late when it is done": ((MAP, START), {"hang": 900, "when": "after"}),
    "it says nothing": (("list host vm nas",), {"empty": True}),
}


def bench_of(folder: Path, rocks: Strike) -> RocksBench:
    bench = RocksBench(folder, containers=1)
    bench.site.add_zvol("pragma/tiny-vol", 1 << 20)
    bench.rocks = StruckRocks(bench.site, rocks)
    bench.ssh = StruckHosts(bench.site, Strike())
    return bench


def live(bench: RocksBench) -> None:
    """A node's life: its volume is made, filled, run from, and goes."""
    allocation = bench.allocate("vc", 0)
    volume, size = bench.driver.volumes().clone(IMAGE, VC, NODE)
    with bench.driver.volumes().mapped(volume, size) as device:
        device.write_bytes(b"x")
    bench.driver.deploy(allocation, {}, {})
    bench.driver.shutdown(VC, grace=0)
    bench.remove("vc")


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[Call]:
    strike = Strike()
    live(bench_of(tmp_path_factory.mktemp("calls") / "bench", strike))
    return strike.made


@pytest.mark.parametrize("kind", KINDS)
def test_at_a_call(tmp_path: Path, calls: list[Call], kind: str) -> None:
    words, effects = KINDS[kind]
    mine = [call for call in calls if call[0].startswith(words)]
    assert mine
    left = {}
    for number, call in enumerate(mine):
        bench = bench_of(tmp_path / str(number), Strike(call, effects))
        before = bench.site.inventory()
        told = ""
        try:
            live(bench)
        except PragmaError as error:
            told = f"{error.message} {error.details}"
            assert error.resolution
        if not told:
            assert bench.site.inventory() == before, call
        bench.remove("vc")
        if bench.site.inventory() != before or bench.site.state().blanks:
            left[call] = (told, bench.site.inventory())
    assert left == {}
