"""An emulated site for each test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.rocks import RocksBench


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., RocksBench]:
    """``make("6.2", containers=1)`` is a site and a driver on it."""

    def build(version: str = "7.0", **more: object) -> RocksBench:
        return RocksBench(tmp_path / f"bench-{version}", version, **more)  # type: ignore[arg-type]

    return build


@pytest.fixture
def bench(make: Callable[..., RocksBench]) -> RocksBench:
    """A site of version 7.0 with three containers."""
    return make()
