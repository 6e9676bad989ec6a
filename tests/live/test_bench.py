"""`script/bench` leaves nothing but the images that it built, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from live.site import CHECKOUT, unfit

BASE = Path("/var/tmp/pragma-bench")
RUN = Path("/run/libvirt/qemu")
NETWORKS = Path("/sys/class/net")
NAMES = ("bench.", "pragma-bench", "pbench", "pbt")
"""What the names of a bench's domains, networks, bridges and taps begin with."""


def left() -> list[str]:
    """All that a bench has left behind."""
    words = ["virsh", "-q", "-c", "qemu:///system"]
    names = [path.name for path in NETWORKS.iterdir()]
    for what in (("list", "--all", "--name"), ("net-list", "--all", "--name")):
        names += subprocess.run([*words, *what], capture_output=True, text=True, check=True).stdout.split()
    folders = [str(path) for path in BASE.glob("site*")]
    lines = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    machines = [line.decode() for line in lines if f"{BASE}/site".encode() in line and b"qemu-system" in line]
    return [*(name for name in names if name.startswith(NAMES)), *folders, *machines]


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A short bench, of booting unless the test names sections; in a process group of its own as from a terminal."""
    reason = unfit()
    if reason:
        pytest.skip(reason)
    argv = [CHECKOUT / "script/bench", *getattr(request, "param", ["boot_tiny"]), "--quick"]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as program:
        yield program
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)


def wait_for(seen: Callable[[], bool], program: subprocess.Popen[str]) -> None:
    while not seen():
        assert program.poll() is None, program.communicate()
        time.sleep(0.05)


def machine_runs() -> bool:
    """Whether pragma has started a machine of the bench."""
    return (RUN / "bench.frontend.pid").exists()


def floor_runs() -> bool:
    """Whether the bench has plugged in a bare machine."""
    return any(path.name.startswith("pbt") for path in NETWORKS.iterdir())


def test_a_bench_that_succeeds(bench: subprocess.Popen[str]) -> None:
    out, err = bench.communicate()
    assert bench.returncode == 0, err
    assert "pragma / floor with direct kernel" in out
    assert left() == []


def test_a_bench_that_fails(bench: subprocess.Popen[str]) -> None:
    wait_for(machine_runs, bench)
    os.kill(int((RUN / "bench.frontend.pid").read_text()), signal.SIGKILL)
    _, err = bench.communicate()
    assert bench.returncode == 1
    assert "could not measure boot_tiny" in err
    assert left() == []


def test_a_bench_that_is_interrupted_at_the_terminal(bench: subprocess.Popen[str]) -> None:
    wait_for(floor_runs, bench)
    os.killpg(bench.pid, signal.SIGINT)
    bench.communicate()
    assert bench.returncode != 0
    assert left() == []


def test_a_bench_that_is_told_to_end(bench: subprocess.Popen[str]) -> None:
    wait_for(machine_runs, bench)
    bench.terminate()
    bench.communicate()
    assert bench.returncode != 0
    assert left() == []


@pytest.mark.parametrize("bench", [["fetch", "clonezilla"]], indirect=True)
def test_sections_without_machines(bench: subprocess.Popen[str]) -> None:
    out, err = bench.communicate()
    assert bench.returncode == 0, err
    for row in ("curl | pigz -dc | dd", "pragma list repository", "pigz -dc | partclone.restore", "peak memory"):
        assert row in out
    assert left() == []


@pytest.mark.parametrize("bench", [["clonezilla"]], indirect=True)
def test_a_section_without_machines_that_is_told_to_end(bench: subprocess.Popen[str]) -> None:
    wait_for((BASE / "site" / "image").exists, bench)
    bench.terminate()
    bench.communicate()
    assert bench.returncode != 0
    assert left() == []
