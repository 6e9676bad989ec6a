"""Repository class `clonezilla`: images that were saved by Clonezilla, kept here restored.

In the folder of the repository::

    vcdb.txt                    the images that are restored
    IMAGE/IMAGE-local.xml       the publisher's document, with the disks as they are here
    IMAGE/NAME.qcow2            a restored disk (or .raw), read-only; a later form of it gets another name
    IMAGE/.restored.json        what the disks were made from

`describe` and `fetch` work for every image that is offered; what is here already needs no network.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from pragma_boot import files
from pragma_boot.config.settings import RepositorySettings
from pragma_boot.errors import CommandError, ImageError, ImageNotFoundError, PragmaError, RepositoryError
from pragma_boot.model import (
    Catalog,
    CatalogEntry,
    DiskFormat,
    Image,
    ImageName,
    LocalDisk,
    LocalImage,
    Progress,
    ProgressSink,
    Role,
    VolumeSource,
    no_progress,
)
from pragma_boot.repository import catalog as catalogs
from pragma_boot.repository import markup, vc_in
from pragma_boot.repository.base import ImageOutcome, SyncReport
from pragma_boot.repository.clonezilla import offer as offers
from pragma_boot.repository.clonezilla.convert import Converter
from pragma_boot.repository.clonezilla.document import localized
from pragma_boot.repository.clonezilla.offer import Offer
from pragma_boot.repository.clonezilla.place import FilePlace, Place, VolumePlace, image_stem, place
from pragma_boot.repository.clonezilla.remote import Item, Remote, open_remote
from pragma_boot.repository.clonezilla.restored import FILE as RECORD
from pragma_boot.repository.clonezilla.restored import Restored, RestoredDisk, identity
from pragma_boot.repository.clonezilla.source import Content
from pragma_boot.repository.clonezilla.zvol import Nas
from pragma_boot.repository.patience import Patience
from pragma_boot.repository.probe import probe

_log = logging.getLogger(__name__)

_HASTY = Patience(attempts=1, connect=5.0, read=15.0)


class ClonezillaRepository:
    """Keeps the promises of `Repository`; *locks* is the folder of the lock files. patience: with servers."""

    def __init__(self, settings: RepositorySettings, locks: Path, patience: Patience | None = None) -> None:
        self._settings, self._locks, self._patience = settings, locks, patience
        self._others: Mapping[str, Any] = settings.others

    @cached_property
    def _remote(self) -> Remote:
        return open_remote(self._settings, self._patience)

    def catalog(self) -> Catalog:
        """The images that are restored here, then the further ones that are offered; see `Repository.catalog`.

        When the repository cannot be reached, what is here is told, with a warning.
        """
        here = self._restored_here()
        try:
            offered = self._folders(open_remote(self._settings, self._patience or _HASTY))
        except RepositoryError as error:
            if not here.entries:
                raise
            about = "; ".join(filter(None, (error.message, error.details)))
            return replace(here, warnings=(*here.warnings, f"only the images that are here are listed: {about}"))
        gone = [entry.name for entry in here.entries if entry.name not in offered]
        warnings = [f"image {name} is offered no more; 'pragma sync repository --prune' removes it" for name in gone]
        further = [CatalogEntry(name, self._document(name), 0) for name in offered if not here.find(name)]
        return Catalog((*here.entries, *further), (*here.warnings, *warnings))

    def describe(self, name: ImageName) -> Image:
        """The image's document; the restored one where it is here. See `Repository.describe`."""
        here = self._restored_here().find(name)
        if here:
            return vc_in.load(here.path, name)
        folder = self._folders(self._remote).get(name)
        if folder is None:
            raise self._not_found(name)
        offer = offers.look(self._remote, name, folder)
        places = {role: self._place(offer, role) for role in offer.disks}
        places.setdefault(Role.FRONTEND, self._any_place(name))  # that it is missing, `cached` and `fetch` will tell
        text = localized(self._read(offer.document), offer.document.name, places)
        return vc_in.parse(text, name=name, origin=offer.document.name, directory=self._folder(name))

    def cached(self, image: Image) -> LocalImage | None:
        """The restored disks, when they are here and as they were made; see `Repository.cached`."""
        restored = Restored.read(self._folder(image.name))
        if restored.disks:
            return self._ready(image, restored)
        try:
            folder = self._folders(self._remote).get(image.name)
            if folder:
                offers.look(self._remote, image.name, folder).check()
        except ImageError:
            raise
        except RepositoryError as error:
            _log.debug("whether image %s can be had is not known: %s", image.name, error.message)
        return None

    def fetch(self, image: Image, progress: ProgressSink = no_progress) -> LocalImage:
        """Restore what is not here; see `Repository.fetch`."""
        ready = self.cached(image)
        if ready:
            return ready
        if files.is_locked(self._lock(image.name)):
            progress(Progress("decompress", image.name, "another command is restoring it"))
        with files.lock(self._lock(image.name)):
            restored = Restored.read(self._folder(image.name))
            ready = self._ready(image, restored)
            if ready:
                return ready
            folder = self._folders(self._remote).get(image.name)
            if folder is None:
                raise self._not_found(image.name)
            restored = self._restore(offers.look(self._remote, image.name, folder), restored, progress)
            made = vc_in.load(self._document(image.name), image.name)
            same = (made.frontend, made.compute) == (image.frontend, image.compute)
            ready = self._ready(image if same else made, restored)
        if ready is None:
            raise ImageError(f"image {image.name} was changed while it was restored", resolution="repeat the command")
        return ready

    def sync(self, *, dry_run: bool = False, progress: ProgressSink = no_progress) -> SyncReport:
        """Restore every image that is offered and is new or changed; see `Repository.sync`."""
        folders = self._folders(self._remote)
        if not folders:
            raise RepositoryError(
                "the repository offers no image",
                details="it has no folder that include_images takes and exclude_images leaves",
                resolution="mend repository_url, include_images or exclude_images in site_conf.conf",
            )
        return SyncReport(tuple(self._sync(name, folder, dry_run, progress) for name, folder in folders.items()))

    def prune(self, in_use: Collection[Path]) -> tuple[Path, ...]:
        """Remove images that are offered no more, and earlier forms of disks; see `Repository.prune`."""
        offered = self._folders(self._remote)
        gone: list[Path] = []
        for record in sorted(self._settings.directory.glob(f"*/{RECORD}")):
            name = ImageName(record.parent.name)
            with files.lock(self._lock(name)):
                gone += self._prune(name, name in offered, in_use)
        return tuple(gone)

    # ------------------------------------------------------------------------------------------------------ one image

    def _sync(self, name: ImageName, folder: Item, dry_run: bool, progress: ProgressSink) -> ImageOutcome:
        try:
            offer = offers.look(self._remote, name, folder)
            offer.check()
            with files.lock(self._lock(name)):
                restored = Restored.read(self._folder(name))
                if self._is_current(offer, restored):
                    return ImageOutcome(name, "fresh")
                if not dry_run:
                    self._restore(offer, restored, progress)
            return ImageOutcome(name, "fetched")
        except PragmaError as error:
            _log.debug("image %s is not synchronised", name, exc_info=True)
            return ImageOutcome(name, "failed", "; ".join(filter(None, (error.message, error.details))))

    def _is_current(self, offer: Offer, restored: Restored) -> bool:
        folder = self._folder(offer.name)
        keys = {role: disk.key for role, disk in restored.disks.items()}
        same = keys == {role: offer.key(role) for role in offer.disks} and restored.document == offer.document.version
        there = same and all(disk.is_there(folder) for disk in restored.disks.values())
        return there and self._restored_here().find(offer.name) is not None

    def _restore(self, offer: Offer, restored: Restored, progress: ProgressSink) -> Restored:
        """Have every disk of an offer here, then its document, then its line in the catalog; under its lock."""
        offer.check()
        folder, origin = self._folder(offer.name), offer.document.name
        document = self._read(offer.document)
        trial = localized(document, origin, {Role.FRONTEND: self._any_place(offer.name)})
        vc_in.parse(trial, name=offer.name, origin=origin, directory=folder)  # its faults before hours of work
        files.make_folder(folder)
        for role in offer.disks:
            restored = self._restore_disk(offer, role, restored, progress)
        disks = {role: restored.disks[role] for role in offer.disks}
        dropped = tuple(disk for role, disk in restored.disks.items() if role not in disks)
        text = localized(document, origin, {role: disk.place for role, disk in disks.items()})
        files.write_atomic(self._document(offer.name), text)
        restored = Restored(disks, offer.document.version, (*restored.older, *dropped))
        restored.write(folder)
        if self._restored_here().find(offer.name) is None:
            settings = self._settings
            catalogs.add(settings.catalog, settings.directory, offer.name, self._document(offer.name), self._locks)
        return restored

    def _restore_disk(self, offer: Offer, role: Role, restored: Restored, progress: ProgressSink) -> Restored:
        """Have one disk here; what is known of all afterwards."""
        folder, others, key = self._folder(offer.name), self._others, offer.key(role)
        before = restored.disks.get(role)
        if before and before.key == key and before.is_there(folder):
            return restored
        cziso = others.get("cziso")
        converter = Converter(self._remote, bool(others.get("keep_isos")), cziso if isinstance(cziso, Path) else None)
        at = self._place(offer, role, restored)
        converter.convert(offer.disks[role], at, folder, offer.name, progress)
        older = (*restored.older, before) if before and before.place != at else restored.older
        now = Restored({**restored.disks, role: _seen(at, key, folder)}, "", older)
        now.write(folder)
        return now

    def _prune(self, name: ImageName, offered: bool, in_use: Collection[Path]) -> list[Path]:
        """One image, under its lock. An image that is offered no more goes as a whole, when nobody uses any of it."""
        folder = self._folder(name)
        restored = Restored.read(folder)
        current = list(restored.disks.values())
        withdrawn = not offered and not any(self._path(disk.place, folder) in in_use for disk in current)
        doomed = [*restored.older, *(current if withdrawn else ())]
        stay: list[RestoredDisk] = []
        gone: list[Path] = []
        for disk in doomed:
            path = self._path(disk.place, folder)
            if path in in_use or not self._remove(disk, path):
                stay.append(disk)
            else:
                gone.append(path)
        if withdrawn:
            self._document(name).unlink(missing_ok=True)
            catalogs.remove(self._settings.catalog, name, self._locks)
        left = Restored({} if withdrawn else restored.disks, restored.document, tuple(stay))
        if left.disks or left.older:
            left.write(folder)
        else:
            (folder / RECORD).unlink(missing_ok=True)
        return gone

    @staticmethod
    def _remove(disk: RestoredDisk, path: Path) -> bool:
        """Remove a disk, if it is still ours; whether it is gone. Raises PragmaError."""
        at = disk.place
        if isinstance(at, VolumePlace):
            nas, volume = Nas(at.nas), f"{at.pool}/{at.name}"
            if nas.identity(volume) != (disk.stamp, disk.size):
                return True
            try:
                nas.destroy(volume)
            except CommandError as error:  # it has clones: it goes when they are gone
                _log.warning("%s stays: %s", path, error.details)
                return False
            return True
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise PragmaError(
                f"cannot remove {path}", details=error.strerror, resolution="run as the user who may write there"
            ) from error
        return True

    # --------------------------------------------------------------------------------------------------------- places

    def _ready(self, image: Image, restored: Restored) -> LocalImage | None:
        folder = self._folder(image.name)
        disks = {role: restored.disks.get(role) or restored.disks.get(Role.FRONTEND) for role in Role}
        found: dict[Role, LocalDisk] = {}
        for role, disk in disks.items():
            if disk is None or not disk.is_there(folder):
                return None
            at = disk.place
            if isinstance(at, VolumePlace):
                volume = VolumeSource(at.pool, at.name, at.nas)
                found[role] = LocalDisk(self._path(at, folder), DiskFormat.RAW, disk.size, volume)
            else:
                found[role] = probe(folder / at.name, (folder.resolve(),))
        return LocalImage(image, found[Role.FRONTEND], found[Role.COMPUTE])

    def _place(self, offer: Offer, role: Role, restored: Restored | None = None) -> Place:
        """Where a role's disk goes. What is there of another form of it, or of somebody else, stays as it is."""
        folder, template = self._folder(offer.name), str(self._others.get("local_image_url"))
        stem, key = image_stem(offer.disks[role].name), offer.key(role)
        plain = place(template, folder, stem)
        known = [*(restored.disks.values() if restored else ()), *(restored.older if restored else ())]
        taken = any(disk.place == plain for disk in known) or identity(plain, folder) is not None
        return place(template, folder, stem, key) if taken else plain

    def _any_place(self, name: str) -> Place:
        return place(str(self._others.get("local_image_url")), self._folder(name), "frontend")

    @staticmethod
    def _path(at: Place, folder: Path) -> Path:
        return folder / at.name if isinstance(at, FilePlace) else Path("/", at.nas, at.pool, at.name)

    def _folder(self, name: str) -> Path:
        return self._settings.directory / name

    def _document(self, name: ImageName) -> Path:
        return self._folder(name) / f"{name}-local.xml"

    def _lock(self, name: ImageName) -> Path:
        return self._locks / f"image-{name}.lock"

    def _restored_here(self) -> Catalog:
        if not self._settings.catalog.exists():
            return Catalog(())
        return catalogs.read(self._settings.catalog, self._settings.directory)

    def _folders(self, remote: Remote) -> dict[ImageName, Item]:
        include, exclude = self._others.get("include_images") or (), self._others.get("exclude_images") or ()
        return offers.image_folders(remote, tuple(include), tuple(exclude))

    def _read(self, document: Item) -> bytes:
        known = self._remote.known(document)
        if known.size is not None and known.size > markup.SIZE_LIMIT:
            raise markup.too_large(document.name)
        return b"".join(Content.whole(document.name, self._remote.source(known)).stream())

    def _not_found(self, name: ImageName) -> ImageNotFoundError:
        near = get_close_matches(name, [entry.name for entry in self.catalog().entries])
        return ImageNotFoundError(
            f"no image {name} in the repository",
            resolution=f"did you mean {' or '.join(near)}?" if near else "'pragma list repository' shows the names",
        )


def _seen(at: Place, key: str, folder: Path) -> RestoredDisk:
    """What is known of a disk that was restored just now."""
    found = identity(at, folder)
    if found is None:
        raise ImageError(f"{at.name} is not there after it was restored", resolution="repeat the command")
    stamp, size = found
    if isinstance(at, VolumePlace):
        return RestoredDisk(key, at.name, size, stamp, DiskFormat.RAW, at.nas, at.pool)
    return RestoredDisk(key, at.name, size, stamp, at.form)
