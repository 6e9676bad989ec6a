"""Volumes on a site's NAS: cloned and destroyed with `zfs` there, mapped and unmapped by Rocks (rocks.md 3.17)."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pragma_boot import files
from pragma_boot.driver.kvm_rocks.hosts import Hosts
from pragma_boot.driver.kvm_rocks.names import machine_of
from pragma_boot.driver.kvm_rocks.reading import Assignment, Reader
from pragma_boot.driver.kvm_rocks.transport import Rocks, RocksError
from pragma_boot.errors import DriverError, GuestError
from pragma_boot.model import ClusterName, NodeName, VolumeSource

_log = logging.getLogger(__name__)

_PATIENCE, _TRIES = 10, 3
"""How often a volume is looked at before it is asked for, and how often it is asked for."""
_GB = 1 << 30

_CLONE = """
zfs snapshot "$1@$3" || exit 1
zfs clone "$1@$3" "$2" || { zfs destroy "$1@$3"; exit 1; }
zfs get -H -p -o value volsize "$2"
"""
_DESTROY = """
if zfs list -H -o name "$1" >/dev/null 2>&1; then zfs destroy -r "$1" || exit 1; fi
snapshots=$(zfs list -H -t snapshot -o name) || exit 1
printf '%s\\n' "$snapshots" | grep -e "@$2\\$" | while read -r name; do zfs destroy "$name" || exit 1; done
"""
"""A volume that was never mapped, which Rocks does not know, and the snapshot that a volume came from."""


@dataclass(frozen=True, slots=True)
class Nas:
    """All volumes of a site.

    locks: the folder of locks. pause: seconds between two looks at what Rocks does by itself; looks: how many before
    it is given up. A copy that is written back from a container takes its time.
    """

    rocks: Rocks
    ssh: Hosts
    locks: Path
    pause: float
    looks: int = 600

    def clone(self, source: VolumeSource, cluster: ClusterName, node: NodeName) -> tuple[VolumeSource, int]:
        """As in `model.Volumes`. Rocks is told first: `release` finds by it what is to go, wherever this breaks off."""
        machine, nas = machine_of(cluster, node), _host(source)
        self.rocks.change("set host vm nas", machine, parameters={"nas": nas, "zpool": source.pool})
        if Reader(self.rocks).assignments(machine).get(machine) != Assignment(nas, source.pool):
            raise DriverError(
                f"Rocks does not have the disk of {machine} on {nas}",
                resolution=f"look at 'rocks list host vm nas {machine}', then repeat",
            )
        volume, size = self._clone(source, f"{machine}-vol")
        self.rocks.change("set host vm", machine, parameters={"disksize": -(-size // _GB)})
        return volume, size

    @contextlib.contextmanager
    def mapped(self, volume: VolumeSource, size: int) -> Iterator[Path]:
        """As in `model.Volumes`; this machine is the physical frontend."""
        home = Reader(self.rocks).physical_frontend()
        words = (_host(volume), volume.pool, volume.volume, home, str(-(-size // _GB)))
        try:
            said = self.rocks.change("add host storagemap", *words, parameters={"img_sync": "false"}).split()
            if not said or not re.fullmatch(r"/[\w./-]+", said[-1]):
                raise DriverError(
                    f"Rocks does not say which device {volume.volume} is on",
                    details=" ".join(said),
                    resolution="repeat",
                )
            if not Path(said[-1]).exists():
                raise DriverError(
                    f"volume {volume.volume} is mapped to {said[-1]} of {home}, which is not this machine",
                    resolution=f"run pragma on {home} for images on a NAS",
                )
            yield Path(said[-1])
        finally:
            self.unmap(_host(volume), volume.volume)

    @contextlib.contextmanager
    def look(self, source: VolumeSource) -> Iterator[tuple[Path, int]]:
        """As in `model.Volumes`. One at a time for each image; what one that was killed has left, the next replaces."""
        mark = sha256(f"{_host(source)}/{source.pool}/{source.volume}".encode()).hexdigest()[:8]
        name = f"pragma-look-{mark}-vol"
        with files.lock(self.locks / f"rocks-look-{mark}.lock"), self._looked_at(source, name) as found:
            yield found

    @contextlib.contextmanager
    def _looked_at(self, source: VolumeSource, name: str) -> Iterator[tuple[Path, int]]:
        try:
            volume, size = self._clone(source, name)
            with self.mapped(volume, size) as device:
                yield device, size
        finally:
            self.remove(_host(source), source.pool, name)

    def settle(self, nas: str, volume: str) -> None:
        """Wait until a volume is unmapped, as Rocks does by itself after a stop; unmap it when Rocks forgot to."""
        self.unmap(nas, volume, patience=_PATIENCE)

    def _clone(self, source: VolumeSource, name: str) -> tuple[VolumeSource, int]:
        nas = _host(source)
        self.remove(nas, source.pool, name)
        words = (f"{source.pool}/{source.volume}", f"{source.pool}/{name}", _snapshot(name))
        size = int(self.ssh.run(nas, _CLONE, *words).split()[-1])
        return VolumeSource(source.pool, name, nas), size

    def unmap(self, nas: str, volume: str, *, patience: int = 0) -> str | None:
        """Take a volume from whichever host has it, and wait until it is; no error when none has. Its state then.

        patience: how often to look before asking for it. Raises DriverError when it stays mapped.
        """
        reader = Reader(self.rocks)
        asked = 0
        for look in range(self.looks):
            state = reader.volume_state(nas, volume)
            if state in (None, "unmapped"):
                return state
            if state == "mapped" and asked < _TRIES and look >= patience:
                asked += 1
                try:
                    self.rocks.change("remove host storagemap", nas, volume)
                    continue
                except RocksError as error:
                    if "is not mapped" in error.text:
                        continue
                    _log.debug("%s", error.message)
            time.sleep(self.pause)
        raise DriverError(
            f"volume {volume} on {nas} stays mapped",
            resolution=f"see what uses it ('rocks list host storagemap {nas}'), then repeat",
        )

    def remove(self, nas: str, pool: str, volume: str) -> None:
        """Destroy a node's volume and the snapshot that it came from; no error when they are gone."""
        if self.unmap(nas, volume) is not None:
            self.rocks.change("remove host storageimg", nas, pool, volume)
            if Reader(self.rocks).volume_state(nas, volume) is not None:
                raise DriverError(
                    f"{nas} still has volume {volume} after it was removed",
                    resolution=f"look at 'rocks list host storagemap {nas}', then repeat",
                )
        self.ssh.run(nas, _DESTROY, f"{pool}/{volume}", _snapshot(volume))


def _snapshot(volume: str) -> str:
    return f"tmpclone-{volume}"


def _host(source: VolumeSource) -> str:
    if source.host is None:
        raise GuestError(
            f"volume {source.pool}/{source.volume} of the image names no NAS",
            resolution='give <source> in its vc-in document a host="…", the NAS\'s name',
        )
    return source.host
