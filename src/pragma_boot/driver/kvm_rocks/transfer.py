"""Send nodes' disks to the machines that run them: an image once to each machine, copied there, then each node's part.

One `ssh` a machine carries it all, as a list of orders with their data behind them. On the other side a few lines of
shell obey with `dd` and `cp`, which every Rocks has. A disk gets its name when it is complete and never before.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pragma_boot.driver.kvm_rocks.extents import (
    BLOCK,
    Extent,
    as_raw,
    overlay_extents,
    raw_extents,
    read_blocks,
)
from pragma_boot.driver.kvm_rocks.hosts import Hosts
from pragma_boot.errors import DriverError, PragmaError
from pragma_boot.model import Disk, LocalDisk, NodeName

_log = logging.getLogger(__name__)

_RECEIVE = f"""
tidy() {{ for path; do rm -f -- "$path.unfinished" "$path.unfinished.log"; done; }}
fail() {{ echo "$1" >&2; exit 3; }}
trap 'tidy "$@"' EXIT
for path; do
    mkdir -p -- "$(dirname -- "$path")" || exit 3  # QEMU may run as a user of its own: it must get through
done
umask 077
for path; do
    rm -f -- "$path" && : >"$path.unfinished" || exit 3
done
while read -r order one two; do
    case $order in
    disk) eval "path=\\${{$one}}.unfinished" ;;
    copy) eval "from=\\${{$one}}.unfinished"
        cp --reflink=auto --sparse=always -- "$from" "$path" || fail "cannot copy $from" ;;
    data) dd of="$path" bs={BLOCK} seek="$one" count="$two" conv=notrunc iflag=fullblock 2>"$path.log" ||
        {{ cat "$path.log" >&2; rm -f "$path.log"; exit 3; }}
        rm -f "$path.log" ;;
    size) truncate -s "$one" -- "$path" || exit 3 ;;
    done) for path; do mv -f -- "$path.unfinished" "$path" || exit 3; done
        exit 0 ;;
    *) fail "not understood: $order" ;;
    esac
done
fail "the stream ended before its end"
"""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One node's disk and where it is to be on its host."""

    disk: Disk
    path: str


class Shipper:
    """Sends disks, for as long as its block runs: an image that is not raw is made so once, for all hosts.

    scratch: a folder for raw copies of images that are not raw. Safe to use from several threads at once.
    """

    def __init__(self, ssh: Hosts, scratch: Path) -> None:
        self._ssh = ssh
        self._scratch = scratch
        self._copies = contextlib.ExitStack()
        self._raws: dict[LocalDisk, Path] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._copies.close()

    def send(self, host: str, parcels: Sequence[Parcel]) -> dict[NodeName, PragmaError]:
        """Have the disks of all *parcels* on *host*; what failed, by node. A failed node has no file there."""
        failures: dict[NodeName, PragmaError] = {}
        changes: dict[NodeName, list[Extent]] = {}
        for parcel in parcels:
            try:
                changes[parcel.disk.node] = overlay_extents(parcel.disk)
            except PragmaError as error:
                failures[parcel.disk.node] = error
        ready = [parcel for parcel in parcels if parcel.disk.node not in failures]
        try:
            if ready:
                self._send(host, ready, changes)
        except PragmaError as error:
            failures |= {parcel.disk.node: error for parcel in ready}
        return failures

    def _send(self, host: str, parcels: Sequence[Parcel], changes: Mapping[NodeName, Sequence[Extent]]) -> None:
        raws = {source: self._raw(source) for source in dict.fromkeys(parcel.disk.backing for parcel in parcels)}
        self._ssh.send(host, _RECEIVE, [parcel.path for parcel in parcels], _stream(parcels, raws, changes))
        sizes = self._ssh.sizes(host, [parcel.path for parcel in parcels])
        wrong = [parcel.path for parcel, size in zip(parcels, sizes, strict=True) if size != parcel.disk.backing.size]
        if wrong:
            raise DriverError(f"{host} does not have {wrong[0]} whole", resolution="see that its disk is sound; repeat")
        _log.debug("%s has %s", host, ", ".join(parcel.path for parcel in parcels))

    def _raw(self, source: LocalDisk) -> Path:
        with self._lock:
            if source not in self._raws:
                self._raws[source] = self._copies.enter_context(as_raw(source, self._scratch))
            return self._raws[source]


def _stream(
    parcels: Sequence[Parcel], raws: Mapping[LocalDisk, Path], changes: Mapping[NodeName, Sequence[Extent]]
) -> Iterator[bytes]:
    """Orders and data: each image once, copies of it, then what each node has of its own."""
    first: dict[LocalDisk, int] = {}
    for number, parcel in enumerate(parcels, 1):
        source = parcel.disk.backing
        yield f"disk {number}\n".encode()
        if source in first:
            yield f"copy {first[source]}\n".encode()
            continue
        first[source] = number
        yield from _data(raws[source], raw_extents(raws[source]))
        yield f"size {source.size}\n".encode()
    for number, parcel in enumerate(parcels, 1):
        yield f"disk {number}\n".encode()
        yield from _data(parcel.disk.path, changes[parcel.disk.node])
        yield f"size {parcel.disk.backing.size}\n".encode()
    yield b"done\n"


def _data(path: Path, extents: Iterable[Extent]) -> Iterator[bytes]:
    for extent in extents:
        yield f"data {extent.start} {extent.count}\n".encode()
        yield from read_blocks(path, extent)
