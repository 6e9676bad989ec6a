"""Where assembled disks are kept, and whether they are still right.

The file that the overlays of a running or stopped cluster stand on never changes: when the originals in the
repository do, another file is made beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Collection
from pathlib import Path

from pragma_boot import files
from pragma_boot.errors import ImageError, PragmaError
from pragma_boot.model import ProgressSink, no_progress
from pragma_boot.repository.assemble import DEFAULT_LIMITS, Limits, Recipe, Source, build

_log = logging.getLogger(__name__)

_MIB = 1024 * 1024


class Cache:
    """The assembled disks of one image, in a folder of its own.

    ::

        FOLDER/KEY.disk     the disk, read-only; KEY is a digest of packing, format, paths, sizes and times of the parts
        FOLDER/KEY.json     what it was made from, its own size and time; written last
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, recipe: Recipe) -> Path | None:
        """The disk, when it is there, whole, and made from the parts as they are now. Changes nothing.

        Raises ImageError when a part cannot be looked at.
        """
        sources = recipe.sources()
        disk = self._disk(recipe, sources)
        try:
            record = json.loads(disk.with_suffix(".json").read_bytes())
            status = disk.stat()
        except (OSError, ValueError):
            return None
        return disk if record == _record(recipe, sources, status) else None

    def make(
        self,
        recipe: Recipe,
        subject: str,
        verify: Callable[[Path], None],
        progress: ProgressSink = no_progress,
        *,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Path:
        """Build the disk and give its path; the caller holds the image's lock.

        subject: the image's name, for progress. verify: called with the complete file before it gets its name.
        Raises ImageError (bad or changed parts) or PragmaError (no space, no permission); nothing is left then.
        """
        self._prepare()
        sources = recipe.sources()
        _check_space(self._folder, subject, recipe.allocated())
        disk = self._disk(recipe, sources)
        with files.unfinished(disk, 0o444) as temporary:
            build(recipe, temporary, subject, progress, limits=limits)
            if recipe.sources() != sources:
                raise ImageError(
                    f"a file of image {subject} was changed while it was read",
                    details="\n".join(map(str, recipe.parts)),
                    resolution="wait until whoever changes it is done, then repeat",
                )
            verify(temporary)
        return self._recorded(disk, recipe, sources)

    def take(
        self, recipe: Recipe, fill: Callable[[Path], None], verify: Callable[[Path], None], packed: int = 0
    ) -> Path:
        """Have the disk built by *fill*, and give its path; the parts need not be here before *fill* is done.

        fill: gets an empty file. packed: bytes of the parts, as far as they are known. The caller holds the image's
        lock. Raises what *fill* and *verify* raise, and PragmaError; nothing is left then.
        """
        self._prepare()
        _check_space(self._folder, self._folder.name, packed)
        arriving = self._folder / f"{files.UNFINISHED}arriving"
        try:
            arriving.touch(0o600)
            fill(arriving)
            sources = recipe.sources()
            disk = self._disk(recipe, sources)
            with files.unfinished(disk, 0o444, verify=verify) as temporary:
                arriving.replace(temporary)
        except OSError as error:
            raise files.refused("write", arriving, error) from error
        finally:
            arriving.unlink(missing_ok=True)
        return self._recorded(disk, recipe, sources)

    def pin(
        self,
        recipe: Recipe,
        subject: str,
        verify: Callable[[Path], None],
        progress: ProgressSink = no_progress,
    ) -> Path:
        """Give an unpacked disk a second name here, which stays when the first one goes; copies it where it must.

        The caller holds the image's lock. Raises as `make`.
        """
        self._prepare()
        sources = recipe.sources()
        disk = self._disk(recipe, sources)
        try:
            with files.unfinished(disk, 0o444, verify=verify) as temporary:
                temporary.unlink()
                os.link(recipe.parts[0], temporary)
        except PragmaError as error:
            if not isinstance(error.__cause__, OSError):
                raise
            return self.make(recipe, subject, verify, progress)  # another file system, or one without links
        return self._recorded(disk, recipe, sources)

    def prune(self, keep: Collection[Path]) -> tuple[Path, ...]:
        """Remove all disks but *keep* and say which; the caller holds the image's lock.

        Raises PragmaError when one cannot be removed.
        """
        self._sweep()
        gone = tuple(disk for disk in sorted(self._folder.glob("*.disk")) if disk not in keep)
        for disk in gone:
            try:
                disk.with_suffix(".json").unlink(missing_ok=True)
                disk.unlink(missing_ok=True)
            except OSError as error:
                raise PragmaError(
                    f"cannot remove {disk}",
                    details=error.strerror,
                    resolution="run as the user who may write in that folder",
                ) from error
        return gone

    def _prepare(self) -> None:
        files.make_folder(self._folder)
        self._sweep()

    def _recorded(self, disk: Path, recipe: Recipe, sources: list[Source]) -> Path:
        """Write down what a finished disk was made from."""
        record = _record(recipe, sources, disk.stat())
        files.write_atomic(disk.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
        return disk

    def _disk(self, recipe: Recipe, sources: list[Source]) -> Path:
        text = json.dumps([recipe.kind, sources], sort_keys=True)
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.disk"

    def _sweep(self) -> None:
        """Remove what a killed command left; nobody else works here, as the lock is ours."""
        for leftover in self._folder.glob(f"{files.UNFINISHED}*"):
            _log.debug("removing %s, left by a command that was killed", leftover)
            with contextlib.suppress(OSError):  # whoever may not write here is told so by the next step
                leftover.unlink()


def _record(recipe: Recipe, sources: list[Source], status: os.stat_result) -> dict[str, object]:
    return {
        "packing": recipe.kind,
        "parts": sources,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
    }


def _check_space(folder: Path, subject: str, needed: int) -> None:
    """Say early that there is no room: what is not zero takes at least what its packed form does, roughly."""
    free = files.free_bytes(folder)
    if free < needed:
        raise PragmaError(
            f"no room to unpack image {subject}",
            details=f"{folder} has {free // _MIB} MiB free, at least {-(-needed // _MIB)} MiB are needed",
            resolution="free some space there, or choose another folder in the configuration",
        )
