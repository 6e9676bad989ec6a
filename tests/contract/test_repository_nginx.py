"""The remote classes against a real server: nginx as Debian has it, plain and with TLS of a private authority."""

from __future__ import annotations

import gzip
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.nginx import Nginx, installed, running_nginx
from fakes.repository import DISK, document
from pragma_boot.config.settings import RepositorySettings
from pragma_boot.model import image_name
from pragma_boot.repository.fetch import Item, download
from pragma_boot.repository.http import HttpRepository
from pragma_boot.repository.index import write_index
from pragma_boot.repository.record import Place
from pragma_boot.repository.source import WebSource, read_at
from pragma_boot.repository.web import Web

pytestmark = pytest.mark.skipif(not installed(), reason="nginx is not installed (package nginx-light)")


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with running_nginx(tmp_path_factory.mktemp("nginx")) as server:
        yield server


@pytest.fixture
def published(nginx: Nginx) -> Iterator[Nginx]:
    """A repository with a packed and a plain image, and checksums."""
    for name, file, data in (("demo", "disk.img.gz", gzip.compress(DISK)), ("plain", "disk.img", DISK)):
        folder = nginx.www / name
        folder.mkdir()
        (folder / f"{name}.xml").write_text(document(file))
        (folder / file).write_bytes(data)
    write_index(nginx.www)
    yield nginx
    nginx.clear()


def opened(url: str, folder: Path, **others: object) -> HttpRepository:
    copy = folder / "copy"
    settings = RepositorySettings("http", copy, copy / "vcdb.txt", folder / "cache", {"repository_url": url, **others})
    return HttpRepository(settings, folder / "locks")


@pytest.mark.parametrize("kind", ["url", "https"])
def test_a_whole_repository_is_synchronised_and_then_fresh(published: Nginx, tmp_path: Path, kind: str) -> None:
    ca_file = published.folder / "ca.pem" if kind == "https" else None
    repository = opened(getattr(published, kind), tmp_path, ca_file=ca_file)
    assert [one.outcome for one in repository.sync().images] == ["fetched", "fetched"]
    assert [one.outcome for one in repository.sync().images] == ["fresh", "fresh"]
    for name in ("demo", "plain"):
        local = repository.cached(repository.describe(image_name(name)))
        assert local
        assert local.frontend.path.read_bytes() == DISK


def test_without_checksums_nginx_says_what_did_not_change(published: Nginx, tmp_path: Path) -> None:
    for name in ("vcdb.json", "SHA256SUMS"):
        (published.www / name).unlink()
    repository = opened(published.url, tmp_path)
    repository.sync()
    assert [one.outcome for one in repository.sync().images] == ["fresh", "fresh"]
    assert published.requests().count('disk.img HTTP/1.1" 304') == 1
    (published.www / "plain" / "disk.img").write_bytes(DISK[::-1])
    os.utime(published.www / "plain" / "disk.img", (1_700_000_000, 1_700_000_000))  # nginx's ETag knows seconds
    assert [one.outcome for one in repository.sync().images] == ["fresh", "fetched"]


def test_a_bucket_with_a_listing_needs_no_catalog(published: Nginx, tmp_path: Path) -> None:
    for name in ("vcdb.json", "SHA256SUMS", "vcdb.txt"):
        (published.www / name).unlink()
    keys = "".join(f"<Contents><Key>{name}/{name}.xml</Key></Contents>" for name in ("demo", "plain"))
    listing = f'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/">{keys}</ListBucketResult>'
    (published.www / "listing.xml").write_text(listing)
    repository = opened(f"{published.url}/bucket", tmp_path)
    assert [one.outcome for one in repository.sync().images] == ["fetched", "fetched"]


def test_a_killed_download_goes_on_where_it_was(published: Nginx, tmp_path: Path) -> None:
    data = os.urandom(2 << 20)
    (published.www / "big").write_bytes(data)
    item = Item(f"{published.url}/slow/big", tmp_path / "big")
    child = os.fork()
    if child == 0:
        download(Web(), item)
        os._exit(0)
    part = Place(item.target).part
    deadline = time.monotonic() + 20
    while not part.exists() or part.stat().st_size < 300_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    here = part.stat().st_size
    assert here < len(data)
    download(Web(), replace(item, url=item.url))
    assert item.target.read_bytes() == data
    assert f" 206 {len(data) - here} " in published.requests()


def test_ranges_of_an_object_are_read_alone(published: Nginx) -> None:
    source = WebSource(Web(), f"{published.url}/plain/disk.img")
    assert source.size == len(DISK)
    assert read_at(source, 500, 1000) == DISK[500:1500]
    assert " 206 1000 " in published.requests()
