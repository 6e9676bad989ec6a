"""What to watch while a cluster comes up."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pragma_boot import accel
from pragma_boot.cluster.ready import Watched, wait_until_ready
from pragma_boot.cluster.site import Site
from pragma_boot.cluster.view import SSH
from pragma_boot.model import Allocation, ClusterName, NodeAllocation, NodeName, ProgressSink, Role


@dataclass(frozen=True, slots=True)
class Watch:
    """A cluster's nodes, and how far their consoles had come before they were started."""

    site: Site
    cluster: ClusterName
    nodes: tuple[Watched, ...]

    def until_ready(self, limit: float, progress: ProgressSink) -> None:
        """Return when every node is ready. Raises NotReadyError after *limit* seconds, or at once when one died."""
        wait_until_ready(
            self.nodes,
            timeout=limit,
            status=lambda: self.site.driver.status(self.cluster),
            progress=progress,
            accel=_accel(self.site),
        )

    def at(self, ports: Mapping[int, int]) -> Watch:
        """The same where the frontend's *ports* are reached elsewhere by now."""
        return replace(self, nodes=tuple(replace(node, port=ports.get(SSH, SSH)) for node in self.nodes))


def begin(site: Site, allocation: Allocation, *, reports: bool, running: Collection[NodeName] = frozenset()) -> Watch:
    """Note where the consoles' logs end now: to be called before the nodes are started.

    running: nodes that run already; they have reported long ago, and are not waited for.
    """
    started = [node for node in allocation.nodes if node.name not in running]
    nodes = tuple(_watched(site, allocation, node, reports) for node in started)
    return Watch(site, allocation.cluster, nodes)


def _accel(site: Site) -> str:
    """How nodes run on this host, as it was proved before they were started; empty where another machine runs them.

    It is for a hint alone, so a wish for KVM that cannot be had is not refused here.
    """
    local = site.settings.local
    if local is None:
        return ""
    return accel.works(site.settings.site.state, accel.TCG if local.accel == accel.TCG else "auto")


def _watched(site: Site, allocation: Allocation, node: NodeAllocation, reports: bool) -> Watched:
    log = site.driver.console_log(allocation.cluster, node.name)
    return Watched(
        node=node.name,
        role=node.role,
        log=log,
        offset=_size(log),
        reports=reports and log is not None,
        banner=allocation.public_ip if node.role is Role.FRONTEND else None,
        port=allocation.ports.get(SSH, SSH),
    )


def _size(log: Path | None) -> int:
    try:
        return log.stat().st_size if log else 0
    except OSError:
        return 0
