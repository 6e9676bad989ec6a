"""The contract of repositories: what `cluster` may ask of one, and what it may rely on afterwards.

Implementations: `local`, `http`, `cloudfront`, `clonezilla`. Each passes tests/contract/test_repository.py.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pragma_boot.model import Catalog, Image, ImageName, LocalImage, ProgressSink, no_progress


@dataclass(frozen=True, slots=True)
class ImageOutcome:
    """What was done for one image: one of `fetched`, `fresh`, `removed`, `failed`; *reason*: why it
    failed, or what was removed."""

    name: ImageName
    outcome: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SyncReport:
    """One outcome per image that `sync` looked at, in catalog order."""

    images: tuple[ImageOutcome, ...]

    @property
    def failed(self) -> tuple[ImageOutcome, ...]:
        """The outcomes that need somebody's attention."""
        return tuple(image for image in self.images if image.outcome == "failed")


class Repository(Protocol):
    """A catalog of images and the means to have their disks here. Safe to use from several processes at once."""

    def catalog(self) -> Catalog:
        """The names that are offered. Cheap; opens no image.

        Lines that cannot be used are left out and told in `Catalog.warnings`. A remote catalog is as of now, or else
        as of last time, with a word about its age in `Catalog.notes`.
        Raises RepositoryError when the catalog itself cannot be read.
        """

    def describe(self, name: ImageName) -> Image:
        """The image's vc-in document, normalised; reads no disk.

        Raises ImageNotFoundError (naming the nearest names) or ImageError (every fault of the document at once).
        """

    def cached(self, image: Image) -> LocalImage | None:
        """The image's disks if they are here *and right*, else None. Changes nothing.

        Raises ImageError when the image can never be had (a missing part, a refused format).
        """

    def fetch(self, image: Image, progress: ProgressSink = no_progress) -> LocalImage:
        """Make the image's disks ready on this machine; idempotent, and one process works while others wait.

        The originals of a repository are never changed. Nothing unfinished has a final name, whatever happens.
        Raises ImageError (bad content) or PragmaError (disk full, no permission); then nothing is left behind. Where a
        server cannot be reached any more (RepositoryError), what has arrived is kept for the next attempt.
        """

    def sync(self, *, dry_run: bool = False, progress: ProgressSink = no_progress) -> SyncReport:
        """Have every image of the catalog here; one image's failure does not stop the rest.

        Raises RepositoryError only when the catalog cannot be read.
        """

    def prune(self, in_use: Collection[Path]) -> tuple[Path, ...]:
        """Remove the assembled disks that no offered image needs any more; returns what is gone.

        in_use: backing files of the clusters' disks, which stay. An image that changed gets a new file, so that
        clusters of its older form keep theirs; this is how the older ones go at last.
        Raises PragmaError when one cannot be removed, or the catalog cannot be read.
        """
