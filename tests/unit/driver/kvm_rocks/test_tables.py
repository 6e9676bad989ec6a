"""Listings as rows: both formats, every trick of the formatter."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pragma_boot.driver.kvm_rocks import tables
from pragma_boot.driver.kvm_rocks.tables import Form, parse
from pragma_boot.errors import DriverError

FORM = Form("list things", "THING", ("CLIENT NODES", "TYPE", "CPUS", "SIZE (GB)"))


def table(rows: list[tuple[str, list[str | None]]], *, trim: bool, wider: int = 0) -> str:
    """As Rocks formats; *wider*: what numbers count for more than they show."""
    if not rows:
        return ""
    trim = trim and len({owner for owner, _ in rows}) == 1
    lines = [[FORM.owner, *FORM.columns]] + [[f"{owner}:", *cells] for owner, cells in rows]
    if trim:
        lines = [line[1:] for line in lines]
    widths = [max(len(line[column] or "") for line in lines) + wider for column in range(len(lines[0]))]
    return "".join(
        " ".join((cell or "-" * width).ljust(width) for cell, width in zip(line, widths, strict=True)) + "\n"
        for line in lines
    )


def as_json(rows: list[tuple[str, list[str | None]]]) -> str:
    entries = [
        {"thing": owner, "list": [dict(zip(map(str.lower, FORM.columns), cells, strict=True))]} for owner, cells in rows
    ]
    return json.dumps(entries, indent=4) if rows else ""


WORDS = st.text("abcXYZ09.:,<()", min_size=1, max_size=12)
CELLS = st.none() | WORDS | st.tuples(WORDS, WORDS).map(" ".join)
ROWS = st.lists(
    st.tuples(st.text("abc-0", min_size=1, max_size=8), st.lists(CELLS, min_size=4, max_size=4)), max_size=5
)


@given(ROWS, st.booleans(), st.integers(0, 3))
def test_every_table_is_read_back(rows: list[tuple[str, list[str | None]]], trim: bool, wider: int) -> None:
    found = parse(table(rows, trim=trim, wider=wider), FORM)
    assert [[row[column] for column in FORM.columns] for row in found] == [cells for _, cells in rows]
    trimmed = trim and len({owner for owner, _ in rows}) == 1
    assert [row.owner for row in found] == [None if trimmed else owner for owner, _ in rows]


@given(ROWS)
def test_json_and_table_say_the_same(rows: list[tuple[str, list[str | None]]]) -> None:
    assert parse(as_json(rows), FORM) == parse(table(rows, trim=False), FORM)


def test_lines_that_are_no_rows_are_left_out() -> None:
    text = "vm-container-0-1: down\n" + table([("a", ["b", "VM", "1", None])], trim=False) + "vm-container-0-2: down\n"
    assert [row.owner for row in parse(text, FORM)] == ["a"]


def test_a_host_that_is_down_is_no_row_where_there_are_none() -> None:
    assert parse("vm-container-0-1: down\n", FORM) == ()


def test_a_column_that_this_version_lacks_is_none() -> None:
    text = "SLICE MEM   CPUS MAC               HOST VIRT-TYPE\n0     2048  1    c6:ca:58:80:00:00 fiji hvm      \n"
    (row,) = parse(text, tables.MACHINE)
    assert (row.owner, row["MEM"], row["STATUS"], row["HOST"]) == (None, "2048", None, "fiji")


def test_both_forms_of_storagemap_are_understood() -> None:
    new = "ZVOL     ZPOOL  REMOTEHOST REMOTEPOOL TARGET STATE         TIME    NEXTSYNC LOCKED\n" + (
        "myvc-vol pragma fiji       ---------- ------ NAS<-VM sched 1:02:03 -------- True  \n"
    )
    old = "ZVOL     HOST ZPOOL  TARGET STATE  TIME\nmyvc-vol fiji pragma ------ mapped ----\n"
    states = [parse(text, tables.STORAGEMAP, tables.STORAGEMAP_OLD)[0]["STATE"] for text in (new, old)]
    assert states == ["NAS<-VM sched", "mapped"]


@pytest.mark.parametrize("text", ["what is this\n", "[\n{broken", '[\n{"other": []}\n]', "HOST OWNER\nx y\n"])
def test_what_is_not_understood_is_not_guessed(text: str) -> None:
    with pytest.raises(DriverError, match="is not understood"):
        parse(text, FORM)
