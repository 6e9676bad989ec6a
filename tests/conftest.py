"""Options and fixtures that tests of several packages share."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("busy", deadline=None)  # a busy machine is no fault of ours
settings.load_profile("busy")

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate-golden", action="store_true", help="write tests/golden anew instead of comparing")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden("render/x.txt", text)`` compares *text* with tests/golden/render/x.txt."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--regenerate-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert text == path.read_text(), f"{path} differs; --regenerate-golden accepts the new text"

    return compare


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder whose parents anybody may enter: pytest closes its own, those of other runs included."""
    with tempfile.TemporaryDirectory(prefix="pragma-open-", dir="/tmp") as made:
        path = Path(made)
        path.chmod(0o755)
        yield path


class _Keep(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What our loggers are told during the test, whatever the commands' own logging does to them."""
    logger, handler = logging.getLogger("pragma_boot"), _Keep()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler.messages
    logger.removeHandler(handler)
    logger.setLevel(level)
