"""How machines start, stop and go."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from . import networking
from .errors import ApiError
from .hypervisor import HypervisorError
from .model import Host, Machine

if TYPE_CHECKING:
    from .cloud import Cloud
    from .registry import Work


def label(machine: Machine) -> str:
    """As error texts name it."""
    return f'VM instance {{"id":{machine.number},"instanceName":"{machine.instance}","uuid":"{machine.id}"}}'


def guests(cloud: Cloud, host: Host) -> list[Machine]:
    """Machines that hold its processors and memory."""
    return [one for one in cloud.state.machines.values() if one.hostid == host.id and not one.removed]


def _fits(cloud: Cloud, host: Host, machine: Machine) -> bool:
    held = guests(cloud, host)
    cpus = host.cpus - host.taken_cpus - sum(one.cpus for one in held)
    memory = host.memory - host.taken_memory - sum(one.memory for one in held)
    return host.up and host.zoneid == machine.zoneid and cpus >= machine.cpus and memory >= machine.memory


def _allowed(cloud: Cloud, host: Host, machine: Machine) -> bool:
    """As strict affinity groups have it."""
    for ident in machine.affinity:
        group = cloud.state.groups[ident]
        others = [
            one
            for one in cloud.state.machines.values()
            if ident in one.affinity and one is not machine and one.hostid and not one.removed
        ]
        together = any(one.hostid == host.id for one in others)
        if (group.kind == "host anti-affinity" and together) or (
            group.kind == "host affinity" and others and not together
        ):
            return False
    return True


def place(cloud: Cloud, machine: Machine, admin: bool) -> Host:
    """The emptiest host that does; 533 (for admins 530 with the last error) when none does."""
    fitting = [one for one in cloud.state.hosts.values() if _fits(cloud, one, machine)]
    allowed = [one for one in fitting if _allowed(cloud, one, machine)]
    if allowed:
        return min(allowed, key=lambda one: sum(held.cpus for held in guests(cloud, one)) + one.taken_cpus)
    if admin:
        raise ApiError(
            530,
            f"Unable to create a deployment for {label(machine)} after 3 attempts Last known error: "
            "No suitable host found",
        )
    hint = ", Please check the affinity groups provided, there may not be sufficient capacity to follow them"
    raise ApiError(
        533, f"Unable to create a deployment for {label(machine)} after 3 attempts{hint if machine.affinity else ''}"
    )


def started(cloud: Cloud, machine: Machine, admin: bool) -> Work:
    """Part of the jobs that start it; after a failure it is Stopped."""
    machine.state = "Starting"
    try:
        yield 0.0
        machine.hostid = place(cloud, machine, admin).id
        for network in [cloud.state.networks[nic.networkid] for nic in machine.nics]:
            yield from networking.implement(cloud, network)
        yield cloud.delay("startVirtualMachine")
        power_on(cloud, machine)
    except ApiError:
        machine.state, machine.hostid = "Stopped", None
        raise
    machine.state, machine.updated = "Running", cloud.engine.now
    return None


def power_on(cloud: Cloud, machine: Machine) -> None:
    networks = {nic.networkid: cloud.state.networks[nic.networkid] for nic in machine.nics}
    try:
        cloud.hypervisor.start(machine, networks, cloud.state.templates[machine.templateid])
    except HypervisorError as error:
        raise ApiError(530, f"Unable to start {label(machine)}: {error}") from error


def stopped(cloud: Cloud, machine: Machine, forced: bool) -> Work:
    """Part of the jobs that stop it; after a failure it is Running."""
    if machine.state in ("Stopped", "Error"):
        return None
    machine.state = "Stopping"
    try:
        yield cloud.delay("stopVirtualMachine")
        try:
            cloud.hypervisor.stop(machine, forced)
        except HypervisorError as error:
            raise ApiError(530, f"Failed to stop Instance: {error}") from error
    except ApiError:
        machine.state = "Running"
        raise
    machine.state, machine.hostid, machine.updated = "Stopped", None, cloud.engine.now
    return None


def destroyed(cloud: Cloud, machine: Machine, expunge: bool, allowed: bool) -> Work:
    """The job of destroyVirtualMachine; without the permission to expunge nothing is done at all."""
    yield cloud.delay("destroyVirtualMachine")
    if expunge and not allowed:
        new = cloud.config.since("4.20")
        raise ApiError(
            530,
            "Account does not have permission for expunging."
            if new
            else "Parameter expunge can be passed by Admin only. Or when the allow.user.expunge.recover.vm key is set.",
        )
    if machine.removed:
        raise ApiError(530, f"unable to find a virtual machine with id {machine.number}")
    if machine.state not in ("Destroyed", "Expunging"):
        yield from stopped(cloud, machine, False)
        machine.state, machine.destroyed, machine.hostid = "Destroyed", cloud.engine.now, None
    if expunge:
        yield from expunged(cloud, machine)
    return None


def expunged(cloud: Cloud, machine: Machine) -> Work:
    machine.state = "Expunging"
    try:
        yield cloud.delay("expungeVirtualMachine")
    except ApiError:
        machine.state = "Error"
        raise
    expunge_now(cloud, machine)
    return None


def expunge_now(cloud: Cloud, machine: Machine) -> None:
    """NICs, host name, NAT, rules and tags are gone; its public addresses stay with the account."""
    cloud.hypervisor.destroy(machine)
    for rule in [one for one in cloud.state.rules.values() if one.vmid == machine.id and not one.removed]:
        networking.forget_rule(cloud, rule.id)
    for address in cloud.state.addresses.values():
        if address.vmid == machine.id:
            address.staticnat, address.vmid, address.vmip = False, None, None
    networking.drop_tags(cloud, machine.id)
    machine.state, machine.removed, machine.hostid = "Expunging", True, None


def power_changed(cloud: Cloud, machine: Machine, state: str) -> None:
    """By itself: off (the guest halted, the host died) or on."""
    if state == "Stopped" and machine.state == "Running":
        cloud.hypervisor.stop(machine, True)
        machine.state, machine.hostid, machine.updated = "Stopped", None, cloud.engine.now
    elif state == "Running" and machine.state == "Stopped":
        with suppress(ApiError):  # without room or a network it stays off
            host = place(cloud, machine, False)
            power_on(cloud, machine)
            machine.state, machine.hostid = "Running", host.id
