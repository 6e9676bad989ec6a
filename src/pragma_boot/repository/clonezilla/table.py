"""Partition tables: what sfdisk's dump says, and the sectors that hold it (repositories.md 3.2, 3.5).

The saved sectors are put back as they were where they agree with the dump; what was not saved is computed: the
backup of a GPT, the chain of logical partitions of an MBR.
"""

from __future__ import annotations

import re
import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from pragma_boot.repository.clonezilla.source import refused

SECTOR = 512
_EXTENDED = (0x05, 0x0F, 0x85)
_SIGNATURE = b"\x55\xaa"
_ENTRY = struct.Struct("<B3sB3sII")
_GPT = struct.Struct("<8sIIIIQQQQ16sQIII")
_GPT_ENTRY = struct.Struct("<16s16sQQQ72s")
_ENTRIES, _ENTRY_SIZE = 128, 128
_ENTRY_SECTORS = _ENTRIES * _ENTRY_SIZE // SECTOR
_GPT_MAGIC = b"EFI PART"
_ROW = re.compile(r"/dev/(?P<name>\S+)\s*:\s*(?P<fields>.*)")
_FIELD = re.compile(r'\s*(?P<key>[A-Za-z-]+)\s*(?:=\s*(?P<value>"[^"]*"|[^,\s]*))?\s*(?:,|$)')
_NUMBER = re.compile(r".*?(\d+)")
_DUMP_ROWS = 512
_TRACK, _HEADS = 63, 255

Piece = tuple[int, bytes]
"""Bytes and the sector of the disk where they begin."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A row of the table; start and size in sectors. kind: MBR's type, or 0. A GPT row keeps its texts."""

    name: str
    number: int
    start: int
    size: int
    kind: int = 0
    bootable: bool = False
    guid_type: str = ""
    guid: str = ""
    label: str = ""
    attributes: str = ""

    @property
    def end(self) -> int:
        """The first sector behind it."""
        return self.start + self.size

    @property
    def extended(self) -> bool:
        """Whether it only holds logical partitions."""
        return self.kind in _EXTENDED


@dataclass(frozen=True, slots=True)
class Dump:
    """sfdisk's dump. label: `dos`, `gpt` or empty (older sfdisk did not say). old_gpt: such a one of a GPT disk,
    which tells nothing. first, last: the usable sectors of a GPT, or 0."""

    label: str
    label_id: str
    partitions: tuple[Partition, ...]
    first: int = 0
    last: int = 0

    @property
    def old_gpt(self) -> bool:
        """Whether only the protective partition was seen."""
        return any(partition.kind == 0xEE for partition in self.partitions)


def read_dump(text: str, name: str) -> Dump:
    """Read ``sfdisk -d``, old or new. Raises ImageError (about *name*) when a row makes no sense."""
    headers: dict[str, str] = {}
    partitions: list[Partition] = []
    for line in text.splitlines()[:_DUMP_ROWS]:
        row = _ROW.fullmatch(line.strip())
        if row:
            partition = _partition(row["name"], row["fields"], name)
            if partition.size:  # older dumps have rows for what is not there
                partitions.append(partition)
        elif ":" in line and not line.startswith("#"):
            key, _, value = line.partition(":")
            headers[key.strip()] = value.strip()
    if headers.get("sector-size", "512") != "512":
        raise refused(name, f"its sectors have {headers['sector-size']} bytes", "only disks with 512 are supported")
    first, last = (headers.get(key, "") for key in ("first-lba", "last-lba"))
    bounds = (int(text) if re.fullmatch(r"[0-9]{1,15}", text) else 0 for text in (first, last))
    return Dump(headers.get("label", ""), headers.get("label-id", ""), tuple(partitions), *bounds)


def _partition(device: str, text: str, name: str) -> Partition:
    fields = {found["key"].lower(): (found["value"] or "").strip('"') for found in _FIELD.finditer(text)}
    number = _NUMBER.fullmatch(device)
    kind = fields.get("type") or fields.get("id") or ""
    try:
        start, size = int(fields["start"]), int(fields["size"])
        guid = "-" in kind
        code = 0 if guid else int(kind or "0", 16)
    except (KeyError, ValueError) as error:
        raise refused(name, f"its row of {device} makes no sense") from error
    if number is None or start < 0 or size < 0 or not 0 <= code <= 255:
        raise refused(name, f"its row of {device} makes no sense")
    return Partition(
        name=device.replace("/", "-"),
        number=int(number[1]),
        start=start,
        size=size,
        kind=code,
        bootable="bootable" in fields,
        guid_type=kind if guid else "",
        guid=fields.get("uuid", ""),
        label=_plain(fields.get("name", "")),
        attributes=fields.get("attrs", ""),
    )


def _plain(text: str) -> str:
    """A name whose special characters sfdisk wrote as the hexadecimal numbers of their bytes."""
    raw = re.sub(rb"\\x([0-9a-fA-F]{2})", lambda match: bytes([int(match[1], 16)]), text.encode())
    return raw.decode(errors="replace")


# ------------------------------------------------------------------------------------------------------------------ MBR


def mbr_pieces(partitions: Sequence[Partition], boot: bytes, records: dict[str, bytes], sectors: int) -> list[Piece]:
    """The sectors of an MBR disk's table: the chain of logical partitions, then the boot sector, last.

    boot: the saved first sector, or its first 446 bytes. records: first sectors of extended partitions, by name.
    sectors: of the disk. The saved boot sector is kept whole when its table is that of *partitions*.
    """
    primary = [partition for partition in partitions if partition.number <= 4]
    pieces: list[Piece] = []
    for extended in (partition for partition in primary if partition.extended):
        logical = sorted((one for one in partitions if one.number > 4), key=lambda one: one.number)
        pieces += _chain(extended, logical, records.get(extended.name, b""))
    saved = boot[:SECTOR]
    if len(saved) == SECTOR and saved[510:] == _SIGNATURE and _entries(saved) == _wanted(primary):
        return [*pieces, (0, saved)]
    rows = {partition.number: _entry(partition, 0) for partition in primary}
    table = b"".join(rows.get(number, bytes(_ENTRY.size)) for number in range(1, 5))
    return [*pieces, (0, saved[:446].ljust(446, b"\0") + table + _SIGNATURE)]


def _chain(extended: Partition, logical: Sequence[Partition], first: bytes) -> list[Piece]:
    """One record before each logical partition, which names it and the next record.

    Where the record stood is saved for the first only; the others are put where all known tools do: a MiB before
    their partition, or right behind the partition before where there is less room.
    """
    places: list[int] = []
    for partition in logical:
        before = max((one.end for one in logical if one.end <= partition.start), default=extended.start + 1)
        places.append(max(before, partition.start - 2048) if places else extended.start)
    if not logical:
        return [(extended.start, _record(first, bytes(2 * _ENTRY.size)))]
    pieces: list[Piece] = []
    for index, (place, partition) in enumerate(zip(places, logical, strict=True)):
        link = bytes(_ENTRY.size)
        if index + 1 < len(logical):
            size = logical[index + 1].end - places[index + 1]
            following = Partition("", 0, places[index + 1], size, kind=5)
            link = _entry(following, extended.start)
        pieces.append((place, _record(first if index == 0 else b"", _entry(partition, place) + link)))
    return pieces


def _record(saved: bytes, table: bytes) -> bytes:
    made = saved[:446].ljust(446, b"\0") + table.ljust(64, b"\0") + _SIGNATURE
    same = len(saved) >= SECTOR and _entries(saved[:SECTOR]) == _entries(made)
    return saved[:SECTOR] if same else made


def _entry(partition: Partition, base: int) -> bytes:
    return _ENTRY.pack(
        0x80 if partition.bootable else 0,
        _chs(partition.start),
        partition.kind,
        _chs(partition.end - 1),
        partition.start - base,
        partition.size,
    )


def _chs(sector: int) -> bytes:
    """The place in cylinders, heads and sectors as everybody computes it today; nothing reads it."""
    cylinder, rest = divmod(sector, _TRACK * _HEADS)
    head, track = divmod(rest, _TRACK)
    if cylinder > 1023:
        return b"\xfe\xff\xff"
    return bytes([head, (track + 1) | (cylinder >> 2 & 0xC0), cylinder & 0xFF])


def _entries(sector: bytes) -> list[tuple[int, int, int]]:
    """(type, start, size) of the four rows; unused ones are zeros."""
    rows = [_ENTRY.unpack_from(sector, 446 + 16 * index) for index in range(4)]
    return [(kind, start, size) if size else (0, 0, 0) for _, _, kind, _, start, size in rows]


def _wanted(primary: Sequence[Partition]) -> list[tuple[int, int, int]]:
    rows = {one.number: (one.kind, one.start, one.size) for one in primary}
    return [rows.get(number, (0, 0, 0)) for number in range(1, 5)]


# ------------------------------------------------------------------------------------------------------------------ GPT


@dataclass(frozen=True, slots=True)
class Gpt:
    """A valid primary GPT: its *header* sector, its *entries*, and the last sector of its disk."""

    header: bytes
    entries: bytes
    backup: int

    def partitions(self, disk: str) -> tuple[Partition, ...]:
        """Its rows; *disk* is what they are called after."""
        between = "p" if disk[-1:].isdigit() else ""
        found = []
        for index in range(_ENTRIES):
            kind, guid, first, last, _, label = _GPT_ENTRY.unpack_from(self.entries, index * _ENTRY_SIZE)
            if any(kind) and last >= first:
                name = f"{disk}{between}{index + 1}"
                text = label.decode("utf-16-le", errors="replace").partition("\0")[0]
                types = str(uuid.UUID(bytes_le=kind)).upper(), str(uuid.UUID(bytes_le=guid)).upper()
                found.append(Partition(name, index + 1, first, last - first + 1, 0, False, *types, text))
        return tuple(found)

    def pieces(self) -> list[Piece]:
        """Its sectors: the backup at the disk's end, the entries, and the header last."""
        place = self.backup - _ENTRY_SECTORS
        fields = list(_GPT.unpack_from(self.header))
        fields[3], fields[5], fields[6], fields[10] = 0, self.backup, 1, place
        return [(place, self.entries), (self.backup, _sealed(fields)), (2, self.entries), (1, self.header)]


def read_gpt(header: bytes, entries: bytes) -> Gpt | None:
    """A saved primary header and its entries; None when checksums or shape are wrong."""
    if len(header) < SECTOR or len(entries) < _ENTRIES * _ENTRY_SIZE or not header.startswith(_GPT_MAGIC):
        return None
    fields = _GPT.unpack_from(header)
    size, stored, place, backup, first, count, width, crc = (fields[index] for index in (2, 3, 5, 6, 10, 11, 12, 13))
    entries = entries[: _ENTRIES * _ENTRY_SIZE]
    if (size, place, first, count, width) != (_GPT.size, 1, 2, _ENTRIES, _ENTRY_SIZE):
        return None
    blanked = header[:16] + bytes(4) + header[20:size]
    if zlib.crc32(blanked) != stored or zlib.crc32(entries) != crc:
        return None
    return Gpt(header[:SECTOR], entries, backup)


def make_gpt(dump: Dump, sectors: int, name: str) -> Gpt:
    """A GPT from the dump alone, for a disk of so many sectors. Raises ImageError when a row has no GUIDs."""
    entries = bytearray(_ENTRIES * _ENTRY_SIZE)
    try:
        for one in dump.partitions:
            if not 1 <= one.number <= _ENTRIES:
                raise ValueError(one.name)
            _GPT_ENTRY.pack_into(
                entries, (one.number - 1) * _ENTRY_SIZE, uuid.UUID(one.guid_type).bytes_le,
                uuid.UUID(one.guid).bytes_le, one.start, one.end - 1, _attributes(one.attributes),
                one.label.encode("utf-16-le")[:72],
            )  # fmt: skip
        disk = uuid.UUID(dump.label_id).bytes_le
    except (ValueError, struct.error) as error:
        raise refused(name, "its partition table names no GUIDs") from error
    last = sectors - 1
    crc = zlib.crc32(entries)
    first_usable = max(dump.first, 2 + _ENTRY_SECTORS)
    last_usable = min(dump.last or last, last - _ENTRY_SECTORS - 1)
    fields: list[int | bytes] = [
        _GPT_MAGIC, 0x10000, _GPT.size, 0, 0, 1, last, first_usable, last_usable, disk, 2, _ENTRIES, _ENTRY_SIZE, crc
    ]  # fmt: skip
    return Gpt(_sealed(fields), bytes(entries), last)


def protective_mbr(sectors: int) -> bytes:
    """The first sector of a GPT disk whose own was not saved."""
    whole = Partition("", 1, 1, min(sectors - 1, 0xFFFFFFFF), kind=0xEE)
    return bytes(446) + _entry(whole, 0).ljust(64, b"\0") + _SIGNATURE


def _sealed(fields: list[int | bytes]) -> bytes:
    fields[3] = 0
    fields[3] = zlib.crc32(_GPT.pack(*fields))
    return _GPT.pack(*fields).ljust(SECTOR, b"\0")


def _attributes(text: str) -> int:
    """The attribute bits in sfdisk's words."""
    named = {"RequiredPartition": 0, "NoBlockIOProtocol": 1, "LegacyBIOSBootable": 2}
    value = 0
    for word in text.replace(",", " ").split():
        for bit in [str(named[word])] if word in named else word.removeprefix("GUID:").split(":"):
            if bit.isdigit() and int(bit) < 64:
                value |= 1 << int(bit)
    return value
