"""From the configured class name to the repository."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from pragma_boot.config.settings import RepositorySettings
from pragma_boot.errors import ConfigError, Fault
from pragma_boot.repository.base import Repository

CLASSES = ("local", "http", "cloudfront", "clonezilla")
"""What `repository_class` may say."""


def open_repository(settings: RepositorySettings, locks: Path) -> Repository:
    """The site's repository; *locks* is the folder of lock files.

    Raises ConfigError for a name that is no class's.
    """
    wanted = settings.repository_class
    if wanted == "local":
        from pragma_boot.repository.local import LocalRepository  # noqa: PLC0415 - the fast commands open no repository

        return LocalRepository(settings, locks)
    if wanted == "http":
        from pragma_boot.repository.http import HttpRepository  # noqa: PLC0415

        return HttpRepository(settings, locks)
    if wanted == "cloudfront":
        from pragma_boot.repository.cloudfront import open_cloudfront  # noqa: PLC0415

        return open_cloudfront(settings, locks)
    if wanted == "clonezilla":
        from pragma_boot.repository.clonezilla.repository import ClonezillaRepository  # noqa: PLC0415

        return ClonezillaRepository(settings, locks)
    near = get_close_matches(wanted, CLASSES, 1)
    fault = Fault(
        "site_conf.conf repository_class",
        f"{wanted!r} is no repository class",
        f"did you mean {near[0]!r}?" if near else f"one of {', '.join(CLASSES)}",
    )
    raise ConfigError("the repository is not configured well", [fault])
