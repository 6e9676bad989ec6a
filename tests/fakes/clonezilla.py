"""Disks as Clonezilla saves them: made with Debian's partclone and sfdisk, or streams written by hand."""

from __future__ import annotations

import gzip
import struct
import subprocess
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

SECTOR = 512
MIB = 1024 * 1024

PACKERS = {
    "gz": ["gzip", "-1c"],
    "bz2": ["bzip2", "-1c"],
    "xz": ["xz", "-0c"],
    "lzma": ["lzma", "-1c"],
    "zst": ["zstd", "-qc"],
    "lz4": ["lz4", "-qc"],
    "lzo": ["lzop", "-c"],
    "lzip": ["lzip", "-1c"],
    "lrz": ["lrzip", "-qo", "-"],
    "uncomp": ["cat"],
}
"""The packers' programs by the ending of their files."""


def run(*argv: object, stdin: bytes | None = None) -> bytes:
    done = subprocess.run([str(word) for word in argv], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr.decode(errors='replace')}"
    return done.stdout


def sparse(path: Path, size: int) -> Path:
    with path.open("xb") as file:
        file.truncate(size)
    return path


@dataclass
class Part:
    """A partition of a disk to be: size in MiB, sfdisk's type, what makes its content."""

    size: int
    type: str
    make: Callable[[Path], None] | None = None
    file_system: str = ""
    extra: str = ""
    start: int = 0
    sectors: int = 0


@dataclass
class Saver:
    """Makes a disk of parts in *folder* and saves it the way Clonezilla's ocs-sr does, as device *name*.

    existing: a disk that is there already, with just these parts.
    """

    folder: Path
    parts: Sequence[Part]
    label: str = "dos"
    size: int = 0
    name: str = "vda"
    existing: Path | None = None
    disk: Path = field(init=False)
    image: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.disk = self.existing or self.folder / "disk.raw"
        self.image = self.folder / "image"
        self.image.mkdir()
        if self.existing:
            self._locate()
            return
        types = [part.type for part in self.parts]
        primary = self.parts[: types.index("5") + 1] if "5" in types else self.parts
        size = self.size or sum(part.size for part in primary) + 8
        sparse(self.disk, size * MIB)
        script = f"label: {self.label}\nunit: sectors\n"
        for number, part in self.numbered():
            script += f"{self.disk}{number} : size={part.size}MiB, type={part.type}{part.extra}\n"
        run("sfdisk", "-q", "--wipe", "never", self.disk, stdin=script.encode())
        self._locate()
        for part in self.parts:
            if part.make:
                file = sparse(self.folder / "part.raw", part.sectors * SECTOR)
                part.make(file)
                self._put(file, part)
                file.unlink()

    def _locate(self) -> None:
        rows = [line for line in run("sfdisk", "-d", self.disk).decode().splitlines() if "start=" in line]
        for part, row in zip(self.parts, rows, strict=True):
            fields = dict(text.replace(" ", "").split("=", 1) for text in row.split(": ", 1)[1].split(",")[:2])
            part.start, part.sectors = int(fields["start"]), int(fields["size"])

    def _put(self, file: Path, part: Part) -> None:
        argv = ["dd", f"if={file}", f"of={self.disk}", "bs=1M", "conv=notrunc,sparse", "oflag=seek_bytes"]
        run(*argv, f"seek={part.start * SECTOR}", "status=none")

    def device(self, number: int) -> str:
        return f"{self.name}p{number}" if self.name[-1].isdigit() else f"{self.name}{number}"

    def save(self, packing: str = "gz", split: int = 0) -> Path:
        """Fill the image directory; returns it. split: bytes of a chunk."""
        self.save_table()
        parts = [(self.device(number), part) for number, part in self.numbered() if part.file_system]
        for device, part in parts:
            if part.file_system == "swap":
                offset = part.start * SECTOR
                words = [
                    run("blkid", "-p", "-O", offset, "-s", key, "-o", "value", self.disk) for key in ("UUID", "LABEL")
                ]
                text = 'UUID="{}"\nLABEL="{}"\n'.format(*(word.decode().strip() for word in words))
                (self.image / f"swappt-{device}.info").write_text(text)
        saved = [(device, part) for device, part in parts if part.file_system != "swap"]
        with ThreadPoolExecutor(8) as pool:  # partclone waits most of its time
            streams = pool.map(lambda row: self.stream(row[0], row[1]), saved)
        for (device, part), stream in zip(saved, streams, strict=True):
            self.pack(f"{device}.{part.file_system}-ptcl-img.{packing}", stream, packing, split)
        (self.image / "parts").write_text(" ".join(device for device, _ in saved) + "\n")
        return self.image

    def numbered(self) -> list[tuple[int, Part]]:
        if self.label == "gpt":
            return list(enumerate(self.parts, 1))
        extended = next((index for index, part in enumerate(self.parts) if part.type == "5"), len(self.parts))
        return [
            (index + 1 if index <= extended else index + 4 - extended, part) for index, part in enumerate(self.parts)
        ]

    def save_table(self) -> None:
        write = lambda name, data: (self.image / name).write_bytes(data)  # noqa: E731
        raw, dump = self.disk.read_bytes(), run("sfdisk", "-d", self.disk).decode()
        for number, part in reversed(self.numbered()):
            dump = dump.replace(f"{self.disk}{number} ", f"/dev/{self.device(number)} ")
            if part.type == "5":
                write(f"{self.device(number)}-ebr", raw[part.start * SECTOR :][:SECTOR])
        write("disk", f"{self.name}\n".encode())
        write(f"{self.name}-pt.sf", dump.encode())
        kind = "gpt" if self.label == "gpt" else "msdos"
        text = (
            f"Model: Virtio Block Device (virtblk)\nDisk /dev/{self.name}: {len(raw) // SECTOR}s\n"
            f"Sector size (logical/physical): 512B/512B\nPartition Table: {kind}\nDisk Flags:\n"
        )
        write(f"{self.name}-pt.parted", text.encode())
        write(f"{self.name}-mbr", raw[:SECTOR])
        if self.label == "gpt":
            write(f"{self.name}-gpt-1st", raw[: 34 * SECTOR])
        else:
            write(f"{self.name}-hidden-data-after-mbr", raw[SECTOR : min(part.start for part in self.parts) * SECTOR])

    def cut(self, part: Part, name: str = "cut") -> Path:
        """The partition as a file."""
        file = self.folder / f"{name}.raw"
        file.unlink(missing_ok=True)
        argv = ["dd", f"if={self.disk}", f"of={file}", "bs=1M", "conv=sparse", "iflag=skip_bytes,count_bytes"]
        run(*argv, f"skip={part.start * SECTOR}", f"count={part.sectors * SECTOR}", "status=none")
        with file.open("r+b") as opened:
            opened.truncate(part.sectors * SECTOR)
        return file

    def stream(self, device: str, part: Part, *options: str) -> bytes:
        """What is saved of a partition."""
        file = self.cut(part, device)
        try:
            return file.read_bytes() if part.file_system == "dd" else partclone_save(part.file_system, file, *options)
        finally:
            file.unlink()

    def pack(self, name: str, stream: bytes, packing: str, split: int = 0) -> None:
        """Put a partition's stream into the image directory."""
        packed = run(*PACKERS[packing], stdin=stream)
        if not split:
            (self.image / name).write_bytes(packed)
        for number, at in enumerate(range(0, len(packed) if split else 0, split or 1)):
            suffix = chr(ord("a") + number // 26) + chr(ord("a") + number % 26)
            (self.image / f"{name}.{suffix}").write_bytes(packed[at : at + split])


def partclone_save(file_system: str, file: Path, *options: str) -> bytes:
    program = {"ext2": "extfs", "ext3": "extfs", "ext4": "extfs"}.get(file_system, file_system)
    return run(f"partclone.{program}", "-c", "-s", file, "-o", "-", "-L", f"{file}.log", "-q", "-F", *options)


# ------------------------------------------------------------------------------------------------- streams by hand


def crc(data: bytes, before: int = 0xFFFFFFFF) -> int:
    return zlib.crc32(data, before ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def stream_1(device: bytes, used: Sequence[int], block: int = 512) -> bytes:
    """A stream of format 0001 of the *used* blocks of *device*; its checksums say nothing, as they did then."""
    total = len(device) // block
    head = b"partclone-image".ljust(15, b"\0") + b"EXTFS".ljust(15, b"\0") + b"0001" + bytes(2)
    head += struct.pack("<IQQQ", block, len(device), total, len(used))
    chosen = set(used)
    bitmap = bytes(1 if number in chosen else 0 for number in range(total))
    body = b"".join(device[number * block :][:block] + b"\xde\xad\xbe\xef" for number in sorted(used))
    return head.ljust(4160, b"\0") + bitmap + b"BiTmAgIc" + body


def stream_2(
    device: bytes, used: Sequence[int], block: int = 512, mode: int = 0x20, per_check: int = 4, reseed: bool = True
) -> bytes:
    """A stream of format 0002 with any checksum mode."""
    import xxhash

    total = len(device) // block
    size = {0: 0, 0x20: 4, 0x30: 8, 0x31: 16}[mode]
    head = struct.pack(
        "<16s14s4sH16sQQQQI", b"partclone-image", b"0.3.47", b"0002", 0xC0DE, b"EXTFS", len(device), total,
        len(used), len(used), block,
    )  # fmt: skip
    head += struct.pack("<IHHHHIBB", 18, 2, 64, mode, size, per_check, reseed, 1)
    head += struct.pack("<I", crc(head))
    bits = sum(1 << number for number in used).to_bytes(-(-total // 8), "little")
    out = [head, bits, struct.pack("<I", crc(bits))]
    make = {0x20: None, 0x30: xxhash.xxh64, 0x31: xxhash.xxh3_128}.get(mode)
    data, pending = b"", 0

    def check() -> bytes:
        if mode == 0x20:
            return struct.pack("<I", crc(data))
        return make(data).digest()[::-1] if make else b""

    for number in sorted(used):
        piece = device[number * block :][:block]
        out.append(piece)
        data, pending = data + piece, pending + 1
        if size and pending == per_check:
            out.append(check())
            pending = 0
            data = b"" if reseed else data
    if pending and size:
        out.append(check())
    return b"".join(out)


# -------------------------------------------------------------------------------------------------- images by hand


def small_disk(data: bytes) -> bytes:
    """A disk of one partition, which begins at sector 64 and holds *data* (whole sectors)."""
    entry = struct.pack("<B3sB3sII", 0x80, b"\1\1\0", 0x83, b"\xfe\xff\xff", 64, len(data) // SECTOR)
    boot = b"\xeb\x63\x90boot".ljust(446, b"\7") + entry.ljust(64, b"\0") + b"\x55\xaa"
    return boot + b"gap".ljust(63 * SECTOR, b"\0") + data + bytes(4 * SECTOR)


def small_image(
    disk: bytes, stream: bytes | None = None, name: str = "vda", file_system: str = "dd"
) -> dict[str, bytes]:
    """The files of an image directory of a `small_disk`. stream: what was saved of the partition, else all of it."""
    data = disk[64 * SECTOR : -4 * SECTOR]
    dump = (
        f"label: dos\nlabel-id: 0x07070707\ndevice: /dev/{name}\nunit: sectors\nsector-size: 512\n\n"
        f"/dev/{name}1 : start=          64, size= {len(data) // SECTOR}, type=83, bootable\n"
    )
    parted = (
        f"Disk /dev/{name}: {len(disk) // SECTOR}s\nSector size (logical/physical): 512B/512B\nPartition Table: msdos\n"
    )
    return {
        "disk": f"{name}\n".encode(),
        "parts": f"{name}1\n".encode(),
        f"{name}-pt.sf": dump.encode(),
        f"{name}-pt.parted": parted.encode(),
        f"{name}-mbr": disk[:SECTOR],
        f"{name}-hidden-data-after-mbr": disk[SECTOR : 64 * SECTOR],
        f"{name}1.{file_system}-ptcl-img.gz": gzip.compress(data if stream is None else stream, 1),
    }


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def make_iso(folder: Path, target: Path, name: str = "centos7") -> Path:
    """An ISO as gen-rec-iso makes them: the image directory *folder* below /home/partimag, and something else."""
    argv = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-l", "-iso-level", "3", "-V", "T", "-graft-points"]
    run(*argv, "-o", target, f"/home/partimag/{name}/={folder}/", f"/live/filesystem.squashfs={folder / 'parts'}")
    return target


def iso_of(files: Mapping[str, bytes], work: Path, name: str = "centos7") -> bytes:
    with TemporaryDirectory(dir=work) as room:
        folder = write_files(Path(room) / "image", files)
        return make_iso(folder, Path(room) / "image.iso", name).read_bytes()
