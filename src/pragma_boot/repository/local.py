"""Repository class `local`: a folder of this machine (or one that is mounted here) with a catalog and images.

Disks that need no unpacking are used where they are; the others are assembled once into the cache. Nothing in the
repository is ever written.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path

from pragma_boot import files
from pragma_boot.config.settings import RepositorySettings
from pragma_boot.errors import ImageNotFoundError, PragmaError
from pragma_boot.model import (
    Catalog,
    CatalogEntry,
    Image,
    ImageName,
    LocalImage,
    Progress,
    ProgressSink,
    no_progress,
)
from pragma_boot.repository import catalog as catalogs
from pragma_boot.repository import vc_in
from pragma_boot.repository.base import ImageOutcome, SyncReport
from pragma_boot.repository.disks import Disks

_log = logging.getLogger(__name__)


class LocalRepository:
    """Keeps the promises of `Repository`; *locks* is the folder of the lock files."""

    def __init__(self, settings: RepositorySettings, locks: Path) -> None:
        self._settings = settings
        self._disks = Disks(settings, locks)

    def catalog(self) -> Catalog:
        """The names that are offered; see `Repository.catalog`."""
        return catalogs.read(self._settings.catalog, self._settings.directory)

    def describe(self, name: ImageName) -> Image:
        """The image's document, normalised; see `Repository.describe`."""
        catalog = self.catalog()
        entry = catalog.find(name)
        if entry is None:
            raise not_found(name, catalog)
        return vc_in.load(entry.path, name)

    def cached(self, image: Image) -> LocalImage | None:
        """The image's disks when they are here and right; see `Repository.cached`."""
        return self._disks.ready(image)

    def fetch(self, image: Image, progress: ProgressSink = no_progress) -> LocalImage:
        """Assemble what is packed; see `Repository.fetch`."""
        ready = self.cached(image)
        if ready:
            return ready
        lock = self._disks.lock(image.name)
        if files.is_locked(lock):
            progress(Progress("decompress", image.name, "another command is unpacking it"))
        with files.lock(lock):
            return self._disks.make(image, progress)

    def sync(self, *, dry_run: bool = False, progress: ProgressSink = no_progress) -> SyncReport:
        """Assemble every image of the catalog that is packed; see `Repository.sync`."""
        return SyncReport(tuple(self._sync(entry, dry_run, progress) for entry in self.catalog().entries))

    def prune(self, in_use: Collection[Path]) -> tuple[Path, ...]:
        """Remove assembled disks that no image needs any more; see `Repository.prune`."""
        catalog = self.catalog()
        return tuple(self._disks.prune(lambda name: self._needed(name) if catalog.find(name) else (), in_use))

    def _sync(self, entry: CatalogEntry, dry_run: bool, progress: ProgressSink) -> ImageOutcome:
        try:
            image = vc_in.load(entry.path, entry.name)
            if self.cached(image):
                return ImageOutcome(entry.name, "fresh")
            if not dry_run:
                self.fetch(image, progress)
            return ImageOutcome(entry.name, "fetched")
        except PragmaError as error:
            _log.debug("image %s is not synchronised", entry.name, exc_info=True)
            return ImageOutcome(entry.name, "failed", "; ".join(filter(None, (error.message, error.details))))

    def _needed(self, name: ImageName) -> Collection[Path] | None:
        """The disks of the image as it is offered now; None when it is broken: it may be mended, so nothing goes."""
        try:
            local = self.cached(self.describe(name))
        except PragmaError:
            return None
        return (local.frontend.path, local.compute.path) if local else ()


def not_found(name: ImageName, catalog: Catalog) -> ImageNotFoundError:
    """The error for a name that is not in the catalog; it names the nearest."""
    near = get_close_matches(name, [entry.name for entry in catalog.entries])
    about = [warning for warning in catalog.warnings if f"image {name}:" in warning]
    return ImageNotFoundError(
        f"no image {name} in the repository",
        details="\n".join(about) or None,
        resolution=f"did you mean {' or '.join(near)}?" if near else "'pragma list repository' shows the names",
    )
