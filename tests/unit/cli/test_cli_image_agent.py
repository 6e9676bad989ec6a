"""`pragma image agent` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import images
from fakes.cli import Pragma
from fakes.disks import ext_disk
from fakes.machine import build
from fakes.memory_site import configure
from fakes.repository import document
from fakes.site import FakeSite
from pragma_boot.cli.main import main


def test_the_copy_is_called_after_its_image(pragma: Pragma, site: FakeSite) -> None:
    site.images.append("debian")
    done = pragma("image", "agent", "debian")
    assert (done.status, done.out) == (0, "image debian-agent is in the repository: /r/debian-agent/debian-agent.xml\n")
    assert "debian-agent" in site.images


def test_it_may_be_called_otherwise(pragma: Pragma, site: FakeSite) -> None:
    site.images.append("debian")
    assert "image cloud is in" in pragma("image", "agent", "debian", "name=cloud").out


def test_an_image_that_is_not_there_is_told(pragma: Pragma) -> None:
    done = pragma("image", "agent", "nothing")
    assert done.status == 1
    assert "no image nothing" in done.err


def test_on_a_configured_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build(str(tmp_path / "tree"), images.root("networkd", **{"/usr/bin/python3": ""}).tree())
    folder = tmp_path / "images" / "debian"
    folder.mkdir(parents=True)
    ext_disk(folder / "disk.img", tmp_path / "tree")
    (folder / "debian.xml").write_text(document())
    catalog = tmp_path / "images" / "vcdb.txt"
    catalog.write_text("debian,debian/debian.xml\n")
    monkeypatch.setenv("PRAGMA_BOOT_ETC", str(configure(tmp_path / "etc", tmp_path)))
    for _ in range(2):
        assert main(("image", "agent", "debian", "quiet=yes")) == 0
    assert catalog.read_text() == "debian,debian/debian.xml\ndebian-agent,debian-agent/debian-agent.xml\n"
    assert "debian-agent is in the repository" in capsys.readouterr().out
    made = sorted(path.name for path in (tmp_path / "images" / "debian-agent").iterdir())
    assert made == ["agent.json", "debian-agent.qcow2", "debian-agent.xml"]
