"""A Clonezilla image directory: its files by name, wherever they are, and the checksums saved with them."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pragma_boot.model import shorten
from pragma_boot.repository.clonezilla.iso import Iso
from pragma_boot.repository.clonezilla.source import Content, Source, Window, refused
from pragma_boot.repository.source import FileSource

TEXT_LIMIT = 4 * 1024 * 1024
FILE_LIMIT = 100_000
"""The most files that a directory may have."""


class Hash(Protocol):
    """A running checksum; hashlib's are such."""

    def update(self, data: bytes, /) -> None:
        """Add *data*."""

    def hexdigest(self) -> str:
        """Its value so far."""


_SUMS: tuple[tuple[str, Callable[[], Hash]], ...] = (
    ("SHA1SUMS", lambda: hashlib.sha1(usedforsecurity=False)),  # the quickest first: all are as good against damage
    ("B2SUMS", hashlib.blake2b),
    ("MD5SUMS", lambda: hashlib.md5(usedforsecurity=False)),
)
_SUM = re.compile(r"([0-9a-fA-F]{32,128}) [ *](.+)")


@dataclass(slots=True)
class ImageDirectory:
    """*files* by name. name: what errors call it. watch: told of the bytes of image data that were read."""

    name: str
    files: Mapping[str, Content]
    watch: Callable[[int], None] = lambda _: None
    _sums: tuple[Callable[[], Hash], Mapping[str, str]] | None = field(default=None, init=False)

    def has(self, name: str) -> bool:
        """Whether a file of that name is there."""
        return name in self.files

    def text(self, name: str, limit: int = TEXT_LIMIT) -> str:
        """A file as text; empty when it is missing. Raises ImageError as `data`."""
        return self.data(name, limit).decode(errors="replace") if name in self.files else ""

    def data(self, name: str, limit: int) -> bytes:
        """A small file, verified. Raises ImageError when it is missing, damaged, cut, or larger than *limit* bytes."""
        content = self.files.get(name)
        if content is None:
            raise refused(self.name, f"the file {shorten(name)} is missing")
        if content.size > limit:
            raise refused(content.name, f"it has {content.size} bytes where at most {limit} make sense")
        return b"".join(self._verified(name, content))

    def stream(self, names: Sequence[str]) -> Iterator[bytes]:
        """Files one after the other, each verified at its end. Raises ImageError when one is damaged or cut."""
        for name in names:
            for piece in self._verified(name, self.files[name]):
                self.watch(len(piece))
                yield piece

    def size(self, names: Sequence[str]) -> int:
        """Bytes of these files."""
        return sum(self.files[name].size for name in names)

    def _verified(self, name: str, content: Content) -> Iterator[bytes]:
        make, sums = self._checksums()
        wanted = sums.get(name)
        if wanted is None:
            yield from content.stream()
            return
        digest = make()
        for piece in content.stream():
            digest.update(piece)
            yield piece
        if not hmac.compare_digest(digest.hexdigest(), wanted.lower()):
            raise refused(content.name, "its checksum is wrong")

    def _checksums(self) -> tuple[Callable[[], Hash], Mapping[str, str]]:
        """One of the lists of checksums that are there, by name of file."""
        if self._sums is None:
            name, make = next((row for row in _SUMS if row[0] in self.files), _SUMS[0])
            self._sums = make, {}  # nobody vouches for the list itself
            text = self.text(name)
            found = (_SUM.fullmatch(line) for line in text.splitlines())
            self._sums = make, {match[2].removeprefix("./"): match[1] for match in found if match}
        return self._sums


def from_folder(path: Path) -> ImageDirectory:
    """An image directory of this machine. Its files are opened one at a time, when they are read.

    Raises ImageError when it cannot be read.
    """
    try:
        found = sorted(entry for entry in path.iterdir() if entry.is_file() and not entry.is_symlink())
        files = {entry.name: Content.whole(str(entry), FileSource(entry)) for entry in found[:FILE_LIMIT]}
    except OSError as error:
        raise refused(str(path), error.strerror or str(error), "mend the folder or its permissions") from error
    return ImageDirectory(str(path), files)


def from_iso(source: Source) -> ImageDirectory:
    """The one image directory in an ISO of Clonezilla. Raises ImageError when there is none, or several."""
    iso = Iso(Window(source))
    parent = iso.find("home", "partimag")
    folders = [entry for entry in iso.list(parent) if entry.is_directory] if parent else []
    images = []
    for folder in folders:
        entries = {entry.name: entry for entry in iso.list(folder) if not entry.is_directory}
        if entries.keys() & {"parts", "disk"}:
            images.append((folder.name, entries))
    if not images:
        raise refused(source.name, "there is no Clonezilla image in /home/partimag of this ISO")
    if len(images) > 1:
        names = ", ".join(shorten(name) for name, _ in images)
        raise refused(source.name, f"several Clonezilla images are in it: {names}", "make one ISO per image")
    name, entries = images[0]
    return ImageDirectory(f"{source.name}: {name}", {key: iso.content(entry) for key, entry in entries.items()})
