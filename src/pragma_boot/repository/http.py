"""Repository class `http`: a catalog, documents and disks on a web server, copied to `repository_dir` as needed.

What is here and right is used without asking the server, so that a boot needs no network; `sync` looks for news, and
`catalog` tries to. Disks stand in the cache under names of their own: overlays keep theirs when an image is replaced.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from pragma_boot import files
from pragma_boot.config.settings import RepositorySettings
from pragma_boot.errors import PragmaError, RepositoryError
from pragma_boot.model import (
    Catalog,
    CatalogEntry,
    FileSource,
    Image,
    ImageName,
    LocalImage,
    Packing,
    Progress,
    ProgressSink,
    Role,
    VolumeSource,
    no_progress,
)
from pragma_boot.repository import catalog as catalogs
from pragma_boot.repository import markup, vc_in
from pragma_boot.repository.assemble import DEFAULT_LIMITS, Limits, build
from pragma_boot.repository.base import ImageOutcome, SyncReport
from pragma_boot.repository.disks import ROLES, Disks, file_source
from pragma_boot.repository.local import not_found
from pragma_boot.repository.mirror import Mirror, Wanted, outside
from pragma_boot.repository.patience import TransientError
from pragma_boot.repository.probe import SIZE_LIMIT
from pragma_boot.repository.record import Place
from pragma_boot.repository.transfer import transfer
from pragma_boot.repository.web import Access, Web

_log = logging.getLogger(__name__)

_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)
_FEW = 3
"""Attempts at small objects that somebody waits for."""


class HttpRepository:
    """Keeps the promises of `Repository`; *locks* is the folder of the lock files, *web* makes the requests."""

    def __init__(self, settings: RepositorySettings, locks: Path, web: Web | None = None) -> None:
        self._settings = settings
        self._mirror = Mirror(settings, web or new_web(settings))
        self._disks = Disks(settings, locks, pinned=True)

    # ------------------------------------------------------------------------------------------------------ catalog

    def catalog(self) -> Catalog:
        """The names that are offered, as the server has them just now; those of last time when it cannot be reached.

        See `Repository.catalog`; the age of an old list is told in `Catalog.notes`.
        """
        try:
            self._refresh(hasty=1)
        except TransientError as error:
            return self._old(error)
        except PragmaError as error:
            if not (isinstance(error.__cause__, OSError) and error.__cause__.errno in _NOT_OURS):
                raise
            return self._offered()  # whoever may not write here may still look
        return self._kept()

    def _refresh(self, *, hasty: int = 0) -> None:
        """Have the present manifest and catalog here. Raises RepositoryError."""
        self._mirror.refresh(hasty)
        self._mirror.catalog(self._wanted_catalog(), hasty=hasty)

    def _wanted_catalog(self) -> Wanted:
        path = self._settings.catalog
        inside = path.is_relative_to(self._settings.directory)
        name = str(path.relative_to(self._settings.directory)) if inside else path.name
        return Wanted(path, (name,), limit=catalogs.SIZE_LIMIT)

    def _old(self, error: TransientError) -> Catalog:
        then = Place(self._settings.catalog).confirmed()
        if then is None or not self._settings.catalog.exists():
            raise error
        note = f"{self._mirror.name} cannot be reached ({error.details}); this list is {_age(time.time() - then)} old"
        return replace(self._kept(), notes=(note,))

    def _kept(self) -> Catalog:
        """The catalog as it is here. Raises RepositoryError."""
        path = self._settings.catalog
        return self._usable(catalogs.parse(catalogs.content(path), self._settings.directory, str(path), absolute=True))

    def _usable(self, catalog: Catalog) -> Catalog:
        """Absolute paths are the publisher's own: only those that lie in our folder, too, mean something here."""
        top, entries, warnings = self._settings.directory, [], list(catalog.warnings)
        for entry in catalog.entries:
            if outside(entry.path, top):
                where = f"{self._settings.catalog}:{entry.line}"
                warnings.append(f"{where}: image {entry.name}: the path {entry.path} leaves the repository")
            else:
                entries.append(entry)
        return replace(catalog, entries=tuple(entries), warnings=tuple(warnings))

    # ------------------------------------------------------------------------------------------------------- images

    def describe(self, name: ImageName) -> Image:
        """The image's document, normalised; see `Repository.describe`. Asks the server only for what is not here."""
        entry = self._entry(name)
        wanted = self._document(entry)
        if self._mirror.record(wanted) is None:
            self._mirror.fetch(wanted, hasty=_FEW)
        return vc_in.load(entry.path, name)

    def _entry(self, name: ImageName) -> CatalogEntry:
        if Place(self._settings.catalog).record():
            entry = self._kept().find(name)
            if entry:
                return entry
        self._refresh(hasty=_FEW)
        catalog = self._kept()
        found = catalog.find(name)
        if found is None:
            raise not_found(name, catalog)
        return found

    def _document(self, entry: CatalogEntry) -> Wanted:
        def verify(path: Path) -> None:
            vc_in.parse(path.read_bytes(), name=entry.name, origin=f"{self._mirror.name}/{own}", directory=path.parent)

        own = PurePosixPath(entry.path.relative_to(self._settings.directory))
        paths = self._mirror.paths_of(str(own.parent), entry.name, "", name=own.name)
        return Wanted(entry.path, paths, limit=markup.SIZE_LIMIT, verify=verify)

    def _parts(self, image: Image, role: Role) -> tuple[Wanted, ...]:
        """The files that a role's disk is made of; none for a volume on a NAS. Raises ImageError for other volumes."""
        declared = image.for_role(role).source
        if isinstance(declared, VolumeSource) and declared.host:
            return ()
        source = file_source(image, role)
        own = PurePosixPath(image.directory.relative_to(self._settings.directory))
        document = Place(Path(image.origin)).record()
        folder = self._folder_of(document.url) if document else str(own)
        beside = 0.0 if source.packing is Packing.RAW else 1.0
        return tuple(
            Wanted(
                image.directory / part, self._mirror.paths_of(folder, str(own), image.name, name=part),
                limit=SIZE_LIMIT, beside=beside,
            )
            for part in source.parts
        )  # fmt: skip

    def _all_parts(self, image: Image) -> tuple[Wanted, ...]:
        """The files of both roles, each once. Raises ImageError as `_parts`."""
        parts = {part.target: part for role in ROLES for part in self._parts(image, role)}
        return tuple(parts.values())

    def _folder_of(self, url: str) -> str:
        return str(PurePosixPath(unquote(url.removeprefix(self._mirror.name)).lstrip("/")).parent)

    def cached(self, image: Image) -> LocalImage | None:
        """The image's disks when they are here and right; see `Repository.cached`."""
        here = all(map(self._mirror.record, self._all_parts(image)))
        return self._disks.ready(image) if here else None

    def fetch(self, image: Image, progress: ProgressSink = no_progress) -> LocalImage:
        """Fetch what is not here, and unpack it while it arrives; see `Repository.fetch`."""
        ready = self.cached(image)
        if ready:
            return ready
        lock = self._disks.lock(image.name)
        if files.is_locked(lock):
            progress(Progress("download", image.name, "another command is fetching it"))
        with files.lock(lock):
            for role in ROLES:
                self._bring(image, role, progress)
            return self._disks.make(image, progress, lambda role: self._limits(self._parts(image, role)))

    def _bring(self, image: Image, role: Role, progress: ProgressSink) -> None:
        """Have a role's files here; when none of them is yet, unpack them while they arrive."""
        parts = self._parts(image, role)
        missing = [part for part in parts if self._mirror.record(part) is None]
        if not missing:
            return
        source = file_source(image, role)
        if source.packing is Packing.RAW or len(missing) < len(parts):
            self._transfer(missing, image.name, progress)
        else:
            self._unpack(image, source, parts, progress)

    def _unpack(self, image: Image, source: FileSource, parts: Collection[Wanted], progress: ProgressSink) -> None:
        recipe = self._disks.recipe_of(source.packing, tuple(part.target for part in parts))
        limits = self._limits(parts)

        def fill(target: Path) -> None:
            def consume(content: Iterator[bytes]) -> None:
                build(recipe, target, image.name, arriving=content, limits=limits)

            transfer([partial(self._mirror.fetch, part) for part in parts], image.name, progress, consume)

        self._disks.take(image, recipe, fill, self._mirror.packed_size(parts))

    def _limits(self, parts: Collection[Wanted]) -> Limits:
        declared = self._mirror.disk_size(parts)
        return Limits(size=declared, declared=True) if declared else DEFAULT_LIMITS

    def _transfer(self, wanted: Collection[Wanted], subject: str, progress: ProgressSink) -> bool:
        """Have these files here as the server has them; says whether any is new."""
        works = [partial(self._mirror.fetch, part) for part in wanted]
        return any(done.changed for done in transfer(works, subject, progress))

    # --------------------------------------------------------------------------------------------------------- sync

    def sync(self, *, dry_run: bool = False, progress: ProgressSink = no_progress) -> SyncReport:
        """Have every image of the catalog here as the server has it now; see `Repository.sync`."""
        if dry_run:
            return _report((entry.name, partial(self._would, entry)) for entry in self._offered().entries)
        self._refresh()
        return _report((entry.name, partial(self._sync, entry, progress)) for entry in self._kept().entries)

    def _offered(self) -> Catalog:
        """The server's catalog, which is not kept."""
        self._mirror.look()
        data = self._mirror.catalog_now(self._wanted_catalog())
        return self._usable(catalogs.parse(data, self._settings.directory, self._mirror.name, absolute=True))

    def _sync(self, entry: CatalogEntry, progress: ProgressSink) -> bool:
        """Have one image as the server has it; says whether anything is new."""
        news = self._mirror.fetch(self._document(entry)).changed
        image = vc_in.load(entry.path, entry.name)
        if self.cached(image) is None:
            self.fetch(image, progress)
            return True
        with files.lock(self._disks.lock(image.name)):
            news |= self._transfer(self._all_parts(image), image.name, progress)
        if self.cached(image) is None:
            self.fetch(image, progress)
        return news

    def _would(self, entry: CatalogEntry) -> bool:
        """Whether `_sync` would do anything."""
        if not self._mirror.is_current(self._document(entry)):
            return True
        image = vc_in.load(entry.path, entry.name)
        if self.cached(image) is None:
            return True
        return not all(map(self._mirror.is_current, self._all_parts(image)))

    # -------------------------------------------------------------------------------------------------------- prune

    def prune(self, in_use: Collection[Path]) -> tuple[Path, ...]:
        """Remove disks that no offered image needs, and the files they were made of; see `Repository.prune`."""
        catalog = self._kept()
        if not catalog.entries:
            raise RepositoryError(
                f"the catalog of {self._mirror.name} is empty; nothing was removed",
                resolution="see that the repository is in order; remove the files by hand if it is",
            )
        kept = {entry.name: self._kept_of(entry) for entry in catalog.entries}
        gone = self._disks.prune(lambda name: kept[name].disks if name in kept else (), in_use)
        self._prune_copy(list(kept.values()), in_use)
        return tuple(gone)

    def _kept_of(self, entry: CatalogEntry) -> _Kept:
        """What of an offered image stays."""
        try:
            image = vc_in.load(entry.path, entry.name)
            parts = [part.target for part in self._all_parts(image)]
            local = self.cached(image)
        except PragmaError:  # it may be mended: all that it may have stays
            return _Kept(None, (), entry.path.parent)
        return _Kept((local.frontend.path, local.compute.path) if local else (), (entry.path, *parts))

    def _prune_copy(self, kept: Collection[_Kept], in_use: Collection[Path]) -> None:
        """Remove what was fetched for images that are offered no more, or for older forms of those that are."""
        needed = {self._settings.catalog, *self._mirror.manifests(), *in_use}
        needed.update(path for one in kept for path in one.files)
        folders = [one.folder for one in kept if one.folder]
        for place in self._mirror.places():
            if place.target in needed or any(place.target.is_relative_to(folder) for folder in folders):
                continue
            with files.lock(place.lock):
                place.remove()
            _log.info("removed %s: no image needs it any more", place.target)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What of an image `prune` leaves: its assembled disks (None: all) and its fetched files, or all in *folder*."""

    disks: Collection[Path] | None
    files: Collection[Path]
    folder: Path | None = None


def _report(works: Iterable[tuple[ImageName, Callable[[], bool]]]) -> SyncReport:
    """Do all works, whatever becomes of each; one says whether it had to do anything."""
    return SyncReport(tuple(_outcome(name, work) for name, work in works))


def _outcome(name: ImageName, work: Callable[[], bool]) -> ImageOutcome:
    try:
        return ImageOutcome(name, "fetched" if work() else "fresh")
    except PragmaError as error:
        _log.debug("image %s is not synchronised", name, exc_info=True)
        return ImageOutcome(name, "failed", "; ".join(filter(None, (error.message, error.details))))


def new_web(settings: RepositorySettings, access: Access | None = None) -> Web:
    """The client for a repository with these settings."""
    ca_file = settings.others.get("ca_file")
    return Web(access, ca_file=ca_file if isinstance(ca_file, Path) else None)


def _age(seconds: float) -> str:
    for unit, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit:
            count = int(seconds // unit)
            return f"{count} {name}{'s'[: count > 1]}"
    return "less than a minute"
