"""Kernels taken out of images, kept for each state of an image, so that only its first boot pays for the copying."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pragma_boot import files
from pragma_boot.image.base import Guest
from pragma_boot.image.kernel import find_kernel
from pragma_boot.model import KernelBoot, LocalDisk

_NOTE = "boot.json"
"""Written last: a folder without it is unfinished."""


def kernel_of(cache: Path, locks: Path, source: LocalDisk, guest: Guest) -> KernelBoot | None:
    """What the boot loader of *source* would start, as files below *cache*; None when that is not certain.

    guest: *source*, open for reading. Raises GuestError when the kernel cannot be copied, PragmaError (disk full).
    """
    state = source.path.stat()
    identity = f"{source.path}\0{state.st_size}\0{state.st_mtime_ns}\0{state.st_ino}"
    key = hashlib.sha256(identity.encode()).hexdigest()[:20]
    folder = files.make_folder(cache / "kernels" / key)
    with files.lock(locks / f"kernel-{key}.lock"):
        if not (folder / _NOTE).exists():
            found = find_kernel(guest, folder)
            note = {"cmdline": found.cmdline, "initrd": found.initrd is not None} if found else None
            files.write_atomic(folder / _NOTE, json.dumps(note))
        return _load(folder)


def _load(folder: Path) -> KernelBoot | None:
    note = json.loads((folder / _NOTE).read_text())
    if note is None:
        return None
    return KernelBoot(folder / "kernel", folder / "initrd" if note["initrd"] else None, note["cmdline"])
