"""A ZFS volume of a NAS as the target of a restore: everything goes through ssh, nothing through a file here.

The volume bears a temporary name until it is complete. Each stretch of the disk is streamed into a `dd` there;
the volume is new, so what nobody writes is zero.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
from collections.abc import Iterator

from pragma_boot.errors import CommandError, RepositoryError
from pragma_boot.repository.clonezilla.place import VolumePlace
from pragma_boot.repository.target import runs
from pragma_boot.run import Completed, Feed, feeding, run

_log = logging.getLogger(__name__)

_UNIT = 1024 * 1024  # volumes have whole MiB: any block size of ZFS divides them
_GAP_LIMIT = 64 * 1024 * 1024  # zeros that are sent rather than another dd started
_ZEROS = bytes(_UNIT)
_UNFINISHED = ".unfinished-"
_SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20")
_MEND = "see that root of this machine may log in there by ssh without a password and may run zfs"


class Nas:
    """Commands on a NAS, by ssh."""

    def __init__(self, host: str) -> None:
        self._host = host

    def argv(self, *words: str) -> list[str]:
        """What runs *words* there; its shell sees them quoted."""
        return [*_SSH, "--", self._host, shlex.join(words)]

    def run(self, *words: str, check: bool = True) -> Completed:
        """Run a command there. Raises CommandError."""
        return run(self.argv(*words), check=check, resolution=_MEND)

    def identity(self, volume: str) -> tuple[str, int] | None:
        """(guid, size in bytes) of a volume; None when there is none. Raises CommandError when the NAS fails."""
        done = self.run("zfs", "get", "-Hpo", "value", "guid,volsize", volume, check=False)
        if done.status == 0:
            guid, size = done.text.split()
            return guid, int(size)
        if b"does not exist" in done.stderr:
            return None
        raise CommandError(
            f"the NAS {self._host} does not tell its volumes",
            details=done.stderr.decode(errors="replace").strip()[-500:],
            resolution=_MEND,
        )

    def unfinished(self, pool: str, name: str) -> list[str]:
        """Volumes of *pool* that a killed command left half-way on their way to *name*. Raises CommandError."""
        listed = self.run("zfs", "list", "-H", "-o", "name", "-t", "volume", "-d", "1", pool).text.split()
        return [volume for volume in listed if volume.startswith(f"{pool}/{name}{_UNFINISHED}")]

    def destroy(self, volume: str) -> None:
        """Remove a volume. Raises CommandError when it is in use."""
        self.run("zfs", "destroy", volume)


class ZvolTarget:
    """A volume that is being written; made by `new_volume`. See `Target` for its methods."""

    def __init__(self, nas: Nas, volume: str) -> None:
        self._nas, self._volume = nas, volume
        self._open = contextlib.ExitStack()
        self._dd: Feed | None = None
        self._at = 0

    def write(self, offset: int, data: memoryview) -> None:
        """See `Target.write`."""
        for start, end in runs(data, offset):
            dd = self._seek(offset + start)
            dd.write(data[start:end])
            self._at = offset + end

    def finish(self) -> None:
        """See `Target.finish`."""
        if self._dd:
            self._dd.finish()
            self._dd = None

    def close(self) -> None:
        """See `Target.close`."""
        self._open.close()

    def _seek(self, offset: int) -> Feed:
        """The dd that goes on at *offset*."""
        gap = offset - self._at
        if self._dd and 0 <= gap <= _GAP_LIMIT:
            while gap:
                zeros = _ZEROS[:gap]
                self._dd.write(zeros)
                gap -= len(zeros)
            return self._dd
        self.finish()
        self._open.close()
        words = ("dd", f"of=/dev/zvol/{self._volume}", "bs=1M", f"seek={offset}", "oflag=seek_bytes", "iflag=fullblock")
        argv = self._nas.argv(*words, "conv=notrunc,fsync,sparse")
        self._dd = self._open.enter_context(feeding(argv, resolution=_MEND))
        return self._dd


@contextlib.contextmanager
def new_volume(nas: Nas, place: VolumePlace, size: int) -> Iterator[ZvolTarget]:
    """Make a volume of at least *size* bytes; it gets its name when the block ends well, else it is gone.

    The caller holds the image's lock: what a killed command left of the same volume is removed.

    Raises CommandError when the NAS refuses, RepositoryError when the name is taken.
    """
    final = f"{place.pool}/{place.name}"
    if nas.identity(final):
        raise RepositoryError(
            f"the volume {final} is on {place.nas} already, and not known here",
            resolution=f"look what it is; then on {place.nas}: zfs destroy {final}, and repeat",
        )
    for leftover in nas.unfinished(place.pool, place.name):
        nas.destroy(leftover)
    temporary = f"{final}{_UNFINISHED}{os.getpid()}"
    nas.run("zfs", "create", "-s", "-V", str(-(-size // _UNIT) * _UNIT), temporary)
    target = ZvolTarget(nas, temporary)
    try:
        try:
            yield target
        finally:
            target.close()
        nas.run("zfs", "rename", temporary, final)
    except BaseException:
        with contextlib.suppress(CommandError):
            nas.destroy(temporary)
        raise
