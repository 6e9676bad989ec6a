"""Which images a site offers, and how they get into a cloud."""

from pathlib import Path

import pytest

from fakes.cluster_site import make_cloud, make_site
from fakes.repository import MemoryRepository
from pragma_boot.cluster.offer import offered, publish
from pragma_boot.errors import DriverError, ImageNotFoundError, NotAvailableError, UsageError
from pragma_boot.model import ImageName, Role

URL = "https://images.example.org/lab.qcow2"
SUM = "0123456789ABCDEF" * 4


def names(catalog: object) -> list[str]:
    return [str(entry.name) for entry in catalog.entries]  # type: ignore[attr-defined]


def test_a_site_with_disks_offers_the_whole_catalog(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    assert offered(site) == site.repository.catalog()
    with pytest.raises(NotAvailableError):
        publish(site, ImageName("demo"), {Role.FRONTEND: URL})


def test_a_cloud_offers_what_it_has_ready_and_says_what_the_others_lack(tmp_path: Path) -> None:
    site, _ = make_cloud(tmp_path)
    assert isinstance(site.repository, MemoryRepository)
    site.repository.offer("lab")
    catalog = offered(site)
    assert names(catalog) == ["demo"]
    assert catalog.notes == ("image lab has no template lab here: pragma image publish lab url=URL",)


def test_a_published_image_is_offered(tmp_path: Path) -> None:
    site, _ = make_cloud(tmp_path)
    assert isinstance(site.repository, MemoryRepository)
    site.repository.offer("lab")
    assert publish(site, ImageName("lab"), {Role.FRONTEND: URL}, SUM) == ("lab",)
    assert names(offered(site)) == ["demo", "lab"]


@pytest.mark.parametrize("url", ["", "ftp://x/y", "file:///etc/passwd", "https://", "https://a b"])
def test_only_urls_that_a_cloud_can_fetch_are_taken(tmp_path: Path, url: str) -> None:
    site, _ = make_cloud(tmp_path)
    with pytest.raises(UsageError, match="url= is no http"):
        publish(site, ImageName("demo"), {Role.FRONTEND: url})


def test_other_mistakes_are_told(tmp_path: Path) -> None:
    site, _ = make_cloud(tmp_path)
    with pytest.raises(UsageError, match="SHA-256"):
        publish(site, ImageName("demo"), {Role.FRONTEND: URL}, "abc")
    with pytest.raises(ImageNotFoundError):
        publish(site, ImageName("nope"), {Role.FRONTEND: URL})
    with pytest.raises(DriverError, match="cannot be had"):
        publish(site, ImageName("demo"), {Role.FRONTEND: "https://images.example.org/missing"})
