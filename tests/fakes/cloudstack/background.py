"""What the server does by itself: expunge, collect idle networks and old jobs, notice power."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import machines, networking

if TYPE_CHECKING:
    from .cloud import Cloud


def arm(cloud: Cloud) -> None:
    """Begin the rounds; they go on for ever."""

    def expunge() -> None:
        _expunge(cloud)
        cloud.engine.at(cloud.engine.now + cloud.config.expunge_interval, expunge)

    def collect() -> None:
        _collect(cloud)
        cloud.engine.at(cloud.engine.now + cloud.config.network_gc_interval, collect)

    cloud.engine.at(cloud.clock.now() + cloud.config.expunge_interval, expunge)
    cloud.engine.at(cloud.clock.now() + cloud.config.network_gc_interval, collect)


def _expunge(cloud: Cloud) -> None:
    for machine in cloud.state.machines.values():
        destroyed = machine.destroyed if machine.state == "Destroyed" and not machine.removed else None
        if destroyed is not None and cloud.engine.now - destroyed >= cloud.config.expunge_delay:
            machines.expunge_now(cloud, machine)


def _collect(cloud: Cloud) -> None:
    now = cloud.engine.now
    for network in cloud.state.networks.values():
        offering = cloud.state.network_offerings[network.offeringid]
        if network.removed or network.state != "Implemented" or offering.persistent:
            continue
        if any(one.state in networking.ACTIVE for one in networking.machines_on(cloud, network)):
            network.free_since = None
        elif network.free_since is None:
            network.free_since = now
        elif now - network.free_since >= cloud.config.network_gc_wait:
            networking.shut_down(cloud, network)
    for ident, job in list(cloud.state.jobs.items()):
        if job.completed is not None and now - job.completed > cloud.config.job_expire:
            del cloud.state.jobs[ident]


def notice_power(cloud: Cloud) -> None:
    """Machines that switched themselves off."""
    for machine in cloud.state.machines.values():
        if machine.state == "Running" and not cloud.hypervisor.running(machine):
            machines.power_changed(cloud, machine, "Stopped")
