"""What a repository offers: one folder per image, with its document and a saved disk per role (repositories.md 1.9)."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pragma_boot.errors import ImageError, UsageError
from pragma_boot.model import ImageName, Role, image_name, shorten
from pragma_boot.repository.clonezilla.place import image_stem
from pragma_boot.repository.clonezilla.remote import Item, Remote

_log = logging.getLogger(__name__)

_FORM = 1  # of what we restore; another number restores everything anew
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+()-]{0,200}")


@dataclass(frozen=True, slots=True)
class Offer:
    """An image that is offered; *disks* are ISOs, or folders that are bare image directories. there: for messages."""

    name: ImageName
    document: Item
    disks: Mapping[Role, Item]
    there: str = ""

    def check(self) -> None:
        """Raises ImageError when it can never be had: the frontend's disk is missing, or a disk has a wrong name."""
        if Role.FRONTEND not in self.disks:
            wanted = "the frontend's disk (*frontend*.iso, or a folder *frontend*)"
            raise _incomplete(self.name, f"{wanted} is missing; there is {self.there}")
        for item in self.disks.values():
            image_stem(item.name)

    def key(self, role: Role) -> str:
        """Changes when the role's saved disk does."""
        item = self.disks[role]
        return hashlib.sha256(json.dumps([_FORM, item.name, item.size, item.version]).encode()).hexdigest()[:12]


def image_folders(remote: Remote, include: Sequence[str], exclude: Sequence[str]) -> dict[ImageName, Item]:
    """The offered images' folders in the order of the listing.

    include, exclude: regular expressions, anchored at the start; what matches both is left out. Raises
    RepositoryError when the repository cannot be listed.
    """
    found: dict[ImageName, Item] = {}
    for item in remote.items():
        if not item.is_folder or (include and not _matches(include, item.name)) or _matches(exclude, item.name):
            continue
        try:
            name = image_name(item.name)
        except UsageError as error:
            _log.warning("the folder %s is skipped: %s", shorten(item.name), error.message)
            continue
        if name not in found or item.modified > found[name].modified:
            found[name] = item
    return found


def look(remote: Remote, name: ImageName, folder: Item) -> Offer:
    """What is in an image's folder. Raises ImageError when it has no document, RepositoryError as `Remote.items`."""
    items = remote.items(folder)
    there = ", ".join(shorten(item.name) for item in items[:20]) or "nothing"
    document = _newest(item for item in items if _is_document(item))
    if document is None:
        raise _incomplete(name, f"a vc-in document (*.xml) is missing; there is {there}")
    disks = {role: disk for role in Role if (disk := _newest(item for item in items if _is_disk(item, role)))}
    known = {role: _known(remote, item) for role, item in disks.items()}
    return Offer(name, remote.known(document), known, there)


def _incomplete(name: ImageName, why: str) -> ImageError:
    return ImageError(
        f"image {name} is not complete in the repository",
        details=why,
        resolution="put what is missing into the image's folder there, then repeat",
    )


def _known(remote: Remote, item: Item) -> Item:
    """With the version of all files, where the disk is a bare image directory."""
    if not item.is_folder:
        return remote.known(item)
    files = [remote.known(one) for one in remote.items(item) if not one.is_folder]
    text = json.dumps(sorted((one.name, one.size, one.version) for one in files))
    return Item(item.name, True, item.place, None, f"files:{hashlib.sha256(text.encode()).hexdigest()}", item.modified)


def _matches(patterns: Sequence[str], name: str) -> bool:
    return any(re.match(pattern, name) for pattern in patterns)


def _is_document(item: Item) -> bool:
    name = item.name.lower()
    return not item.is_folder and name.endswith(".xml") and not name.endswith("-local.xml")


def _is_disk(item: Item, role: Role) -> bool:
    name = item.name.lower()
    return role in name and (item.is_folder or name.endswith(".iso")) and bool(_FILE_NAME.fullmatch(item.name))


def _newest(items: Iterable[Item]) -> Item | None:
    """Of several with the same part to play the newest, of equally old ones the last."""
    found = sorted(items, key=lambda item: item.modified)
    if len(found) > 1:
        _log.warning("%s: %d are there, %s is taken", found[-1].name, len(found), found[-1].modified or "the last")
    return found[-1] if found else None
