"""Takes exact amounts out of a stream of pieces, without copying the large ones."""

from __future__ import annotations

from collections.abc import Iterator

from pragma_boot.repository.clonezilla.source import cut


class Reader:
    """*pieces* read one after the other; *name* is what errors call it. Counts in `position` what was taken."""

    def __init__(self, pieces: Iterator[bytes], name: str) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")
        self.name = name
        self.position = 0

    def take(self, length: int) -> bytes:
        """Exactly *length* bytes. Raises ImageError when the stream ends before."""
        return b"".join(self.pieces(length))

    def pieces(self, length: int) -> Iterator[memoryview]:
        """Exactly *length* bytes as they come. Raises ImageError when the stream ends before."""
        while length:
            if not self._rest and not self._fill():
                raise cut(self.name)
            piece, self._rest = self._rest[:length], self._rest[length:]
            length -= len(piece)
            self.position += len(piece)
            yield piece

    def rest(self) -> Iterator[memoryview]:
        """All that is left."""
        while self._rest or self._fill():
            piece, self._rest = self._rest, self._rest[:0]
            self.position += len(piece)
            yield piece

    def at_end(self) -> bool:
        """Whether nothing is left; reads on to see it, so that a packer's final checksum is looked at, too."""
        return not self._rest and not self._fill()

    def _fill(self) -> bool:
        for piece in self._pieces:
            if piece:
                self._rest = memoryview(piece)
                return True
        return False
