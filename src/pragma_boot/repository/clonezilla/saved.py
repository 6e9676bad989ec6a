"""What an image directory says of the disk that was saved, checked as a whole (repositories.md 3.1, 3.2, 3.7)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pragma_boot.model import shorten
from pragma_boot.repository.clonezilla import swap
from pragma_boot.repository.clonezilla.directory import ImageDirectory
from pragma_boot.repository.clonezilla.lvm import LogicalVolume, Stretch, read_group
from pragma_boot.repository.clonezilla.source import refused
from pragma_boot.repository.clonezilla.table import (
    SECTOR,
    Dump,
    Partition,
    Piece,
    make_gpt,
    mbr_pieces,
    protective_mbr,
    read_dump,
    read_gpt,
)

DISK_LIMIT = 64 * 1024**4
"""The largest disk that is restored, bytes."""

_MBR_LIMIT = 2**32  # sectors
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PARTED_SIZE = re.compile(r"^Disk [^\n:]+: (\d{1,15})s$", re.MULTILINE)
_PARTED_SECTOR = re.compile(r"^Sector size \(logical/physical\): (\d+)B/", re.MULTILINE)
_PARTED_LABEL = re.compile(r"^Partition Table: (\S+)$", re.MULTILINE)
_IMAGE = re.compile(
    r"(?P<part>.+?)\.(?P<fs>[a-z0-9+]+)-(?P<form>ptcl-img|img)"
    r"(?:\.(?P<packing>gz|bz2|lzo|lzma|xz|lz4|lzip|lrz|zst|uncomp))?(?:\.(?P<suffix>[a-z]{2,3}))?"
)
_SAVE_PLAIN = "save the disk again, as a plain image of one disk without encryption"
_FOREIGN = (
    ("ecryptfs.info", "it is encrypted (ecryptfs)"),
    ("luks-dev.list", "a partition is encrypted (LUKS)"),
)


@dataclass(frozen=True, slots=True)
class PartImage:
    """The files of one partition's (or logical volume's) data, in order, and where it goes.

    packing: as in their names; empty where they do not tell. raw: a plain copy, no stream of partclone's.
    size: of the partition, bytes.
    """

    name: str
    files: tuple[str, ...]
    packing: str
    raw: bool
    size: int
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class SavedDisk:
    """A disk as it was saved: size in bytes, data to unpack, and sectors to write behind them, in their order."""

    name: str
    size: int
    images: tuple[PartImage, ...]
    pieces: tuple[Piece, ...]


def read(directory: ImageDirectory) -> SavedDisk:
    """Read an image directory; looks at no image data.

    Raises ImageError, with the reason, for what cannot be restored: encrypted, several disks, RAID, volumes that are
    not linear, other programs' images; and for what is missing or contradicts itself.
    """
    return _Reader(directory).disk()


@dataclass(slots=True)
class _Reader:
    directory: ImageDirectory
    _label: str = field(default="", init=False)
    _sectors: int = field(default=0, init=False)
    _images_before: list[PartImage] = field(default_factory=list, init=False)

    def disk(self) -> SavedDisk:
        name = self._name()
        self._geometry(name)
        partitions, pieces = self._table(name)
        self._check(partitions)
        volumes, metadata = self._volumes(partitions)
        places = {one.name: _whole(one) for one in partitions if not one.extended} | {one.name: one for one in volumes}
        images = self._images(places)
        pieces = [*metadata, *self._swaps(places), *pieces]  # the table last: an unfinished disk does not boot
        images.sort(key=lambda image: image.stretches[0].place)
        return SavedDisk(name, self._sectors * SECTOR, (*self._images_before, *images), tuple(pieces))

    def _refused(self, why: str, mend: str = _SAVE_PLAIN) -> Exception:
        return refused(self.directory.name, why, mend)

    # ----------------------------------------------------------------------------------------------------- the disk

    def _name(self) -> str:
        for file, why in _FOREIGN:  # newer Clonezillas write some of these lists in any case, empty
            if any(line.strip() for line in self.directory.text(file).splitlines() if not line.startswith("#")):
                raise self._refused(why)
        if not self.directory.has("disk"):
            why = "only partitions were saved, no disk" if self.directory.has("parts") else "it is no Clonezilla image"
            raise self._refused(why, "save the whole disk: 'savedisk' in Clonezilla")
        disks = self.directory.text("disk").split()
        if len(disks) != 1:
            raise self._refused(f"{len(disks)} disks were saved together: {shorten(', '.join(disks))}")
        name = disks[0].removeprefix("/dev/").replace("/", "-")
        if not _DEVICE.fullmatch(name):
            raise self._refused(f"{shorten(disks[0])!r} is no name of a disk")
        if re.fullmatch(r"md\d+.*|dm-\d+", name):
            raise self._refused(f"the disk {name} is a RAID")
        return name

    def _geometry(self, name: str) -> None:
        file = f"{name}-pt.parted"
        text = self.directory.text(file)
        size, sector, label = (found.search(text) for found in (_PARTED_SIZE, _PARTED_SECTOR, _PARTED_LABEL))
        if size is None:
            raise self._refused(f"{file} is missing or does not tell the disk's size")
        if sector and sector[1] != str(SECTOR):
            raise self._refused(f"the disk's sectors have {sector[1]} bytes", "only disks with 512 are supported")
        self._sectors, self._label = int(size[1]), label[1] if label else ""
        if not 0 < self._sectors <= DISK_LIMIT // SECTOR:
            raise self._refused(f"a disk of {self._sectors} sectors makes no sense")

    def _table(self, name: str) -> tuple[Sequence[Partition], list[Piece]]:
        """The partitions, and the sectors of boot code and table."""
        if self._label == "loop":  # a file system on the whole disk, no table
            return [Partition(name, 0, 0, self._sectors)], []
        dump = read_dump(self.directory.text(f"{name}-pt.sf"), f"{self.directory.name}: {name}-pt.sf")
        if "gpt" in (self._label, dump.label) or dump.old_gpt:
            return self._gpt(name, dump)
        if not dump.partitions:
            raise self._refused(f"{name}-pt.sf is missing or has no partitions")
        boot = self._optional(f"{name}-mbr", SECTOR)
        if len(boot) < 446:
            raise self._refused(f"{name}-mbr is missing or cut")
        self._check_mbr(dump.partitions)
        records = {one.name: self._optional(f"{one.name}-ebr", SECTOR) for one in dump.partitions if one.extended}
        table = mbr_pieces(dump.partitions, boot, records, self._sectors)
        self._gap(f"{name}-hidden-data-after-mbr", min(one.start for one in dump.partitions))
        return dump.partitions, table

    def _gap(self, file: str, start: int) -> None:
        """What is between the boot sector and the first partition: GRUB's core lives there."""
        if not self.directory.has(file):
            return
        size = self.directory.size([file])
        if size > (start - 1) * SECTOR:
            raise self._refused(f"{file} is larger than the gap before the first partition")
        self._images_before.append(PartImage(file, (file,), "uncomp", True, size, (Stretch(0, SECTOR, size),)))

    def _gpt(self, name: str, dump: Dump) -> tuple[Sequence[Partition], list[Piece]]:
        """From the saved sectors; else from sgdisk's backup (boot sector, header, its copy, entries); else the dump."""
        first = self._optional(f"{name}-gpt-1st", 4096 * SECTOR)
        backup = self._optional(f"{name}-gpt.gdisk", 4096 * SECTOR)
        gpt = read_gpt(first[SECTOR : 2 * SECTOR], first[2 * SECTOR :]) or read_gpt(
            backup[SECTOR : 2 * SECTOR], backup[3 * SECTOR :]
        )
        if gpt is None or gpt.backup != self._sectors - 1:
            if not dump.partitions or dump.old_gpt:
                raise self._refused("its GUID partition table was not saved, or is damaged")
            gpt = make_gpt(dump, self._sectors, self.directory.name)
        boot = self._optional(f"{name}-mbr", SECTOR) or first[:SECTOR]
        boot = boot if len(boot) == SECTOR else protective_mbr(self._sectors)
        return gpt.partitions(name), [*gpt.pieces(), (0, boot)]

    def _optional(self, name: str, limit: int) -> bytes:
        return self.directory.data(name, limit) if self.directory.has(name) else b""

    def _check(self, partitions: Sequence[Partition]) -> None:
        """Nothing outside of the disk or its extended partition, nothing twice."""
        end, bound = 0 if self._label == "loop" else 1, self._sectors
        for one in sorted((one for one in partitions if not one.extended), key=lambda one: one.start):
            if one.start < end or one.end > bound:
                raise self._refused(f"partition {shorten(one.name)} overlaps another or leaves the disk")
            end = one.end
        for one in partitions:
            if one.extended and (one.end > bound or one.start < 1):
                raise self._refused(f"partition {shorten(one.name)} leaves the disk")

    def _check_mbr(self, partitions: Sequence[Partition]) -> None:
        """Numbers that its table can hold; logical partitions in the one extended partition."""
        extended = [one for one in partitions if one.extended]
        if (
            any(one.end > _MBR_LIMIT for one in partitions)
            or any(one.number > 4 for one in extended)
            or len(extended) > 1
        ):
            raise self._refused("its partition table makes no sense")
        for one in partitions:
            if one.number > 4 and not (extended and extended[0].start < one.start and one.end <= extended[0].end):
                raise self._refused(f"the logical partition {shorten(one.name)} is not where it can be")

    # ---------------------------------------------------------------------------------------- volumes, swap, images

    def _volumes(self, partitions: Sequence[Partition]) -> tuple[list[LogicalVolume], list[Piece]]:
        by_name = {one.name: one for one in partitions}
        groups: dict[str, dict[str, Partition]] = {}
        for line in self.directory.text("lvm_vg_dev.list").splitlines():
            words = line.split()
            if len(words) == 3 and words[0] != "/NOT_FOUND":
                partition = by_name.get(words[1].removeprefix("/dev/").replace("/", "-"))
                if partition is None:
                    raise self._refused(f"volume group {shorten(words[0])} uses {shorten(words[1])}, on another disk")
                groups.setdefault(words[0], {})[words[2]] = partition
        volumes: list[LogicalVolume] = []
        pieces: list[Piece] = []
        for name, physical in groups.items():
            text = self.directory.text(f"lvm_{name}.conf")
            group = read_group(name, text, physical, self.directory.name)
            volumes += group.volumes
            pieces += group.pieces
        return volumes, pieces

    def _swaps(self, places: dict[str, LogicalVolume]) -> list[Piece]:
        pieces = []
        for file in self.directory.files:
            name = file.removeprefix("swappt-").removesuffix(".info")
            if file == f"swappt-{name}.info" and name in places:
                place = places[name]
                page = swap.header(self.directory.text(file), place.size, file)
                pieces.append((place.stretches[0].place // SECTOR, page))
        return pieces

    def _images(self, places: dict[str, LogicalVolume]) -> list[PartImage]:
        groups = self._groups()
        wanted = {name.removeprefix("/dev/").replace("/", "-") for name in self.directory.text("parts").split()}
        groups = {name: files for name, files in groups.items() if name in places}
        physical = {
            words[1].removeprefix("/dev/").replace("/", "-")
            for line in self.directory.text("lvm_vg_dev.list").splitlines()
            if len(words := line.split()) == 3
        }
        missing = sorted(wanted - groups.keys() - physical)
        if missing:
            raise self._refused(f"the data of {shorten(', '.join(missing), 200)} is missing", "copy the image again")
        if not groups:
            raise self._refused("it holds no data of any partition", "copy the image again")
        return [self._image(places[name], files) for name, files in groups.items()]

    def _groups(self) -> dict[str, list[re.Match[str]]]:
        """The files of image data by partition, in the order of their parts."""
        groups: dict[str, list[re.Match[str]]] = {}
        for file in sorted(self.directory.files):
            found = _IMAGE.fullmatch(file)
            if found and found["suffix"] != "info":
                groups.setdefault(found["part"], []).append(found)
            elif re.fullmatch(r".+\.(000|aa)", file) and not found:
                raise self._refused(f"{shorten(file)} is an image of partimage's", "save the disk with partclone")
        return groups

    def _image(self, place: LogicalVolume, files: list[re.Match[str]]) -> PartImage:
        first = files[0]
        if first["fs"] == "ntfs" and first["form"] == "img":
            raise self._refused(f"{first[0]} is an image of ntfsclone's", "save the disk with partclone")
        if len({(file["fs"], file["form"], file["packing"]) for file in files}) > 1:
            raise self._refused(f"{shorten(place.name)} was saved twice", "keep one of the images")
        suffixes = [file["suffix"] or "" for file in files]
        for number, suffix in enumerate(suffixes):
            if (suffix or len(suffixes) > 1) and suffix != _suffix(number, len(suffix)):
                raise self._refused(f"a part of {shorten(first[0])} is missing", "copy the image again")
        names = tuple(file[0] for file in files)
        return PartImage(place.name, names, first["packing"] or "", first["fs"] == "dd", place.size, place.stretches)


def _whole(partition: Partition) -> LogicalVolume:
    size = partition.size * SECTOR
    return LogicalVolume(partition.name, size, (Stretch(0, partition.start * SECTOR, size),))


def _suffix(number: int, width: int) -> str:
    """split's suffix of the part of that number: aa, ab, …"""
    letters = ""
    for _ in range(width):
        number, digit = divmod(number, 26)
        letters = chr(ord("a") + digit) + letters
    return letters
