"""A cloud for each test; at its end nothing may have been asked that no command has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes.cloudstack.scene import Scene


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.cloud.check()
