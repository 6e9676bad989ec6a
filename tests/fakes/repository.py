"""A repository in memory, and a writer of folders for real ones."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Collection
from pathlib import Path

from pragma_boot.config.settings import RepositorySettings
from pragma_boot.errors import ImageError, ImageNotFoundError, PragmaError
from pragma_boot.model import (
    Catalog,
    CatalogEntry,
    DiskFormat,
    FileSource,
    Image,
    ImageName,
    LocalDisk,
    LocalImage,
    NodeImage,
    Packing,
    Progress,
    ProgressSink,
    no_progress,
)
from pragma_boot.repository.base import ImageOutcome, SyncReport

MIB = 1024 * 1024

DISK = b"\xeb\x63\x90boot" + bytes(505) + bytes(MIB) + b"data" * 1024 + bytes(2 * MIB - 512 - 4096)
"""A disk of 3 MiB with something at its begin and something in its middle."""


def document(source: str = "disk.img", extra: str = "", arch: str = "x86_64", compute: str = "") -> str:
    """A small vc-in document; *extra* stands below the frontend."""
    return (
        f"<vc version='0.1'><virtualization engine='kvm' type='hvm' arch='{arch}'/>"
        f"<frontend><domain type='kvm'><devices><disk type='file' device='disk'><source file='{source}'/></disk>"
        f"</devices></domain>{extra}</frontend>{compute}</vc>"
    )


class Folder:
    """A repository folder that a test fills."""

    def __init__(self, root: Path, folder: Path | None = None) -> None:
        self.root = folder or root / "repository"
        self.root.mkdir(exist_ok=True)
        self.settings = RepositorySettings("local", self.root, self.root / "vcdb.txt", root / "cache")
        self.locks = root / "locks"
        self.settings.catalog.write_text("")

    def add(self, name: str, xml: str | bytes | None = None, **files: bytes) -> Path:
        """Offer an image; *files* are named by keywords (``disk_img`` is disk.img). Returns its folder."""
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        text = document() if xml is None else xml
        (folder / f"{name}.xml").write_bytes(text.encode() if isinstance(text, str) else text)
        for key, data in files.items():
            (folder / key.replace("_", ".")).write_bytes(data)
        with self.settings.catalog.open("a") as catalog:
            catalog.write(f"{name},{name}/{name}.xml\n")
        return folder

    def withdraw(self, name: str) -> None:
        """Offer an image no more."""
        lines = self.settings.catalog.read_text().splitlines(keepends=True)
        self.settings.catalog.write_text("".join(line for line in lines if not line.startswith(f"{name},")))
        shutil.rmtree(self.root / name)

    def add_gzip(self, name: str, disk: bytes = DISK) -> Path:
        """Offer an image whose disk is gzipped."""
        return self.add(name, document("disk.img.gz"), disk_img_gz=gzip.compress(disk))


class MemoryRepository:
    """Offers what it was told; its disks are sparse files in *folder*, made by `fetch`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._images: dict[ImageName, int] = {}
        self._broken: set[ImageName] = set()
        self.fetches: list[ImageName] = []

    def offer(self, name: str, size: int = 64 * MIB, *, broken: bool = False) -> None:
        """Put an image of that virtual size into the catalog; *broken*: it can be described but never had."""
        self._images[ImageName(name)] = size
        if broken:
            self._broken.add(ImageName(name))

    def catalog(self) -> Catalog:
        entries = (CatalogEntry(name, self._folder / f"{name}.xml", i) for i, name in enumerate(self._images, 1))
        return Catalog(tuple(entries))

    def describe(self, name: ImageName) -> Image:
        if name not in self._images:
            raise ImageNotFoundError(f"no image {name}", resolution=f"did you mean {' or '.join(self._images)}?")
        source = FileSource(f"{name}.img", Packing.RAW, (f"{name}.img",))
        return Image(name, "x86_64", f"memory:{name}", self._folder, NodeImage(source))

    def cached(self, image: Image) -> LocalImage | None:
        if image.name in self._broken:
            raise ImageError(f"image {image.name} cannot be used", details="broken", resolution="mend it")
        path = self._folder / f"{image.name}.img"
        if not path.exists():
            return None
        disk = LocalDisk(path, DiskFormat.RAW, self._images[image.name])
        return LocalImage(image, disk, disk)

    def fetch(self, image: Image, progress: ProgressSink = no_progress) -> LocalImage:
        if self.cached(image) is None:
            with (self._folder / f"{image.name}.img").open("wb") as file:
                file.truncate(self._images[image.name])
            self.fetches.append(image.name)
            progress(Progress("decompress", image.name, done=1, total=1))
        ready = self.cached(image)
        assert ready
        return ready

    def sync(self, *, dry_run: bool = False, progress: ProgressSink = no_progress) -> SyncReport:
        return SyncReport(tuple(self._sync(name, dry_run, progress) for name in self._images))

    def _sync(self, name: ImageName, dry_run: bool, progress: ProgressSink) -> ImageOutcome:
        try:
            image = self.describe(name)
            if self.cached(image):
                return ImageOutcome(name, "fresh")
            if not dry_run:
                self.fetch(image, progress)
            return ImageOutcome(name, "fetched")
        except PragmaError as error:
            return ImageOutcome(name, "failed", error.message)

    def prune(self, in_use: Collection[Path]) -> tuple[Path, ...]:
        wanted = {self._folder / f"{name}.img" for name in self._images} | set(in_use)
        gone = tuple(path for path in sorted(self._folder.glob("*.img")) if path not in wanted)
        for path in gone:
            path.unlink()
        return gone

    def withdraw(self, name: str) -> None:
        """Offer an image no more; its disk stays until `prune`."""
        del self._images[ImageName(name)]
