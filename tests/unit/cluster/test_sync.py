from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fakes.cluster_site import FakeDisks, settings
from fakes.repository import MemoryRepository
from pragma_boot import files
from pragma_boot.cluster.boot import BootRequest, boot
from pragma_boot.cluster.site import Site
from pragma_boot.cluster.sync import sync
from pragma_boot.driver.memory import MemoryDriver
from pragma_boot.errors import ClusterBusyError
from pragma_boot.model import NodeName, Role, image_name
from pragma_boot.repository.base import SyncReport

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVzZXIta2V5LXBsYWNlaG9sZGVyLW9ubHkAAAAA user@example.org"


@pytest.fixture
def repository(tmp_path: Path) -> MemoryRepository:
    made = MemoryRepository(tmp_path)
    for name in ("demo", "old", "used"):
        made.offer(name)
    return made


@pytest.fixture
def site(tmp_path: Path, repository: MemoryRepository) -> Site:
    disks = FakeDisks(tmp_path / "disks", lambda _: None)
    return Site(settings(tmp_path), repository=lambda: repository, driver=MemoryDriver, disks=lambda: disks)


def outcomes(site: Site, **how: bool) -> list[tuple[str, str]]:
    return [(one.name, one.outcome) for one in sync(site, **how).images]


def test_sync_is_idempotent(site: Site) -> None:
    assert outcomes(site) == [("demo", "fetched"), ("old", "fetched"), ("used", "fetched")]
    assert outcomes(site) == [("demo", "fresh"), ("old", "fresh"), ("used", "fresh")]


def test_prune_spares_what_a_cluster_stands_on(site: Site, repository: MemoryRepository, tmp_path: Path) -> None:
    sync(site)
    image = repository.cached(repository.describe(image_name("used")))
    assert image
    site.disks.clone(image, Role.FRONTEND, "vc1", NodeName("vc1"))
    for name in ("old", "used"):
        repository.withdraw(name)
    report = sync(site, prune=True)
    assert [(one.outcome, one.reason) for one in report.images[1:]] == [("removed", str(tmp_path / "old.img"))]
    site.disks.delete("vc1")
    site.disks.made.clear()  # type: ignore[attr-defined]
    assert [one.reason for one in sync(site, prune=True).images[1:]] == [str(tmp_path / "used.img")]


def test_a_dry_run_removes_nothing_and_waits_for_nobody(site: Site, repository: MemoryRepository) -> None:
    sync(site)
    repository.withdraw("old")
    with files.lock(site.settings.site.state.locks / "sync.lock"):
        assert outcomes(site, dry_run=True, prune=True) == [("demo", "fresh"), ("used", "fresh")]


def test_a_second_sync_ends_at_once(site: Site, repository: MemoryRepository) -> None:
    with (
        files.lock(site.settings.site.state.locks / "sync.lock"),
        pytest.raises(ClusterBusyError, match="another 'sync repository' is running"),
    ):
        sync(site)
    assert repository.fetches == []


def test_nothing_is_pruned_between_an_image_and_the_disks_of_a_boot(
    tmp_path: Path, repository: MemoryRepository
) -> None:
    """A boot has its image; then that is offered no more and a sync prunes, before the boot's disks stand on it."""
    pruned: list[SyncReport] = []
    pruner = threading.Thread(target=lambda: pruned.append(sync(site, prune=True)))

    def before_step(step: str) -> None:
        if step == "clone demo":
            repository.withdraw("demo")
            pruner.start()
            pruner.join(0.3)
            assert not pruned

    disks = FakeDisks(tmp_path / "disks", before_step)
    chosen = settings(tmp_path)
    driver = MemoryDriver(chosen.site.state, chosen.clusters)
    site = Site(chosen, repository=lambda: repository, driver=lambda: driver, disks=lambda: disks)
    boot(site, BootRequest(image_name("demo"), 2, None, (KEY,)))
    pruner.join(20)
    assert [one.outcome for one in pruned[0].images] == ["fetched", "fetched"]
    assert disks.backing_files() == {tmp_path / "demo.img"}
    assert (tmp_path / "demo.img").exists()
