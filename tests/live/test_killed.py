"""A boot that is killed outright, at moments from its reservation to its wait: `pragma clean` removes all of it."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from pathlib import Path

import pytest

from live.site import LiveSite
from pragma_boot.image.qcow2 import default_scratch

MOMENTS = {
    "reserved": "Found available public IP",
    "allocated": "Allocated cluster",
    "disks are exported": "qemu-storage-daemon",
    "a disk is written": "debugfs -w",
    "the frontend starts": "boot starting",
    "a compute starts": "compute-0: boot starting",
    "waiting": "Successfully deployed frontend",
}


def boot_until(site: LiveSite, name: str, mark: str) -> int:
    """Start a boot and kill it as soon as its log or its progress says *mark*; returns its process id."""
    log = site.root / f"{name}.log"
    log.touch()
    with site.start("boot", "tiny", "1", f"name={name}", f"logfile={log}", "loglevel=DEBUG") as boot:
        assert boot.stderr
        os.set_blocking(boot.stderr.fileno(), False)
        seen = b""
        with log.open("rb") as lines, selectors.DefaultSelector() as selector:
            selector.register(boot.stderr, selectors.EVENT_READ)
            deadline = time.monotonic() + 120
            while mark.encode() not in seen:
                assert boot.poll() is None, f"{mark!r} was never said\n{seen.decode()}"
                assert time.monotonic() < deadline
                # the log has no event that a selector knows: look at it every millisecond
                selector.select(0.001)
                seen += os.read(boot.stderr.fileno(), 65536) if selector.select(0) else b""
                seen += lines.read()
        boot.kill()
        boot.wait()
    assert boot.returncode == -signal.SIGKILL
    return boot.pid


def processes(word: str) -> list[str]:
    """The command lines of the running programs that name *word*."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return [line for line in found if word in line]


def remains(site: LiveSite, pid: int) -> list[str]:
    """What a killed boot of ours left outside of the state folder, and what a cluster left anywhere."""
    scratch = f"{default_scratch()}/pragma-edit-{pid}-"
    found = [line for line in Path("/proc/mounts").read_text().splitlines() if scratch in line]
    found += [str(path) for path in default_scratch().glob(f"pragma-edit-{pid}-*")]
    found += [str(path) for path in site.state.locks.glob("cluster-*")]
    return [*found, *processes(scratch), *processes(str(site.state.root)), *site.left()]


def settle(site: LiveSite, pid: int) -> None:
    """Wait until the programs that the boot had started are gone: they end by themselves."""
    deadline = time.monotonic() + 10
    while processes(f"pragma-edit-{pid}-"):
        assert time.monotonic() < deadline, processes(f"pragma-edit-{pid}-")
        time.sleep(0.05)


def no_virtual_machine(site: LiveSite) -> bool:
    done = subprocess.run(
        ["virsh", "-q", "-c", "qemu:///system", "list", "--name"], capture_output=True, text=True, check=True
    )
    return not any(name.startswith(site.prefix + "-") for name in done.stdout.split())


@pytest.mark.parametrize("moment", MOMENTS)
def test_clean_removes_all_of_a_killed_boot(site: LiveSite, moment: str) -> None:
    name = site.name("killed")
    pid = boot_until(site, name, MOMENTS[moment])
    settle(site, pid)

    listed = site.pragma("list", "cluster").ok().out
    assert "active" not in listed
    assert "Running" not in listed
    if f"{name}:" in listed:
        assert "broken" in listed
        assert site.pragma("clean", name).ok().out == f"{name} is removed\n"
    else:
        assert moment == "reserved"
    assert no_virtual_machine(site)
    locks = [str(site.state.cluster_lock(name))] if moment == "reserved" else []  # an empty file without a meaning
    assert set(remains(site, pid)) <= set(locks)
    assert site.pragma("clean", name).status == (0 if f"{name}:" in listed else 1)


def test_a_killed_boot_hinders_no_other(site: LiveSite) -> None:
    name, other = site.name("killed"), site.name("other")
    boot_until(site, name, MOMENTS["a disk is written"])
    site.pragma("boot", "tiny", "0", f"name={other}", "wait=no").ok()
    listed = site.pragma("list", "cluster", "--json").ok().out
    assert '"broken"' in listed
    assert '"active"' in listed
    for command in (["clean", name], ["shutdown", other], ["clean", other]):
        site.pragma(*command).ok()
