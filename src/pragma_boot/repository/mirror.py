"""The copy of a remote repository in `repository_dir`: what of it is here, what is right, and how the rest comes.

Every object has a path from the repository's top; its URL is ``repository_url/PATH``, its place ``repository_dir/PATH``
(repositories.md 1.7). Old publishers put documents at the top whatever their catalog says, so that some paths are tried
one after the other. What a manifest says of a path must hold.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from pragma_boot import files
from pragma_boot.config.settings import RepositorySettings
from pragma_boot.connect import shown
from pragma_boot.errors import RepositoryError
from pragma_boot.repository import bucket
from pragma_boot.repository import catalog as catalogs
from pragma_boot.repository import manifest as manifests
from pragma_boot.repository.address import joined
from pragma_boot.repository.arrival import Arrival, Meter
from pragma_boot.repository.fetch import Done, Item, download
from pragma_boot.repository.manifest import Entry, Manifest
from pragma_boot.repository.patience import StatusError, TransientError, Tries
from pragma_boot.repository.record import STATE, Place, Record
from pragma_boot.repository.web import Web

_log = logging.getLogger(__name__)

_ABSENT = (403, 404, 410)
"""What servers say of an object that is not there; object stores that show no listing say 403."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object: where it shall be here, and its possible *paths* in the repository, the likeliest first."""

    target: Path
    paths: tuple[str, ...]
    limit: int | None = None
    beside: float = 0
    verify: Callable[[Path], None] | None = None


class Mirror:
    """One remote repository and its copy here. *web* makes the requests."""

    def __init__(self, settings: RepositorySettings, web: Web) -> None:
        self._settings, self._web = settings, web
        self._url = str(settings.others["repository_url"])
        self.name = shown(self._url)
        self._manifest: Manifest | None = None

    # ----------------------------------------------------------------------------------------------------- manifest

    @property
    def manifest(self) -> Manifest:
        """What is known of the repository's files: as of the last `refresh`, else as it is here. Raises as that."""
        if self._manifest is None:
            kept = next((path for path in self.manifests() if Place(path).record()), None)
            self._manifest = manifests.read(kept.read_bytes(), kept.name, str(kept)) if kept else {}
        return self._manifest

    def refresh(self, hasty: int = 0) -> None:
        """Look whether there is a manifest, and have the present one here. hasty: attempts, when they shall be few.

        Raises RepositoryError when it is broken, or not signed by who must sign it; TransientError.
        """
        for name in self._names:
            signature = self._signature(name, hasty)
            try:
                item = self._item(name, hasty, signature)
            except StatusError as error:
                if error.status not in _ABSENT or self._settings.others.get("manifest") or self._signers:
                    raise
                self._forget(Place(self._local(name)))
                continue
            self._manifest = manifests.read(item.read_bytes(), name, f"{self.name}/{name}")
            return
        self._manifest = {}

    @staticmethod
    def _forget(place: Place) -> None:
        """Remove what the server has no more; another command may be about to fetch it."""
        if place.target.exists():
            with files.lock(place.lock):
                place.remove()

    def look(self) -> None:
        """As `refresh`, but nothing is written here."""
        for name in self._names:
            try:
                data = self._web.document(joined(self._url, name), manifests.SIZE_LIMIT)
            except StatusError as error:
                if error.status not in _ABSENT:
                    raise
                continue
            if self._signers:
                manifests.verify(data, self._signature(name, 0), self._signers, f"{self.name}/{name}")
            self._manifest = manifests.read(data, name, f"{self.name}/{name}")
            return

    def manifests(self) -> tuple[Path, ...]:
        """Where manifests are kept here."""
        return tuple(self._local(name) for name in self._names)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        named = self._settings.others.get("manifest")
        return (str(named),) if named else manifests.NAMES[:1] if self._signers else manifests.NAMES

    @property
    def _signers(self) -> Path | None:
        found = self._settings.others.get("manifest_signers")
        return found if isinstance(found, Path) else None

    def _signature(self, name: str, hasty: int) -> bytes:
        """The manifest's signature, where one is wanted."""
        if not self._signers:
            return b""
        return self._hasty(hasty).document(joined(self._url, f"{name}.sig"), manifests.SIZE_LIMIT)

    def _item(self, name: str, hasty: int, signature: bytes) -> Path:
        """Have a manifest here; its signature is looked at before it gets its name."""
        signers, origin = self._signers, f"{self.name}/{name}"

        def verify(path: Path) -> None:
            data = path.read_bytes()
            if signers:
                manifests.verify(data, signature, signers, origin)
            manifests.read(data, name, origin)

        target = self._local(name)
        item = Item(joined(self._url, name), target, limit=manifests.SIZE_LIMIT, verify=verify)
        done = download(self._hasty(hasty), item)
        if not done.changed:
            verify(target)
        return target

    # ------------------------------------------------------------------------------------------------------ objects

    def fetch(
        self,
        wanted: Wanted,
        meter: Meter | None = None,
        arrival: Arrival | None = None,
        *,
        hasty: int = 0,
    ) -> Done:
        """Have an object here: unchanged, or fetched now. Raises what `download` raises."""
        refused: StatusError | None = None
        for path in wanted.paths:
            entry = self._entry(path)
            item = Item(
                joined(self._url, path), wanted.target, entry.size if entry else None, entry.digest if entry else None,
                limit=wanted.limit, beside=wanted.beside, verify=wanted.verify,
            )  # fmt: skip
            try:
                return download(self._hasty(hasty), item, meter, arrival)
            except StatusError as error:
                if error.status not in _ABSENT:
                    raise
                refused = refused or error
        assert refused
        raise refused

    def record(self, wanted: Wanted) -> Record | None:
        """What is known of an object that is here and as it was fetched, and as the manifest has it; else None."""
        record = Place(wanted.target).record()
        entries = [entry for path in wanted.paths if (entry := self.manifest.get(path))]
        silent = not entries and not self._signers
        if record and (silent or any(record.has(entry.size, entry.digest) for entry in entries)):
            return record
        return None

    def disk_size(self, parts: Collection[Wanted]) -> int | None:
        """Bytes of the disk that these parts make, where a manifest says so."""
        entries = [self.manifest.get(path) for part in parts for path in part.paths]
        return next((entry.disk_size for entry in entries if entry and entry.disk_size), None)

    def packed_size(self, parts: Collection[Wanted]) -> int:
        """Bytes of these parts, as far as a manifest tells."""
        entries = [next(filter(None, map(self.manifest.get, part.paths)), None) for part in parts]
        return sum(entry.size or 0 for entry in entries if entry)

    def is_current(self, wanted: Wanted) -> bool:
        """Whether an object is here and the server has no other one; writes nothing. Raises as `fetch`."""
        record = self.record(wanted)
        if record is None or not (record.etag or record.modified):
            return False
        if any(path in self.manifest for path in wanted.paths):
            return True
        key, value = ("If-None-Match", record.etag) if record.etag else ("If-Modified-Since", record.modified)
        tries = Tries(self._web.patience)
        path = next((path for path in wanted.paths if shown(joined(self._url, path)) == record.url), wanted.paths[0])
        while True:
            try:
                with self._web.open(joined(self._url, path), {key: value}) as reply:
                    return reply.status == 304
            except TransientError as error:
                tries.failed(error)

    def catalog(self, wanted: Wanted, *, hasty: int = 0) -> None:
        """Have the present catalog here, or what takes its place: the list of a public bucket. Raises as `fetch`."""
        try:
            self.fetch(wanted, hasty=hasty)
        except StatusError as error:
            if error.status not in _ABSENT or self._signers:
                raise
            text = bucket.catalog(self._hasty(hasty), self._url)
            if text is None:
                raise
            place = Place(wanted.target)
            files.make_folder(wanted.target.parent)
            with files.lock(place.lock):
                files.write_atomic(wanted.target, text)
                place.note(Record(f"{self.name} (listing)", 0, 0))

    def catalog_now(self, wanted: Wanted) -> bytes:
        """The present catalog's content; writes nothing. Raises as `fetch`."""
        try:
            return self._web.document(joined(self._url, wanted.paths[0]), catalogs.SIZE_LIMIT)
        except StatusError:
            text = None if self._signers else bucket.catalog(self._web, self._url)
            if text is None:
                raise
            return text.encode()

    def paths_of(self, *folders: str, name: str, record: Record | None = None) -> tuple[str, ...]:
        """Possible paths of *name* below *folders*; the one that *record* came from first, then those of a manifest."""
        found = list(dict.fromkeys(str(PurePosixPath(folder, name)) for folder in folders))
        found.sort(key=lambda path: path not in self.manifest)
        if record:
            found.sort(key=lambda path: shown(joined(self._url, path)) != record.url)
        return tuple(found)

    def places(self) -> tuple[Place, ...]:
        """Everything that was fetched into the copy."""
        top = self._settings.directory
        folders = sorted(folder for folder in top.rglob(STATE) if folder.is_dir())
        return tuple(place for folder in folders for place in Place.recorded(folder))

    def _entry(self, path: str) -> Entry | None:
        """What a manifest says of a path. Raises RepositoryError when it must say something and does not."""
        entry = self.manifest.get(path)
        if entry is None and self._signers:
            missing = StatusError(
                f"{self.name}/{path} is not in the signed index",
                resolution="ask the publisher to write it anew with 'pragma repository index'",
            )
            missing.status = 404
            raise missing
        return entry

    def _local(self, name: str) -> Path:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise RepositoryError(f"{name} is no manifest beside the catalog", resolution="mend 'manifest'")
        return self._settings.directory / path

    def _hasty(self, attempts: int) -> Web:
        return self._web.hasty(attempts) if attempts else self._web


def outside(path: Path, top: Path) -> bool:
    """Whether a path leaves the folder *top*, or lies among our own state files."""
    parts, above = path.parts, top.parts  # `is_relative_to` takes ten times as long, for thousands of images
    return parts[: len(above)] != above or ".." in parts or STATE in parts
