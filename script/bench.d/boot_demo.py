"""`pragma boot` of 1 + 3 demo nodes beside virt-install × 4 in parallel.

Both from the start of the command until all four nodes answer `ssh true`. virt-install gets the same Debian image with
cloud-init in it, its own way of configuring, and everything that helps it: overlays on the same kind of disk, a seed
disk that the image's kernel sees (a CD-ROM it does not), a network whose DHCP answers at once with fixed addresses.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from bench_site import SITE, BenchSite, bench_site, done, note, rounds, row, timed

from pragma_boot import accel
from pragma_boot.build import builder, demo
from pragma_boot.files import StateFolder
from pragma_boot.model import ImageName

ROUNDS = 3
MEMORY = 512
NODES = 4
NETWORK = "pragma-bench-peer"
URI = "qemu:///system"
PEER_IMAGE = "demo-cloud-init"
PATIENCE = 600.0
ending = threading.Event()
"""Set when the bench shall end: who waits for a node waits no longer."""


def main() -> None:
    with bench_site(memory=MEMORY) as site:
        site.need_image("demo")
        peer = need_peer_image(site)
        boot(site)  # fills caches: the image's, the kernel's, and the proof of KVM
        ours, theirs = [], []
        with peer_network():
            for number in range(rounds(ROUNDS)):
                ours.append(boot(site))
                theirs.append(virt_install(site, peer))
                note(f"round {number + 1}: pragma {ours[-1]:.1f} s, virt-install {theirs[-1]:.1f} s")
    ratios = [own / other for own, other in zip(ours, theirs, strict=True)]
    done(
        [
            row("pragma boot demo, 1 + 3 nodes, until `ssh true`", ours, "s"),
            row("virt-install × 4 in parallel, the same", theirs, "s"),
            row("pragma / virt-install", ratios, "", target="≤ 0.6", most=0.6),
        ]
    )


def need_peer_image(site: BenchSite) -> Path:
    """The demo image with cloud-init in it, built by the same builder."""
    folder = site.images.parent / "peer"
    disk = folder / PEER_IMAGE / f"{PEER_IMAGE}.img"
    if not disk.exists():
        note("building the demo image with cloud-init")
        demo.PACKAGES = (*demo.PACKAGES, "cloud-init")
        builder.build_image("demo", folder, ImageName(PEER_IMAGE))
    return disk


def boot(site: BenchSite) -> float:
    """Boot with pragma until every node answers; the cluster is removed again."""

    def answer() -> None:
        site.pragma("boot", "demo", str(NODES - 1), "name=bench", f"key={site.key}.pub")
        side_by_side([lambda node=node: _until(lambda: _enters(site, node)) for node in range(NODES)])

    try:
        return timed(answer)
    finally:
        site.try_pragma("shutdown", "bench")
        site.try_pragma("clean", "bench")


def _enters(site: BenchSite, node: int) -> bool:
    words = ["compute-" + str(node - 1)] if node else []
    return site.try_pragma("ssh", "bench", *words, "--", "true").returncode == 0


def virt_install(site: BenchSite, image: Path) -> float:
    """Make four machines with virt-install until every one answers; they are removed again."""
    folder = site.folder / "peer"
    folder.mkdir()
    folder.chmod(0o755)
    kind = "kvm" if accel.works(StateFolder(site.folder / "state")) == "kvm" else "qemu"

    def make(node: int) -> None:
        name = f"pragma-bench-peer-{node}"
        seed = _seed(folder / name, site.key.with_suffix(".pub").read_text().strip(), name)
        subprocess.run(
            [
                "virt-install", "--connect", URI, "--name", name, "--import", "--virt-type", kind,
                "--memory", str(MEMORY), "--vcpus", "1", "--osinfo", "debian11", "--graphics", "none",
                "--disk", f"path={folder / name}.qcow2,size=2,backing_store={image},backing_format=raw,bus=virtio",
                "--disk", f"path={seed},device=disk,bus=virtio,readonly=on,format=raw",
                "--network", f"network={NETWORK},model=virtio,mac={_mac(node)}",
                "--noautoconsole", "--check", "all=off",
            ],
            check=True, capture_output=True,
        )  # fmt: skip
        _until(lambda: _answers(site, _address(node)))

    # Four virt-installs at once trip over each other making the pool of their disks' folder: it is there already.
    _virsh("pool-create-as", NETWORK, "dir", "--target", str(folder))
    try:
        return timed(lambda: side_by_side([lambda node=node: make(node) for node in range(NODES)]))
    finally:
        for node in range(NODES):
            for command in ("destroy", "undefine"):
                _virsh(command, f"pragma-bench-peer-{node}", check=False)
        _virsh("pool-destroy", NETWORK, check=False)
        shutil.rmtree(folder)


def _seed(folder: Path, key: str, name: str) -> Path:
    """cloud-init's NoCloud documents on a disk of their own."""
    folder.mkdir()
    (folder / "meta-data").write_text(f"instance-id: {name}\nlocal-hostname: {name}\n")
    (folder / "user-data").write_text(
        f"#cloud-config\ndisable_root: false\nusers:\n  - name: root\n    ssh_authorized_keys: ['{key}']\n"
    )
    iso = folder.with_suffix(".iso")
    words = ["genisoimage", "-quiet", "-V", "cidata", "-J", "-r", "-o", iso, folder]
    subprocess.run(words, check=True, capture_output=True)
    return iso


def _answers(site: BenchSite, address: str) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, 22), timeout=1) as connection:
        connection.settimeout(5)
        if connection.recv(4) == b"SSH-":
            options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=10"]
            words = ["ssh", "-i", site.key, *(f"-o{option}" for option in options), f"root@{address}", "true"]
            return subprocess.run(words, capture_output=True, check=False).returncode == 0
    return False


def _until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not check():
        if time.monotonic() > deadline or ending.is_set():
            sys.exit("bench: a node does not answer")
        time.sleep(0.2)


def side_by_side(actions: list[Callable[[], object]]) -> None:
    """Run all of them at the same time, to the end; when one fails or we are told to end, the others end soon."""
    with ThreadPoolExecutor(len(actions)) as pool:
        try:
            for future in as_completed([pool.submit(action) for action in actions]):
                future.result()
        except BaseException:
            ending.set()
            raise


def _mac(node: int) -> str:
    return f"52:54:00:be:0e:{node:02x}"


def _address(node: int) -> str:
    return f"198.19.233.{10 + node}"


@contextlib.contextmanager
def peer_network() -> Iterator[None]:
    """A NAT network of libvirt with DHCP; gone afterwards."""
    hosts = "".join(f"<host mac='{_mac(node)}' ip='{_address(node)}'/>" for node in range(NODES))
    document = (
        f"<network><name>{NETWORK}</name><forward mode='nat'/><bridge name='pbench2' delay='0'/>"
        "<ip address='198.19.233.1' prefix='24'>"
        f"<dhcp><range start='198.19.233.100' end='198.19.233.200'/>{hosts}</dhcp></ip></network>"
    )
    path = SITE / "peer-network.xml"
    path.write_text(document)
    try:
        _virsh("net-create", str(path))
        yield
    finally:
        _virsh("net-destroy", NETWORK, check=False)


def _virsh(*words: str, check: bool = True) -> None:
    finished = subprocess.run(["virsh", "-q", "-c", URI, *words], check=False, capture_output=True, text=True)
    if check and finished.returncode != 0:
        sys.exit(f"bench: virsh {' '.join(words)} failed: {finished.stderr}")


if __name__ == "__main__":
    main()
