"""One saved disk, wherever it is, to its place: by this program, or by cziso where the site wants that."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

from pragma_boot import files
from pragma_boot.errors import PragmaError
from pragma_boot.model import DiskFormat, Progress, ProgressSink
from pragma_boot.repository.clonezilla import directory, saved
from pragma_boot.repository.clonezilla.directory import ImageDirectory
from pragma_boot.repository.clonezilla.place import FilePlace, Place, VolumePlace
from pragma_boot.repository.clonezilla.remote import Item, Remote, image_directory
from pragma_boot.repository.clonezilla.restore import restore, restore_file
from pragma_boot.repository.clonezilla.source import refused
from pragma_boot.repository.clonezilla.zvol import Nas, new_volume
from pragma_boot.repository.probe import probe
from pragma_boot.repository.record import Place as Fetched
from pragma_boot.repository.source import FileSource
from pragma_boot.run import run

_log = logging.getLogger(__name__)

_HOURS = 12 * 3600.0  # cziso starts a virtual machine that copies every block
_READ_ONLY = 0o444


@dataclass(frozen=True, slots=True)
class Converter:
    """Restores disks of *remote*. cziso: the program, or None."""

    remote: Remote
    keep_isos: bool = False
    cziso: Path | None = None

    def convert(self, item: Item, place: Place, folder: Path, subject: str, progress: ProgressSink) -> None:
        """Restore *item* to *place*, in the image's *folder*, whose lock the caller holds.

        The place has its name only when the disk is complete. subject: whose progress is told.
        Raises ImageError (damaged, refused) or PragmaError (no space, the NAS or a server fails); nothing is left.
        """
        files.make_folder(folder)
        for leftover in folder.glob(f"{files.UNFINISHED}*"):  # of a killed command: the lock is the caller's
            leftover.unlink(missing_ok=True)
        if self.cziso and not item.is_folder:
            iso = self.remote.download(item, folder / item.name, subject, progress)
            progress(Progress("decompress", subject, "cziso restores it"))
            self._by_cziso(self.cziso, iso, place, folder)
            return
        kept = None
        if self.keep_isos and not item.is_folder:
            kept = self.remote.download(item, folder / item.name, subject, progress)
        image = self._directory(item, kept)
        if isinstance(place, VolumePlace):
            disk = saved.read(image)
            with new_volume(Nas(place.nas), place, disk.size) as volume:
                restore(image, disk, volume, subject, progress)
            return
        with files.unfinished(folder / place.name, _READ_ONLY) as temporary:
            restore_file(image, temporary, place.form, subject, progress)
            probe(temporary, (folder.resolve(),), folder / place.name)

    def _directory(self, item: Item, iso: Path | None) -> ImageDirectory:
        if item.is_folder:
            return image_directory(self.remote, item)
        if iso:
            return directory.from_iso(FileSource(iso))
        return directory.from_iso(self.remote.source(item))

    def _by_cziso(self, cziso: Path, iso: Path, place: Place, folder: Path) -> None:
        """cziso needs the whole ISO here, and tells a format by the ending of a file's name."""
        try:
            if isinstance(place, VolumePlace):
                self._run_cziso(cziso, iso, f"zfs://{place.nas}/{place.pool}/{place.name}")
                return
            temporary = folder / f"{files.UNFINISHED}{place.name}"
            temporary.unlink(missing_ok=True)
            try:
                self._run_cziso(cziso, iso, f"file://{temporary}")
                self._publish(temporary, folder, place)
            finally:
                temporary.unlink(missing_ok=True)
        finally:
            if not self.keep_isos and iso.parent == folder:
                with contextlib.suppress(PragmaError):
                    Fetched(iso).remove()

    def _run_cziso(self, cziso: Path, iso: Path, target: str) -> None:
        done = run(
            [cziso, "restore", iso, target, "overwrite=true"],
            timeout=_HOURS,
            resolution="see what cziso says, or remove cziso from site_conf.conf: pragma restores such images itself",
        )
        _log.debug("cziso: %s", done.text[-2000:])

    @staticmethod
    def _publish(temporary: Path, folder: Path, place: FilePlace) -> None:
        if not temporary.is_file():
            raise refused(place.name, "cziso has written no disk")
        found = probe(temporary, (folder.resolve(),), folder / place.name)
        if found.format is not DiskFormat(place.form):
            raise refused(place.name, f"cziso has written a {found.format} disk")
        temporary.chmod(_READ_ONLY)
        temporary.replace(folder / place.name)
