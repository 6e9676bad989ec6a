"""The images that we build boot by themselves, from their own boot loader, and stop at the power button."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import time
from pathlib import Path

import pytest

from live.site import ROOM, unfit
from pragma_boot.build.builder import build_image
from pragma_boot.errors import PragmaError
from pragma_boot.model import ImageName

PATIENCE = 600
"""Seconds for a boot or a shutdown on a busy host."""


class Machine:
    """A bare QEMU on a throw-away copy of *disk*; its console is our pipe."""

    def __init__(self, disk: Path, room: Path) -> None:
        self.monitor = room / "monitor"
        argv = ["qemu-system-x86_64", "-accel", "tcg", "-m", "256", "-display", "none", "-serial", "stdio", "-snapshot"]
        argv += ["-drive", f"file={disk},format=raw,if=virtio", "-nic", "user,model=virtio-net-pci,restrict=on"]
        argv += ["-monitor", f"unix:{self.monitor},server,nowait", "-no-reboot"]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.said = b""

    def hear(self, text: bytes, seconds: float) -> None:
        assert self.process.stdout
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while text not in self.said and time.monotonic() < deadline:
                if selector.select(deadline - time.monotonic()):
                    self.said += os.read(self.process.stdout.fileno(), 65536) or b"(the machine stopped)"
        assert text in self.said, self.said.decode(errors="replace")[-2000:]

    def press_power_button(self) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.monitor))
            with connection.makefile("rwb", buffering=0) as monitor:
                monitor.write(b"system_powerdown\nend\n")
                while b"unknown command" not in monitor.readline():  # a monitor that is left early forgets the rest
                    pass

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()


def test_tiny_boots_by_its_own_loader_and_stops_at_the_power_button(tiny: Path, tmp_path: Path) -> None:
    with Machine(tiny.with_suffix(".img"), tmp_path) as machine:
        machine.hear(b"tiny: up", PATIENCE)
        machine.press_power_button()
        assert machine.process.wait(PATIENCE) == 0


def test_demo_boots_by_its_own_loader_and_stops_at_the_power_button(demo: Path, tmp_path: Path) -> None:
    with Machine(demo.with_suffix(".img"), tmp_path) as machine:
        machine.hear(b"demo login:", PATIENCE)
        machine.press_power_button()
        assert machine.process.wait(PATIENCE) == 0


def test_tiny_is_small_and_sparse(tiny: Path) -> None:
    disk = tiny.with_suffix(".img").stat()
    assert disk.st_size == 128 * 1024 * 1024
    assert disk.st_blocks * 512 < 64 * 1024 * 1024


def test_the_file_system_is_in_order(tiny: Path) -> None:
    argv = ["e2fsck", "-fn", f"{tiny.with_suffix('.img')}?offset={2048 * 512}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_image_that_is_there_is_never_replaced(tiny: Path) -> None:
    before = tiny.with_suffix(".img").stat().st_mtime_ns
    with pytest.raises(PragmaError, match="is there already"):
        build_image("tiny", tiny.parent.parent, ImageName("tiny"))
    assert tiny.with_suffix(".img").stat().st_mtime_ns == before


@pytest.mark.skipif(unfit() is not None, reason=unfit() or "")
def test_a_build_that_fails_leaves_nothing() -> None:
    room = ROOM / "failed-build"
    try:
        with pytest.raises(PragmaError, match="no package lists of Debian"):
            build_image("tiny", room, ImageName("tiny"), release="potato")
        assert list(room.iterdir()) == []
    finally:
        room.rmdir()
