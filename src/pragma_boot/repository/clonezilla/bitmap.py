"""The map of used blocks: kept small in memory, or in a temporary file, and given back as runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile
from types import TracebackType

_IN_MEMORY = 32 * 1024 * 1024
_PIECE = 32 * 1024
_BITS = [bytes((number >> bit) & 1 for bit in range(8)) for number in range(256)]
_USED = re.compile(rb"\x01+")


class Bitmap:
    """Which of *blocks* blocks are used; `used` says how many. To be closed; a context manager."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self.used = 0
        self._store = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by `close`
        self._as_bits = True

    @classmethod
    def full(cls, blocks: int) -> Bitmap:
        """Every block is used."""
        bitmap = cls(blocks)
        bitmap.used = blocks
        return bitmap

    @classmethod
    def from_bits(cls, pieces: Iterable[memoryview], blocks: int) -> Bitmap:
        """From one bit per block, least significant first; bits after the last block do not count."""
        bitmap = cls(blocks)
        left = blocks
        for piece in pieces:
            data = bytes(piece)
            bits = min(left, 8 * len(data))
            if bits < 8 * len(data):
                data = _without_excess(data, bits)
            bitmap._store.write(data)
            bitmap.used += int.from_bytes(data, "little").bit_count()
            left -= bits
        return bitmap

    @classmethod
    def from_bytes(cls, pieces: Iterable[memoryview], blocks: int) -> Bitmap:
        """From one byte per block: 1 is used, anything else is not."""
        bitmap = cls(blocks)
        bitmap._as_bits = False
        for piece in pieces:
            data = bytes(piece)
            bitmap._store.write(data)
            bitmap.used += data.count(1)
        return bitmap

    def runs(self) -> Iterator[tuple[int, int]]:
        """(first block, number of blocks) of each run of used blocks, ascending and as long as possible."""
        if self.used == self.blocks:
            yield 0, self.blocks
            return
        begin = end = 0
        for first, count in self._pieces():
            if first != end:
                if end > begin:
                    yield begin, end - begin
                begin = first
            end = first + count
        if end > begin:
            yield begin, end - begin

    def close(self) -> None:
        """Let go of the temporary file."""
        self._store.close()

    def __enter__(self) -> Bitmap:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _pieces(self) -> Iterator[tuple[int, int]]:
        """Runs that may touch each other."""
        self._store.seek(0)
        at = 0
        while data := self._store.read(_PIECE):
            if self._as_bits:
                data = self._expanded(data)
            for match in _USED.finditer(data):
                yield at + match.start(), match.end() - match.start()
            at += len(data)

    @staticmethod
    def _expanded(data: bytes) -> bytes:
        """One byte per bit."""
        if not data.strip(b"\0"):
            return bytes(8 * len(data))
        if not data.strip(b"\xff"):
            return b"\1" * (8 * len(data))
        return b"".join([_BITS[byte] for byte in data])


def _without_excess(data: bytes, bits: int) -> bytes:
    whole, odd = divmod(bits, 8)
    return data[:whole] + (bytes([data[whole] & ((1 << odd) - 1)]) if odd else b"")
