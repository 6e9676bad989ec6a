"""The vc-in document of a restored image: the publisher's, with the disks as they are here (repositories.md 1.9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pragma_boot.model import Role
from pragma_boot.repository import markup
from pragma_boot.repository.clonezilla.place import FilePlace, Place

if TYPE_CHECKING:
    from lxml.etree import _Element


def localized(document: bytes, origin: str, places: Mapping[Role, Place]) -> bytes:
    """The document with each role's disk in its place; a role without one of its own shares the frontend's.

    Raises ImageError when the document is no well-formed XML, or breaks the limits of `markup`.
    """
    from lxml import etree  # noqa: PLC0415 - only this needs it

    markup.read(document, origin)  # no document types, bounded
    root = etree.fromstring(document, etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True))
    for files in root.findall("files"):
        root.remove(files)
    for role in (Role.FRONTEND, Role.COMPUTE):
        node = root.find(role)
        if node is None and role in places and role is not Role.FRONTEND:
            node = etree.SubElement(root, role)
        if node is not None:
            _set_disk(node, places.get(role, places[Role.FRONTEND]))
    etree.indent(root)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8") + b"\n"


def _set_disk(node: _Element, place: Place) -> None:
    """Replace the node's first disk; how the publisher's was packed says nothing about it."""
    for packed in list(node.iter("file")):
        parent = packed.getparent()
        if parent is not None:
            parent.remove(packed)
    disk = node.find(".//disk")
    if disk is None:
        disk = _made(_made(_made(node, "domain"), "devices"), "disk")
    tail = disk.tail
    disk.clear()
    disk.tail = tail
    disk.set("device", "disk")
    if isinstance(place, FilePlace):
        disk.set("type", "file")
        _add(disk, "driver", name="qemu", type=place.form.value)
        _add(disk, "source", file=place.name)
    else:
        disk.set("type", "volume")
        _add(disk, "source", volume=place.name, pool=place.pool, host=place.nas)
    _add(disk, "target", dev="vda", bus="virtio")


def _made(parent: _Element, tag: str) -> _Element:
    """The child of that tag, new if there is none."""
    found = parent.find(tag)
    return _add(parent, tag) if found is None else found


def _add(parent: _Element, tag: str, **attributes: str) -> _Element:
    from lxml import etree  # noqa: PLC0415

    return etree.SubElement(parent, tag, attributes)
