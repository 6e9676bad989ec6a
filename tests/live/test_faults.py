"""What goes wrong in real virtual machines, and that `pragma boot` says so, in time, and leaves nothing behind.

The faults are planted in copies of the tiny image, in the site's configuration, or done to the node while it boots.
All boots run first, some at a time (most of each is waiting); then each test looks at one of them.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest

from live.site import LiveSite, Ran, live_site
from pragma_boot import accel

AT_ONCE = 4
PATIENCE = 240
"""Seconds that everything beside the wait for nodes may take on a busy host."""
LATE = 20
"""Seconds between the deadline and the log's next line, on a busy host."""
PARTITION = 1024 * 1024
SOFT = (25, 100, 400)
"""Seconds to wait for faults that only the deadline ends; more where the host was too slow to come that far."""
FATAL = (120, 400)
"""Seconds to wait for faults that must end the wait themselves."""

QUIET_INITTAB = "::sysinit:/etc/init.d/boot\n::once:/etc/init.d/late\n"
MUTE = "#!/bin/sh\necho up >/dev/console\n[ -x /etc/pragma/report ] && exit\n"
BROKEN_INIT = "#!/bin/busybox sh\nexit 1\n"


@dataclass(frozen=True)
class Fault:
    """One fault. says: what the error must tell. files: replaced in the image (None: removed). waits: one boot each.

    loader: the image boots through its own boot loader. boot_code: in place of the image's.
    act: done to the node (its domain's name is given) while it boots.
    """

    name: str
    says: str
    files: Mapping[str, str | None] = field(default_factory=dict)
    waits: tuple[int, ...] = SOFT
    loader: bool = False
    boot_code: bytes = b""
    act: Callable[[str], None] | None = None


@dataclass(frozen=True)
class Outcome:
    """How a boot ended, how long it should wait for its nodes and how long it did, seconds."""

    ran: Ran
    limit: int
    waited: float


def waited(ran: Ran) -> float:
    """What the log tells of the time between the start of the nodes and the undoing of the boot; else infinity."""
    log = Path(ran.err.rpartition("log: ")[2].strip()).read_text().splitlines()
    marks = ("Successfully deployed frontend", "undoing the boot of")
    times = [datetime.fromisoformat(line[:19]) for mark in marks for line in log if mark in line]
    return (times[1] - times[0]).total_seconds() if len(times) == len(marks) else math.inf


def virsh(*words: str) -> str | None:
    done = subprocess.run(["virsh", "-q", "-c", "qemu:///system", *words], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def await_running(domain: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while virsh("domstate", domain) != "running\n":
        assert time.monotonic() < deadline, f"{domain} does not start"
        time.sleep(0.1)


def pull_cable(domain: str) -> None:
    await_running(domain)
    private = (virsh("domiflist", domain) or "").split("\n")[0].split()[-1]
    assert virsh("domif-setlink", domain, private, "down") is not None


def kill_qemu(domain: str) -> None:
    await_running(domain)
    os.kill(int(Path(f"/run/libvirt/qemu/{domain}.pid").read_text()), signal.SIGKILL)


def late(more: str) -> str:
    """The image's last start script with something before the reporter."""
    return f"#!/bin/sh\n{more}\nexec /etc/pragma/report\n"


FAULTS = (
    Fault("no-sshd", "no ssh server listens on it", {"/etc/inittab": QUIET_INITTAB}),
    Fault("no-report", "it started but has not reported anything", {"/etc/init.d/late": MUTE}),
    Fault("wrong-name", "its host name is wrong", {"/etc/init.d/late": late("hostname somebody-else")}),
    Fault("disk-full", "its root file system is full", {"/etc/init.d/late": late("cat /dev/zero >/filler")}),
    Fault("no-carrier", "its interface private has no carrier", act=pull_cable),
    Fault("no-root", "its root file system was not found", {"/boot/grub/grub.cfg": "ROOT"}),
    Fault("no-init", "its kernel found no init program", {"/sbin/init": None}, waits=FATAL),
    Fault("panic", "its kernel panicked (Attempted to kill init!", {"/sbin/init": BROKEN_INIT}, waits=FATAL),
    Fault("power-off", "it switched itself off", {"/etc/init.d/late": late("poweroff -f")}, waits=FATAL),
    Fault("killed", "its virtual machine stopped without being shut down", waits=FATAL, act=kill_qemu),
    Fault("no-loader", "its disk has no boot loader", waits=FATAL, loader=True, boot_code=b"\xcd\x18"),
    Fault("no-menu", "its boot loader did not find", {"/boot/grub/grub.cfg": None}, waits=FATAL, loader=True),
)  # fmt: skip
BY_NAME = {fault.name: fault for fault in FAULTS}


@pytest.fixture(scope="module")
def site(tiny: Path) -> Iterator[LiveSite]:
    with live_site(tiny) as made:
        yield made


@pytest.fixture(scope="module")
def outcomes(site: LiveSite, tiny: Path) -> dict[str, Outcome]:
    """Every fault, tried."""
    loader = variant(site, "loader", direct_kernel=False)
    images = site.root / "images"
    for fault in FAULTS:
        site.add_image(fault.name, plant(fault, tiny, images / fault.name))

    def boot(fault: Fault) -> Outcome:
        env = {"PRAGMA_BOOT_ETC": str(loader)} if fault.loader else {}
        for limit in fault.waits:
            outcome = boot_once(site, fault, limit, env)
            if fault.says in outcome.ran.err:
                break
        return outcome

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(BY_NAME, pool.map(boot, FAULTS), strict=True))


def boot_once(site: LiveSite, fault: Fault, limit: int, env: dict[str, str]) -> Outcome:
    name = site.name(fault.name)
    with ThreadPoolExecutor(1) as pool:
        acted = pool.submit(fault.act, f"{name}.frontend") if fault.act else None
        words = ["boot", fault.name, "0", f"name={name}", f"wait={limit}"]
        ran = site.pragma(*words, env=env, timeout=limit + PATIENCE)
        if acted:
            acted.result()
    return Outcome(ran, limit, waited(ran))


def variant(site: LiveSite, what: str, **changes: object) -> Path:
    """Another configuration of the same site."""
    site.configure(**changes)
    folder = site.root / f"etc-{what}"
    shutil.copytree(site.etc, folder)
    site.configure()
    return folder


def plant(fault: Fault, tiny: Path, folder: Path) -> Path:
    """A copy of the tiny image with the fault in it; returns its vc-in document."""
    folder.mkdir(parents=True)
    disk = folder / "tiny.img"
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", tiny.with_name("tiny.img"), disk], check=True)
    words = []
    for number, (path, content) in enumerate(fault.files.items()):
        words.append(f"rm {path}")
        if content is not None:
            source = folder / f"file-{number}"
            source.write_text(another_root(disk, path) if content == "ROOT" else content)
            words += [f"write {source} {path}", f"sif {path} mode 0100755"]
    debugfs(disk, *words)
    if fault.boot_code:
        with disk.open("r+b") as file:
            file.write(fault.boot_code)
    return Path(shutil.copy(tiny, folder))


def another_root(disk: Path, path: str) -> str:
    """The boot menu with a root file system that does not exist."""
    menu = debugfs(disk, f"cat {path}")
    start = menu.index("root=UUID=") + len("root=UUID=")
    return menu[:start] + "00000000" + menu[start + 8 :]


def debugfs(disk: Path, *commands: str) -> str:
    """Run commands on the disk's first partition; returns what they print."""
    words = ["debugfs", "-w", "-f", "-", f"{disk}?offset={PARTITION}"]
    done = subprocess.run(words, input="\n".join(commands), capture_output=True, text=True, check=True)
    return "".join(line for line in done.stdout.splitlines(keepends=True) if not line.startswith("debugfs: "))


@pytest.mark.parametrize("name", BY_NAME)
def test_the_error_names_the_cause_and_the_mend(name: str, outcomes: dict[str, Outcome]) -> None:
    ran = outcomes[name].ran
    assert ran.status == 1, ran.err
    assert BY_NAME[name].says in ran.err, ran.err
    assert "\n→ " in ran.err
    assert ran.out == ""


@pytest.mark.parametrize("name", BY_NAME)
def test_the_error_ends_with_the_consoles_last_lines(name: str, outcomes: dict[str, Outcome]) -> None:
    quoted = [line for line in outcomes[name].ran.err.splitlines() if line.strip().startswith("| ")]
    assert quoted or "nothing on its console" in outcomes[name].ran.err


@pytest.mark.parametrize("name", BY_NAME)
def test_the_wait_ends_in_time(name: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[name]
    if BY_NAME[name].waits is SOFT:
        assert outcome.waited < outcome.limit + LATE
    else:
        assert outcome.waited < outcome.limit, "only the deadline ended it"


def test_nothing_is_left(site: LiveSite, outcomes: dict[str, Outcome]) -> None:
    assert len(outcomes) == len(FAULTS)
    assert site.left() == []
    assert site.pragma("list", "cluster", "--json").ok().out.strip() == "[]"


def test_kvm_that_does_not_work_is_refused_before_anything_is_made(site: LiveSite) -> None:
    if accel.works(site.state) == "kvm":
        pytest.skip("KVM works on this host")
    etc = variant(site, "kvm", accel="kvm")
    ran = site.pragma("boot", "tiny", "0", f"name={site.name('kvm')}", env={"PRAGMA_BOOT_ETC": str(etc)})
    assert ran.status == 1
    assert "accel" in ran.err, ran.err
    assert site.left() == []
