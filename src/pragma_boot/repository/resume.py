"""How a download is gone on with: what is asked for, and whether the answer is the rest of what is here."""

from __future__ import annotations

from pragma_boot.repository.record import Partial, Record, boot_id
from pragma_boot.repository.web import Reply


def conditions(record: Record | None, partial: Partial | None, have: int) -> dict[str, str]:
    """Header lines that ask for the rest of the same object, or for nothing when it did not change."""
    if partial and have:
        return {"Range": f"bytes={have}-", "If-Range": partial.validator}
    if record and record.etag:
        return {"If-None-Match": record.etag}
    return {"If-Modified-Since": record.modified} if record and record.modified else {}


def continues(reply: Reply, partial: Partial, have: int) -> bool:
    """Whether a 206 is the rest of what is here; some servers ignore If-Range."""
    first, total = reply.content_range
    same = reply.headers.get("etag", partial.etag) == partial.etag
    return same and first == have and total == partial.total


def begun(reply: Reply, called: str) -> Partial:
    """The object that this answer begins; *called* is its URL without secrets."""
    headers = reply.headers
    return Partial(
        called, reply.validator, reply.length, headers.get("etag", ""), headers.get("last-modified", ""), 0, boot_id()
    )
