"""All that the commands ask of the layers below, in one place, so that nothing heavy is imported before it is used.

`SiteAccess` is the seam: tests give `main` another implementation, which keeps its clusters in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pragma_boot.errors import Fault
from pragma_boot.model import Catalog, ClusterName, ImageName, ProgressSink, Role

if TYPE_CHECKING:
    from pragma_boot.cluster.boot import BootRequest, Preview
    from pragma_boot.cluster.site import Site
    from pragma_boot.cluster.view import ClusterView
    from pragma_boot.config.settings import Settings
    from pragma_boot.repository.base import SyncReport


class SiteAccess(Protocol):
    """The site as the commands see it. Each call raises what the function of the same name below `cluster` raises;
    the first one that needs the configuration raises ConfigError when that has faults."""

    def log_directory(self) -> Path:
        """Where the logs of commands are kept."""

    def boot(self, request: BootRequest, progress: ProgressSink) -> ClusterView:
        """See cluster.boot.boot."""

    def preview(self, request: BootRequest) -> Preview:
        """See cluster.boot.preview."""

    def shutdown(self, name: ClusterName, progress: ProgressSink) -> None:
        """See cluster.stop.shutdown."""

    def start(self, name: ClusterName, wait: float | None, progress: ProgressSink) -> ClusterView:
        """See cluster.stop.start."""

    def clean(self, name: ClusterName) -> None:
        """See cluster.stop.clean."""

    def clusters(self) -> tuple[ClusterView, ...]:
        """See cluster.view.clusters."""

    def cluster(self, name: ClusterName) -> ClusterView:
        """See cluster.view.cluster."""

    def resolve(self, text: str, *, gone: bool = False) -> ClusterName:
        """See cluster.view.resolve."""

    def cluster_folder(self, name: ClusterName) -> Path:
        """The cluster's own folder; may not exist."""

    def console_log(self, name: ClusterName, node: str) -> Path | None:
        """See driver.base.Driver.console_log."""

    def catalog(self) -> Catalog:
        """See cluster.offer.offered."""

    def publish(
        self, name: ImageName, urls: Mapping[Role, str], checksum: str, progress: ProgressSink
    ) -> tuple[str, ...]:
        """See cluster.offer.publish."""

    def sync(self, *, dry_run: bool, prune: bool, progress: ProgressSink) -> SyncReport:
        """See cluster.sync.sync."""

    def check(self) -> tuple[Fault, ...]:
        """Everything that is wrong with the site, the configuration's faults included; never raises ConfigError."""

    def facts(self) -> tuple[str, ...]:
        """See cluster.check.facts; empty while the configuration has faults."""

    def init(self, folder: Path | None, *, user: bool | None, remove: bool, force: bool) -> tuple[str, ...]:
        """See cluster.init.init_site."""

    def public_keys(self, path: Path) -> tuple[str, ...]:
        """See image.access.read_public_keys."""

    def build_image(
        self, name: ImageName, flavour: str, release: str | None, size: int | None, progress: ProgressSink
    ) -> Path:
        """Build an image into the site's repository and list it in the catalog; returns its vc-in document."""

    def add_agent(self, image: ImageName, name: ImageName, progress: ProgressSink) -> Path:
        """Put a copy of *image* with the guest agent into the repository, and list it; returns its vc-in document."""


class ConfiguredSite:
    """The site that the configuration files describe; they are read when the first call needs them."""

    @cached_property
    def settings(self) -> Settings:
        """The configuration. Raises ConfigError with every fault."""
        from pragma_boot.config.validate import load_settings  # noqa: PLC0415

        return load_settings()

    @cached_property
    def site(self) -> Site:
        """The opened site. Raises ConfigError or NotAvailableError."""
        from pragma_boot.cluster.site import open_site  # noqa: PLC0415

        return open_site(self.settings)

    def log_directory(self) -> Path:
        return self.settings.site.log_directory

    def boot(self, request: BootRequest, progress: ProgressSink) -> ClusterView:
        from pragma_boot.cluster.boot import boot  # noqa: PLC0415

        return boot(self.site, request, progress)

    def preview(self, request: BootRequest) -> Preview:
        from pragma_boot.cluster.boot import preview  # noqa: PLC0415

        return preview(self.site, request)

    def shutdown(self, name: ClusterName, progress: ProgressSink) -> None:
        from pragma_boot.cluster.stop import shutdown  # noqa: PLC0415

        shutdown(self.site, name, progress)

    def start(self, name: ClusterName, wait: float | None, progress: ProgressSink) -> ClusterView:
        from pragma_boot.cluster.stop import start  # noqa: PLC0415

        return start(self.site, name, wait, progress)

    def clean(self, name: ClusterName) -> None:
        from pragma_boot.cluster.stop import clean  # noqa: PLC0415

        clean(self.site, name)

    def clusters(self) -> tuple[ClusterView, ...]:
        from pragma_boot.cluster.view import clusters  # noqa: PLC0415

        return clusters(self.site)

    def cluster(self, name: ClusterName) -> ClusterView:
        from pragma_boot.cluster.view import cluster  # noqa: PLC0415

        return cluster(self.site, name)

    def resolve(self, text: str, *, gone: bool = False) -> ClusterName:
        from pragma_boot.cluster.view import resolve  # noqa: PLC0415

        return resolve(self.site, text, gone=gone)

    def cluster_folder(self, name: ClusterName) -> Path:
        return self.settings.site.state.cluster(name)

    def console_log(self, name: ClusterName, node: str) -> Path | None:
        from pragma_boot.model import NodeName  # noqa: PLC0415

        return self.site.driver.console_log(name, NodeName(node))

    def catalog(self) -> Catalog:
        from pragma_boot.cluster.offer import offered  # noqa: PLC0415

        return offered(self.site)

    def publish(
        self, name: ImageName, urls: Mapping[Role, str], checksum: str, progress: ProgressSink
    ) -> tuple[str, ...]:
        from pragma_boot.cluster.offer import publish  # noqa: PLC0415

        return publish(self.site, name, urls, checksum, progress)

    def sync(self, *, dry_run: bool, prune: bool, progress: ProgressSink) -> SyncReport:
        from pragma_boot.cluster.sync import sync  # noqa: PLC0415

        return sync(self.site, dry_run=dry_run, prune=prune, progress=progress)

    def check(self) -> tuple[Fault, ...]:
        from pragma_boot.cluster.check import check_site  # noqa: PLC0415
        from pragma_boot.errors import ConfigError  # noqa: PLC0415

        try:
            settings = self.settings
        except ConfigError as error:
            return error.faults or (Fault("configuration", error.message, error.resolution or ""),)
        return check_site(settings)

    def facts(self) -> tuple[str, ...]:
        from pragma_boot.cluster.check import facts  # noqa: PLC0415
        from pragma_boot.errors import PragmaError  # noqa: PLC0415

        try:
            return facts(self.settings)
        except PragmaError:
            return ()  # `check` tells of it

    def init(self, folder: Path | None, *, user: bool | None, remove: bool, force: bool) -> tuple[str, ...]:
        from pragma_boot.cluster.init import init_site  # noqa: PLC0415

        return init_site(folder, remove=remove, force=force, user=user)

    def public_keys(self, path: Path) -> tuple[str, ...]:
        from pragma_boot.image.access import read_public_keys  # noqa: PLC0415

        return read_public_keys(path)

    def build_image(
        self, name: ImageName, flavour: str, release: str | None, size: int | None, progress: ProgressSink
    ) -> Path:
        from pragma_boot.build.builder import build_image  # noqa: PLC0415
        from pragma_boot.repository import catalog  # noqa: PLC0415

        repository = self.settings.site.repository
        document = build_image(flavour, repository.directory, name, size=size, release=release, progress=progress)
        catalog.add(repository.catalog, repository.directory, name, document, self.settings.site.state.locks)
        return document

    def add_agent(self, image: ImageName, name: ImageName, progress: ProgressSink) -> Path:
        from pragma_boot.build.agent_image import add_agent  # noqa: PLC0415
        from pragma_boot.repository import catalog  # noqa: PLC0415

        site = self.site
        repository = self.settings.site.repository
        source = site.repository.fetch(site.repository.describe(image), progress)
        document = add_agent(source, name, repository.directory, site.disks, progress)
        catalog.add(repository.catalog, repository.directory, name, document, self.settings.site.state.locks)
        return document
