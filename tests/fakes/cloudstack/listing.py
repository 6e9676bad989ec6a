"""What the list commands have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .cloud import Call
from .errors import bad


def listed(call: Call, key: str, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """A page of *rows*: nothing at all for an empty list, the bare count past the end."""
    made, args, most = list(rows), call.args, call.cloud.config.default_page_size
    page, size = args["page"], args["pagesize"]
    if size == -1 and call.cloud.config.since("4.11"):
        if page is not None:
            raise bad("Can't specify page parameter when pagesize is -1 (Unlimited)")
        start, end = 0, len(made)
    elif size is not None and page is None:
        raise bad('"page" parameter is required when "pagesize" is specified')
    elif page is not None and size is None:
        raise bad('"pagesize" parameter is required when "page" is specified')
    elif size is not None and size > most:
        raise bad(f"Page size can't exceed max allowed page size value: {most}")
    elif size is not None:
        start, end = (max(page, 1) - 1) * size, max(page, 1) * size
    else:
        start, end = 0, most
    if not made:
        return {}
    shown = made[start:end]
    return {"count": len(made)} | ({key: shown} if shown else {})


def tagged(call: Call, ident: str) -> bool:
    """Whether a resource has ANY of the tags that are asked for."""
    wanted = call.args.entries("tags")
    held = [(tag.key, tag.value) for tag in call.cloud.state.tags.values() if tag.resourceid == ident]
    return not wanted or any((one.get("key", ""), one.get("value", "")) in held for one in wanted)


def worded(call: Call, *texts: str | None) -> bool:
    """Whether the keyword is part of one of *texts*."""
    word = call.args["keyword"]
    return word is None or any(word.lower() in (text or "").lower() for text in texts)
