from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from pragma_boot.cli import progress
from pragma_boot.cli.progress import PlainProgress, show, table
from pragma_boot.model import Progress

MIB = 1024 * 1024


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_plain_lines_have_time_node_phase_and_text(stream: io.StringIO, clock: Clock) -> None:
    sink = PlainProgress(stream, clock)
    sink(Progress("prepare", "vc1", "cloning the disk"))
    clock.now += 12.34
    sink(Progress("boot", "compute-0", "started"))
    assert stream.getvalue() == "[  0.0s] vc1: prepare cloning the disk\n[ 12.3s] compute-0: boot started\n"


def test_a_new_phase_is_told_at_once(stream: io.StringIO, clock: Clock) -> None:
    sink = PlainProgress(stream, clock)
    for phase in ("prepare", "boot", "ready"):
        sink(Progress(phase, "vc1"))
    assert stream.getvalue().count("\n") == 3


def test_texts_and_counts_are_thinned_out(stream: io.StringIO, clock: Clock) -> None:
    sink = PlainProgress(stream, clock)
    for step in range(1000):
        sink(Progress("download", "demo", "disk", step * MIB, 1000 * MIB))
        clock.now += 0.03
    assert stream.getvalue() == (
        "[  0.0s] demo: download disk 0 %\n"
        "[ 10.0s] demo: download disk 33 % (33.3 MiB/s, 20 s left)\n"
        "[ 20.0s] demo: download disk 66 % (33.3 MiB/s, 10 s left)\n"
    )
    clock.now += 1
    sink(Progress("download", "demo", "verifying"))
    sink(Progress("download", "demo", "verifying more"))
    assert stream.getvalue().endswith("verifying\n")


@pytest.mark.parametrize("end", ["ready in 2.0 s", "failed: kernel panic"])
def test_how_it_ended_is_told_however_fast_it_came(stream: io.StringIO, clock: Clock, end: str) -> None:
    sink = PlainProgress(stream, clock)
    for text in ("waiting: its console is quiet", "waiting: no-sshd", end):
        sink(Progress("ready", "vc1", text))
        clock.now += 0.1
    assert stream.getvalue() == f"[  0.0s] vc1: waiting: its console is quiet\n[  0.2s] vc1: {end}\n"


def test_subjects_do_not_hide_each_other(stream: io.StringIO, clock: Clock) -> None:
    sink = PlainProgress(stream, clock)
    for node in ("a", "b"):
        sink(Progress("boot", node, "started"))
    assert stream.getvalue().count("started") == 2


def test_a_reader_that_is_gone_does_not_stop_the_work(stream: io.StringIO) -> None:
    sink = PlainProgress(stream)
    stream.close()
    sink(Progress("boot", "vc1"))


def test_lines_of_many_threads_stay_whole(stream: io.StringIO) -> None:
    sink = PlainProgress(stream)
    threads = [threading.Thread(target=sink, args=(Progress("boot", f"n{number}", "x" * 50),)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(line.endswith("x" * 50) for line in stream.getvalue().splitlines())
    assert stream.getvalue().count("\n") == 20


def test_text_from_guests_cannot_steer_the_terminal(stream: io.StringIO) -> None:
    PlainProgress(stream)(Progress("ready", "vc1", "last line: \x1b[2J"))
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Progress("download", "x"), ""),
        (Progress("download", "x", "", 0), ""),
        (Progress("download", "x", "", 5 * MIB), "5 MiB"),
        (Progress("download", "x", "", 1, 3), "33 %"),
        (Progress("download", "x", "", 9, 3), "100 %"),
        (Progress("download", "x", "", 9, 0), ""),
    ],
)
def test_counts(step: Progress, text: str) -> None:
    assert progress.counted(step) == text


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (Progress("ready", "a", "ready in 2.0 s"), "a: ready in 2.0 s"),
        (Progress("ready", "a", "waiting: no-sshd"), "a: waiting: no-sshd"),
        (Progress("ready", "a", "failed: kernel panic"), "a: failed: kernel panic"),
        (Progress("ready", "a", "its console is quiet"), "a: ready its console is quiet"),
        (Progress("boot", "a", "ready to go"), "a: boot ready to go"),
    ],
)
def test_the_last_phase_is_told_by_its_outcome(stream: io.StringIO, clock: Clock, step: Progress, line: str) -> None:
    PlainProgress(stream, clock)(step)
    assert stream.getvalue() == f"[  0.0s] {line}\n"


def test_quiet_shows_nothing(stream: io.StringIO) -> None:
    with show(stream, quiet=True) as sink:
        sink(Progress("boot", "vc1"))
    assert stream.getvalue() == ""


def test_the_live_view_has_one_line_a_node() -> None:
    board = progress._Board({"vc1": None, "demo": None})
    board.take(Progress("download", "demo", "[red]not markup[/]", MIB, 2 * MIB))
    board.take(Progress("boot", "compute-0", "waiting for sshd"))
    board.take(Progress("ready", "compute-0", "ready in 2.0 s"))
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as capture:
        console.print(table(board))
    lines = capture.get().splitlines()
    assert len(lines) == 3
    assert "vc1" in lines[0] and "waiting" in lines[0]
    assert "[red]not markup[/]" in lines[1] and "━" in lines[1]
    assert "compute-0 ready in 2.0 s" in " ".join(lines[2].split())


def test_a_terminal_gets_the_live_view_and_keeps_its_last_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    with show(stream, subjects=["vc1"]) as sink:
        sink(Progress("ready", "vc1", "ready in 1.0 s"))
    assert "\x1b[" in stream.getvalue()
    assert "in 1.0 s" in stream.getvalue()
