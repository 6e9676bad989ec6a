"""Clusters and nodes as Rocks tells them, in the words of the contract."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address

from pragma_boot.driver.kvm_rocks.names import node_of, order, role_of
from pragma_boot.driver.kvm_rocks.note import Notes
from pragma_boot.driver.kvm_rocks.reading import Interface, Machine, Reader, VirtualCluster
from pragma_boot.driver.kvm_rocks.transport import together
from pragma_boot.model import ClusterName, NodeName, NodeState, NodeStatus

_STATES = {
    "active": NodeState.ACTIVE,
    "paused": NodeState.PAUSED,
    "crashed": NodeState.CRASHED,
    "nostate": NodeState.SHUTDOWN,
    "shutoff": NodeState.SHUTDOWN,
}
"""``shutdown`` is going down: neither active nor off; ``nostate-error``: its container does not answer."""


def of_cluster(reader: Reader, notes: Notes, cluster: ClusterName) -> dict[NodeName, NodeStatus]:
    """One cluster's nodes; empty when Rocks has none of that name."""
    found = reader.cluster(cluster, status=True)
    if found is None:
        return {}
    machines, interfaces = together(
        functools.partial(reader.machines, *found.states), functools.partial(reader.interfaces, cluster)
    )
    return _nodes(found, machines, interfaces, notes.image(cluster))


def of_all(reader: Reader, notes: Notes) -> dict[ClusterName, dict[NodeName, NodeStatus]]:
    """Every virtual cluster of the site."""
    clusters, machines, interfaces = together(
        functools.partial(reader.clusters, status=True), reader.machines, reader.interfaces
    )
    return {
        ClusterName(name): _nodes(found, machines, interfaces, notes.image(ClusterName(name)))
        for name, found in clusters.items()
    }


def _nodes(
    found: VirtualCluster,
    machines: Mapping[str, Machine],
    interfaces: Iterable[Interface],
    image: str,
) -> dict[NodeName, NodeStatus]:
    cluster = ClusterName(found.frontend)
    public = _public(found.frontend, tuple(interfaces))
    nodes = {}
    for name in sorted(found.states, key=lambda name: order(cluster, name)):
        node = node_of(cluster, name) or NodeName(name)
        nodes[node] = NodeStatus(
            name=node,
            role=role_of(cluster, name),
            state=_STATES.get(found.states[name], NodeState.UNKNOWN),
            host=machines[name].host if name in machines else "",
            public_ip=public,
            image=image,
        )
    return nodes


def _public(frontend: str, interfaces: Sequence[Interface]) -> IPv4Address | None:
    """The frontend's public address. Its private one is the physical network's, and means nothing in the cluster."""
    return next((each.ip for each in interfaces if each.host == frontend and each.subnet == "public"), None)
