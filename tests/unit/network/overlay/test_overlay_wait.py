from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.overlay import join_information
from pragma_boot.errors import ExchangeError, JoinInformationError
from pragma_boot.model import Progress
from pragma_boot.network.overlay.opening import open_exchange
from pragma_boot.network.overlay.wait import wait_for


class Clock:
    """Time that passes only while somebody sleeps; *then* happens at its times."""

    def __init__(self, then: dict[float, Callable[[], object]]) -> None:
        self.time, self.then, self.slept = 1000.0, then, list[float]()

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        for due in [at for at in self.then if at + 1000 <= self.time]:
            self.then.pop(due)()


def test_a_hub_that_publishes_later_is_found(tmp_path: Path) -> None:
    exchange = open_exchange(str(tmp_path / "info"))
    clock = Clock({100: lambda: exchange.publish(join_information())})
    told: list[Progress] = []
    assert wait_for(exchange, told.append, "demo", now=clock.now, sleep=clock.sleep) == join_information()
    assert clock.slept == [60, 60]
    assert [(one.subject, one.done, one.total) for one in told] == [("demo", 0, 1800), ("demo", 60, 1800)]
    assert "nothing is published there yet" in told[0].text


def test_a_hub_that_never_appears_ends_the_wait(tmp_path: Path) -> None:
    exchange, clock = open_exchange(str(tmp_path / "info")), Clock({})
    with pytest.raises(ExchangeError, match=r"within 2\.5 min") as caught:
        wait_for(exchange, lambda _: None, "demo", limit=150, now=clock.now, sleep=clock.sleep)
    assert clock.slept == [60, 60, 30]
    assert "enable-ipop-server" in str(caught.value.resolution)
    assert list(tmp_path.iterdir()) == []


def test_without_patience_it_looks_once(tmp_path: Path) -> None:
    clock = Clock({})
    with pytest.raises(ExchangeError, match="within 0 s"):
        wait_for(open_exchange(str(tmp_path / "i")), lambda _: None, "x", limit=0, now=clock.now, sleep=clock.sleep)
    assert clock.slept == []


def test_what_waiting_does_not_mend_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "i").write_text("<html>\n")
    clock = Clock({})
    with pytest.raises(JoinInformationError):
        wait_for(open_exchange(str(tmp_path / "i")), lambda _: None, "x", now=clock.now, sleep=clock.sleep)
    with pytest.raises(ExchangeError, match="is not a folder"):
        wait_for(open_exchange(str(tmp_path / "n/i")), lambda _: None, "x", now=clock.now, sleep=clock.sleep)
    assert clock.slept == []
