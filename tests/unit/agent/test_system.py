"""What the agent asks of the running system."""

from __future__ import annotations

import time

import pytest

from pragma_boot.agent.system import System


def test_programs(caplog: pytest.LogCaptureFixture) -> None:
    system = System()
    assert system.output(["sh", "-c", "echo $LC_ALL"]) == "C\n"
    assert not system.run(["sh", "-c", "echo no luck >&2; exit 3"])
    assert "status 3: no luck" in caplog.text
    assert not system.run(["no-such-program"])
    begin = time.monotonic()
    assert not system.run(["sleep", "60"], timeout=0.05)
    assert time.monotonic() < begin + 30
    assert system.has("sh")
    assert not system.has("no-such-program")


def test_a_wait_ends_by_itself() -> None:
    system = System()
    begin = system.now()
    system.wait(0.05)
    assert 0.04 < system.now() - begin < 30


def test_names_that_are_none_have_no_address() -> None:
    assert System().resolve("name.invalid") == []
    assert System().resolve("127.0.0.1") == ["127.0.0.1"]
