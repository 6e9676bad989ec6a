"""The table formatter and what it inherits from Python 2."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulators.rocks.emulator.py2 import Long, Unicode, dict_order, width
from emulators.rocks.emulator.table import Row, as_json, as_table

HEADER = ["host", "subnet", "iface", "mtu"]


def test_no_rows_print_nothing_at_all() -> None:
    assert as_table(HEADER, []) == as_json("list", HEADER, []) == ""


def test_one_owner_is_left_out_with_its_header() -> None:
    rows: list[Row] = [("a", ["private", "eth0", None]), ("a", ["public", "eth1", None])]
    assert as_table(HEADER, rows).splitlines() == ["SUBNET  IFACE MTU", "private eth0  ---", "public  eth1  ---"]


def test_two_owners_are_shown_with_a_colon() -> None:
    rows: list[Row] = [("a", ["x", "eth0", ""]), ("bb", ["y", "eth0", ""])]
    assert as_table(HEADER, rows).splitlines() == [
        "HOST SUBNET IFACE MTU",
        "a:   x      eth0  ---",
        "bb:  y      eth0  ---",
    ]


def test_without_trimming_one_owner_stays() -> None:
    assert as_table(["host", "boot"], [("a", ["os"])], trim=False) == "HOST BOOT\na:   os  \n"


@pytest.mark.parametrize(
    ("cell", "expected"), [(None, 0), ("", 0), ("abc", 3), (2048, 4), (Long(2048), 5), (Unicode("abc"), 6), (True, 4)]
)
def test_cells_are_as_wide_as_python_2_represents_them(cell: object, expected: int) -> None:
    assert width(cell) == expected


def test_numbers_from_the_database_widen_their_column() -> None:
    assert as_table(["vm", "mem"], [("a", [Long(2048)])]) == "MEM  \n2048 \n"


def test_without_header_an_empty_column_has_no_width() -> None:
    header = ["host", "subnet", "iface", "mac", "ip", "netmask", "module", "name", "vlan", "options", "channel"]
    cells = [None, "eth0", "c6:ca:58:80:00:0a", None, None, None, "vm-vc-0", Long(3), None, None]
    assert as_table(header, [("vm-vc-0", cells)], show_header=False) == " eth0 c6:ca:58:80:00:0a    vm-vc-0 3   \n"


def test_columns_keep_the_tables_order_and_unknown_ones_select_nothing() -> None:
    rows: list[Row] = [("a", ["private", "eth0", None])]
    assert as_table(HEADER, rows, only="iface,subnet") == "SUBNET  IFACE\nprivate eth0 \n"
    assert as_table(HEADER, rows, only="IFACE") == "\n\n"


def test_json_has_one_object_per_run_of_an_owner() -> None:
    rows: list[Row] = [
        ("a", ["x", "eth0", None]),
        ("", ["y", "e", Long(1)]),
        ("", ["z", "e", True]),
        ("a", ["w", "e", ""]),
    ]
    found = json.loads(as_json("interface", HEADER, rows))
    assert [(group["host"], len(group["interface"])) for group in found] == [("a", 1), ("", 2), ("a", 1)]
    assert found[1]["interface"] == [
        {"subnet": "y", "iface": "e", "mtu": 1},
        {"subnet": "z", "iface": "e", "mtu": True},
    ]


@pytest.mark.parametrize(
    ("inserted", "order"),
    [
        ("slice mem cpus mac host virt-type status", "status virt-type mem host cpus mac slice"),
        ("frontend cluster", "cluster frontend"),
        ("vm vm-host", "vm-host vm"),
    ],
)
def test_dictionaries_are_in_python_2_order(inserted: str, order: str) -> None:
    assert dict_order(inserted.split()) == order.split()


def test_a_dictionary_that_grows_keeps_all_keys() -> None:
    keys = [f"key-{number}" for number in range(50)]
    assert sorted(dict_order(keys)) == sorted(keys)


def _sliced(text: str, header: list[str]) -> list[list[str | None]]:
    """A table read as a driver reads it: by the offsets of its header."""
    first, *lines = text.splitlines()
    starts = [first.index(name.upper()) for name in header]
    ends = [start - 1 for start in starts[1:]] + [len(first)]
    found: list[list[str | None]] = []
    for line in lines:
        cells = [line[start:end] for start, end in zip(starts, ends, strict=True)]
        found.append([None if set(cell) == {"-"} else cell.rstrip() for cell in cells])
    return found


_TEXT = st.text("abcXYZ019.:<- ", min_size=1, max_size=12).map(str.strip).filter(lambda text: text.strip("- "))
_CELL = st.one_of(st.none(), _TEXT, _TEXT.map(Unicode))


@given(st.lists(st.tuples(_TEXT, st.tuples(_CELL, _CELL)), min_size=2, max_size=6))
def test_tables_can_be_read_back_by_offsets(rows: list[tuple[str, tuple[str | None, str | None]]]) -> None:
    header = ["OWNERS", "CLIENT NODES", "QQ"]
    shown = as_table(header, rows, trim=False)
    assert _sliced(shown, header) == [[f"{owner}:", *cells] for owner, cells in rows]
