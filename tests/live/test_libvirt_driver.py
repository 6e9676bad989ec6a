"""The libvirt driver on a real libvirtd: what no fake can show. Machines have nothing to boot, or a bare kernel."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from fakes.engine import LIBVIRT, EmptyDisks, engine_room, leases, plan
from pragma_boot.driver.libvirt.connection import connect
from pragma_boot.driver.libvirt.driver import LibvirtDriver
from pragma_boot.files import StateFolder
from pragma_boot.model import Allocation, ClusterName, KernelBoot, NodeState

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

C = ClusterName("drv-live")


@dataclass
class Bench:
    """A driver on this host, one cluster's disks, and libvirt itself to look behind the driver."""

    driver: LibvirtDriver
    disks: EmptyDisks
    libvirt: Any

    def allocate(self, computes: int = 0) -> Allocation:
        wanted = plan(C, computes, memory_mib=128)
        return self.driver.allocate(wanted, leases(wanted, number=9))

    def document(self, name: str = f"{C}.frontend", flags: int = 0) -> Any:
        return etree.fromstring(self.libvirt.lookupByName(name).XMLDesc(flags))

    def wait_for(self, seen: Callable[[], bool], seconds: float = 300) -> None:
        deadline = time.monotonic() + seconds
        while not seen():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.1)

    def console(self) -> str:
        log = self.driver.console_log(C, C)  # type: ignore[arg-type]
        assert log
        return log.read_text(errors="replace")


@pytest.fixture
def bench() -> Iterator[Bench]:
    with engine_room() as folder:
        driver = LibvirtDriver(LIBVIRT, StateFolder(folder / "state"))
        driver.release(C)
        try:
            yield Bench(driver, EmptyDisks(folder), connect("qemu:///system"))
        finally:
            driver.release(C)
            driver.tear_down()


@pytest.fixture
def kernel(bench: Bench) -> KernelBoot:
    found = sorted(Path("/boot").glob("vmlinuz-*"))
    if not found:
        pytest.skip("needs a kernel in /boot")
    copy = bench.disks.folder / "vmlinuz"
    shutil.copy(found[-1], copy)
    copy.chmod(0o644)
    return KernelBoot(copy, None, "console=ttyS0 panic=0 marker='first start'")


def test_only_a_start_with_a_kernel_is_by_it(bench: Bench, kernel: KernelBoot) -> None:
    allocation = bench.allocate()
    bench.driver.deploy(allocation, bench.disks.of(allocation), {allocation.frontend.name: kernel})
    assert bench.document().findtext("os/cmdline") == kernel.cmdline
    inactive = 2  # VIR_DOMAIN_XML_INACTIVE
    assert bench.document(flags=inactive).find("os/kernel") is None
    bench.wait_for(lambda: "marker='first start'" in bench.console())
    bench.driver.shutdown(C, grace=0)
    assert bench.driver.status(C)[allocation.frontend.name].state is NodeState.SHUTDOWN
    bench.driver.start(C)
    assert bench.document().find("os/kernel") is None
    assert "marker='first start'" in bench.console(), "a later start appends"
    bench.driver.shutdown(C, grace=0)
    again = replace(kernel, cmdline="console=ttyS0 marker='a later one'")
    bench.driver.start(C, kernels={allocation.frontend.name: again})
    assert bench.document().findtext("os/cmdline") == again.cmdline
    assert bench.document(flags=inactive).find("os/kernel") is None


def test_the_shared_image_is_never_touched_and_overlays_come_back(bench: Bench) -> None:
    image = bench.disks.image.path
    before = image.stat()
    allocation = bench.allocate()
    disks = bench.disks.of(allocation)
    bench.driver.deploy(allocation, disks, {})
    during = image.stat()
    assert (during.st_uid, during.st_gid, during.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    bench.driver.release(C)
    after = image.stat()
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
    assert disks[allocation.frontend.name].path.stat().st_uid == 0


def test_what_the_firmware_says_is_in_the_console_log(bench: Bench) -> None:
    allocation = bench.allocate()
    bench.driver.deploy(allocation, bench.disks.of(allocation), {})
    bench.wait_for(lambda: "No bootable device" in bench.console())


def test_the_private_network_has_no_trace_of_the_host(bench: Bench) -> None:
    allocation = bench.allocate()
    bridge = Path("/sys/class/net") / f"pb{allocation.vlan}"
    assert (bridge / "bridge").is_dir()
    assert Path(f"/proc/sys/net/ipv6/conf/{bridge.name}/disable_ipv6").read_text().strip() == "1"
    assert not any(bridge.name in path.read_text() for path in Path("/var/lib/libvirt/dnsmasq").glob("*.conf"))
    bench.driver.release(C)
    assert not bridge.exists()


def test_interfaces_keep_their_slots(bench: Bench) -> None:
    allocation = bench.allocate()
    bench.driver.deploy(allocation, bench.disks.of(allocation), {})
    found = [
        (nic.find("source").get("network"), nic.find("address").get("slot"))
        for nic in bench.document().iterfind("devices/interface")
    ]
    assert found == [(f"pragma-{C}-private", "0x02"), ("drv-public", "0x03")]


def test_what_runs_is_seen_and_removed_by_a_site_that_has_lost_its_state(bench: Bench) -> None:
    allocation = bench.allocate(1)
    bench.driver.deploy(allocation, bench.disks.of(allocation), {})
    state = StateFolder(bench.disks.folder / "state")
    shutil.rmtree(state.root)
    other = LibvirtDriver(LIBVIRT, state)
    assert {status.state for status in other.survey()[C].values()} == {NodeState.ACTIVE}
    other.release(C)
    assert C not in bench.driver.survey()


def test_preflight_finds_this_host_in_order(bench: Bench) -> None:
    bench.driver.preflight()
