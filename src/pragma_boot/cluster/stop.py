"""Shutting down, starting again and removing a cluster; all idempotent."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from pragma_boot.cluster import undo, waiting
from pragma_boot.cluster.site import Site
from pragma_boot.cluster.view import ClusterView, cluster
from pragma_boot.errors import ClusterError, ClusterNotFoundError
from pragma_boot.model import (
    Allocation,
    ClusterName,
    ClusterState,
    KernelBoot,
    NodeName,
    NodeState,
    ProgressSink,
    no_progress,
)

_log = logging.getLogger(__name__)

_SETTLED = (ClusterState.RUNNING, ClusterState.STOPPED)


def shutdown(site: Site, name: ClusterName, progress: ProgressSink = no_progress) -> None:
    """Stop all nodes of a cluster: asked to, then, after the site's grace time, forced. Nothing is removed.

    No error when nothing runs, or when the cluster has been removed meanwhile.
    Raises ClusterBusyError or DriverError.
    """
    with site.store.lock(name):
        site.driver.shutdown(name, grace=site.settings.clusters.shutdown_grace, progress=progress)
        record = site.store.get(name)
        if record and record.state in _SETTLED:
            site.store.record_state(name, ClusterState.STOPPED)
    _log.info("Cluster %s is shut down", name)


def start(
    site: Site, name: ClusterName, wait: float | None = None, progress: ProgressSink = no_progress
) -> ClusterView:
    """Start the nodes of a cluster that was shut down and wait until they are ready.

    wait: as in BootRequest. A node that does not become ready stays as it is, for a look.
    Raises ClusterNotFoundError, ClusterBusyError, ClusterError (its boot never finished), DriverError, NotReadyError.
    """
    with site.store.lock(name):
        record = site.store.get(name)
        if record is None and not site.driver.status(name):
            raise ClusterNotFoundError(
                f"there is no cluster {name} any more", resolution="'pragma list cluster' shows all clusters"
            )
        if record and record.state not in _SETTLED:
            raise ClusterError(
                f"cluster {name} is broken: its boot never finished", resolution=f"remove it: pragma clean {name}"
            )
        watch = None
        if record and record.allocation and cluster(site, name).state != NodeState.ACTIVE:
            running = {node for node, status in site.driver.status(name).items() if status.state is NodeState.ACTIVE}
            watch = waiting.begin(site, record.allocation, reports=record.reports, running=running)
        site.driver.start(name, progress, _kernels(site, name))
        if record and record.allocation and record.allocation.ports:
            ports = _look_at_ports(site, record.allocation)
            watch = watch and watch.at(ports)
        site.store.record_state(name, ClusterState.RUNNING)
        limit = site.settings.clusters.wait if wait is None else wait
        if watch and limit:
            watch.until_ready(limit, progress)
        return cluster(site, name)


def _look_at_ports(site: Site, allocation: Allocation) -> Mapping[int, int]:
    """Where the frontend's ports are reached since this start; noted when it is not where it was."""
    status = site.driver.status(allocation.cluster).get(allocation.frontend.name)
    if status is None or status.ports == allocation.ports:
        return allocation.ports
    _log.info("ports of %s that others use by now were replaced: %s", allocation.cluster, dict(status.ports))
    site.store.record_allocation(replace(allocation, ports=status.ports))
    return status.ports


def _kernels(site: Site, name: ClusterName) -> Mapping[NodeName, KernelBoot]:
    from pragma_boot.cluster.kernels import kernels_of_disks  # noqa: PLC0415 - the other commands do without it

    stopped = [node for node, status in site.driver.status(name).items() if status.state is NodeState.SHUTDOWN]
    return kernels_of_disks(site, name, stopped)


def clean(site: Site, name: ClusterName) -> None:
    """Remove every trace of a cluster that does not run, or whose boot never finished.

    No error when it has been removed already. Raises ClusterBusyError, ClusterError while its nodes run (shut it down
    first) or when something could not be removed.
    """
    with site.store.lock(name):
        record = site.store.get(name)
        running = [status.name for status in site.driver.status(name).values() if status.state is NodeState.ACTIVE]
        if running and (record is None or record.state in _SETTLED):
            raise ClusterError(
                f"cluster {name} is active: {', '.join(sorted(running))}",
                resolution=f"shut it down first: pragma shutdown {name}",
            )
        if record:
            site.store.record_state(name, ClusterState.CLEANING, record.note)
        undo.everything(site, name).run()
    _log.info("Cluster %s is removed", name)
