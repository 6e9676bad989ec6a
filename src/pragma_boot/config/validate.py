"""From a folder of files to one frozen `Settings`, or to all faults of all files at once."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pragma_boot import log
from pragma_boot.config.checks import check_networks
from pragma_boot.config.cloudstack_keys import credentials, readable_by_others
from pragma_boot.config.find import find_folder
from pragma_boot.config.key import Key
from pragma_boot.config.keys import DRIVER_KEYS, SITE_FILE, SITE_KEYS, driver_file
from pragma_boot.config.load import Loaded, load_file
from pragma_boot.config.qemu_keys import qemu_settings
from pragma_boot.config.repository_keys import REPOSITORY_KEYS, repository_keys
from pragma_boot.config.section import Section, defaulted, unknown, validated
from pragma_boot.config.settings import (
    Accel,
    CloudStackSettings,
    ClusterSettings,
    KvmRocksSettings,
    LibvirtSettings,
    RepositorySettings,
    Settings,
    SiteSettings,
)
from pragma_boot.config.values import web_url
from pragma_boot.errors import ConfigError, Fault
from pragma_boot.files import StateFolder

_LINE = re.compile(r":(\d+)(?: |$)")
_UNSET = IPv4Address(0)
_WEB_CLASSES = ("http", "cloudfront")
_TYPED_DRIVERS = ("libvirt", "qemu", "kvm_rocks", "cloudstack")
_TYPED = ("repository_class", "repository_dir", "vcdb_filename", "cache_dir")

_log = logging.getLogger(__name__)

Outcome = tuple[dict[str, Any], list[Fault]]
"""The values that are right, and the faults of the others."""


def load_settings(folder: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read `site_conf.conf` and the driver's own file in *folder*, which is searched for when it is None.

    Secrets in them are hidden from logs from then on. Raises ConfigError with every fault of both files.
    """
    folder = folder or find_folder(environ)
    site, faults = read_site(load_file(folder / SITE_FILE), environ, root=os.geteuid() == 0)
    name = site.get("site_ve_driver")
    driver: dict[str, Any] = {}
    if name:
        driver, more = read_driver(name, load_file(folder / driver_file(name)))
        faults += more
    if name == "cloudstack":
        faults += _keys(driver, folder / driver_file(name), environ)
    if faults:
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        mend = "mend the files, then repeat; docs/site-config.md explains every key"
        raise ConfigError(f"the configuration in {folder} has {count}", faults, resolution=mend)
    return _settings(folder, site, driver)


def _keys(driver: dict[str, Any], path: Path, environ: Mapping[str, str]) -> list[Fault]:
    """The cloud's keys, wherever they are; a file that others can read them in is told."""
    in_file = bool(driver.get("secretkey"))
    faults = credentials(driver, environ, str(path))
    log.hide([driver["apikey"], driver["secretkey"]])
    if in_file and readable_by_others(path):
        _log.warning("others can read the secret key in %s: chmod 600 %s", path, path)
    return faults


def read_site(loaded: Loaded, environ: Mapping[str, str], *, root: bool) -> Outcome:
    """Validate `site_conf.conf`; `repository_settings` becomes a dictionary of its own validated values.

    root: whether the places of the superuser are the defaults.
    """
    section = Section(SITE_KEYS, loaded.values, loaded)
    values, faults = validated(section, defaulted(section))
    faults = [*loaded.faults, *unknown(section), *faults, *_place(values, section, environ, root=root)]
    if "repository_settings" in values:
        values["repository_settings"], more = _read_repository(loaded, values["repository_settings"])
        faults += more
    # Where the driver's name could not be read, the default's file is not to be asked for.
    if not loaded.complete or "site_ve_driver" in loaded.broken:
        values.pop("site_ve_driver", None)
    return values, _in_order(faults)


def read_driver(driver: str, loaded: Loaded) -> Outcome:
    """Validate a driver's own file: each value for itself, then how the networks fit together."""
    rows = DRIVER_KEYS[driver]
    section = Section(rows, loaded.values, loaded)
    values, faults = validated(section, defaulted(section))
    found = check_networks(values, forwarded=driver == "qemu")
    faults += [Fault(loaded.where(key), what, mend) for key, what, mend in found]
    _hide_secrets(rows, values)
    return values, _in_order([*loaded.faults, *unknown(section), *faults])


def state_directory(environ: Mapping[str, str], *, root: bool) -> Path | None:
    """Where the state is kept when the file does not say; None for a user without a home folder."""
    if root:
        return Path("/var/lib/pragma_boot")
    base, home = environ.get("XDG_STATE_HOME", ""), environ.get("HOME", "")
    if base.startswith("/"):  # the specification of these variables: relative ones are to be ignored
        return Path(base, "pragma_boot")
    return Path(home, ".local/state/pragma_boot") if home.startswith("/") else None


def _in_order(faults: Iterable[Fault]) -> list[Fault]:
    """The faults of one file by line, as one mends them; what is missing comes last."""
    return sorted(faults, key=lambda fault: int(line[1]) if (line := _LINE.search(fault.where)) else sys.maxsize)


def _place(values: dict[str, Any], section: Section, environ: Mapping[str, str], *, root: bool) -> list[Fault]:
    """Fill in the folders whose defaults depend on who runs us."""
    if values.get("state_directory", ...) is None:
        state = state_directory(environ, root=root)
        if state is None:
            row = next(row for row in SITE_KEYS if row.name == "state_directory")
            return [section.fault(row, "is not set, and you have no home folder", "set it to an absolute path")]
        values["state_directory"] = state
    if values.get("log_directory", ...) is None and "state_directory" in values:
        values["log_directory"] = Path("/var/log/pragma_boot") if root else values["state_directory"] / "log"
    return []


def _read_repository(loaded: Loaded, given: object) -> Outcome:
    prefix = ("repository_settings",)
    if not isinstance(given, dict):
        mend = 'write {"repository_class": "local", "repository_dir": "/path"}'
        return {}, [Fault(loaded.where(*prefix), "is no dictionary", mend)]
    kind = str(given.get("repository_class", "local"))
    rows = tuple(_for_class(row, kind) for row in repository_keys(kind))
    section = Section(rows, given, loaded, prefix)
    values, faults = validated(section, defaulted(section))
    _hide_secrets(rows, values)
    # Keys of other classes may stay in a file whose class was changed: they are known, and not looked at.
    return values, [*unknown(replace(section, rows=REPOSITORY_KEYS)), *faults]


def _for_class(row: Key, kind: str) -> Key:
    parse = web_url if row.name == "repository_url" and kind in _WEB_CLASSES else row.parse
    return replace(row, required=row.required or kind in row.required_by, parse=parse)


def _hide_secrets(rows: Iterable[Key], found: Mapping[str, Any]) -> None:
    for row in rows:
        if row.secret and found.get(row.name):
            value = found[row.name]
            log.hide(value.values() if isinstance(value, Mapping) else [value])


def _settings(folder: Path, site: Mapping[str, Any], driver: Mapping[str, Any]) -> Settings:
    name = site["site_ve_driver"]
    state = StateFolder(site["state_directory"])
    clusters = _clusters(driver)
    return Settings(
        folder=folder,
        site=SiteSettings(
            site_ve_driver=name,
            temp_directory=site["temp_directory"],
            log_directory=site["log_directory"],
            state=state,
            repository=_repository(site["repository_settings"], state),
        ),
        clusters=clusters,
        libvirt=_libvirt(driver, clusters) if name == "libvirt" else None,
        qemu=qemu_settings(driver, clusters) if name == "qemu" else None,
        kvm_rocks=_kvm_rocks(driver, clusters) if name == "kvm_rocks" else None,
        cloudstack=_cloudstack(driver, clusters) if name == "cloudstack" else None,
        drivers=MappingProxyType({} if name in _TYPED_DRIVERS else {name: MappingProxyType(dict(driver))}),
    )


def _repository(found: Mapping[str, Any], state: StateFolder) -> RepositorySettings:
    directory: Path = found["repository_dir"]
    return RepositorySettings(
        repository_class=found["repository_class"],
        directory=directory,
        catalog=directory / found["vcdb_filename"],
        cache=found["cache_dir"] or state.root / "cache",
        others=MappingProxyType({name: value for name, value in found.items() if name not in _TYPED}),
    )


def _clusters(found: Mapping[str, Any]) -> ClusterSettings:
    return ClusterSettings(
        public_ips=found.get("public_ips", ()),
        netmask=found.get("netmask", _UNSET),
        gw=found.get("gw", _UNSET),
        dns=found["dns"],
        vlans=found.get("vlans", ()),
        diskdir=found.get("diskdir"),
        num_processors_reserved=found.get("num_processors_reserved", 0),
        cpu_overcommit=found.get("cpu_overcommit", 1),
        private_network=found["private_network"],
        domain=found["domain"],
        cpus_per_node=found["cpus_per_node"],
        memory_mib=found["memory"],
        wait=found["wait"],
        shutdown_grace=found["shutdown_grace"],
        parallel=found["parallel"],
        ent=MappingProxyType(dict(found.get("ent", {}))),
        additional_interfaces=MappingProxyType(dict(found.get("additional_interfaces", {}))),
        overlay_cidr=found.get("overlay_cidr"),
        ipop_timeout=found.get("ipop_timeout", 1800),
    )


def _libvirt(found: Mapping[str, Any], clusters: ClusterSettings) -> LibvirtSettings:
    return LibvirtSettings(
        hosts=found["hosts"],
        public=found["public_network"],
        accel=Accel(found["accel"]),
        direct_kernel=found["direct_kernel"],
        clusters=clusters,
    )


def _kvm_rocks(found: Mapping[str, Any], clusters: ClusterSettings) -> KvmRocksSettings:
    return KvmRocksSettings(
        containers=found["available_containers"],
        frontend_container=found["frontend_container"] or None,
        rocks=found["rocks"],
        ssh=found["ssh"],
        clusters=clusters,
    )


def _cloudstack(found: Mapping[str, Any], clusters: ClusterSettings) -> CloudStackSettings:
    return CloudStackSettings(
        url=found["baseurl"].rstrip("?&"),
        apikey=found["apikey"],
        secretkey=found["secretkey"],
        template_filter=found["templatefilter"],
        network_offering=found["networkoffering"],
        zone=found["zone"],
        public_network=found["public_network"],
        offerings=found["service_offerings"],
        ports=found["ports"],
        ca_file=found["ca_file"],
        timeout=found["timeout"],
        anti_affinity=found["anti_affinity"],
        public_first=found["default_nic"] == "public",
        clusters=clusters,
    )
