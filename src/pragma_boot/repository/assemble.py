"""Makes one disk file out of the packed files of an image: parts joined and unpacked, as sparse raw or qcow2."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypedDict

from pragma_boot.model import DiskFormat, Packing, Progress, ProgressSink, no_progress
from pragma_boot.repository.probe import HEAD, QCOW2_MAGIC, check_raw, refused
from pragma_boot.repository.target import behind, open_target
from pragma_boot.repository.unpack import CODECS, Engine, gzip_codec, unpack

_INPUT = 256 * 1024
_REPORT = 0.2  # seconds between two progress reports
_AGAIN = "copy the image into the repository again"


@dataclass(frozen=True, slots=True)
class Limits:
    """How far packed data may grow: above *floor* bytes to *ratio* times its packed size, and never above *size*.

    declared: *size* is what the image's publisher says.

    Gzip cannot exceed 1032:1, which it reaches with nothing but zeros; a disk with any content stays below 1000:1.
    The other ways of compressing pack a large and almost empty disk much tighter (*other_ratio*).
    """

    ratio: int = 1000
    other_ratio: int = 20_000
    floor: int = 1024**3
    size: int = 64 * 1024**4
    declared: bool = False


DEFAULT_LIMITS = Limits()


class Source(TypedDict):
    """What tells a changed original from a known one; bytes, and nanoseconds since 1970."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to build from: *parts* in their order, local files that exist; and what a raw disk in them is kept as."""

    packing: Packing
    parts: tuple[Path, ...]
    form: DiskFormat = DiskFormat.RAW

    @property
    def kind(self) -> str:
        """Names what is done with the parts."""
        return self.packing.value if self.form is DiskFormat.RAW else f"{self.packing.value} to {self.form.value}"

    def sources(self) -> list[Source]:
        """The parts as they are now. Raises ImageError when one cannot be looked at."""
        seen = [(part, _stat(part)) for part in self.parts]
        return [Source(path=str(part), size=status.st_size, mtime_ns=status.st_mtime_ns) for part, status in seen]

    def allocated(self) -> int:
        """What the parts take on their disk, bytes. Raises ImageError as `sources`."""
        return sum(_stat(part).st_blocks * 512 for part in self.parts)


def build(
    recipe: Recipe,
    target: Path,
    subject: str,
    progress: ProgressSink = no_progress,
    *,
    limits: Limits = DEFAULT_LIMITS,
    engine: Engine | None = None,
    arriving: Iterable[bytes] | None = None,
) -> None:
    """Write the assembled disk to *target*, which exists; blocks of zeros stay holes. A qcow2 disk stays as it is.

    subject: whose progress is told (phase `decompress`, packed bytes read). engine: the gzip library, else the fastest.
    arriving: the parts' content in order, when they are not all here yet; no progress is told then.

    Raises ImageError when a part cannot be read, is cut or corrupt, unpacks beyond *limits*, or is no disk that could
    be kept as qcow2; OSError when *target* cannot be written.
    """
    total = 0 if arriving else sum(source["size"] for source in recipe.sources())
    meter = _Meter(total, subject, no_progress if arriving else progress, limits)
    _write(target, _content(recipe, meter, arriving or _read(recipe.parts), engine), recipe)
    meter.report()


def unpacked_size(recipe: Recipe, subject: str, progress: ProgressSink = no_progress) -> int:
    """Bytes of what `build` would write, which is unpacked for it. Raises ImageError as `build`."""
    meter = _Meter(sum(source["size"] for source in recipe.sources()), subject, progress, DEFAULT_LIMITS)
    size = sum(map(len, _content(recipe, meter, _read(recipe.parts), None)))
    meter.report()
    return size


def _content(recipe: Recipe, meter: _Meter, packed: Iterable[bytes], engine: Engine | None) -> Iterator[bytes]:
    """What the parts' bytes *packed* unpack to, in pieces."""
    chunks = meter.watch(packed)
    if recipe.packing in (Packing.GZIP, Packing.SPLIT_GZIP):
        chunks = unpack(chunks, recipe.parts[0], (gzip_codec(engine),))
    elif recipe.packing in (Packing.COMPRESSED, Packing.SPLIT_COMPRESSED):
        meter.allow_more()
        chunks = unpack(chunks, recipe.parts[0], (gzip_codec(engine), *CODECS))
    return (meter.check(chunk, recipe.parts[0]) for chunk in chunks)


class _Meter:
    """Counts what goes in and out, tells progress, and stops data that unpacks without measure."""

    def __init__(self, total: int, subject: str, progress: ProgressSink, limits: Limits) -> None:
        self._total, self._subject, self._progress, self._limits = total, subject, progress, limits
        self._ratio = limits.ratio
        self._read = self._written = 0
        self._reported = 0.0

    def allow_more(self) -> None:
        """The data is packed by a way that makes less of emptiness than gzip does."""
        self._ratio = self._limits.other_ratio

    def watch(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._read += len(chunk)
            if time.monotonic() - self._reported >= _REPORT:
                self.report()
            yield chunk

    def check(self, chunk: bytes, part: Path) -> bytes:
        self._written += len(chunk)
        limits = self._limits
        if self._written > limits.size or self._written > max(limits.floor, self._ratio * self._read):
            why = f"it unpacks to more than {self._written // 1024**2} MiB, almost nothing of it data"
            if self._written > limits.size and limits.declared:
                why = f"it unpacks to more than the {limits.size} bytes that its publisher declares"
            raise refused(part, why, "unpack it by hand if you trust it, and name the unpacked file")
        return chunk

    def report(self) -> None:
        self._reported = time.monotonic()
        self._progress(Progress("decompress", self._subject, done=self._read, total=self._total))


def _stat(part: Path) -> os.stat_result:
    try:
        return part.stat()
    except OSError as error:
        raise refused(part, error.strerror or str(error), _AGAIN) from error


def _read(parts: Iterable[Path]) -> Iterator[bytes]:
    for part in parts:
        try:
            with part.open("rb", buffering=0) as file:
                while chunk := file.read(_INPUT):
                    yield chunk
        except OSError as error:
            raise refused(part, error.strerror or str(error), "mend the file or its permissions") from error


def _write(path: Path, chunks: Iterator[bytes], recipe: Recipe) -> None:
    """Write the chunks one after the other. What becomes the content of a qcow2 file is looked at as `probe` would."""
    head = b"".join(_up_to(HEAD, chunks))
    form = DiskFormat.RAW if head.startswith(QCOW2_MAGIC) else recipe.form
    offset = 0
    with behind(open_target(path, form)) as target:
        for chunk in chain([head], chunks):
            target.write(offset, memoryview(chunk))
            offset += len(chunk)
        if form is DiskFormat.QCOW2:
            check_raw(recipe.parts[0], head[:HEAD], offset)
        target.finish()


def _up_to(length: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The first chunks, until there are *length* bytes."""
    while length > 0 and (chunk := next(chunks, b"")):
        length -= len(chunk)
        yield chunk
