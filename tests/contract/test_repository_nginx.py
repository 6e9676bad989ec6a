"""The remote classes against a real server: nginx as Debian has it, plain and with TLS of a private authority."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
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

CHECKOUT = Path(__file__).resolve().parents[2]

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
    wait_for(lambda: part.exists() and part.stat().st_size > 300_000)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    here = part.stat().st_size
    assert here < len(data)
    download(Web(), replace(item, url=item.url))
    assert item.target.read_bytes() == data
    assert f" 206 {len(data) - here} " in published.requests()


def test_sync_from_cron_beside_itself_and_after_a_kill(published: Nginx, tmp_path: Path) -> None:
    """The command as cron runs it: no terminal, an almost empty environment; killed in the middle, then run again."""
    packed = gzip.compress(os.urandom(1 << 20))
    shutil.rmtree(published.www / "plain")
    (published.www / "demo" / "disk.img.gz").write_bytes(packed)
    (published.www / "vcdb.txt").unlink()
    write_index(published.www)
    write_site(tmp_path, f"{published.url}/slow")
    first = cron(tmp_path)
    part = Place(tmp_path / "copy" / "demo" / "disk.img.gz").part
    wait_for(lambda: part.exists() and part.stat().st_size > 300_000)
    first.send_signal(signal.SIGSTOP)
    second = cron(tmp_path)
    assert second.communicate(timeout=60) == ("", "")
    assert second.returncode == 0
    first.kill()
    first.communicate()
    here = part.stat().st_size
    assert here < len(packed)
    third = cron(tmp_path)
    assert third.communicate(timeout=60) == ("demo  fetched\n", "")
    assert third.returncode == 0
    assert f" 206 {len(packed) - here} " in published.requests()
    (disk,) = tmp_path.glob("cache/demo/*.disk")
    assert disk.read_bytes() == gzip.decompress(packed)
    assert "demo: fetched" in (tmp_path / "log" / "sync.log").read_text()


def write_site(folder: Path, url: str) -> None:
    (folder / "etc").mkdir()
    settings = {"repository_class": "http", "repository_dir": str(folder / "copy"), "repository_url": url}
    settings["cache_dir"] = str(folder / "cache")
    (folder / "etc" / "site_conf.conf").write_text(
        f"site_ve_driver = 'libvirt'\nstate_directory = '{folder / 'state'}'\nlog_directory = '{folder / 'log'}'\n"
        f"repository_settings = {settings!r}\n"
    )
    (folder / "etc" / "libvirt.conf").write_text(
        "public_ips = ['198.51.100.10']\nnetmask = '255.255.255.0'\ngw = '198.51.100.1'\ndns = '198.51.100.1'\n"
        "vlans = range(10, 20)\npublic_network = {'nat': 'x'}\n"
    )


def cron(folder: Path) -> subprocess.Popen[str]:
    words = [CHECKOUT / "bin" / "pragma", "sync", "repository", "--prune", "quiet=yes"]
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/root", "PRAGMA_BOOT_ETC": str(folder / "etc")}
    return subprocess.Popen(words, env=environment, stdin=nothing, stdout=pipe, stderr=pipe, text=True)


def wait_for(seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ranges_of_an_object_are_read_alone(published: Nginx) -> None:
    source = WebSource(Web(), f"{published.url}/plain/disk.img")
    assert source.size == len(DISK)
    assert read_at(source, 500, 1000) == DISK[500:1500]
    assert " 206 1000 " in published.requests()
