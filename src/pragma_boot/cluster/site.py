"""Everything that one command works with: settings, repository, driver, disks and the site database."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from pragma_boot.cluster.store import Store
from pragma_boot.config.settings import Settings
from pragma_boot.driver.base import Driver
from pragma_boot.image.base import DiskStore
from pragma_boot.repository.base import Repository


class Site:
    """One site, opened for one command.

    Each part is made at its first use: a command that only lists pays for no repository and no disk store.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        repository: Callable[[], Repository],
        driver: Callable[[], Driver],
        disks: Callable[[], DiskStore],
    ) -> None:
        self.settings = settings
        self.store = Store(settings.site.state)
        self._repository, self._driver, self._disks = repository, driver, disks

    @cached_property
    def repository(self) -> Repository:
        """Where images come from. Raises NotAvailableError for a class that does not exist yet."""
        return self._repository()

    @cached_property
    def driver(self) -> Driver:
        """What runs the nodes. Raises NotAvailableError for a driver that does not exist yet."""
        return self._driver()

    @cached_property
    def disks(self) -> DiskStore:
        """Where the nodes' disks are."""
        return self._disks()


def open_site(settings: Settings) -> Site:
    """The site that *settings* describe; connects to nothing and reads nothing yet."""

    def repository() -> Repository:
        from pragma_boot.repository.registry import open_repository  # noqa: PLC0415

        return open_repository(settings.site.repository, settings.site.state.locks)

    def driver() -> Driver:
        from pragma_boot.driver.registry import open_driver  # noqa: PLC0415

        return open_driver(settings)

    def disks() -> DiskStore:
        from pragma_boot import accel  # noqa: PLC0415
        from pragma_boot.image.qcow2 import FileDiskStore  # noqa: PLC0415

        state = settings.site.state
        wish = settings.local.accel if settings.local else "auto"
        info = site.driver.info
        folder = None if info.sends_disks else settings.clusters.diskdir
        files = FileDiskStore(folder or state.root / "disks", accel=lambda: accel.works(state, wish))
        if not info.has_volumes:
            return files
        from pragma_boot.image.zvol import VolumeDiskStore  # noqa: PLC0415

        return VolumeDiskStore(files, site.driver.volumes(), lambda: accel.works(state, wish))

    site = Site(settings, repository=repository, driver=driver, disks=disks)
    return site
