"""The one downloader of all repository classes: resumable, verified, never half a file under a final name.

For a repository class::

    web = Web(access, ca_file=…)                          # repository/web.py; `access` signs or adds keys
    done = download(web, Item(url, target, size, digest)) # one file; `done.changed` tells whether it is new
    source = WebSource(web, url)                          # repository/source.py; ranges of one object:
    with source.open_range(start, length) as reader: …    # reader.read(n) goes on by itself after a cut

An interrupted download leaves what has arrived in a hidden folder beside its target (repository/record.py) and goes on
from there, if the server still offers the same object; a strong ETag or a past modification time says so.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pragma_boot import files
from pragma_boot.connect import shown
from pragma_boot.errors import ImageError, PragmaError, RepositoryError
from pragma_boot.repository.arrival import Arrival, Meter
from pragma_boot.repository.patience import TransientError, Tries, timestamp
from pragma_boot.repository.record import Digest, Hashes, Partial, Place, Record, boot_id
from pragma_boot.repository.resume import begun, conditions, continues
from pragma_boot.repository.web import PIECE, Reply, Web

_log = logging.getLogger(__name__)

_MIB = 1024 * 1024
_DURABLE = 256 * _MIB
"""After so many bytes, what is here is flushed: more than these are not lost when the machine fails."""

_PAGES = (b"<!doctype html", b"<html", b'<?xml version="1.0" encoding="utf-8"?>\n<error')
_OVER = 3  # how often an object may turn out to be another one
_ASK = "ask whoever publishes the repository"


@dataclass(frozen=True, slots=True)
class Item:
    """What to fetch, and where to.

    size, digest: what it must be, as a manifest tells. limit: the most bytes that it may have.
    beside: how many further bytes are needed on the same file system per byte of it, for what is made of it.
    verify: called with the complete file before it gets its name; raises to refuse it.
    """

    url: str
    target: Path
    size: int | None = None
    digest: Digest | None = None
    limit: int | None = None
    beside: float = 0
    verify: Callable[[Path], None] | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """A file that is here and right; *changed*: it was fetched just now."""

    record: Record
    changed: bool


def download(web: Web, item: Item, meter: Meter | None = None, arrival: Arrival | None = None) -> Done:
    """Have the file here: as it is when its digest is right or the server says it did not change, else fetched.

    Two processes that want the same file: one fetches, the other waits and finds it. meter: is told the progress.
    arrival: lets another thread read the file while it arrives.

    Raises StatusError (the server refuses), TransientError (patience is over; what has arrived is kept), ImageError
    (not what it must be; nothing is kept) or PragmaError (no space, no permission).
    """
    place = Place(item.target)
    files.make_folder(item.target.parent)
    if meter and files.is_locked(place.lock):
        meter.tell("another command is fetching it")
    with files.lock(place.lock):
        return _Task(web, item, place, meter, arrival).run()


class _Task:
    """One download, under the file's lock."""

    def __init__(self, web: Web, item: Item, place: Place, meter: Meter | None, arrival: Arrival | None) -> None:
        self._web, self._item, self._place, self._meter, self._arrival = web, item, place, meter, arrival
        self._hashes = Hashes(item.digest)
        self._moved = self._told = False
        self._called = shown(item.url)

    def run(self) -> Done:
        item = self._item
        record = self._place.record()
        if item.digest:
            right = record if record and record.has(item.size, item.digest) else self._adopted(record)
            if right:
                return self._fresh(right)
            record = None  # "not modified" would not make it right
        tries, over = Tries(self._web.patience), 0
        while True:
            try:
                done = self._attempt(record)
            except TransientError as error:
                if self._moved:
                    tries.progressed()
                self._moved = False
                tries.failed(error)
                continue
            except _WrongError as error:
                self._place.drop_part()
                over += 1
                if over > 1:
                    raise
                _log.warning("%s: %s; fetching it once more", error.message, error.details)
                continue
            except OSError as error:
                raise self._refused(error) from error
            if done:
                return done
            over += 1
            if over > _OVER:
                raise ImageError(
                    f"{self._called} is another object at every request", resolution=f"repeat later, or {_ASK}"
                )

    def _adopted(self, known: Record | None) -> Record | None:
        """A file that somebody else put here, or of which another digest is *known*, when the manifest's is right."""
        item = self._item
        if item.digest is None or not item.target.is_file() or (known and item.digest.algorithm in known.digests):
            return None
        size = item.target.stat().st_size
        if item.size not in (None, size):
            return None
        self._hashes.over(item.target, size)
        record = replace(known or Record(self._called, size, 0), digests=self._hashes.values())
        return self._place.note(record) if record.has(item.size, item.digest) else None

    def _fresh(self, record: Record) -> Done:
        if self._arrival:
            self._arrival.begin(self._item.target, record.size)
        if self._meter:
            self._meter.at(self._item.url, record.size, record.size, quiet=True)
        return Done(record, changed=False)

    # ----------------------------------------------------------------------------------------------------- attempts

    def _attempt(self, record: Record | None) -> Done | None:
        """One request and its body; None when it must be begun anew."""
        partial, have = self._resumable()
        with self._web.open(self._item.url, conditions(record, partial, have)) as reply:
            if reply.status == 304 and record:
                self._place.confirm()
                return self._fresh(record)
            if reply.status == 416 and partial and reply.content_range[1] in (have, None) and partial.total == have:
                self._tell_begin(self._place.part, have)  # all of it was here already
            elif reply.status == 206 and partial and have:
                if not continues(reply, partial, have):
                    self._place.drop_part()
                    return None
                self._receive(reply, partial, have)
            elif reply.status == 200:
                same = self._same(reply)
                if same:
                    return self._fresh(same)
                partial = self._beginning(reply)
                self._receive(reply, partial, 0)
            else:
                self._place.drop_part()
                return None
        return Done(self._publish(partial), changed=True)

    def _resumable(self) -> tuple[Partial | None, int]:
        """What is here of it, as far as it can be trusted."""
        partial = self._place.partial()
        if partial is None or not partial.validator or partial.url != self._called:
            return None, 0
        size = self._place.part.stat().st_size
        trusted = size if partial.boot == boot_id() or self._item.digest else min(size, partial.durable)
        return (partial, trusted) if trusted else (None, 0)

    def _same(self, reply: Reply) -> Record | None:
        """A file that somebody else put here, when its size and time are the server's; the body is not read then."""
        item, modified = self._item, timestamp(reply.headers.get("last-modified", ""))
        if item.digest or modified is None or not item.target.is_file() or self._place.record():
            return None
        status = item.target.stat()
        if (status.st_size, int(status.st_mtime)) != (reply.length, int(modified)):
            return None
        self._hashes.over(item.target, status.st_size)
        return self._place.note(self._record(begun(reply, self._called), status.st_size))

    def _beginning(self, reply: Reply) -> Partial:
        """A new part for this object."""
        item = self._item
        if not reply.delimited and item.size is None:
            raise RepositoryError(
                f"{self._called} has no length",
                details="the server tells no Content-Length, so that a cut file could not be told from a whole one",
                resolution="let the server tell it, or publish checksums: 'pragma repository index'",
            )
        if item.size is not None and reply.length not in (None, item.size):
            raise _WrongError(
                f"{self._called} is not what its checksums were made of",
                details=f"it has {reply.length} bytes, the manifest says {item.size}",
                resolution=f"{_ASK} to write the manifest anew",
            )
        partial = begun(reply, self._called)
        self._place.drop_part()
        self._place.note_partial(partial)
        return partial

    def _receive(self, reply: Reply, partial: Partial, have: int) -> None:
        total = partial.total if partial.total is not None else self._item.size
        self._check_room(have, total or 0)
        part = self._place.part
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, have)
            os.lseek(descriptor, have, os.SEEK_SET)
            if self._hashes.position != have or not self._told:
                self._hashes.over(part, have)
                self._tell_begin(part, have)
            self._copy(reply, descriptor, partial, total)
        finally:
            os.close(descriptor)
        if total is not None and self._hashes.position < total:
            raise TransientError(
                f"{self._called} was cut", details=f"{self._hashes.position} of {total} bytes arrived",
                resolution="repeat: it goes on where it was cut",
            )  # fmt: skip

    def _copy(self, reply: Reply, descriptor: int, partial: Partial, total: int | None) -> None:
        position = self._hashes.position
        durable = position
        while piece := reply.read(PIECE):
            if position == 0:
                self._refuse_pages(piece)
            if total is not None and position + len(piece) > total:
                raise _WrongError(f"{self._called} is longer than it should be", resolution=_ASK)
            self._check_limit(position + len(piece))
            _write_all(descriptor, piece)
            self._hashes.add(piece)
            position += len(piece)
            self._moved = True
            if self._meter:
                self._meter.at(self._item.url, position, total)
            if self._arrival:
                self._arrival.grow(position)
            if position - durable >= _DURABLE:
                os.fdatasync(descriptor)
                durable = position
                self._place.note_partial(replace(partial, durable=durable))

    def _tell_begin(self, part: Path, have: int) -> None:
        self._told = True
        if self._arrival:
            self._arrival.begin(part, have)

    # ------------------------------------------------------------------------------------------------------ publish

    def _publish(self, partial: Partial | None) -> Record:
        """Check the whole part and give it its name."""
        assert partial
        part, item = self._place.part, self._item
        size = part.stat().st_size
        if self._hashes.position != size:
            self._hashes.over(part, size)
        record = self._record(partial, size)
        if not record.has(item.size, item.digest):
            digest = f"its {item.digest.algorithm} is wrong" if item.digest else f"it has {size} bytes"
            raise _WrongError(
                f"{self._called} is not what its checksums were made of", details=digest,
                resolution=f"repeat later; if it stays so, {_ASK} to write the manifest anew",
            )  # fmt: skip
        if item.verify:
            self._verify(item.verify)
        with files.unfinished(item.target) as temporary:
            part.replace(temporary)
        self._place.drop_part()
        return self._place.note(record)

    def _verify(self, verify: Callable[[Path], None]) -> None:
        try:
            verify(self._place.part)
        except PragmaError:
            self._place.drop_part()
            raise

    def _record(self, partial: Partial, size: int) -> Record:
        digests = self._hashes.values()
        return Record(self._called, size, 0, partial.etag, partial.modified, digests)

    def _check_room(self, have: int, total: int) -> None:
        free = files.free_bytes(self._item.target.parent)
        needed = total - have + int(total * self._item.beside)
        if free < needed:
            raise PragmaError(
                f"no room to fetch {self._called}",
                details=f"{self._item.target.parent} has {free // _MIB} MiB free, {-(-needed // _MIB)} MiB are needed",
                resolution="free some space there, or choose another repository_dir in site_conf.conf",
            )

    def _check_limit(self, size: int) -> None:
        limit = self._item.limit
        if limit is not None and size > limit:
            self._place.drop_part()
            raise ImageError(
                f"{self._called} is larger than {limit // 1024} KiB",
                resolution="see that it is what its name says, and repository_url in site_conf.conf",
            )

    def _refuse_pages(self, piece: bytes) -> None:
        if piece.lstrip()[:64].lower().startswith(_PAGES):
            self._place.drop_part()
            raise ImageError(
                f"{self._called} is a web page, not the file that it should be",
                resolution="open it in a browser to see what the server says, and mend repository_url",
            )

    def _refused(self, error: OSError) -> PragmaError:
        """No space, no permission: on a full disk nothing of ours stays."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            self._place.drop_part()
        return files.refused("write", self._item.target, error)


class _WrongError(ImageError):
    """The object is not what it must be; one more try from its begin is worth it."""


def _write_all(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]
