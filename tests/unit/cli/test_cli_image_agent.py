"""`pragma image agent` on the command line."""

from __future__ import annotations

from fakes.cli import Pragma
from fakes.site import FakeSite


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
