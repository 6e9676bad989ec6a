"""An image's disks from files of this machine: found beside its document, assembled in the cache where packed."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from pragma_boot import files
from pragma_boot.config.settings import RepositorySettings
from pragma_boot.errors import ImageError
from pragma_boot.model import (
    DiskFormat,
    FileSource,
    Image,
    ImageName,
    LocalDisk,
    LocalImage,
    Packing,
    ProgressSink,
    Role,
    VolumeSource,
)
from pragma_boot.repository.assemble import DEFAULT_LIMITS, Limits, Recipe
from pragma_boot.repository.cache import Cache
from pragma_boot.repository.probe import inside, probe, refused

ROLES = (Role.FRONTEND, Role.COMPUTE)


class Disks:
    """The disks of a repository's images.

    locks: the folder of the lock files. pinned: whether also unpacked disks get a name of their own in the cache (a
    second one for the same data): where files may be replaced later, while overlays still stand on the older ones.
    """

    def __init__(self, settings: RepositorySettings, locks: Path, *, pinned: bool = False) -> None:
        self._settings, self._locks, self._pinned = settings, locks, pinned
        self._form = DiskFormat(str(settings.others.get("cache_format") or DiskFormat.RAW.value))

    def ready(self, image: Image) -> LocalImage | None:
        """The disks when they are here and right. Changes nothing. Raises ImageError as `Repository.cached` does."""
        frontend = self._ready(image, Role.FRONTEND)
        compute = self._ready(image, Role.COMPUTE)
        return LocalImage(image, frontend, compute) if frontend and compute else None

    def make(
        self, image: Image, progress: ProgressSink, limits: Callable[[Role], Limits] = lambda _: DEFAULT_LIMITS
    ) -> LocalImage:
        """Assemble what is missing, under the image's lock; another command may have made it while we waited.

        limits: of a role's disk.
        """
        return LocalImage(image, *(self._make(image, role, progress, limits(role)) for role in ROLES))

    def take(self, image: Image, recipe: Recipe, fill: Callable[[Path], None], packed: int) -> None:
        """Have a disk built by *fill*, which also brings the parts of *recipe*; under the image's lock.

        packed: bytes of the parts, as far as they are known.
        """
        self._cache(image.name).take(recipe, fill, self._verify(image, recipe), packed)

    def prune(self, offered: Callable[[ImageName], Collection[Path] | None], in_use: Collection[Path]) -> list[Path]:
        """Remove assembled disks but those in use and those that *offered* tells for a name; None: all of it stays."""
        gone: list[Path] = []
        for folder in sorted({disk.parent for disk in self._settings.cache.glob("*/*.disk")}):
            name = ImageName(folder.name)
            with files.lock(self.lock(name)):
                needed = offered(name)
                if needed is not None:
                    gone += Cache(folder).prune({*in_use, *needed})
        return gone

    def lock(self, name: ImageName) -> Path:
        """The lock of whoever makes an image's disks."""
        return self._locks / f"image-{name}.lock"

    def recipe(self, image: Image, role: Role) -> Recipe:
        """Where the role's packed files are. Raises ImageError that names all which are missing."""
        source = file_source(image, role)
        found = [(part, self._locate(image, part)) for part in source.parts]
        missing = [part for part, path in found if path is None]
        unpacked = self._locate(image, source.file) if len(missing) == len(found) else None
        if unpacked:  # an older program unpacked the parts in place and then removed them
            return Recipe(Packing.RAW, (unpacked,))
        if missing:
            raise _missing(image, missing)
        return self.recipe_of(source.packing, tuple(path for _, path in found if path))

    def recipe_of(self, packing: Packing, parts: tuple[Path, ...]) -> Recipe:
        """How parts in their places become a disk at this site; a disk that is whole stays as it is."""
        return Recipe(packing, parts, DiskFormat.RAW if packing is Packing.RAW else self._form)

    # ----------------------------------------------------------------------------------------------------- one role

    def _ready(self, image: Image, role: Role) -> LocalDisk | None:
        source = image.for_role(role).source
        if isinstance(source, VolumeSource) and source.host:
            return LocalDisk(Path("/", source.host, source.pool, source.volume), DiskFormat.RAW, 0, source)
        recipe = self.recipe(image, role)
        path = recipe.parts[0] if self._as_it_is(recipe) else self._cache(image.name).find(recipe)
        return probe(path, self._roots(image)) if path else None

    def _make(self, image: Image, role: Role, progress: ProgressSink, limits: Limits) -> LocalDisk:
        ready = self._ready(image, role)
        if ready:
            return ready
        recipe = self.recipe(image, role)
        cache, verify = self._cache(image.name), self._verify(image, recipe)
        if recipe.packing is Packing.RAW:
            return probe(cache.pin(recipe, image.name, verify, progress), self._roots(image))
        return probe(cache.make(recipe, image.name, verify, progress, limits=limits), self._roots(image))

    def _verify(self, image: Image, recipe: Recipe) -> Callable[[Path], None]:
        def verify(disk: Path) -> None:
            probe(disk, self._roots(image), recipe.parts[0])

        return verify

    def _as_it_is(self, recipe: Recipe) -> bool:
        return recipe.packing is Packing.RAW and not self._pinned

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


def file_source(image: Image, role: Role) -> FileSource:
    """The role's disk as files; raises ImageError for a volume, unless it is on a NAS (`Disks.ready`)."""
    source = image.for_role(role).source
    if not isinstance(source, FileSource):
        raise ImageError(
            f"the {role} of image {image.name} is a volume ({source.pool}/{source.volume})",
            details="it names no NAS, and this repository has disks in files only",
            resolution='give it a host="…", the NAS\'s name, or the image a file disk: <source file="…"/>',
        )
    return source


def _missing(image: Image, parts: Iterable[str]) -> ImageError:
    return ImageError(
        f"files of image {image.name} are missing",
        details="\n".join(f"{image.directory / part}" for part in parts),
        resolution="copy them there, or mend the names in its vc-in document",
    )
