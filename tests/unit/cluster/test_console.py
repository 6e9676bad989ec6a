"""Following a console log that grows, is made anew and is rotated."""

from __future__ import annotations

from pathlib import Path

import pytest

from pragma_boot.cluster.console import TAIL, ConsoleLog, clean


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "node.log"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_only_what_this_start_wrote_is_read(log: Path) -> None:
    log.write_text("old start\n")
    console = ConsoleLog(log, offset=log.stat().st_size)
    append(log, "new\n")
    assert console.read() == "new\n"
    assert console.read() == ""


def test_a_log_shorter_than_the_offset_was_made_anew(log: Path) -> None:
    log.write_text("new\n")
    assert ConsoleLog(log, offset=100).read() == "new\n"


def test_a_log_may_appear_later(log: Path) -> None:
    console = ConsoleLog(log)
    assert console.read() == ""
    append(log, "hello\n")
    assert console.read() == "hello\n"


def test_nothing_is_lost_when_the_log_is_rotated(log: Path) -> None:
    append(log, "one\n")
    console = ConsoleLog(log)
    console.read()
    append(log, "two\n")
    log.rename(log.with_name("node.log.0"))
    append(log, "three\n")
    assert console.read() == "two\nthree\n"


def test_an_emptied_log_is_read_from_its_start(log: Path) -> None:
    append(log, "a long first start\n")
    console = ConsoleLog(log)
    console.read()
    log.write_text("again\n")
    assert console.read() == "again\n"


def test_a_line_is_given_once_it_is_whole(log: Path) -> None:
    console = ConsoleLog(log)
    assert console.lines("pragma-node: fe rea") == []
    assert console.lines("dy\r\nnext") == ["pragma-node: fe ready"]


def test_an_endless_line_is_bounded(log: Path) -> None:
    console = ConsoleLog(log)
    for _ in range(20):
        console.lines("x" * 1000)
    assert len(console.lines("\n")[0]) < 5000


def test_the_tail_is_bounded(log: Path) -> None:
    log.write_text("x" * (TAIL + 1000))
    console = ConsoleLog(log)
    console.read()
    assert len(console.tail) == TAIL


def test_last_lines_are_clean_and_not_empty(log: Path) -> None:
    log.write_text("first\n\n\x1b[1;31mred\x1b[0m\r\n\x07bell\x9b\u202e\n" + "w" * 500 + "\n")
    console = ConsoleLog(log)
    console.read()
    lines = console.last_lines(3)
    assert lines[:2] == ["red", "bell"]
    assert len(lines[2]) == 160


def test_undecodable_bytes_are_replaced(log: Path) -> None:
    log.write_bytes(b"\xff\xfeok\n")
    assert "ok" in ConsoleLog(log).read()


def test_clean_keeps_plain_text() -> None:
    assert clean("Debian GNU/Linux 12 größe") == "Debian GNU/Linux 12 größe"
