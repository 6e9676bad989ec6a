"""The `tiny` flavour: Debian's kernel, BusyBox and OpenSSH, for tests: up in a few seconds without KVM.

`tiny-overlay` is the same with WireGuard, and iperf3 to measure it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pragma_boot.build import tree
from pragma_boot.build.packages import Release, unpack
from pragma_boot.run import run

PACKAGES = (
    "linux-image-cloud-amd64", "busybox-static", "openssh-server", "openssh-client", "nftables",
    "tiny-initramfs-core", "grub-pc-bin",
)  # fmt: skip
SIZE = 128 * 1024 * 1024
OPTIONS = "rw rootfstype=ext4 console=ttyS0,115200 no_timer_check quiet"

_PROGRAMS = ("/usr/sbin/sshd", "/usr/bin/ssh", "/usr/bin/ssh-keygen", "/usr/bin/scp", "/usr/sbin/nft")
_FIRST_MODULES = ("virtio_pci", "virtio_blk")
_MODULES = (
    *_FIRST_MODULES, "virtio_net", "virtio-rng", "virtio_console", "button", "evdev", "crc32c-intel",
    "nft_chain_nat", "nft_masq", "nft_nat", "nft_ct",
)  # fmt: skip
_FOLDERS = (
    "dev",
    "proc",
    "sys",
    "run",
    "mnt",
    "root",
    "tmp",
    "var/log",
    "var/lib",
    "var/tmp",
    "etc/network/interfaces.d",
)
_LOADER = "/lib64/ld-linux-x86-64.so.2"
_LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")


@dataclass(frozen=True, slots=True)
class More:
    """What a variant has beside all that is in `tiny`: Debian's packages, programs and kernel modules of them."""

    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


NOTHING = More()
_OVERLAY = More(("wireguard-tools", "iperf3"), ("/usr/bin/wg", "/usr/bin/iperf3"), ("wireguard",))


def make_overlay_tree(root: Path, release: Release, work: Path, say: Callable[[str], None]) -> tuple[str, str]:
    """As `make_tree`, of `tiny-overlay`."""
    return make_tree(root, release, work, say, _OVERLAY)


def make_tree(
    root: Path, release: Release, work: Path, say: Callable[[str], None], more: More = NOTHING
) -> tuple[str, str]:
    """Fill the folder *root*; returns the names of kernel and initrd in it. Raises PragmaError."""
    packages = work / "packages"
    unpack(release, packages, variant="extract", packages=(*PACKAGES, *more.packages), work=work, say=say)
    say("picking files")
    root.mkdir()
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True)
    (root / "var/run").symlink_to("/run")
    (root / "root").chmod(0o700)
    for folder in ("tmp", "var/tmp"):
        (root / folder).chmod(0o1777)
    tree.add_files("tiny", root)
    (root / "etc/shadow").chmod(0o600)
    _add_busybox(packages, root)
    programs = (*_PROGRAMS, *more.programs)
    for program in (*programs, *_needed(packages, programs)):
        tree.copy(packages, program, root)
    return _add_kernel(packages, root, more.modules)


def _add_busybox(packages: Path, root: Path) -> None:
    tree.copy(packages, "/bin/busybox", root)
    for name in run([packages / "bin/busybox", "--list-full"]).text.split():
        link = root / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to("/bin/busybox")


def _needed(packages: Path, programs: Iterable[str]) -> tuple[str, ...]:
    """The loader and every library that *programs* need, as their own loader finds them."""
    folders = ":".join(str(packages / folder) for folder in _LIBRARIES)
    names = {_LOADER}
    for program in programs:
        listed = run([tree.inside(packages, _LOADER), "--library-path", folders, "--list", packages / program[1:]]).text
        paths = (line.partition(" => ")[2].split(" (")[0].strip() for line in listed.splitlines())
        names |= {f"/{Path(path).relative_to(packages)}" for path in paths if path.startswith(str(packages))}
    return tuple(sorted(names))


def _add_kernel(packages: Path, root: Path, more: tuple[str, ...]) -> tuple[str, str]:
    kernel = tree.newest(packages, "boot/vmlinuz-*")
    version = kernel.removeprefix("/boot/vmlinuz-")
    tree.copy(packages, kernel, root)
    folder = f"lib/modules/{version}"
    run([packages / "bin/busybox", "depmod", "-b", packages, version])
    needs = read_dependencies((packages / folder / "modules.dep").read_text())
    chosen = closure(needs, (*_MODULES, *more))
    for module in chosen:
        tree.copy(packages, f"/{folder}/{module}", root)
    tree.write(root / folder / "modules.dep", "".join(f"{name}: {' '.join(needs[name])}\n" for name in chosen))
    tree.write(root / folder / "modules.alias", _aliases(packages / folder / "modules.alias", chosen))
    tree.write(root / folder / "modules.symbols", "")
    first = [f"/{folder}/{module}" for module in closure(needs, _FIRST_MODULES)]
    files = {name.rpartition("/")[2]: (packages / name[1:]).read_bytes() for name in first}
    listed = "".join(f"/{name}\n" for name in files).encode()
    init = (packages / "usr/lib/x86_64-linux-gnu/tiny-initramfs/init-static").read_bytes()
    initrd = f"/boot/initrd.img-{version}"
    tree.write(root / initrd[1:], tree.initramfs({"init": init, "modules": listed, **files}, ("dev", "proc", "target")))
    return kernel, initrd


def read_dependencies(text: str) -> dict[str, tuple[str, ...]]:
    """A modules.dep: each module's file, relative to the modules' folder, and what must be loaded before it."""
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name: tuple(needed.split()) for name, _, needed in pairs}


def closure(needs: dict[str, tuple[str, ...]], names: Iterable[str]) -> tuple[str, ...]:
    """The files of the modules *names* (`-` and `_` are the same) and all they need, in an order to load them.

    A name without a file is built into the kernel and left out.
    """
    by_name = {_module(path): path for path in needs}
    order: dict[str, None] = {}

    def add(path: str) -> None:
        if path not in order:
            for needed in needs.get(path, ()):
                add(needed)
            order[path] = None

    for name in names:
        if path := by_name.get(name.replace("-", "_")):
            add(path)
    return tuple(order)


def _module(path: str) -> str:
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def _aliases(path: Path, chosen: Iterable[str]) -> str:
    names = {_module(module) for module in chosen}
    lines = path.read_text().splitlines(keepends=True)
    return "".join(line for line in lines if line.split()[-1].replace("-", "_") in names)
