"""`pragma init`: a working configuration for this host, and its public network; or for a user's own site."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from pragma_boot import files, run
from pragma_boot.cluster.rights import why_no_system
from pragma_boot.cluster.site import open_site
from pragma_boot.config.find import VARIABLE, holds, search_path, user_folder
from pragma_boot.config.generate import SiteFacts, UserFacts, site_files, user_files
from pragma_boot.config.keys import SITE_FILE
from pragma_boot.config.settings import Settings
from pragma_boot.config.validate import load_settings, state_directory
from pragma_boot.errors import ClusterError, PragmaError

_URI = "qemu:///system"
_NAT = "pragma-public"
_CANDIDATES = tuple(IPv4Network(f"192.168.{third}.0/24") for third in range(130, 250))
_CLUSTERS = 100
"""Public addresses and VLANs that a fresh site has."""
_PROMISED = 8
"""CPUs that a small host promises at least, so that a first cluster fits."""


def init_site(
    folder: Path | None,
    *,
    remove: bool = False,
    force: bool = False,
    user: bool | None = None,
    why: Callable[[], str] = why_no_system,
) -> tuple[str, ...]:
    """Write site_conf.conf and libvirt.conf, and make the public network; idempotent.

    user: write the configuration of a user's own site instead, whose clusters need nothing of root's; None: if the
    caller may not have the system's kind, as *why* tells.

    folder: where to write; None takes the first folder of the search path that holds a configuration, else the
    one for this user. force: replace files that are there. remove: take the site away again (network, database,
    configuration; never the repository); refused while clusters exist.

    Returns one line for each thing done. Raises PragmaError when it cannot be done.
    """
    if remove:
        return tuple(_remove(folder or _home(os.environ)))
    told = []
    if user is None and (force or not holds((folder or _home(os.environ)) / SITE_FILE)):
        reason = why()
        user = bool(reason)
        if reason:
            told.append(f"{reason}; so this is a site of your own, whose clusters need no root (docs/rootless.md)")
    home = folder or (_own_home(os.environ) if user else _home(os.environ))
    return (*told, *_make(home, force, user=bool(user)))


def _make(folder: Path, force: bool, *, user: bool) -> Iterator[str]:
    if holds(folder / SITE_FILE) and not force:
        yield f"{folder / SITE_FILE} is there already and stays as it is (force=yes replaces it)"
    else:
        yield from _write(folder, user_files(_user_facts(os.environ)) if user else None)
    site = open_site(load_settings(folder))
    catalog = site.settings.site.repository.catalog
    if not catalog.exists():
        files.make_folder(catalog.parent)
        files.write_atomic(catalog, "# NAME,PATH of the image's XML description\n")
        yield f"wrote an empty catalog, {catalog}"
    yield from site.driver.set_up()


def _write(folder: Path, texts: Mapping[str, str] | None) -> Iterator[str]:
    """Write *texts*; None: those of the system's kind of site, which are found out once the folder may be written."""
    _make_writable(folder)
    for name, text in sorted((texts or site_files(_facts(folder))).items()):
        files.write_atomic(folder / name, text)
        yield f"wrote {folder / name}"


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        allowed = os.access(folder, os.W_OK | os.X_OK, effective_ids=True)
    except PermissionError:
        allowed = False
    except OSError as error:
        raise files.refused("make the folder", folder, error) from error
    if not allowed:
        mend = f"run as root, or keep a site of your own: pragma init user=yes (or: export {VARIABLE}=FOLDER)"
        raise PragmaError(f"you may not write to {folder}", resolution=mend)


def _remove(folder: Path) -> Iterator[str]:
    if not (folder / SITE_FILE).exists():
        yield f"there is no site configuration in {folder}"
        return
    settings = load_settings(folder)
    site = open_site(settings)
    left = {record.name for record in site.store.all()} | set(site.driver.survey())
    if left:
        raise ClusterError(
            "the site still has clusters",
            details="\n".join(sorted(left)),
            resolution="remove each with: pragma shutdown NAME; pragma clean NAME",
        )
    yield from site.driver.tear_down()
    yield from _remove_files(folder, settings)


def _remove_files(folder: Path, settings: Settings) -> Iterator[str]:
    state = settings.site.state
    paths = [state.database, state.accel, *state.locks.glob("*.lock")]
    paths += [folder / name for name in (SITE_FILE, f"{settings.site.site_ve_driver}.conf")]
    for path in paths:
        if path.exists():
            path.unlink()
            if path.suffix != ".lock":
                yield f"removed {path}"
    for empty in (state.locks, state.machines, state.root / "clusters", state.root / "disks", state.root):
        with suppress(OSError):
            empty.rmdir()


def _home(environ: Mapping[str, str]) -> Path:
    """Where this user's configuration belongs: where one is; else the named folder, the checkout's, or the usual."""
    places = search_path(environ)
    return next((place for place in places if holds(place / SITE_FILE)), places[0])


def _own_home(environ: Mapping[str, str]) -> Path:
    """Where the configuration of this user's own site belongs."""
    named = environ.get(VARIABLE)
    own = Path(named).absolute() if named else user_folder(environ)
    if own is None:
        raise PragmaError("there is no home directory", resolution="set HOME, or name the folder with folder=")
    return own


def _user_facts(environ: Mapping[str, str]) -> UserFacts:
    state = state_directory(environ, root=False)
    if state is None:
        raise PragmaError("there is no home directory", resolution="set HOME or XDG_STATE_HOME")
    cpus = len(os.sched_getaffinity(0))
    return UserFacts(
        state_directory=state,
        cache_dir=_xdg(environ, "XDG_CACHE_HOME", ".cache", state),
        repository_dir=_xdg(environ, "XDG_DATA_HOME", ".local/share", state) / "images",
        cpus_per_node=min(max(cpus // 2, 1), 4),
        memory_mib=_node_memory_mib(),
        cpu_overcommit=max(1, -(-_PROMISED // cpus)),
    )


def _xdg(environ: Mapping[str, str], variable: str, usual: str, state: Path) -> Path:
    """Our folder below one of the XDG Base Directory Specification; without a home it is below the state's."""
    base, home = environ.get(variable, ""), environ.get("HOME", "")
    if base.startswith("/"):
        return Path(base, "pragma_boot")
    return Path(home, usual, "pragma_boot") if home.startswith("/") else state / usual.rpartition("/")[2].lstrip(".")


def _facts(folder: Path) -> SiteFacts:
    root = os.geteuid() == 0
    state = state_directory(os.environ, root=root)
    if state is None:
        raise PragmaError("there is no home directory", resolution="set HOME or XDG_STATE_HOME")
    gateway = _existing_gateway() or _new_gateway()
    network = gateway.network
    hosts = [host for host in network.hosts() if host != gateway.ip]
    cpus = os.cpu_count() or 1
    return SiteFacts(
        state_directory=state,
        repository_dir=state / "images",
        log_directory=Path("/var/log/pragma_boot") if root else state / "log",
        libvirt_uri=_URI,
        nat_network=_NAT,
        public_ips=(hosts[8], hosts[8 + _CLUSTERS - 1]),
        netmask=network.netmask,
        gw=gateway.ip,
        dns=(gateway.ip,),
        vlans=range(100, 100 + _CLUSTERS),
        cpus_per_node=min(max(cpus // 2, 1), 4),
        memory_mib=_node_memory_mib(),
        cpu_overcommit=max(1, -(-_PROMISED // cpus)),
    )


def _existing_gateway() -> IPv4Interface | None:
    """The host's address in our NAT network, where one was made before: an earlier site, or one of another user."""
    from pragma_boot.driver.libvirt import connection, networks  # noqa: PLC0415 - no other command needs them here

    try:
        found = networks.public_address(connection.connect(_URI), _NAT)
    except PragmaError:
        return None  # libvirt cannot be asked: `set_up` says why
    return next((address for address in found or () if address.network.num_addresses > _CLUSTERS + 20), None)


def _new_gateway() -> IPv4Interface:
    """The first host of a private network that no route of this host leads to."""
    routed = list(_routes())
    for candidate in _CANDIDATES:
        if not any(candidate.overlaps(network) for network in routed):
            return IPv4Interface((candidate[1], candidate.prefixlen))
    raise PragmaError(
        "every network from 192.168.130.0/24 to 192.168.249.0/24 is routed by this host",
        resolution="copy etc/libvirt.conf.template and choose a free network yourself",
    )


def _routes() -> Iterator[IPv4Network]:
    answer = json.loads(run.run(["ip", "-json", "-4", "route", "show", "table", "all"]).text or "[]")
    for route in answer:
        with suppress(ValueError, KeyError):
            destination = route["dst"]
            if destination != "default":
                yield IPv4Network(destination, strict=False)


def _node_memory_mib() -> int:
    here = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    return 1024 if here < 16384 else 2048
