"""Makes one disk file out of the packed files of an image: parts joined and unpacked, the result sparse."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from pragma_boot.model import Packing, Progress, ProgressSink, no_progress
from pragma_boot.repository.probe import refused
from pragma_boot.repository.unpack import CODECS, Engine, gzip_codec, unpack

_INPUT = 256 * 1024
_GRANULE = 64 * 1024
_ZEROS = bytes(_GRANULE)
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
    """What to build from: *parts* in their order, local files that exist."""

    packing: Packing
    parts: tuple[Path, ...]

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
    """Write the assembled disk to *target*, an empty file; blocks of zeros stay holes.

    subject: whose progress is told (phase `decompress`, packed bytes read). engine: the gzip library, else the fastest.
    arriving: the parts' content in order, when they are not all here yet; no progress is told then.

    Raises ImageError when a part cannot be read, is cut or corrupt, or unpacks beyond *limits*; OSError when
    *target* cannot be written.
    """
    total = 0 if arriving else sum(source["size"] for source in recipe.sources())
    meter = _Meter(total, subject, no_progress if arriving else progress, limits)
    _write_sparse(target, _content(recipe, meter, arriving or _read(recipe.parts), engine))
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


def _write_sparse(target: Path, chunks: Iterable[bytes]) -> None:
    """Write the chunks one after the other, and leave out whole granules of zeros."""
    offset = 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for chunk in chunks:
            for start, end in _runs(chunk, offset):
                _write_all(descriptor, memoryview(chunk)[start:end], offset + start)
            offset += len(chunk)
        os.ftruncate(descriptor, offset)
    finally:
        os.close(descriptor)


def _runs(chunk: bytes, offset: int) -> Iterator[tuple[int, int]]:
    """The stretches of *chunk* (which begins at *offset* of the file) that hold data, in granules of the file."""
    begin, at = None, 0
    while at < len(chunk):
        end = min(at + _GRANULE - (offset + at) % _GRANULE, len(chunk))
        empty = chunk[at:end] == _ZEROS[: end - at]  # bytes compare 10 times faster than a memoryview does
        if empty and begin is not None:
            yield begin, at
            begin = None
        elif not empty and begin is None:
            begin = at
        at = end
    if begin is not None:
        yield begin, len(chunk)


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        done = os.pwrite(descriptor, data, offset)
        data, offset = data[done:], offset + done
