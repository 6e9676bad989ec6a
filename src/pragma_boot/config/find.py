"""Where a site's configuration is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pragma_boot.config.keys import SITE_FILE
from pragma_boot.errors import ConfigError, Fault

VARIABLE = "PRAGMA_BOOT_ETC"
"""The environment variable that names the folder and leaves nothing to search."""
SYSTEM_FOLDERS = (Path("/etc/pragma_boot"), Path("/opt/pragma_boot/etc"))


def search_path(
    environ: Mapping[str, str] = os.environ, package: Path | None = None, *, root: bool | None = None
) -> tuple[Path, ...]:
    """The folders that are looked at, in order; the first is where `pragma init` writes.

    package: this package's own folder, if not the one that runs. root: whether the superuser asks, for whom a site of
    their own comes last; by default who runs us.

    `PRAGMA_BOOT_ETC` stands alone when it is set: a user who names one site must never be given another.
    """
    named = environ.get(VARIABLE)
    if named:
        return (Path(named).absolute(),)
    checkout = _checkout(package or Path(__file__).resolve().parent.parent)
    systems = (checkout, *SYSTEM_FOLDERS) if checkout else SYSTEM_FOLDERS
    own = user_folder(environ)
    last = (os.geteuid() == 0) if root is None else root
    ordered = (*systems, own) if last else (own, *systems)
    return tuple(dict.fromkeys(folder for folder in ordered if folder))


def user_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where a user's own site has its configuration (XDG Base Directory Specification); None without a home."""
    base, home = environ.get("XDG_CONFIG_HOME", ""), environ.get("HOME", "")
    if base.startswith("/"):  # relative ones are to be ignored
        return Path(base, "pragma_boot")
    return Path(home, ".config/pragma_boot") if home.startswith("/") else None


def find_folder(environ: Mapping[str, str] = os.environ, package: Path | None = None) -> Path:
    """The first folder of `search_path` that holds `site_conf.conf`.

    Raises ConfigError, with `pragma init` as the mend, when none does.
    """
    folders = search_path(environ, package)
    for folder in folders:
        if holds(folder / SITE_FILE):
            return folder
    faults = [Fault(str(folder / SITE_FILE), "is not there") for folder in folders]
    mend = "run 'pragma init' to write a configuration for this host"
    if environ.get(VARIABLE):
        mend += f", or mend the variable {VARIABLE}"
    raise ConfigError("this site has no configuration", faults, resolution=mend)


def _checkout(package: Path) -> Path | None:
    """The `etc` of the checkout that *package* is run from (ROOT/src/pragma_boot beside ROOT/bin/pragma), or None."""
    root = package.parent.parent
    run_from_checkout = package.parent.name == "src" and (root / "bin" / "pragma").is_file()
    return root / "etc" if run_from_checkout and (root / "etc").is_dir() else None


def holds(file: Path) -> bool:
    """Whether the file is there; one that we may not look at is, so that reading it tells why it cannot be used."""
    try:
        file.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True
