"""Everything that one command works with: settings, repository, driver, disks and the site database."""

from __future__ import annotations

from dataclasses import dataclass

from pragma_boot.cluster.store import Store
from pragma_boot.config.settings import Settings
from pragma_boot.driver.base import Driver
from pragma_boot.image.base import DiskStore
from pragma_boot.repository.base import Repository


@dataclass(frozen=True, slots=True)
class Site:
    """One site, opened for one command. Opening reads nothing but the settings."""

    settings: Settings
    repository: Repository
    driver: Driver
    disks: DiskStore
    store: Store


def open_site(settings: Settings) -> Site:
    """Choose the implementations that the settings name. Raises NotAvailableError for one that does not exist yet."""
    from pragma_boot import accel  # noqa: PLC0415 - the fast commands do without these
    from pragma_boot.driver.registry import open_driver  # noqa: PLC0415
    from pragma_boot.image.qcow2 import FileDiskStore  # noqa: PLC0415
    from pragma_boot.repository.registry import open_repository  # noqa: PLC0415

    state = settings.site.state
    return Site(
        settings=settings,
        repository=open_repository(settings.site.repository, state.locks),
        driver=open_driver(settings),
        disks=FileDiskStore(
            settings.clusters.diskdir or state.root / "disks",
            accel=lambda: accel.works(state),
        ),
        store=Store(state),
    )
