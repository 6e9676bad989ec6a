"""What `rocks list …` writes, as rows: JSON where Rocks has it, else the table, cut at its header's offsets.

The formatter's rules are rocks.md 1.4 and 1.6. Pure.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pragma_boot.errors import DriverError

_log = logging.getLogger(__name__)

_DOWN = re.compile(r"[\w.-]+: down")
"""What Rocks says in between of a host that does not answer (rocks.md 3.18); it may be all that is said."""

Cells = Mapping[str, str | None]
"""Values by column, named as in the table's header (``CLIENT NODES``); None where a cell is empty or absent."""


@dataclass(frozen=True, slots=True)
class Form:
    """A listing: the command's words, its owner column and the others in order; not every version has them all."""

    words: str
    owner: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One row. owner: None where the table does not say (all rows have the same one then); may be empty."""

    owner: str | None
    cells: Cells

    def __getitem__(self, column: str) -> str | None:
        return self.cells.get(column)


CLUSTER = Form("list cluster", "FRONTEND", ("CLIENT NODES", "TYPE", "STATUS"))
HOST = Form("list host", "HOST", ("MEMBERSHIP", "CPUS", "RACK", "RANK", "RUNACTION", "INSTALLACTION"))
INTERFACE = Form(
    "list host interface",
    "HOST",
    ("SUBNET", "IFACE", "MAC", "IP", "NETMASK", "MODULE", "NAME", "VLAN", "OPTIONS", "CHANNEL"),
)
MACHINE = Form(
    "list host vm",
    "VM-HOST",
    ("SLICE", "MEM", "CPUS", "MAC", "HOST", "VIRT-TYPE", "STATUS", "DISK", "DISKSIZE", "CDROM"),
)
MACHINE_NAS = Form("list host vm nas", "VM-HOST", ("NAS", "ZPOOL"))
APPLIANCE = Form("list appliance", "APPLIANCE", ("GRAPH", "NODE"))
BOOT = Form("list host boot", "HOST", ("ACTION",))
STORAGEMAP = Form(
    "list host storagemap",
    "NAS",
    ("ZVOL", "ZPOOL", "REMOTEHOST", "REMOTEPOOL", "TARGET", "STATE", "TIME", "NEXTSYNC", "LOCKED"),
)
STORAGEMAP_OLD = Form("list host storagemap", "NAS", ("ZVOL", "HOST", "ZPOOL", "TARGET", "STATE", "TIME"))


def parse(text: str, *forms: Form) -> tuple[Row, ...]:
    """All rows of a listing that is in one of *forms*; none for empty output.

    Lines that are no part of the listing (a container that is down is told in between) are left out.
    Raises DriverError for output in no such form: nothing is guessed.
    """
    lines = [line for line in text.splitlines() if not _DOWN.fullmatch(line)]
    if not any(line.strip() for line in lines):
        return ()
    for number, line in enumerate(lines):
        if line.rstrip() == "[":
            return tuple(_json("\n".join(lines[number:]), forms[0]))
        for form in forms:
            columns = _columns(line, form)
            if columns:
                return tuple(_table(lines[number + 1 :], len(line), columns, form))
    raise _not_understood(forms[0], lines[0])


def _json(text: str, form: Form) -> Iterator[Row]:
    try:
        objects, _end = json.JSONDecoder().raw_decode(text)
    except ValueError as error:
        raise _not_understood(form, str(error)) from error
    owner = form.owner.lower()
    for entry in objects:
        if not isinstance(entry, dict) or owner not in entry:
            raise _not_understood(form, f"an object without {owner!r}")
        for rows in entry.values():
            if isinstance(rows, list):
                yield from (Row(str(entry[owner]), {name.upper(): _plain(row[name]) for name in row}) for row in rows)


def _plain(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _columns(header: str, form: Form) -> list[tuple[str, int]] | None:
    """Name and offset of each column; None when *header* is not this form's."""
    found: list[tuple[str, int]] = []
    at = 0
    for name in (form.owner, *form.columns):
        end = at + len(name)
        if header.startswith(name, at) and (end == len(header) or header[end] == " "):
            found.append((name, at))
            at = end + len(header[end:]) - len(header[end:].lstrip(" "))
    return found if found and at == len(header) else None


def _table(lines: Sequence[str], width: int, columns: list[tuple[str, int]], form: Form) -> Iterator[Row]:
    ends = [at - 1 for _, at in columns[1:]] + [width]
    for line in lines:
        if len(line) != width or any(line[end] != " " for end in ends[:-1]):
            _log.debug("rocks %s: left out: %s", form.words, line)
            continue
        cells = {name: _cell(line[at:end], end - at) for (name, at), end in zip(columns, ends, strict=True)}
        owner = (cells.pop(form.owner) or "").removesuffix(":") if columns[0][0] == form.owner else None
        yield Row(owner, cells)


def _cell(text: str, width: int) -> str | None:
    return None if text == "-" * width else text.rstrip(" ")


def _not_understood(form: Form, seen: str) -> DriverError:
    return DriverError(
        f"the answer of 'rocks {form.words}' is not understood",
        details=seen[:200],
        resolution="see that Rocks is 6.2 or 7.0 with the rolls of docs/kvm-rocks.md; if it is, report this as a bug",
    )
