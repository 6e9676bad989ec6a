"""A web server, and a client that does not really wait."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes.web import WebServer, web_server
from pragma_boot.repository.patience import Patience
from pragma_boot.repository.web import Web


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as running:
        yield running


@pytest.fixture
def pauses() -> list[float]:
    """How long the client of `web` wanted to wait, each time."""
    return []


@pytest.fixture
def web(pauses: list[float]) -> Web:
    return Web(patience=Patience(attempts=4, sleep=pauses.append, connect=20, read=20))
