"""Volume groups of LVM: where logical volumes are on the disk, and the sectors that describe the group.

Only what can be put back without LVM: linear volumes whose physical volumes are all on the disk
(repositories.md 3.7).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from pragma_boot.errors import ImageError
from pragma_boot.repository.clonezilla import vgcfg
from pragma_boot.repository.clonezilla.source import refused
from pragma_boot.repository.clonezilla.table import SECTOR, Partition, Piece

_LABEL_SECTOR, _AREA = 1, 4096
_CRC_START = 0xF597A6CF
_MENDS = "only linear logical volumes are supported: move the data into plain partitions and save the disk again"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where a part of a volume is: its *offset* in the volume, *place* on the disk, *size*; bytes."""

    offset: int
    place: int
    size: int


@dataclass(frozen=True, slots=True)
class LogicalVolume:
    """A volume's name as Clonezilla calls its files (``VG-LV``), its size in bytes, and where it is."""

    name: str
    size: int
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class VolumeGroup:
    """A group: its volumes, and the sectors of its labels and metadata."""

    volumes: tuple[LogicalVolume, ...]
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class _Physical:
    partition: Partition
    uuid: str
    size: int
    data: int

    def place(self, extent: int, extent_size: int) -> int:
        """Sector of the disk where an extent begins."""
        return self.partition.start + self.data + extent * extent_size


def read_group(name: str, text: str, partitions: Mapping[str, Partition], image: str) -> VolumeGroup:
    """What `lvm_NAME.conf` describes.

    partitions: by the id (with dashes) of the physical volume on them. image: for messages.
    Raises ImageError for what is damaged, lies on other disks, or is not linear.
    """
    try:
        document = vgcfg.parse(text)
        group = _sub(document, name)
        physical = {key: _physical(_sub(value), partitions) for key, value in _sub(group, "physical_volumes").items()}
        size = _number(group, "extent_size")
        volumes = group.get("logical_volumes", {})
        logical = [_volume(name, key, _sub(value), physical, size) for key, value in _sub(volumes).items()]
        metadata = _text(name, document)
        pieces = [piece for one in physical.values() for piece in _labels(one, metadata)]
    except (KeyError, ValueError, struct.error) as error:
        raise _broken(name, image, error) from error
    return VolumeGroup(tuple(logical), tuple(pieces))


def _broken(name: str, image: str, error: Exception) -> ImageError:
    if isinstance(error, _UnsupportedError):
        return refused(image, f"volume group {name}: {error}", _MENDS)
    return refused(image, f"the description of volume group {name} makes no sense: {error}")


class _UnsupportedError(ValueError):
    """Something that LVM knows and we do not."""


def _sub(value: object, key: str | None = None) -> vgcfg.Section:
    found = value if key is None else _sub(value)[key]
    if not isinstance(found, dict):
        raise ValueError(f"{key or 'a value'} is no section")  # noqa: TRY004 - of the text, not of our types
    return found


def _number(section: vgcfg.Section, key: str) -> int:
    value = section[key]
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{key} is no number")
    return value


def _physical(section: vgcfg.Section, partitions: Mapping[str, Partition]) -> _Physical:
    uuid = str(section["id"])
    partition = partitions.get(uuid)
    if partition is None:
        raise _UnsupportedError(f"its physical volume {uuid} is on another disk")
    data, size = _number(section, "pe_start"), _number(section, "dev_size")
    plain = uuid.replace("-", "")
    if len(plain) != 32 or not plain.isascii() or size > partition.size or data * SECTOR < _AREA + 2 * SECTOR:
        raise ValueError(f"the physical volume {uuid} does not fit its partition")
    return _Physical(partition, plain, size, data)


def _volume(
    group: str, name: str, section: vgcfg.Section, physical: Mapping[str, _Physical], extent_size: int
) -> LogicalVolume:
    stretches: list[Stretch] = []
    end = 0
    for number in range(1, _number(section, "segment_count") + 1):
        segment = _sub(section, f"segment{number}")
        if segment.get("type") != "striped" or segment.get("stripe_count") != 1:
            raise _UnsupportedError(f"volume {name} is of type {segment.get('type')}")
        stripes = segment["stripes"]
        if not isinstance(stripes, list) or len(stripes) != 2 or not isinstance(stripes[1], int):
            raise ValueError(f"the stripes of {name}")
        on, first, count = physical[str(stripes[0])], stripes[1], _number(segment, "extent_count")
        place = on.place(first, extent_size)
        start = _number(segment, "start_extent")
        if start != end or first < 0 or place + count * extent_size > on.partition.end:
            raise ValueError(f"the extents of {name}")
        end = start + count
        stretches.append(Stretch(*(sectors * SECTOR for sectors in (start * extent_size, place, count * extent_size))))
    # in file names a dash between group and volume; slashes became dashes already
    return LogicalVolume(f"{group}-{name}", end * extent_size * SECTOR, tuple(stretches))


def _text(name: str, document: vgcfg.Section) -> bytes:
    """The metadata as it stands on the disk: the group first."""
    ordered: vgcfg.Section = {name: document[name]}
    ordered |= {key: value for key, value in document.items() if key != name}
    return vgcfg.render(ordered).encode() + b"\0"


def _labels(physical: _Physical, text: bytes) -> list[Piece]:
    """Label, metadata header and metadata of one physical volume."""
    area_size = physical.data * SECTOR - _AREA
    if len(text) > area_size // 2:
        raise ValueError("it is larger than its place on the disk")
    body = struct.pack(
        "<32sQQQQQQQQQIIQQ", physical.uuid.encode(), physical.size * SECTOR, physical.data * SECTOR, 0, 0, 0, _AREA,
        area_size, 0, 0, 2, 1, 0, 0,
    )  # fmt: skip
    label = (struct.pack("<I8s", 32, b"LVM2 001") + body).ljust(SECTOR - 20, b"\0")
    sector = b"LABELONE" + struct.pack("<QI", _LABEL_SECTOR, _crc(label)) + label
    record = struct.pack("<16sIQQQQII", b" LVM2 x[5A%r0N*>", 1, _AREA, area_size, SECTOR, len(text), _crc(text), 0)
    record = record.ljust(SECTOR - 4, b"\0")
    start, area = physical.partition.start, physical.partition.start + _AREA // SECTOR
    padded = text.ljust(-(-len(text) // SECTOR) * SECTOR, b"\0")
    header = struct.pack("<I", _crc(record)) + record
    return [(start + _LABEL_SECTOR, sector), (area, header), (area + 1, padded)]


def _crc(data: bytes) -> int:
    """LVM's checksum: CRC-32 with another start and no final inversion."""
    return zlib.crc32(data, _CRC_START ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
