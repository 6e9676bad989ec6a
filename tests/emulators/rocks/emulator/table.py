"""The one formatter of all `list` commands: owner trimming, dashes, Python 2's widths, options, JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby

from .py2 import dict_order, width

Row = tuple[str, Sequence[object]]
"""Owner (without the colon) and cells."""


def json_order(record: Mapping[str, object]) -> dict[str, object]:
    """The same record with its keys as Python 2 would write them."""
    return {key: record[key] for key in dict_order(record)}


def as_json(what: str, header: Sequence[str], rows: Sequence[Row]) -> str:
    """Rows as JSON: an object per run of rows with the same owner. No rows: nothing at all."""
    names = [name.lower() for name in header]
    objects = []
    for owner, group in groupby(rows, key=lambda row: row[0]):
        cells = [json_order(dict(zip(names[1:], row[1], strict=True))) for row in group]
        objects.append(json_order({names[0]: owner.replace(":", ""), what: cells}))
    return json.dumps(objects, indent=4, separators=(", ", ": ")) + "\n" if objects else ""


def as_table(
    header: Sequence[str], rows: Sequence[Row], *, trim: bool = True, show_header: bool = True, only: str | None = None
) -> str:
    """Rows as a table of left-justified cells, one blank between them.

    trim: leave the owner's column out when all rows have the same owner.
    show_header: without it the header's widths do not count either.
    only: names of the columns to keep, lower case, with commas between them.
    """
    if not rows:
        return ""
    lines: list[list[object]] = [[f"{owner}:", *cells] for owner, cells in rows]
    if show_header:
        lines.insert(0, [name.upper() for name in header])
    first = 1 if trim and len({owner for owner, _ in rows}) == 1 else 0
    kept = [index for index in range(first, len(header)) if only is None or header[index].lower() in only.split(",")]
    widths = {index: max(width(line[index]) for line in lines) for index in kept}
    return "".join(" ".join(_cell(line[index], widths[index]) for index in kept) + "\n" for line in lines)


def _cell(value: object, size: int) -> str:
    return "-" * size if value is None or value == "" else str(value).ljust(size)
