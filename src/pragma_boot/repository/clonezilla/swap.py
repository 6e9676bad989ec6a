"""The header of an empty swap space: Clonezilla saves its UUID and label only (repositories.md 3.5)."""

from __future__ import annotations

import re
import struct
import uuid

from pragma_boot.repository.clonezilla.source import refused

_PAGE = 4096
_FIELD = re.compile(r'^(UUID|LABEL)="?([^"\n]*)"?\s*$', re.MULTILINE)


def header(info: str, size: int, name: str) -> bytes:
    """The first page of a swap space of *size* bytes. info: the text of ``swappt-….info``, named *name*.

    Raises ImageError when the UUID is none, or the space is smaller than ten pages.
    """
    fields = dict(_FIELD.findall(info))
    pages = size // _PAGE
    try:
        ident = uuid.UUID(fields["UUID"]).bytes if fields.get("UUID") else uuid.uuid4().bytes
        page = bytearray(_PAGE)
        struct.pack_into("<III16s16s", page, 1024, 1, pages - 1, 0, ident, fields.get("LABEL", "").encode()[:15])
    except (ValueError, struct.error) as error:
        raise refused(name, "the UUID of a swap space makes no sense") from error
    if pages < 10:
        raise refused(name, f"a swap space of {size} bytes is too small")
    page[-10:] = b"SWAPSPACE2"
    return bytes(page)
