"""Look whether this site can run clusters: everything that is wrong, at once, each with its mend. Changes nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from pragma_boot.config.settings import KvmRocksSettings
from pragma_boot.driver.kvm_rocks.capacity import usable
from pragma_boot.driver.kvm_rocks.hosts import Hosts
from pragma_boot.driver.kvm_rocks.reading import Reader
from pragma_boot.driver.kvm_rocks.transport import NoSuchCommandError, Rocks, RocksError, together
from pragma_boot.errors import DriverError, Fault, PragmaError, PreflightError
from pragma_boot.run import which

MINIMUM = (6, 2)
"""The first Rocks whose kvm roll can name a cluster's nodes (rocks.md 0)."""

_MODULE = "python3-"
"""Begins the name of what is no program, but a module of the Python that runs us."""
Tools = Mapping[tuple[str, ...], str]
"""Groups of which one each is needed, and how it is had."""

TOOLS: Tools = {
    ("qemu-img",): "install qemu-img: yum install qemu-img",
    (
        "qemu-storage-daemon",
        f"{_MODULE}guestfs",
    ): "install qemu-storage-daemon (QEMU 6 or later), or libguestfs with its bindings for this Python",
    ("debugfs",): "install e2fsprogs: yum install e2fsprogs",
    ("ssh",): "install an ssh client: yum install openssh-clients",
}


def check(
    settings: KvmRocksSettings,
    rocks: Rocks,
    ssh: Hosts,
    networks: Collection[str] = (),
    *,
    root: bool,
    tools: Tools = TOOLS,
) -> None:
    """Raise PreflightError with every fault.

    networks: as in `Driver.preflight`. root: whether we are the superuser. tools: what disks are filled and sent with.
    """
    faults = [*_programs(settings, root, tools), *_rocks(settings, rocks, ssh)]
    faults += [fault for name in networks for fault in _network(rocks, name)]
    if faults:
        raise PreflightError("this site cannot run clusters yet", faults, resolution="mend these, then repeat")


def _programs(settings: KvmRocksSettings, root: bool, tools: Tools) -> Iterator[Fault]:
    if not root and len(settings.rocks) == 1:
        what = "rocks is to be run by root: for others its exit status says nothing"
        yield Fault("user", what, "run pragma as root, or set rocks = 'sudo -n /opt/rocks/bin/rocks' in kvm_rocks.conf")
    for names, mend in tools.items():
        if not any(map(_is_there, names)):
            yield Fault(names[0], f"{' or '.join(names)} is not installed", mend)


def _is_there(name: str) -> bool:
    return bool(find_spec(name.removeprefix(_MODULE)) if name.startswith(_MODULE) else which(name))


def _rocks(settings: KvmRocksSettings, rocks: Rocks, ssh: Hosts) -> Iterator[Fault]:
    if not which(settings.rocks[0]):
        yield Fault("rocks", f"there is no {settings.rocks[0]}", "set 'rocks' in kvm_rocks.conf to the program's path")
        return
    reader = Reader(rocks)
    looks: list[Callable[[], Any]] = [reader.version, reader.hosts, reader.interfaces, reader.clusters, reader.machines]
    version, hosts, interfaces, clusters, machines = together(*(functools.partial(_tried, look) for look in looks))
    if isinstance(version, NoSuchCommandError) or (isinstance(version, tuple) and version < MINIMUM):
        yield Fault("rocks", "this Rocks is older than 6.2", "update Rocks and its kvm roll to 6.2 or later")
    elif isinstance(version, PragmaError):
        yield _as_fault("rocks report version", version)
    for where, found in (("list host", hosts), ("list host interface", interfaces), ("list cluster", clusters)):
        if isinstance(found, PragmaError):
            yield _as_fault(f"rocks {where}", found)
    if isinstance(machines, NoSuchCommandError):
        yield Fault("rocks list host vm", "the kvm roll is not installed", "install the kvm roll of this Rocks")
    elif isinstance(machines, PragmaError):
        yield _as_fault("rocks list host vm", machines)
    elif isinstance(hosts, tuple):
        yield from _containers(settings, hosts, machines, ssh)


def _containers(settings: KvmRocksSettings, hosts: Sequence[Any], machines: Any, ssh: Hosts) -> Iterator[Fault]:
    try:
        roles = usable(settings, hosts, machines)
    except DriverError as error:
        yield _as_fault("containers", error)
        return
    asked = {host: functools.partial(_tried, functools.partial(ssh.resources, host)) for host in roles}
    for host, found in zip(asked, together(*asked.values()), strict=True):
        if isinstance(found, PragmaError):
            yield _as_fault(host, found)


def _network(rocks: Rocks, name: str) -> Iterator[Fault]:
    """Rocks takes an unknown network for an interface without a word (rocks.md 3.4)."""
    try:
        rocks.read("list network", name)
    except RocksError as error:
        yield Fault(f"network {name}", error.text, f"rocks add network {name} subnet=ADDRESS netmask=MASK")


def _tried(look: Callable[[], Any]) -> Any:
    try:
        return look()
    except PragmaError as error:
        return error


def _as_fault(where: str, error: PragmaError) -> Fault:
    details = f": {error.details}" if error.details else ""
    return Fault(where, error.message + details, error.resolution or "")
