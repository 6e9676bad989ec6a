"""A real Open vSwitch for tests: the one that runs on this machine, or one that is started by hand for a while.

Its bridges are switched in user space (`datapath_type=netdev`), which needs no kernel module. libvirt looks for the
database at the usual place, so a hand-started one listens there, too; its files are in a folder of the test's.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

RUN = Path("/var/run/openvswitch")
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
TOOLS = ("ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl")


class UnfitError(Exception):
    """Open vSwitch cannot run here; the text says why."""


def call(*words: str | Path) -> str:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Bridge:
    """A bridge of Open vSwitch."""

    name: str

    def ports(self) -> list[str]:
        return call("ovs-vsctl", "list-ports", self.name).split()

    def tags(self) -> set[str]:
        """The VLAN tags of all ports."""
        return {call("ovs-vsctl", "get", "port", port, "tag").strip() for port in self.ports()}

    @contextmanager
    def flow(self, rule: str) -> Iterator[None]:
        """An OpenFlow rule while the block runs."""
        call("ovs-ofctl", "add-flow", self.name, rule)
        try:
            yield
        finally:
            call("ovs-ofctl", "del-flows", self.name)
            call("ovs-ofctl", "add-flow", self.name, "priority=0,actions=NORMAL")


@contextmanager
def bridge(name: str) -> Iterator[Bridge]:
    """A bridge of that name, removed at the end."""
    call(
        "ovs-vsctl", "--timeout=20", "--may-exist", "add-br", name, "--", "set", "bridge", name, "datapath_type=netdev"
    )
    try:
        yield Bridge(name)
    finally:
        call("ovs-vsctl", "--timeout=20", "--if-exists", "del-br", name)


@contextmanager
def openvswitch(folder: Path) -> Iterator[None]:
    """Open vSwitch answers while the block runs; UnfitError says why it cannot."""
    if os.geteuid():
        raise UnfitError("needs root")
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise UnfitError(f"needs Open vSwitch (apt install openvswitch-switch): no {', '.join(missing)}")
    if not Path("/dev/net/tun").exists():
        raise UnfitError("needs /dev/net/tun")
    if _answers():
        yield
        return
    before = RUN.exists()
    try:
        _start(folder)
        yield
    finally:
        for daemon in ("ovs-vswitchd", "ovsdb-server"):
            _stop(folder / f"{daemon}.pid")
        if not before:
            shutil.rmtree(RUN, ignore_errors=True)


def _answers() -> bool:
    return subprocess.run(["ovs-vsctl", "--timeout=5", "show"], capture_output=True, check=False).returncode == 0


def _start(folder: Path) -> None:
    RUN.mkdir(parents=True, exist_ok=True)
    call("ovsdb-tool", "create", folder / "conf.db", SCHEMA)
    remote = f"--remote=punix:{RUN}/db.sock"
    _daemon(folder, "ovsdb-server", str(folder / "conf.db"), remote)
    call("ovs-vsctl", "--timeout=20", "--no-wait", "init")
    _daemon(folder, "ovs-vswitchd")


def _daemon(folder: Path, program: str, *words: str) -> None:
    files = [
        f"--pidfile={folder}/{program}.pid",
        f"--unixctl={folder}/{program}.ctl",
        f"--log-file={folder}/{program}.log",
    ]
    done = subprocess.run(
        [program, *words, *files, "--detach", "--no-chdir"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UnfitError(f"{program} does not start here: {done.stderr.strip()[-300:]}")


def _stop(pid_file: Path) -> None:
    with suppress(FileNotFoundError, ProcessLookupError, ValueError):
        process = int(pid_file.read_text())
        watched = os.pidfd_open(process)
        try:
            os.kill(process, signal.SIGTERM)

            select.select([watched], [], [], 10)
        finally:
            os.close(watched)
