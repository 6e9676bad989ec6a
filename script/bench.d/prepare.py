#!/usr/bin/env python3
"""What preparing a node costs: clone and edit, for a 1 GiB and a 20 GiB image; beside it libguestfs and a full copy.

Prints one JSON object, times in milliseconds (medians). Needs root, qemu-utils, e2fsprogs; libguestfs with --slow.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from bench_site import end_in_order  # noqa: E402

from pragma_boot.image import appliance, qcow2  # noqa: E402
from pragma_boot.image.base import Edit, MakeFolder, Move, Remove, Symlink, Write  # noqa: E402
from pragma_boot.model import (  # noqa: E402
    Disk,
    DiskFormat,
    FileSource,
    Image,
    ImageName,
    LocalDisk,
    LocalImage,
    NodeImage,
    NodeName,
    Packing,
    Role,
)  # fmt: skip

START = 1024**2
SIDE_BY_SIDE = 4  # the setting `parallel`, when it is not given
EDITS: tuple[Edit, ...] = (
    Move("/etc/network/interfaces", "/var/lib/pragma/saved/etc/network/interfaces"),
    Remove("/var/lib/dhcp"),
    *(Write(f"/etc/systemd/network/{number}0-pragma.network", b"[Match]\n" * 20) for number in range(3)),
    Write("/etc/hosts", b"127.0.0.1 localhost\n" * 8),
    Write("/etc/hostname", b"node\n"),
    Write("/etc/machine-id", b"", 0o444),
    MakeFolder("/root/.ssh", 0o700),
    Write("/root/.ssh/authorized_keys", b"ssh-ed25519 AAAA\n" * 30, 0o600),
    Write("/etc/ssh/ssh_host_ed25519_key", b"x" * 400, 0o600),
    Write("/root/vc-out.xml", b"<vc/>" * 300, 0o600),
    Write("/etc/systemd/system/pragma-ready.service", b"[Unit]\n" * 20),
    Symlink("/etc/systemd/system/multi-user.target.wants/pragma-ready.service", "../pragma-ready.service"),
)


def make_image(path: Path, content: Path, size: int) -> LocalImage:
    with path.open("wb") as disk:
        disk.truncate(size)
        disk.seek(446)
        disk.write(struct.pack("<B3xB3xII", 0x80, 0x83, START // 512, (size - START) // 512).ljust(64, b"\0"))
        disk.write(b"\x55\xaa")
    kib = f"{(size - START) // 1024}k"
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", f"offset={START}", "-d", content, path, kib], check=True)
    source = LocalDisk(path, DiskFormat.RAW, size)
    part = NodeImage(FileSource(path.name, Packing.RAW, (path.name,)))
    return LocalImage(Image(ImageName("bench"), "x86_64", "bench", path.parent, part), source, source)


def make_tree(folder: Path) -> Path:
    for name in (
        "etc/network",
        "etc/systemd/network",
        "etc/systemd/system",
        "etc/ssh",
        "root",
        "var/lib/dhcp",
        "bin",
        "boot",
        "proc",
        "usr",
    ):  # what libguestfs knows a system by
        (folder / name).mkdir(parents=True)
    (folder / "etc/os-release").write_text("ID=debian\nVERSION_ID=12\nNAME=Debian\n")
    (folder / "etc/fstab").write_text("/dev/vda1 / ext4 defaults 0 1\n")
    (folder / "etc/debian_version").write_text("12.0\n")
    for name in ("etc/network/interfaces", "etc/hosts", "etc/hostname", "etc/machine-id"):
        (folder / name).write_text("x\n")
    (folder / "var/lib/dhcp/dhclient.leases").write_text("lease\n")
    return folder


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def prepare(store: qcow2.FileDiskStore, image: LocalImage, name: str) -> None:
    disk = store.clone(image, Role.COMPUTE, "bench", NodeName(name))
    with store.edit([disk]) as (guest,):
        guest.apply(EDITS)


def prepare_many(store: qcow2.FileDiskStore, image: LocalImage, nodes: int) -> None:
    disks = [store.clone(image, Role.COMPUTE, "many", NodeName(f"node-{n}")) for n in range(nodes)]
    with store.edit(disks) as guests, ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        list(pool.map(lambda guest: guest.apply(EDITS), guests))


def cpu_ms() -> float:
    """What we and the programs that have ended used so far."""
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return (own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime) * 1000


def by_libguestfs(store: qcow2.FileDiskStore, image: LocalImage, folder: Path, accel: str) -> None:
    disk: Disk = store.clone(image, Role.COMPUTE, "slow", NodeName("node"))
    with appliance.appliance([disk], lambda: accel, folder, alone=False, writable=True) as (guest,):
        guest.apply(EDITS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--slow", action="store_true", help="libguestfs and a full copy as well")
    parser.add_argument("--accel", choices=("kvm", "tcg"), default="tcg", help="for libguestfs")
    parser.add_argument("--quick", action="store_const", dest="rounds", const=1, help="one round")
    wish = parser.parse_args()
    end_in_order()
    with tempfile.TemporaryDirectory(prefix="pragma-bench-") as name:
        folder = Path(name)
        store = qcow2.FileDiskStore(folder / "disks", lambda: wish.accel)
        content = make_tree(folder / "tree")
        found: dict[str, float] = {}
        for size in (1, 20):
            image = make_image(folder / f"{size}g.img", content, size * 1024**3)
            found[f"first_{size}g_ms"] = timed(partial(prepare, store, image, "node-first"))
            began = cpu_ms()
            times = [timed(partial(prepare, store, image, f"node-{n}")) for n in range(wish.rounds)]
            found[f"prepare_{size}g_ms"] = statistics.median(times)
            found[f"prepare_{size}g_cpu_ms"] = (cpu_ms() - began) / wish.rounds
            began = cpu_ms()
            found[f"prepare_{size}g_of_8_ms"] = timed(partial(prepare_many, store, image, 8)) / 8
            found[f"prepare_{size}g_of_8_cpu_ms"] = (cpu_ms() - began) / 8
        if wish.slow:
            found["libguestfs_ms"] = timed(lambda: by_libguestfs(store, image, folder, wish.accel))
            (folder / "1g.img").open("r+b").close()
            subprocess.run(
                ["dd", "if=/dev/urandom", f"of={folder}/full", "bs=1M", "count=1024", "status=none"], check=True
            )
            found["full_copy_ms"] = timed(lambda: shutil.copyfile(folder / "full", folder / "copy"))
        print(json.dumps({key: round(value, 1) for key, value in found.items()}, indent=2))


if __name__ == "__main__":
    main()
