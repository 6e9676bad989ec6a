"""What a Rocks site has free: CPUs as Rocks knows them, memory as the hosts tell it, less all *defined* machines.

A machine that is not booted, paused, or on a host that does not answer holds its CPUs, too (rocks.md 6, 10).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping, Sequence

from pragma_boot.config.settings import KvmRocksSettings
from pragma_boot.driver.kvm_rocks.hosts import Hosts, Resources
from pragma_boot.driver.kvm_rocks.reading import CONTAINER, FRONTEND, Host, Machine, Reader
from pragma_boot.driver.kvm_rocks.transport import together
from pragma_boot.errors import DriverError
from pragma_boot.model import Capacity, HostCapacity, Role

_log = logging.getLogger(__name__)


def usable(settings: KvmRocksSettings, hosts: Sequence[Host], machines: Iterable[str]) -> dict[str, frozenset[Role]]:
    """The hosts that nodes may go to, with the roles that each may take.

    Raises DriverError for a configured host that Rocks does not have.
    """
    physical = {host.name: host for host in hosts if host.name not in set(machines)}
    frontend = next((host.name for host in physical.values() if host.membership == FRONTEND), "")
    containers = settings.containers or tuple(
        host.name for host in physical.values() if host.membership == CONTAINER
    ) or (frontend,)  # fmt: skip
    home = settings.frontend_container or frontend
    unknown = [name for name in (*containers, home) if name not in physical]
    if unknown:
        raise DriverError(
            f"Rocks has no host {unknown[0]!r}",
            resolution="'rocks list host' shows them; mend available_containers or frontend_container in"
            " kvm_rocks.conf",
        )
    roles = {name: frozenset({Role.COMPUTE}) for name in containers}
    roles[home] = roles.get(home, frozenset()) | {Role.FRONTEND}
    return roles


def capacity(settings: KvmRocksSettings, reader: Reader, ssh: Hosts) -> Capacity:
    """All usable hosts, those that answer. Raises DriverError when none does, or Rocks does not answer."""
    hosts, machines = together(reader.hosts, reader.machines)
    roles = usable(settings, hosts, machines)
    found = dict(zip(roles, together(*(functools.partial(_ask, ssh, name) for name in roles)), strict=True))
    told = {name: resources for name, resources in found.items() if resources}
    if not told:
        raise DriverError(
            f"none of the hosts {', '.join(roles)} answers", resolution="'pragma check site' tells what is wrong"
        )
    mine = [host for host in hosts if host.name in told]
    return Capacity(tuple(_host(settings, host, roles[host.name], told[host.name], machines) for host in mine))


def _host(
    settings: KvmRocksSettings, host: Host, roles: frozenset[Role], has: Resources, machines: Mapping[str, Machine]
) -> HostCapacity:
    mine = [machine for machine in machines.values() if machine.host == host.name]
    # Rocks counts the CPUs of hosts that it installed; the physical frontend installed itself.
    cpus = max(host.cpus, has.cpus) if host.membership == FRONTEND else host.cpus
    usual = max(cpus - settings.clusters.num_processors_reserved, 0) * settings.clusters.cpu_overcommit
    return HostCapacity(
        host=host.name,
        cpus=cpus,
        cpus_free=max(usual - sum(machine.cpus for machine in mine), 0),
        memory_mib=has.memory_mib,
        memory_free_mib=max(has.memory_mib - sum(machine.memory_mib for machine in mine), 0),
        roles=roles,
    )


def _ask(ssh: Hosts, name: str) -> Resources | None:
    try:
        return ssh.resources(name)
    except DriverError as error:
        _log.warning("%s gets no nodes: %s", name, error.details or error.message)
        return None
