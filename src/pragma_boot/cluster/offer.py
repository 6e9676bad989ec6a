"""Which images may be booted, and how one gets to an engine that has images of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from pragma_boot.cluster.plan import templates_of
from pragma_boot.cluster.site import Site
from pragma_boot.errors import ImageError, UsageError
from pragma_boot.model import Catalog, CatalogEntry, ImageName, ProgressSink, Role, no_progress

_URL = re.compile(r"https?://[^\s/]\S*")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def offered(site: Site) -> Catalog:
    """The repository's images; where the engine has images of its own, those of them that it has ready.

    Its notes name the others, each with what is missing. Raises RepositoryError or DriverError.
    """
    catalog = site.repository.catalog()
    if site.driver.info.wants_disks or not catalog.entries:
        return catalog
    ready = site.driver.templates().ready()
    entries: list[CatalogEntry] = []
    notes, warnings = list(catalog.notes), list(catalog.warnings)
    for entry in catalog.entries:
        try:
            wanted = templates_of(site.repository.describe(entry.name))
        except ImageError as error:
            warnings.append(f"image {entry.name}: {error.message}")
            continue
        missing = [name for name in dict.fromkeys(wanted.values()) if name not in ready]
        if missing:
            what = " and ".join(missing)
            notes.append(f"image {entry.name} has no template {what} here: pragma image publish {entry.name} url=URL")
        else:
            entries.append(entry)
    return replace(catalog, entries=tuple(entries), warnings=tuple(warnings), notes=tuple(notes))


def publish(
    site: Site,
    name: ImageName,
    urls: Mapping[Role, str],
    checksum: str = "",
    progress: ProgressSink = no_progress,
) -> tuple[str, ...]:
    """Have the engine fetch an image of the repository as its own template(s), and wait until they are ready.

    urls: where the engine gets the disk of each role; the frontend's serves computes when the image has one disk only.
    checksum: SHA-256 of the frontend's disk, or empty. Returns the templates' names. Raises UsageError,
    NotAvailableError, ImageError or DriverError.
    """
    templates = site.driver.templates()
    wanted = templates_of(site.repository.describe(name))
    for role in dict.fromkeys((Role.FRONTEND, *([Role.COMPUTE] if len(set(wanted.values())) > 1 else []))):
        if not _URL.fullmatch(urls.get(role, "")):
            label = "url" if role is Role.FRONTEND else "compute-url"
            raise UsageError(
                f"{label}= is no http or https URL: the {role} of {name} is to be fetched from it",
                resolution=f"say {label}=https://… of the disk that is template {wanted[role]}",
            )
    if checksum and not _SHA256.fullmatch(checksum):
        raise UsageError("checksum= is no SHA-256", resolution="give the 64 digits that sha256sum prints")
    published: dict[str, None] = {}
    for role, template in wanted.items():
        if template in published:
            continue
        digest = f"{{SHA-256}}{checksum.lower()}" if checksum and role is Role.FRONTEND else ""
        templates.publish(template, urls[role], digest, progress)
        published[template] = None
    return tuple(published)
