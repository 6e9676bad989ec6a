"""What every repository class promises (repository/base.py)."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.drive import FakeDrive
from fakes.nginx import Nginx, installed, running_nginx
from fakes.publisher import Publisher, Verifier, pem, rsa_key
from fakes.repository import DISK, Folder, MemoryRepository, document
from fakes.saved_images import DrivePublisher, FolderPublisher, WebPublisher
from fakes.web import WebServer, web_server
from pragma_boot.config.settings import RepositorySettings
from pragma_boot.errors import ImageError, ImageNotFoundError
from pragma_boot.model import PHASES, Progress, Role, image_name
from pragma_boot.repository.base import Repository
from pragma_boot.repository.clonezilla.repository import ClonezillaRepository
from pragma_boot.repository.cloudfront import open_cloudfront
from pragma_boot.repository.http import HttpRepository
from pragma_boot.repository.local import LocalRepository

DEMO, FAULTY = image_name("demo"), image_name("faulty")


@dataclass
class Case:
    """A repository under test, and what only its own kind knows how to do to it."""

    repository: Repository
    offer: Callable[[str], object]
    offer_broken: Callable[[str], object]
    withdraw: Callable[[str], object]


def memory(tmp_path: Path) -> Case:
    fake = MemoryRepository(tmp_path)
    return Case(fake, fake.offer, lambda name: fake.offer(name, broken=True), fake.withdraw)


def local_packed(tmp_path: Path) -> Case:
    folder = Folder(tmp_path)

    def offer_broken(name: str) -> None:
        (folder.add_gzip(name) / "disk.img.gz").unlink()

    return Case(LocalRepository(folder.settings, folder.locks), folder.add_gzip, offer_broken, folder.withdraw)


def http(tmp_path: Path, server: WebServer) -> Case:
    publisher = Publisher(server, tmp_path)
    return _published(publisher, HttpRepository(publisher.settings, publisher.locks))


def http_nginx(tmp_path: Path, nginx: Nginx) -> Case:
    return _behind_nginx(tmp_path, nginx, nginx.url)


def https_nginx(tmp_path: Path, nginx: Nginx) -> Case:
    return _behind_nginx(tmp_path, nginx, nginx.https, ca_file=nginx.folder / "ca.pem")


def _behind_nginx(tmp_path: Path, nginx: Nginx, url: str, **others: object) -> Case:
    nginx.clear()
    folder = Folder(tmp_path, nginx.www)
    copy = tmp_path / "copy"
    settings = RepositorySettings(
        "http", copy, copy / "vcdb.txt", tmp_path / "cache", {"repository_url": url, **others}
    )
    repository = HttpRepository(settings, folder.locks)

    def withdraw(name: str) -> None:
        folder.withdraw(name)
        repository.catalog()

    volume = document().replace("file='disk.img'", "volume='v' pool='p'")
    return Case(repository, folder.add_gzip, lambda name: folder.add(name, volume), withdraw)


def cloudfront(tmp_path: Path, server: WebServer) -> Case:
    publisher, key = Publisher(server, tmp_path), rsa_key()
    Verifier(server, K1=key.public_key())
    (tmp_path / "key.pem").write_bytes(pem(key))
    (tmp_path / "key.pem").chmod(0o600)
    settings = publisher.with_settings(keypair_id="K1", private_key_file=tmp_path / "key.pem")
    return _published(publisher, open_cloudfront(settings, publisher.locks))


def _published(publisher: Publisher, repository: HttpRepository) -> Case:
    def withdraw(name: str) -> None:
        publisher.withdraw(name)
        repository.catalog()

    return Case(repository, publisher.offer, publisher.offer_broken, withdraw)


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as running:
        yield running


def clonezilla_web(tmp_path: Path, server: WebServer) -> Case:
    publisher = WebPublisher(server, tmp_path)
    repository = ClonezillaRepository(publisher.settings, tmp_path / "locks")
    return Case(repository, publisher.offer, publisher.offer_broken, publisher.withdraw)


def clonezilla_folder(tmp_path: Path) -> Case:
    return _saved_in(FolderPublisher(tmp_path), tmp_path)


def clonezilla_nginx(tmp_path: Path, nginx: Nginx) -> Case:
    """A folder as nginx lists it."""
    nginx.clear()
    return _saved_in(FolderPublisher(tmp_path, nginx.www / "saved", f"{nginx.url}/saved"), tmp_path)


def _saved_in(publisher: FolderPublisher, tmp_path: Path) -> Case:
    repository = ClonezillaRepository(publisher.settings, tmp_path / "locks")
    return Case(repository, publisher.offer, publisher.offer_broken, publisher.withdraw)


def clonezilla_drive(tmp_path: Path, drive: tuple[FakeDrive, str]) -> Case:
    publisher = DrivePublisher(*drive, tmp_path)
    repository = ClonezillaRepository(publisher.settings, tmp_path / "locks")
    return Case(repository, publisher.offer, publisher.offer_broken, publisher.withdraw)


@pytest.fixture
def drive() -> Iterator[tuple[FakeDrive, str]]:
    fake = FakeDrive()
    with fake.running() as url:
        yield fake, url


SERVERS = {
    http: "server",
    http_nginx: "nginx",
    https_nginx: "nginx",
    cloudfront: "server",
    clonezilla_web: "server",
    clonezilla_nginx: "nginx",
    clonezilla_drive: "drive",
}
"""The fixture that a kind of repository needs."""


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    if not installed():
        pytest.skip("nginx is not installed (package nginx-light)")
    with running_nginx(tmp_path_factory.mktemp("nginx")) as server:
        yield server


@pytest.fixture(params=[memory, local_packed, clonezilla_folder, *SERVERS], ids=lambda kind: kind.__name__)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    kind, fixture = request.param, SERVERS.get(request.param)
    made: Case = kind(tmp_path, request.getfixturevalue(fixture)) if fixture else kind(tmp_path)
    made.offer("demo")
    return made


def test_catalog_names_what_is_offered_in_order(case: Case) -> None:
    """Of their catalog; folders that are their own catalog are in order of their names."""
    case.offer("more")
    catalog = case.repository.catalog()
    assert [entry.name for entry in catalog.entries] == ["demo", "more"]
    assert catalog.warnings == ()


def test_describe_tells_name_architecture_and_source(case: Case) -> None:
    image = case.repository.describe(DEMO)
    assert (image.name, image.arch) == (DEMO, "x86_64")
    assert image.for_role(Role.COMPUTE) == image.frontend


def test_describe_of_an_unknown_name_names_the_nearest(case: Case) -> None:
    with pytest.raises(ImageNotFoundError) as caught:
        case.repository.describe(image_name("demoo"))
    assert "demo?" in (caught.value.resolution or "")


def test_nothing_is_cached_before_the_first_fetch(case: Case) -> None:
    assert case.repository.cached(case.repository.describe(DEMO)) is None


def test_fetch_gives_disks_that_are_there_and_cached_finds_the_same(case: Case) -> None:
    image = case.repository.describe(DEMO)
    fetched = case.repository.fetch(image)
    for role in Role:
        assert stat.S_ISREG(fetched.for_role(role).path.stat().st_mode)
        assert fetched.for_role(role).size >= len(DISK)
    assert case.repository.cached(image) == fetched


def test_a_second_fetch_does_no_work(case: Case) -> None:
    image = case.repository.describe(DEMO)
    first = case.repository.fetch(image)
    before = first.frontend.path.stat()
    reports: list[Progress] = []
    assert case.repository.fetch(image, reports.append) == first
    assert first.frontend.path.stat().st_mtime_ns == before.st_mtime_ns
    assert reports == []


def test_fetch_tells_its_progress(case: Case) -> None:
    reports: list[Progress] = []
    case.repository.fetch(case.repository.describe(DEMO), reports.append)
    assert reports[-1].done == reports[-1].total
    assert {report.phase for report in reports} <= set(PHASES)
    assert {report.subject for report in reports} == {"demo"}


def test_an_image_that_can_never_be_had_is_an_error_with_its_mend(case: Case) -> None:
    case.offer_broken("faulty")
    image = case.repository.describe(FAULTY)
    for method in (case.repository.cached, case.repository.fetch):
        with pytest.raises(ImageError) as caught:
            method(image)
        assert caught.value.resolution


def test_sync_goes_on_after_a_failure(case: Case) -> None:
    case.offer_broken("faulty")
    case.offer("last")
    report = case.repository.sync()
    assert [(one.name, one.outcome) for one in report.images] == [
        ("demo", "fetched"),
        ("faulty", "failed"),
        ("last", "fetched"),
    ]
    assert report.failed[0].reason
    assert [one.outcome for one in case.repository.sync().images] == ["fresh", "failed", "fresh"]


def test_a_dry_run_of_sync_changes_nothing(case: Case) -> None:
    assert [one.outcome for one in case.repository.sync(dry_run=True).images] == ["fetched"]
    assert case.repository.cached(case.repository.describe(DEMO)) is None


def test_prune_keeps_what_is_offered_and_what_is_in_use(case: Case) -> None:
    case.offer("old")
    case.offer("used")
    paths = {}
    for name in ("demo", "old", "used"):
        paths[name] = case.repository.fetch(case.repository.describe(image_name(name))).frontend.path
    case.withdraw("old")
    case.withdraw("used")
    assert case.repository.prune([paths["used"]]) == (paths["old"],)
    assert [path.exists() for path in paths.values()] == [True, False, True]
