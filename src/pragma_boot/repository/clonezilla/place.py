"""Where restored disks go: what `local_image_url` says for an image (repositories.md 1.9)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from pragma_boot.errors import ImageError, RepositoryError
from pragma_boot.model import DiskFormat, shorten

_FORMATS = {".qcow2": DiskFormat.QCOW2, ".raw": DiskFormat.RAW, ".img": DiskFormat.RAW, ".vda": DiskFormat.RAW}
_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,120}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_POOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*(?:/[A-Za-z0-9][A-Za-z0-9_.:-]*)*")
_EXAMPLES = "write file://$repository_dir/$imagename.qcow2 (or .raw), or zfs://NAS/POOL/$imagename-vol"


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A file in the image's own folder."""

    name: str
    form: DiskFormat


@dataclass(frozen=True, slots=True)
class VolumePlace:
    """A zvol of the host *nas*."""

    nas: str
    pool: str
    name: str


Place = FilePlace | VolumePlace


def image_stem(name: str) -> str:
    """`$imagename` of an ISO or image directory: its name up to the first dot. Raises ImageError."""
    stem = name.partition(".")[0]
    if not _STEM.fullmatch(stem):
        raise ImageError(
            f"{shorten(name)!r} cannot name a disk",
            resolution="rename it in the repository: letters, digits, '_', '+' and '-' before the first dot",
        )
    return stem


def place(template: str, folder: Path, stem: str, version: str = "") -> Place:
    """What *template* means for the disk *stem* of the image in *folder*.

    version: told apart from an earlier form of the same disk, which clusters may stand on, by this in its name.
    Raises RepositoryError when the template is wrong; says how to write it.
    """
    named = f"{stem}-{version}" if version else stem
    try:
        url = Template(template).substitute(repository_dir=str(folder), imagename=named)
    except (KeyError, ValueError) as error:
        raise _wrong(template, f"{error} is unknown in it") from error
    if url.startswith("file://"):
        return _file(template, url.removeprefix("file://"), folder)
    if url.startswith("zfs://"):
        return _volume(template, url, named)
    raise _wrong(template, "it begins with neither file:// nor zfs://")


def _file(template: str, text: str, folder: Path) -> FilePlace:
    path = Path(text)
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise _wrong(template, f"files end in {', '.join(_FORMATS)}")
    if path.parent != folder:
        raise _wrong(template, "the disk must be in the image's own folder, $repository_dir")
    if "imagename" not in template.rpartition("/")[2]:
        raise _wrong(template, "all disks would have the same name")
    return FilePlace(path.name, form)


def _volume(template: str, url: str, named: str) -> VolumePlace:
    """The last part is the volume when the image's name is in it; else all of it is the pool, as ever."""
    parts = urlsplit(url)
    pool = parts.path.strip("/")
    volume = f"{named}-vol"
    if "imagename" in template.rpartition("/")[2]:
        pool, _, volume = pool.rpartition("/")
    if not _HOST.fullmatch(parts.netloc) or not _POOL.fullmatch(pool) or not _POOL.fullmatch(volume) or "/" in volume:
        raise _wrong(template, "it names no host, pool and volume")
    return VolumePlace(parts.netloc, pool, volume)


def _wrong(template: str, why: str) -> RepositoryError:
    return RepositoryError(
        f"local_image_url {shorten(template)!r} cannot be used",
        details=why,
        resolution=f"mend it in site_conf.conf: {_EXAMPLES}",
    )
