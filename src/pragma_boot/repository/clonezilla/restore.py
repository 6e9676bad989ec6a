"""From an image directory to a disk: what is saved is streamed through to the target, nothing is kept in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from pragma_boot import files
from pragma_boot.errors import PragmaError
from pragma_boot.model import DiskFormat, Progress, ProgressSink, no_progress
from pragma_boot.repository.clonezilla import partclone, saved
from pragma_boot.repository.clonezilla.directory import ImageDirectory
from pragma_boot.repository.clonezilla.lvm import Stretch
from pragma_boot.repository.clonezilla.reader import Reader
from pragma_boot.repository.clonezilla.saved import PartImage, SavedDisk
from pragma_boot.repository.clonezilla.source import cut, refused
from pragma_boot.repository.clonezilla.table import SECTOR
from pragma_boot.repository.clonezilla.unpack import ahead, unpack
from pragma_boot.repository.target import Target, open_target

_REPORT = 0.2  # seconds between two progress reports
_MIB = 1024 * 1024


def restore_file(
    directory: ImageDirectory, path: Path, form: DiskFormat, subject: str, progress: ProgressSink = no_progress
) -> SavedDisk:
    """Restore to a file of that format; *path* exists and is empty.

    subject: whose progress is told (phase `decompress`, packed bytes read).
    Raises ImageError (see `saved.read`; damaged, cut), PragmaError when the disk surely has no room, OSError when
    *path* cannot be written.
    """
    disk = saved.read(directory)
    packed = sum(directory.size(image.files) for image in disk.images)
    free = files.free_bytes(path.parent)
    if free < packed:
        raise PragmaError(
            f"no room to restore image {subject}",
            details=f"{path.parent} has {free // _MIB} MiB free, at least {-(-packed // _MIB)} MiB are needed",
            resolution="free some space there, or choose another repository_dir",
        )
    with closing(open_target(path, form, disk.size)) as target:
        restore(directory, disk, target, subject, progress)
    return disk


def restore(
    directory: ImageDirectory, disk: SavedDisk, target: Target, subject: str, progress: ProgressSink = no_progress
) -> None:
    """Write the whole disk to *target* and finish it: data first, boot sector and table last.

    Raises ImageError when the data is damaged or cut, and what *target* raises.
    """
    meter = _Meter(sum(directory.size(image.files) for image in disk.images), subject, progress)
    directory.watch = meter.add
    for image in disk.images:
        _restore_part(directory, image, target)
    for sector, data in disk.pieces:
        target.write(sector * SECTOR, memoryview(data))
    target.finish()
    meter.report()


def _restore_part(directory: ImageDirectory, image: PartImage, target: Target) -> None:
    name = f"{directory.name}: {image.name}"
    with closing(ahead(unpack(directory.stream(image.files), image.packing, name))) as pieces:
        reader = Reader(pieces, name)
        write = _placed(image.stretches, target)
        if image.raw:
            _copy(reader, image.size, write)
        else:
            partclone.restore(reader, image.size, write)


def _copy(reader: Reader, size: int, write: partclone.Write) -> None:
    """A plain copy of a partition: exactly *size* bytes."""
    offset = 0
    for piece in reader.rest():
        if offset + len(piece) > size:
            raise refused(reader.name, f"it has more than the {size} bytes of its place")
        write(offset, piece)
        offset += len(piece)
    if offset < size:
        raise cut(reader.name)


def _placed(stretches: Sequence[Stretch], target: Target) -> Callable[[int, memoryview], None]:
    """Writes at offsets of a partition or volume to where these are on the disk."""
    if len(stretches) == 1:
        place = stretches[0].place
        return lambda offset, data: target.write(place + offset, data)

    def write(offset: int, data: memoryview) -> None:
        for stretch in stretches:
            first, last = max(offset, stretch.offset), min(offset + len(data), stretch.offset + stretch.size)
            if first < last:
                target.write(stretch.place + first - stretch.offset, data[first - offset : last - offset])

    return write


class _Meter:
    """Tells progress, some times a second."""

    def __init__(self, total: int, subject: str, progress: ProgressSink) -> None:
        self._total, self._subject, self._progress = total, subject, progress
        self._done, self._reported = 0, 0.0

    def add(self, count: int) -> None:
        self._done += count
        if time.monotonic() - self._reported >= _REPORT:
            self.report()

    def report(self) -> None:
        self._reported = time.monotonic()
        self._progress(Progress("decompress", self._subject, done=self._done, total=self._total))
