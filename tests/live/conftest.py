"""Fixtures of the tests that boot real virtual machines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from live.site import LiveSite, built_image, live_site, unfit


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.live)


@pytest.fixture(scope="session")
def tiny() -> Path:
    """The vc-in document of the tiny image."""
    return _image("tiny")


@pytest.fixture(scope="session")
def demo() -> Path:
    """The vc-in document of the demo image."""
    return _image("demo")


def _image(flavour: str) -> Path:
    reason = unfit()
    if reason:
        pytest.skip(reason)
    return built_image(flavour)


@pytest.fixture
def site(tiny: Path) -> Iterator[LiveSite]:
    """A site of its own that offers the image `tiny`; fails the test when a cluster of it leaves anything behind."""
    with live_site(tiny) as made:
        yield made
        assert made.left() == []
