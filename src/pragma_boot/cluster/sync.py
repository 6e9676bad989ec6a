"""Have the repository's images here, and let go of those that nobody offers or uses any more."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from pragma_boot import files
from pragma_boot.cluster.site import Site
from pragma_boot.model import ImageName, ProgressSink, no_progress
from pragma_boot.repository.base import ImageOutcome, SyncReport

BUSY = "another 'sync repository' is running"


def sync(site: Site, *, dry_run: bool = False, prune: bool = False, progress: ProgressSink = no_progress) -> SyncReport:
    """Bring every image up to date; with *prune*, remove disks that are offered no more and that no cluster stands on.

    A dry run changes nothing and removes nothing. Safe beside boots: images are replaced, never changed, and nothing is
    removed while a boot is between an image and its disks.

    Raises ClusterBusyError when another sync is at work, RepositoryError when the catalog cannot be had.
    """
    if dry_run:
        return site.repository.sync(dry_run=True, progress=progress)
    with files.lock(site.settings.site.state.locks / "sync.lock", wait=0, busy=BUSY):
        report = site.repository.sync(progress=progress)
        if not prune:
            return report
        with files.lock(_images_lock(site)):
            gone = site.repository.prune(site.disks.backing_files())
        removed = tuple(ImageOutcome(ImageName(path.parent.name), "removed", str(path)) for path in gone)
        return SyncReport(report.images + removed)


def images_stay(site: Site) -> AbstractContextManager[None]:
    """No image is removed while the block runs: for a boot, from fetching one until its disks stand on it.

    Waits while a sync removes images, which is short; any number of boots go on side by side.
    """
    return files.lock(_images_lock(site), shared=True)


def _images_lock(site: Site) -> Path:
    return site.settings.site.state.locks / "images.lock"
