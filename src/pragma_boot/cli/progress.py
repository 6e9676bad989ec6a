"""Progress of long work on standard error: a live view, one line a node, on a terminal; plain lines elsewhere.

Sinks are called from any thread: they store or write under a lock and never raise.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from pragma_boot.cli.rate import Rates
from pragma_boot.log import masked, printable
from pragma_boot.model import Progress, ProgressSink, no_progress

if TYPE_CHECKING:
    from rich.table import Table

TEXT_PAUSE = 1.0
"""Seconds between two plain lines of one subject in the same phase."""
COUNT_PAUSE = 10.0
"""Seconds between two plain lines that differ in their counts alone."""
_STYLES = {"ready": "green", "failed": "red", "waiting": "yellow"}


@contextlib.contextmanager
def show(stream: TextIO, *, quiet: bool = False, subjects: Iterable[str] = ()) -> Iterator[ProgressSink]:
    """Give a sink whose progress is shown on *stream* until the block ends."""
    if quiet:
        yield no_progress
    elif stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        with _live(stream, subjects) as sink:
            yield sink
    else:
        yield PlainProgress(stream)


@dataclass(slots=True)
class _Line:
    """What was last written of one subject, and when."""

    step: Progress
    written: float


class PlainProgress:
    """A sink that writes ``[ 12.3s] NODE: phase text`` lines, and not too many of them.

    A new phase is always told, and how it ended for a node; texts and counts that change fast are thinned out.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._began = clock()
        self._lines: dict[str, _Line] = {}
        self._rates = Rates()
        self._lock = threading.Lock()

    def __call__(self, step: Progress) -> None:
        with self._lock:
            now = self._clock()
            self._rates.take(step, now)
            last = self._lines.get(step.subject)
            if last and not _worth_a_line(last.step, step, now - last.written):
                return
            self._lines[step.subject] = _Line(step, now)
            with contextlib.suppress(OSError, ValueError):  # nobody reads any more: the work goes on
                self._stream.write(f"[{now - self._began:5.1f}s] {_sentence(step, self._rates.text(step))}\n")
                self._stream.flush()


def _worth_a_line(last: Progress, step: Progress, since: float) -> bool:
    if last.phase != step.phase:
        return True
    if last.text != step.text:
        return since >= TEXT_PAUSE or _is_end(step)
    return since >= COUNT_PAUSE and last.done != step.done


def _sentence(step: Progress, rate: str) -> str:
    word, text = worded(step)
    rate = rate and f"({rate})"
    return " ".join(part for part in (f"{printable(step.subject)}: {word}", text, counted(step), rate) if part)


def worded(step: Progress) -> tuple[str, str]:
    """The word that says how things stand, and the rest of the step's text.

    It is the phase, but in the last one (`ready`) the text's own first word: "waiting: …", "ready in …", "failed: …".
    """
    text = printable(masked(step.text))
    first, _, rest = text.partition(" ")
    if step.phase == "ready" and first.rstrip(":") in _STYLES:
        return first, rest
    return step.phase, text


def _is_end(step: Progress) -> bool:
    return step.phase == "ready" and worded(step)[0].rstrip(":") in ("ready", "failed")


def counted(step: Progress) -> str:
    """How far a step is: percent when the end is known, MiB of a transfer when not."""
    if step.done is None:
        return ""
    if step.total:
        return f"{min(100, 100 * step.done // step.total)} %"
    return f"{step.done / 1024 / 1024:.0f} MiB" if step.done >= 1024 * 1024 else ""


# ------------------------------------------------------------------------------------------------------------ live view


@dataclass(slots=True)
class _Board:
    """The latest step of each subject, in the order of their first appearance."""

    steps: dict[str, Progress | None]
    since: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    rates: Rates = field(default_factory=Rates)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, step: Progress) -> None:
        with self.lock:
            now = time.monotonic()
            self.steps[step.subject] = step
            self.rates.take(step, now)
            self.since.setdefault(step.subject, now)
            if _is_end(step):
                self.ended.setdefault(step.subject, now)

    def seconds(self, subject: str) -> float | None:
        began = self.since.get(subject)
        return None if began is None else self.ended.get(subject, time.monotonic()) - began


@contextlib.contextmanager
def _live(stream: TextIO, subjects: Iterable[str]) -> Iterator[ProgressSink]:
    from rich.console import Console  # noqa: PLC0415 - only people at a terminal pay for it
    from rich.live import Live  # noqa: PLC0415

    board = _Board(dict.fromkeys(subjects))
    console = Console(file=stream, highlight=False)
    view = Live(get_renderable=lambda: table(board), console=console, refresh_per_second=8, redirect_stdout=False)
    with view:
        yield board.take


def table(board: _Board) -> Table:
    """The live view's lines just now; texts are plain text, never markup."""
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    grid = Table.grid(padding=(0, 1), expand=False)
    with board.lock:
        for subject, step in board.steps.items():
            seconds = board.seconds(subject)
            clock = Text(f"{seconds:6.1f}s" if seconds is not None else "", style="dim")
            name = Text(printable(subject), style="bold")
            if step is None:
                grid.add_row(clock, name, Text("waiting", style="dim"), Text(""), Text(""))
                continue
            word, text = worded(step)
            known = step.done is not None and bool(step.total)
            meter = ProgressBar(total=step.total, completed=step.done or 0, width=20) if known else Text(counted(step))
            text = " ".join(part for part in (text, board.rates.text(step)) if part)
            state = Text(word, style=_STYLES.get(word.rstrip(":"), "cyan"))
            grid.add_row(clock, name, state, Text(text, no_wrap=True, overflow="ellipsis"), meter)
    return grid
