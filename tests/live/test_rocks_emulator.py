"""The emulated Rocks site with real machines behind its VMs: what start, stop and states do to them."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emulators.rocks.site import RocksSite
from live.site import URI, LiveSite
from pragma_boot import accel


@pytest.fixture
def rocks(site: LiveSite) -> Iterator[RocksSite]:
    """An emulated site whose public network is the live site's NAT network."""
    emulated = RocksSite.create(site.root / "rocks")
    kind = "kvm" if accel.works(site.state) == "kvm" else "qemu"
    options = {"uri": URI, "prefix": site.name("rocks"), "public": site.prefix, "type": kind}
    with emulated.change() as state:
        state.options.libvirt = options
    try:
        yield emulated
        assert emulated.state().blanks == []
    finally:
        emulated.clear()


def _virsh(*words: str) -> list[list[str]]:
    done = subprocess.run(["virsh", "-q", "-c", URI, *words], capture_output=True, text=True, check=True)
    return [line.split() for line in done.stdout.splitlines() if line.strip()]


def _wait_for(seen: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.5)


def _states(rocks: RocksSite) -> list[str]:
    return [line.split()[-1] for line in rocks.call("list cluster", "vc", "status=1").out.splitlines()[1:]]


def test_vms_boot_their_disks_and_end(rocks: RocksSite, site: LiveSite, tiny: Path) -> None:
    image = tiny.with_name("tiny.img")
    prefix = site.name("rocks")
    rocks.call("add cluster", "198.202.88.50", "1", "fe-name=vc", "cluster-naming=1", "vlan=4", "mem-per-compute=256")
    rocks.call("set host vm", "vc", "mem=256")
    for node in [node for node in rocks.state().nodes if node.vm]:
        disk = Path(node.vm.disks[0].path)  # type: ignore[union-attr]
        disk.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, disk)
        assert rocks.call("start host vm", node.name).out == ""
    assert _states(rocks) == ["active", "active"]
    assert rocks.call("start host vm", "vc").out.startswith("Error: The host vc is already running.")
    cards = [(row[2], row[4]) for row in _virsh("domiflist", f"{prefix}-vc")]
    assert cards == [(f"{prefix}-vlan4", "c6:ca:58:80:00:00"), (site.prefix, "c6:ca:58:80:00:01")]
    console = rocks.folder / "console/vc.log"
    _wait_for(lambda: "tiny: up" in console.read_text(errors="replace"))
    assert rocks.call("stop host vm", "vm-vc-0").status == 0
    assert _states(rocks) == ["active", "nostate"]
    _ask_until_gone(rocks)
    rocks.clear()
    assert not [row for row in _virsh("net-list", "--name") if row[0].startswith(prefix)]


def _ask_until_gone(rocks: RocksSite) -> None:
    """Ask the frontend to shut down until it does: a guest that is still starting does not hear it."""

    def gone() -> bool:
        rocks.call("stop host vm", "vc", "action=shutdown")
        return _states(rocks) == ["nostate", "nostate"]

    _wait_for(gone)


def test_what_libvirt_refuses_is_told(rocks: RocksSite) -> None:
    rocks.call("add cluster", "198.202.88.50", "0", "fe-name=vc", "cluster-naming=1", "vlan=4")
    disk = Path(rocks.state().nodes[-1].vm.disks[0].path)  # type: ignore[union-attr]
    disk.mkdir(parents=True)
    ran = rocks.call("start host vm", "vc")
    assert (ran.status, ran.out.startswith("Error: error: Failed to create domain")) == (1, True)
    assert _states(rocks) == ["nostate"]
