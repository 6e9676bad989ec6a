"""Writes what a publisher puts beside a repository's catalog: `vcdb.json` and `SHA256SUMS` (repositories.md 6.3).

Every image is read once: its document is checked, its files are hashed, and packed ones are unpacked to tell how large
their disk is. Nothing is written while any image has a fault.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pragma_boot import files
from pragma_boot.config.settings import RepositorySettings
from pragma_boot.errors import Fault, FaultsError, PragmaError, RepositoryError
from pragma_boot.model import CatalogEntry, Image, Packing, Progress, ProgressSink, no_progress
from pragma_boot.repository import catalog as catalogs
from pragma_boot.repository import manifest, vc_in
from pragma_boot.repository.assemble import Recipe, unpacked_size
from pragma_boot.repository.disks import ROLES, Disks
from pragma_boot.repository.probe import probe
from pragma_boot.repository.record import Digest, Hashes
from pragma_boot.run import run

CATALOG = "vcdb.txt"


@dataclass(frozen=True, slots=True)
class Indexed:
    """What was written: files (paths), how many images, and how many bytes they have in the repository."""

    written: tuple[Path, ...]
    images: int
    size: int


def write_index(top: Path, sign_key: Path | None = None, progress: ProgressSink = no_progress) -> Indexed:
    """Index the repository in the folder *top*; a missing catalog is made of its ``NAME/NAME.xml``.

    sign_key: an ssh private key that signs the index; without one, an older signature is removed.

    Raises FaultsError that names every fault of every image, RepositoryError without images, PragmaError.
    """
    top = top.resolve()
    catalog = top / CATALOG
    lines = catalog.read_text() if catalog.exists() else _found(top)
    parsed = catalogs.parse(lines.encode(), top, str(catalog), absolute=False)
    if not parsed.entries:
        raise RepositoryError(
            f"there is no image in {top}",
            details="\n".join(parsed.warnings) or None,
            resolution="put each image into a folder of its own, with its document as NAME/NAME.xml",
        )
    faults = [Fault(str(catalog), warning) for warning in parsed.warnings]
    clusters: dict[str, Any] = {}
    for entry in parsed.entries:
        try:
            clusters[entry.name] = _cluster(top, entry, progress)
        except PragmaError as error:
            faults.append(Fault(entry.name, "; ".join(filter(None, (error.message, error.details)))))
    if faults:
        raise FaultsError(
            f"the repository {top} has faults; no index was written", faults, resolution="mend them, then repeat"
        )
    if not catalog.exists():
        files.write_atomic(catalog, lines)
    return _write(top, clusters, sign_key)


def _found(top: Path) -> str:
    """Catalog lines for every document that lies where one should."""
    documents = sorted(top.glob("*/*.xml"))
    return "".join(f"{path.stem},{path.relative_to(top)}\n" for path in documents if path.stem == path.parent.name)


def _cluster(top: Path, entry: CatalogEntry, progress: ProgressSink) -> dict[str, Any]:
    """The index's part about one image. Raises PragmaError for the first fault of it."""
    image = vc_in.load(entry.path, entry.name)
    disks = Disks(RepositorySettings("local", top, top / CATALOG, top), top)
    listed: dict[str, dict[str, Any]] = {}
    for recipe in dict.fromkeys(disks.recipe(image, role) for role in ROLES):
        size = _disk_size(top, image, recipe, progress)
        for number, part in enumerate(recipe.parts):
            told = _file(top, part, image.name, progress) | {"compression": recipe.packing.value}
            listed.setdefault(str(told["path"]), told | ({} if number else {"disk_size": size}))
    document = _file(top, entry.path, image.name, no_progress)
    return {"xml": document.pop("path"), **document, "files": list(listed.values())}


def _disk_size(top: Path, image: Image, recipe: Recipe, progress: ProgressSink) -> int:
    """Bytes of the disk file that the parts make."""
    if recipe.packing is Packing.RAW:
        probe(recipe.parts[0], (top, image.directory.resolve()))
        return recipe.parts[0].stat().st_size
    return unpacked_size(recipe, image.name, progress)


def _file(top: Path, path: Path, subject: str, progress: ProgressSink) -> dict[str, Any]:
    if not path.is_relative_to(top):
        raise RepositoryError(f"{path} lies outside of {top}", resolution="move it into the repository")
    hashes, size = Hashes(None), path.stat().st_size
    try:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(1024 * 1024):
                hashes.add(piece)
                progress(Progress("prepare", subject, f"hashing {path.name}", hashes.position, size))
    except OSError as error:
        raise files.refused("read", path, error) from error
    return {"path": str(path.relative_to(top)), "size": size, **hashes.values()}


def _write(top: Path, clusters: dict[str, Any], sign_key: Path | None) -> Indexed:
    """Write all files; the index last, for it speaks of the others."""
    catalog = _file(top, top / CATALOG, CATALOG, no_progress)
    index = json.dumps({"version": 1, "catalog": catalog, "clusters": clusters}, indent=1) + "\n"
    signature = _signature(index.encode(), sign_key) if sign_key else None
    places = [top / manifest.SUMS, top / f"{manifest.INDEX}.sig", top / manifest.INDEX]
    files.write_atomic(places[0], "".join(_sums([catalog], clusters)))
    if signature is None:
        places.pop(1).unlink(missing_ok=True)
    else:
        files.write_atomic(places[1], signature)
    files.write_atomic(places[-1], index)
    size = sum(file["size"] for cluster in clusters.values() for file in cluster["files"])
    return Indexed(tuple(places), len(clusters), size)


def _sums(first: Sequence[dict[str, Any]], clusters: dict[str, Any]) -> Iterator[str]:
    rows: Iterable[dict[str, Any]] = [
        *first,
        *(row for one in clusters.values() for row in ({"path": one["xml"], "sha256": one["sha256"]}, *one["files"])),
    ]
    for path, digest in dict.fromkeys((row["path"], Digest("sha256", row["sha256"])) for row in rows):
        yield f"{digest.value}  {path}\n"


def _signature(data: bytes, key: Path) -> bytes:
    mode = key.stat().st_mode & 0o077 if key.exists() else 0
    mend = f"chmod 600 {key}" if mode else "name an ssh private key without a passphrase, or one that ssh-agent holds"
    words = ["ssh-keygen", "-Y", "sign", "-q", "-n", manifest.NAMESPACE, "-f", os.fspath(key)]
    return run(words, stdin=data, timeout=60, resolution=mend).stdout
