"""Everything that is wrong with a site, found in one look that changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pragma_boot import files
from pragma_boot.cluster import view
from pragma_boot.cluster.site import Site, open_site
from pragma_boot.config.settings import Settings
from pragma_boot.errors import Fault, FaultsError, PragmaError
from pragma_boot.network.extra import ADD, NAMES, can_name

_LITTLE_SPACE = 1 << 30
"""Bytes; below it a node's disk soon fills up."""


def check_site(settings: Settings) -> tuple[Fault, ...]:
    """All faults of driver, repository, folders and clusters; each with its mend. Empty when the site is well."""
    site = open_site(settings)
    checks: list[tuple[str, Callable[[Site], Iterator[Fault]]]] = [
        (f"driver {settings.site.site_ve_driver}", _driver),
        ("networks", _networks),
        ("repository", _repository),
        ("folders", _folders),
        ("clusters", _clusters),
    ]
    faults: list[Fault] = []
    for where, check in checks:
        try:
            faults += check(site)
        except PragmaError as error:
            known = {fault.what for fault in faults}  # an engine that cannot be asked fails several checks
            faults += (fault for fault in _as_faults(where, error) if fault.what not in known)
    return tuple(faults)


def facts(settings: Settings) -> tuple[str, ...]:
    """What is worth knowing of a site that may be in order; a line each."""
    site = open_site(settings)
    return (site.disks.way_to_edit(),) if site.driver.info.wants_disks else ()


def _driver(site: Site) -> Iterator[Fault]:
    networks = site.settings.clusters.networks if ADD in site.driver.info.options else ()
    site.driver.preflight(tuple(networks))
    return iter(())


def _networks(site: Site) -> Iterator[Fault]:
    for name in site.settings.clusters.networks:
        if not can_name(name):
            mend = f"name it in additional_interfaces with {NAMES}"
            yield Fault(f"network {name}", "nodes cannot be on it: its name cannot be an interface's", mend)


def _repository(site: Site) -> Iterator[Fault]:
    catalog = site.repository.catalog()
    for warning in catalog.warnings:
        yield Fault("catalog", warning, "correct the line, or remove it")
    for entry in catalog.entries:
        try:
            image = site.repository.describe(entry.name)
            if site.driver.info.wants_disks:
                site.repository.cached(image)
        except PragmaError as error:
            yield from _as_faults(f"image {entry.name}", error)


def _folders(site: Site) -> Iterator[Fault]:
    settings = site.settings
    disks = settings.clusters.diskdir or settings.site.state.root / "disks"
    for what, folder in (("disks", disks), ("temp_directory", settings.site.temp_directory)):
        free = files.free_bytes(folder)
        if free < _LITTLE_SPACE:
            yield Fault(
                what, f"only {free >> 20} MiB are free in {folder}", "free some space, or choose another folder"
            )


def _clusters(site: Site) -> Iterator[Fault]:
    for cluster in view.clusters(site):
        if cluster.state == view.BROKEN:
            mend = f"pragma shutdown {cluster.name}; pragma clean {cluster.name}"
            yield Fault(f"cluster {cluster.name}", cluster.note or "broken", mend)


def _as_faults(where: str, error: PragmaError) -> Iterator[Fault]:
    if isinstance(error, FaultsError):
        yield from error.faults
        return
    details = f": {error.details}" if error.details else ""
    yield Fault(where, error.message + details, error.resolution or "")
