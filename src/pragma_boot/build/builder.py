"""`build_image`: from a flavour's name to an image that a repository offers, in one step or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from uuid import UUID, uuid4

from pragma_boot.build import demo, disk, packages, tiny, tiny_python
from pragma_boot.errors import Fault, PragmaError, PreflightError, UsageError
from pragma_boot.files import UNFINISHED, free_bytes, make_folder
from pragma_boot.model import ImageName, Progress, ProgressSink, no_progress, shorten
from pragma_boot.run import which


@dataclass(frozen=True, slots=True)
class Flavour:
    """One kind of image. make_tree: see `demo.make_tree`. size: the disk's, bytes, unless another is asked for."""

    make_tree: Callable[[Path, packages.Release, Path, Callable[[str], None]], tuple[str, str]]
    size: int
    options: str
    memory_mib: int
    description: str


FLAVOURS = {
    "demo": Flavour(demo.make_tree, demo.SIZE, demo.OPTIONS, 512, "Debian with systemd, ssh and nftables"),
    "tiny": Flavour(tiny.make_tree, tiny.SIZE, tiny.OPTIONS, 256, "Debian's kernel, BusyBox and OpenSSH, for tests"),
    "tiny-python": Flavour(
        tiny_python.make_tree, tiny_python.SIZE, tiny.OPTIONS, 256, "tiny with Python, for tests of the guest agent"
    ),
    "tiny-overlay": Flavour(
        tiny.make_overlay_tree, tiny.SIZE, tiny.OPTIONS, 256, "tiny with WireGuard and iperf3, for tests of overlays"
    ),
}

TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "unshare": "util-linux",
    "grub-mkimage": "grub-common",
    "mke2fs": "e2fsprogs",
    "apt-get": "apt",
}
"""Programs that a build starts, and Debian's packages that have them."""
_SCRATCH = 1024 * 1024 * 1024


def build_image(
    flavour: str,
    repository: Path,
    name: ImageName,
    *,
    size: int | None = None,
    release: str | None = None,
    progress: ProgressSink = no_progress,
) -> Path:
    """Make the image *name* of *flavour* (one of `FLAVOURS`) and publish it as the folder *repository*/*name*.

    size: of the disk, bytes; it is sparse. release: a Debian code name, the host's own unless given.
    Returns the vc-in document in that folder, complete and ready for a catalog line. Until the end everything is in
    a temporary folder, which is removed whatever happens.
    Raises UsageError (no such flavour, bad size), PreflightError (not root, a tool is missing), PragmaError (the name
    is taken, no packages, disk full).
    """
    kind = _flavour(flavour)
    bytes_ = _rounded(size or kind.size)
    preflight()
    target = repository / name
    _refuse_taken(target)
    make_folder(repository)
    if free_bytes(repository) < _SCRATCH:
        raise PragmaError(f"less than 1 GiB is free in {repository}", resolution="free some space there")
    started = time.monotonic()

    def say(text: str) -> None:
        progress(Progress("prepare", name, text))

    with _scratch(repository, name) as work:
        uuid, root, result = uuid4(), work / "root", work / "result"
        result.mkdir(mode=0o755)
        chosen = packages.host_release(release)
        say(f"Debian {chosen.codename}")
        kernel, initrd = kind.make_tree(root, chosen, work, say)
        _add_boot_files(root, disk.menu(f"{name} ({flavour})", kernel, initrd, uuid, kind.options), uuid)
        say("writing the disk")
        grub = next(folder / disk.GRUB for folder in (work / "packages", root) if (folder / disk.GRUB).is_dir())
        disk.make_disk(root, result / f"{name}.img", size=bytes_, uuid=uuid, label=name[:16], grub=grub, work=work)
        (result / f"{name}.xml").write_text(document(name, kind))
        _publish(result, target)
    say(f"built in {time.monotonic() - started:.0f} s")
    return target / f"{name}.xml"


def _flavour(name: str) -> Flavour:
    if name not in FLAVOURS:
        raise UsageError(f"no flavour {shorten(name)!r}", resolution=f"use one of {', '.join(FLAVOURS)}")
    return FLAVOURS[name]


def _rounded(size: int) -> int:
    mib = 1024 * 1024
    if not 64 * mib <= size <= 2**41 - mib:
        raise UsageError(f"a disk of {size} bytes cannot be made", resolution="use a size from 64 MiB to 2 TiB")
    return size // mib * mib


_NOT_ROOT = "files of root are made, and only root can"
_BE_ROOT = (
    "run the command as root, or by sudo, or in a user namespace:"
    " unshare --map-root-user --map-auto -- pragma image build NAME (needs uidmap)"
)


def preflight(tools: Mapping[str, str] = TOOLS) -> None:
    """Raise PreflightError with all that a build lacks here: *tools* (with their packages), root's rights."""
    faults = [
        Fault(tool, "is not installed", f"apt-get install {package}")
        for tool, package in tools.items()
        if not which(tool)
    ]
    if os.geteuid() != 0:
        faults.append(Fault("user", _NOT_ROOT, _BE_ROOT))
    if faults:
        raise PreflightError("images cannot be built here", faults)


def _refuse_taken(target: Path) -> None:
    if target.exists():
        raise PragmaError(
            f"{target} is there already",
            resolution="choose another name, or remove that folder when no cluster uses the image",
        )


@contextmanager
def _scratch(repository: Path, name: str) -> Iterator[Path]:
    work = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{name}.", dir=repository))
    try:
        yield work
    finally:
        shutil.rmtree(work)


def _add_boot_files(root: Path, menu: str, uuid: UUID) -> None:
    (root / "boot/grub").mkdir(exist_ok=True)
    (root / "boot/grub/grub.cfg").write_text(menu)
    (root / "etc/fstab").write_text(f"UUID={uuid} / ext4 defaults,errors=remount-ro 0 0\n")


def document(name: str, kind: Flavour) -> str:
    """The vc-in document of an image whose one disk serves both roles (guest.md 2.3)."""
    form = (resources.files("pragma_boot.build") / "files/vc-in.xml").read_text()
    return form.format(name=name, memory=kind.memory_mib, description=kind.description)


def _publish(result: Path, target: Path) -> None:
    for file in result.iterdir():
        file.chmod(0o644)
    result.chmod(0o755)
    _refuse_taken(target)
    result.rename(target)
