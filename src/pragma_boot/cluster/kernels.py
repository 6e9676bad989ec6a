"""Kernels taken out of disks, so that nodes start without the boot loader's slow way through the firmware (ADR 2).

Out of an image once for each of its states; out of a node's own disk before each later start, because it may have
another kernel by now.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pragma_boot import files
from pragma_boot.cluster.site import Site
from pragma_boot.errors import GuestError
from pragma_boot.image.base import Guest
from pragma_boot.image.kernel import find_kernel
from pragma_boot.model import ClusterName, KernelBoot, LocalDisk, NodeName

_log = logging.getLogger(__name__)

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


def kernels_of_disks(site: Site, cluster: ClusterName, nodes: Collection[NodeName]) -> Mapping[NodeName, KernelBoot]:
    """What the boot loaders of *nodes* (none runs) would start now; nodes where that is not certain are left out.

    The copies are in the cluster's folder.
    """
    if not wanted(site):
        return {}
    disks = {node: disk for node, disk in site.disks.disks(cluster).items() if node in nodes}
    with ThreadPoolExecutor(site.settings.clusters.parallel, "kernels") as pool:
        found = pool.map(lambda item: (item[0], _kernel_of_disk(site, cluster, *item)), disks.items())
        return {node: kernel for node, kernel in found if kernel}


def wanted(site: Site) -> bool:
    """Whether this site's nodes are started by their kernels, where these are known."""
    return site.driver.info.direct_kernel and (site.settings.libvirt is None or site.settings.libvirt.direct_kernel)


def _kernel_of_disk(site: Site, cluster: ClusterName, node: NodeName, disk: LocalDisk) -> KernelBoot | None:
    folder = files.make_folder(site.settings.site.state.cluster(cluster) / "boot", 0o711) / node
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with site.disks.inspect(disk) as guest:
            return find_kernel(guest, files.make_folder(folder))
    except GuestError as error:
        _log.info("%s starts by its boot loader: %s", node, error.message)
        return None


def _load(folder: Path) -> KernelBoot | None:
    note = json.loads((folder / _NOTE).read_text())
    if note is None:
        return None
    return KernelBoot(folder / "kernel", folder / "initrd" if note["initrd"] else None, note["cmdline"])
