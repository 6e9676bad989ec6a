"""Unpacks streams of image data: every packer that Clonezilla has or had (repositories.md 3.1).

By libraries where there are any, else by the packers' programs. What a file's name does not tell, its first bytes do.
"""

from __future__ import annotations

import lzma
import queue
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import chain

from pragma_boot.errors import CommandError, NotAvailableError
from pragma_boot.repository import unpack as codecs
from pragma_boot.repository.clonezilla.source import refused
from pragma_boot.repository.unpack import Codec
from pragma_boot.run import filtered, which

_MAGIC = (
    (b"\x1f\x8b", "gz"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zst"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x89LZO", "lzo"),
    (b"LZIP", "lzip"),
    (b"LRZI", "lrz"),
    (b"\x5d\x00\x00", "lzma"),
)
_NAMES = {"bz2": "bzip2", "zst": "zstd", "lzo": "lzop", "lrz": "lrzip"}
PROGRAMS: Mapping[str, Sequence[str]] = {
    "zst": ("zstd", "-dcq"),
    "lz4": ("lz4", "-dcq"),
    "lzo": ("lzop", "-dc"),
    "lzip": ("lzip", "-dc"),
    "lrz": ("lrzip", "-dqo", "-"),
}
_LZMA_MEMORY = 80 * 1024 * 1024  # what `lzma -9` needs to unpack is 65 MiB
_AHEAD = 4


def unpack(
    pieces: Iterator[bytes], packing: str, name: str, programs: Mapping[str, Sequence[str]] = PROGRAMS
) -> Iterator[bytes]:
    """The unpacked stream, in pieces of about a MiB at most.

    packing: the ending that Clonezilla gives (gz, bz2, …, `uncomp`), or empty to find out. name: for errors.
    programs: what unpacks where no library does.
    Raises ImageError when the data is damaged, cut, or needs a program that is not installed.
    """
    if not packing:
        packing, pieces = _found(pieces)
    if packing == "uncomp":
        return pieces
    codec = _codec(packing)
    return codecs.unpack(pieces, name, [codec]) if codec else _by_program(pieces, programs[packing], name)


def ahead(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    """The same pieces, taken by a thread that is some pieces ahead: unpacking and writing go on side by side.

    An error of *pieces* is raised where it belongs. Ends the thread when it is closed before its end.
    """
    ready: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
    stop = threading.Event()

    def work() -> None:
        try:
            for piece in pieces:
                ready.put(piece)
                if stop.is_set():
                    return
            ready.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again below
            ready.put(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        while not ready.empty():  # one place in the queue is enough for the worker to see it and end
            ready.get_nowait()
        worker.join()


def _found(pieces: Iterator[bytes]) -> tuple[str, Iterator[bytes]]:
    """How a stream is packed by its first bytes, and the whole stream again."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= 8:
            break
    packing = next((packing for magic, packing in _MAGIC if head.startswith(magic)), "uncomp")
    return packing, chain([head], pieces)


def _codec(packing: str) -> Codec | None:
    """The library's part; None where a program does it."""
    if packing == "gz":
        return codecs.gzip_codec()
    if packing == "lzma":
        return Codec("lzma", (b"\x5d\x00\x00",), _begin_lzma, lambda: lzma.LZMAError)
    found = next((codec for codec in codecs.CODECS if codec.name == _NAMES.get(packing, packing)), None)
    try:
        if found:
            found.begin()
    except NotAvailableError:
        return None
    return found


def _begin_lzma() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY)


def _by_program(pieces: Iterator[bytes], argv: Sequence[str], name: str) -> Iterator[bytes]:
    if which(argv[0]) is None:
        why = f"it is packed by {argv[0]}, which is not installed"
        raise refused(name, why, f"install {argv[0]}, then repeat")
    try:
        yield from filtered(argv, pieces)
    except CommandError as error:
        raise refused(name, f"its packed data is damaged: {error.details}") from error
