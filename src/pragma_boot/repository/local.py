"""Repository class `local`: a folder of this machine (or one that is mounted here) with a catalog and images.

Disks that need no unpacking are used where they are; the others are assembled once into the cache. Nothing in the
repository is ever written.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from pathlib import Path

from pragma_boot import files
from pragma_boot.config.settings import RepositorySettings
from pragma_boot.errors import ImageError, ImageNotFoundError, PragmaError
from pragma_boot.model import (
    Catalog,
    CatalogEntry,
    FileSource,
    Image,
    ImageName,
    LocalDisk,
    LocalImage,
    Packing,
    Progress,
    ProgressSink,
    Role,
    no_progress,
)
from pragma_boot.repository import catalog as catalogs
from pragma_boot.repository import vc_in
from pragma_boot.repository.assemble import Recipe
from pragma_boot.repository.base import ImageOutcome, SyncReport
from pragma_boot.repository.cache import Cache
from pragma_boot.repository.probe import inside, probe, refused

_log = logging.getLogger(__name__)


class LocalRepository:
    """Keeps the promises of `Repository`; *locks* is the folder of the lock files."""

    def __init__(self, settings: RepositorySettings, locks: Path) -> None:
        self._settings = settings
        self._locks = locks

    def catalog(self) -> Catalog:
        """The names that are offered; see `Repository.catalog`."""
        return catalogs.read(self._settings.catalog, self._settings.directory)

    def describe(self, name: ImageName) -> Image:
        """The image's document, normalised; see `Repository.describe`."""
        catalog = self.catalog()
        entry = catalog.find(name)
        if entry is None:
            raise _not_found(name, catalog)
        return vc_in.load(entry.path, name)

    def cached(self, image: Image) -> LocalImage | None:
        """The image's disks when they are here and right; see `Repository.cached`."""
        frontend = self._disk(image, Role.FRONTEND)
        compute = self._disk(image, Role.COMPUTE)
        return LocalImage(image, frontend, compute) if frontend and compute else None

    def fetch(self, image: Image, progress: ProgressSink = no_progress) -> LocalImage:
        """Assemble what is packed; see `Repository.fetch`."""
        ready = self.cached(image)
        if ready:
            return ready
        lock = self._lock(image.name)
        if files.is_locked(lock):
            progress(Progress("decompress", image.name, "another command is unpacking it"))
        with files.lock(lock):
            return LocalImage(image, *(self._make(image, role, progress) for role in (Role.FRONTEND, Role.COMPUTE)))

    def sync(self, *, dry_run: bool = False, progress: ProgressSink = no_progress) -> SyncReport:
        """Assemble every image of the catalog that is packed; see `Repository.sync`."""
        return SyncReport(tuple(self._sync(entry, dry_run, progress) for entry in self.catalog().entries))

    def prune(self, in_use: Collection[Path]) -> tuple[Path, ...]:
        """Remove assembled disks that no image needs any more; see `Repository.prune`."""
        gone: list[Path] = []
        catalog = self.catalog()
        for folder in sorted({disk.parent for disk in self._settings.cache.glob("*/*.disk")}):
            name = ImageName(folder.name)
            with files.lock(self._lock(name)):
                needed = self._needed(name) if catalog.find(name) else ()
                if needed is not None:
                    gone += Cache(folder).prune({*in_use, *needed})
        return tuple(gone)

    # ------------------------------------------------------------------------------------------------------- disks

    def _disk(self, image: Image, role: Role) -> LocalDisk | None:
        recipe = self._recipe(image, role)
        path = recipe.parts[0] if recipe.packing is Packing.RAW else self._cache(image.name).find(recipe)
        return probe(path, self._roots(image)) if path else None

    def _make(self, image: Image, role: Role, progress: ProgressSink) -> LocalDisk:
        """One role's disk, under the image's lock; another command may have made it while we waited."""
        ready = self._disk(image, role)
        if ready:
            return ready
        recipe, roots = self._recipe(image, role), self._roots(image)

        def verify(disk: Path) -> None:
            probe(disk, roots, recipe.parts[0])

        return probe(self._cache(image.name).make(recipe, image.name, verify, progress), roots)

    def _recipe(self, image: Image, role: Role) -> Recipe:
        """Where the role's packed files are. Raises ImageError that names all which are missing."""
        source = image.for_role(role).source
        if not isinstance(source, FileSource):
            raise ImageError(
                f"the {role} of image {image.name} is a volume ({source.pool}/{source.volume})",
                details="a repository of class local has disks in files only",
                resolution='give the image a file disk: <source file="…"/>',
            )
        found = [(part, self._locate(image, part)) for part in source.parts]
        missing = [part for part, path in found if path is None]
        unpacked = self._locate(image, source.file) if len(missing) == len(found) else None
        if unpacked:  # an older program unpacked the parts in place and then removed them
            return Recipe(Packing.RAW, (unpacked,))
        if missing:
            raise _missing(image, missing)
        return Recipe(source.packing, tuple(path for _, path in found if path))

    def _locate(self, image: Image, part: str) -> Path | None:
        """Beside the document, else in the folder that bears the image's name. Raises ImageError for a way out."""
        for folder in (image.directory, self._settings.directory / image.name):
            path = folder / part
            try:
                path.stat()
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                    raise refused(path, error.strerror or str(error), "mend the file or its permissions") from error
            else:
                return inside(path, self._roots(image), path, "copy the file itself into the image's folder")
        return None

    def _roots(self, image: Image) -> tuple[Path, ...]:
        return (image.directory.resolve(), self._settings.directory.resolve())

    def _cache(self, name: ImageName) -> Cache:
        return Cache(self._settings.cache / name)

    def _lock(self, name: ImageName) -> Path:
        return self._locks / f"image-{name}.lock"

    # -------------------------------------------------------------------------------------------------------- sync

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


def _not_found(name: ImageName, catalog: Catalog) -> ImageNotFoundError:
    near = get_close_matches(name, [entry.name for entry in catalog.entries])
    about = [warning for warning in catalog.warnings if f"image {name}:" in warning]
    return ImageNotFoundError(
        f"no image {name} in the repository",
        details="\n".join(about) or None,
        resolution=f"did you mean {' or '.join(near)}?" if near else "'pragma list repository' shows the names",
    )


def _missing(image: Image, parts: Iterable[str]) -> ImageError:
    return ImageError(
        f"files of image {image.name} are missing",
        details="\n".join(f"{image.directory / part}" for part in parts),
        resolution="copy them there, or mend the names in its vc-in document",
    )
