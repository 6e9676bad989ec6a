"""Kernels taken out of disks, so that nodes start without the boot loader's slow way through the firmware (ADR 2).

For the first start out of the image, for each later one out of the node's own disk: it may have another by now.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

from pragma_boot import files
from pragma_boot.cluster.site import Site
from pragma_boot.errors import GuestError
from pragma_boot.image.base import Guest
from pragma_boot.image.kernel import find_kernel
from pragma_boot.model import ClusterName, KernelBoot, LocalDisk, NodeName

_log = logging.getLogger(__name__)


def kernel_of(site: Site, cluster: ClusterName, label: str, guest: Guest) -> KernelBoot | None:
    """What the boot loader of the disk that *guest* reads would start; None when that is not certain, or not wanted.

    The copies are in the cluster's folder, under *label*: the hypervisor makes its own user their owner while a node
    runs, so clusters share none. Raises GuestError when they cannot be made, PragmaError (disk full).
    """
    if not _wanted(site):
        return None
    folder = files.make_folder(site.settings.site.state.cluster(cluster) / "boot", 0o711) / label
    shutil.rmtree(folder, ignore_errors=True)
    return find_kernel(guest, files.make_folder(folder))


def kernels_of_disks(site: Site, cluster: ClusterName, nodes: Collection[NodeName]) -> Mapping[NodeName, KernelBoot]:
    """What the boot loaders of *nodes* (none runs) would start now; nodes where that is not certain are left out."""
    if not _wanted(site):
        return {}
    disks = {node: disk for node, disk in site.disks.disks(cluster).items() if node in nodes}
    with ThreadPoolExecutor(site.settings.clusters.parallel, "kernels") as pool:
        found = pool.map(lambda item: (item[0], _kernel_of_disk(site, cluster, *item)), disks.items())
        return {node: kernel for node, kernel in found if kernel}


def _wanted(site: Site) -> bool:
    return site.driver.info.direct_kernel and (site.settings.local is None or site.settings.local.direct_kernel)


def _kernel_of_disk(site: Site, cluster: ClusterName, node: NodeName, disk: LocalDisk) -> KernelBoot | None:
    try:
        with site.disks.inspect(disk) as guest:
            return kernel_of(site, cluster, node, guest)
    except GuestError as error:
        _log.info("%s starts by its boot loader: %s", node, error.message)
        return None
