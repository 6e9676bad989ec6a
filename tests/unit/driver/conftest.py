"""A libvirt without a daemon: its own test driver, which keeps everything in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pragma_boot.driver.libvirt.connection import connect


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Any]:
    pytest.importorskip("libvirt")
    file = tmp_path / "node.xml"
    file.write_text("<node/>")
    opened = connect(f"test://{file}")
    yield opened
    opened.close()
