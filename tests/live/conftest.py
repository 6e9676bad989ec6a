"""Fixtures of the tests that boot real virtual machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from live.site import LiveSite, built_image, live_site, unfit

PATIENCE = 1800
"""Seconds for one test: it may build an image, boot machines without KVM and share the host with many others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.live)
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(PATIENCE))


@pytest.fixture(scope="session")
def tiny() -> Iterator[Path]:
    """The vc-in document of the tiny image."""
    with _image("tiny") as document:
        yield document


@pytest.fixture(scope="session")
def demo() -> Iterator[Path]:
    """The vc-in document of the demo image."""
    with _image("demo") as document:
        yield document


def _image(flavour: str) -> AbstractContextManager[Path]:
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
