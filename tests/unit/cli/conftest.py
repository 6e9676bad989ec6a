"""`pragma(...)`: one command on a site in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.cli import Pragma, Result
from fakes.site import FakeSite
from pragma_boot.cli.main import main


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSite:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return FakeSite(tmp_path)


@pytest.fixture
def pragma(site: FakeSite, capsys: pytest.CaptureFixture[str]) -> Pragma:
    def call(*argv: str) -> Result:
        status = main(argv, site)
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return call
