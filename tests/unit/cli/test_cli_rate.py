import io

import pytest

from pragma_boot.cli.progress import PlainProgress
from pragma_boot.cli.rate import Rates
from pragma_boot.model import Progress

MIB = 1024 * 1024


def step(done: int, total: int | None = 100 * MIB, phase: str = "download") -> Progress:
    return Progress(phase, "demo", done=done, total=total)


def told(*samples: tuple[float, int], total: int | None = 100 * MIB) -> str:
    rates = Rates()
    for now, done in samples:
        rates.take(step(done, total), now)
    return rates.text(step(samples[-1][1], total))


def test_rate_and_remaining_time() -> None:
    assert told((0, 0), (2, 10 * MIB)) == "5.0 MiB/s, 18 s left"
    assert told((0, 0), (2, 10 * MIB), total=None) == "5.0 MiB/s"


@pytest.mark.parametrize(("total", "left"), [(1000, "3 min"), (100_000, "5 h 33 min"), (11, "1 s")])
def test_the_remaining_time_is_in_fit_units(total: int, left: str) -> None:
    assert told((0, 0), (2, 10 * MIB), total=total * MIB).endswith(f", {left} left")


def test_only_the_last_seconds_count() -> None:
    assert told((0, 0), (1, 50 * MIB), (20, 50 * MIB), (30, 60 * MIB), total=None).startswith("1.0 MiB/s")


def test_nothing_is_said_too_early_at_a_standstill_or_at_the_end() -> None:
    assert told((0, 0), (0.5, 10 * MIB)) == ""
    assert told((0, 10 * MIB), (5, 10 * MIB)) == ""
    assert told((0, 0), (5, 100 * MIB)) == ""


def test_starting_over_and_a_new_phase_begin_anew() -> None:
    assert told((0, 0), (5, 10 * MIB), (6, MIB)) == ""
    rates = Rates()
    rates.take(step(0), 0)
    rates.take(step(10 * MIB), 5)
    assert rates.text(step(10 * MIB, phase="decompress")) == ""
    rates.take(Progress("boot", "demo"), 6)


def test_plain_lines_show_it() -> None:
    stream, times = io.StringIO(), iter([0.0, 0.0, 20.0])
    progress = PlainProgress(stream, lambda: next(times))
    progress(step(0))
    progress(step(50 * MIB))
    assert stream.getvalue().splitlines()[-1] == "[ 20.0s] demo: download 50 % (2.5 MiB/s, 20 s left)"
