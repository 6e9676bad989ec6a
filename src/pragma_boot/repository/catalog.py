"""vcdb.txt, the catalog of a repository: one ``name,path`` per line (repositories.md 1.2).

Blank lines, ``#`` comments, blanks around the comma, CRLF and a byte order mark are tolerated. A line that cannot
be used is left out and told as a warning, so that one bad line never hides the other images.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pragma_boot import files
from pragma_boot.errors import PragmaError, RepositoryError, UsageError
from pragma_boot.model import Catalog, CatalogEntry, ImageName, image_name, shorten

SIZE_LIMIT = 4 * 1024 * 1024
"""Larger catalogs are refused, bytes: room for some 50,000 images."""

_BOM = b"\xef\xbb\xbf"


def read(path: Path, directory: Path) -> Catalog:
    """Read the catalog of the local repository in *directory*; images whose document is missing are left out.

    Raises RepositoryError when the file is missing, unreadable or larger than SIZE_LIMIT.
    """
    parsed = parse(content(path), directory, str(path), absolute=True)
    entries, warnings = [], list(parsed.warnings)
    for entry in parsed.entries:
        wrong = _unusable(entry.path)
        if wrong:
            warnings.append(f"{path}:{entry.line}: image {entry.name}: {entry.path}: {wrong}")
        else:
            entries.append(entry)
    return replace(parsed, entries=tuple(entries), warnings=tuple(warnings))


def parse(data: bytes, directory: Path, origin: str, *, absolute: bool) -> Catalog:
    """Read catalog lines without looking whether the documents exist.

    directory: what relative paths start from; they may not leave it. origin: the catalog's path or URL, for
    warnings. absolute: whether absolute paths are allowed, wherever they lead. Of two lines with the same name
    the last one counts, as ever.
    """
    entries: dict[ImageName, CatalogEntry] = {}
    warnings: list[str] = []
    for number, raw in enumerate(data.removeprefix(_BOM).splitlines(), start=1):
        try:
            entry = _entry(raw, number, directory, absolute)
        except ValueError as error:
            warnings.append(f"{origin}:{number}: {error}")
            continue
        if entry is None:
            continue
        older = entries.pop(entry.name, None)
        if older:
            warnings.append(f"{origin}:{number}: image {entry.name} is in line {older.line}, too; this line counts")
        entries[entry.name] = entry
    return Catalog(tuple(entries.values()), tuple(warnings))


def add(path: Path, directory: Path, name: ImageName, document: Path, locks: Path) -> None:
    """Put an image into the catalog, in place of older lines of its name; everything else stays as it is.

    document: its vc-in document; written relative when it lies in *directory*. The catalog is made when missing,
    and replaced in one step. locks: folder of the lock files. Raises PragmaError when it cannot be written.
    """
    inside = document.is_relative_to(directory)
    line = f"{name},{document.relative_to(directory) if inside else document}"
    if "," in line.partition(",")[2] or not line.isprintable():
        raise PragmaError(
            f"{document} cannot stand in a catalog",
            details="a comma or a control character is in its path",
            resolution="choose another folder for the image",
        )
    with files.lock(locks / "catalog.lock"):
        kept = _others(content(path), name) if path.exists() else []
        files.write_atomic(path, b"".join(one + b"\n" for one in [*kept, line.encode()]))


def remove(path: Path, name: ImageName, locks: Path) -> None:
    """Take an image out of the catalog; everything else stays as it is. Raises as `add`."""
    with files.lock(locks / "catalog.lock"):
        if path.exists():
            files.write_atomic(path, b"".join(one + b"\n" for one in _others(content(path), name)))


def _unusable(document: Path) -> str | None:
    try:
        return None if stat.S_ISREG(document.stat().st_mode) else "is no file"
    except OSError as error:
        return error.strerror or str(error)


def _others(data: bytes, name: ImageName) -> Iterable[bytes]:
    lines = data.removeprefix(_BOM).splitlines()
    return [line for line in lines if line.partition(b",")[0].strip() != name.encode()]


def content(path: Path) -> bytes:
    """A catalog file's bytes. Raises RepositoryError as `read` does."""
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise RepositoryError(
            f"the catalog {path} cannot be read",
            details=error.strerror,
            resolution="write it, one 'name,path of the vc-in document' per line, or mend repository_dir and"
            " vcdb_filename in site_conf.conf",
        ) from error
    if len(data) > SIZE_LIMIT:
        raise RepositoryError(
            f"the catalog {path} is larger than {SIZE_LIMIT // 1024 // 1024} MiB",
            resolution="name the right file as vcdb_filename in site_conf.conf",
        )
    return data


def _entry(raw: bytes, number: int, directory: Path, absolute: bool) -> CatalogEntry | None:
    """One line; None for blanks and comments. Raises ValueError that says what is wrong."""
    text = raw.decode(errors="replace").strip()
    if not text or text.startswith("#"):
        return None
    fields = [field.strip() for field in text.split(",")]
    if len(fields) != 2 or not all(fields):
        raise ValueError(f"{shorten(text)!r} is not 'name,path'")
    if "\ufffd" in text or not text.isprintable():
        raise ValueError(f"{shorten(text)!r} has control characters or is not UTF-8")
    try:
        name = image_name(fields[0])
    except UsageError as error:
        raise ValueError(error.message) from error
    path = Path(fields[1])
    if not absolute if path.is_absolute() else ".." in path.parts:
        raise ValueError(f"image {name}: the path {shorten(fields[1])!r} leaves the repository")
    return CatalogEntry(name, directory / path, number)
