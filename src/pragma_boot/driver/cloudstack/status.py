"""Clusters and nodes as the cloud tells them, in the words of the contract."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from pragma_boot.driver.cloudstack import names
from pragma_boot.driver.cloudstack.reading import Machine
from pragma_boot.model import ClusterName, NodeName, NodeState, NodeStatus, Role

_STATES = {
    "Running": NodeState.ACTIVE,
    "Migrating": NodeState.ACTIVE,
    "Stopped": NodeState.SHUTDOWN,
    "Shutdown": NodeState.SHUTDOWN,
    "Error": NodeState.CRASHED,
}
"""``Starting`` and ``Stopping`` are neither; what is ``Destroyed`` is no node any more."""
_NONE = ("Destroyed", "Expunging")


def nodes(machines: Iterable[Machine], host: str) -> dict[ClusterName, dict[NodeName, NodeStatus]]:
    """Our machines as clusters' nodes, frontend first. host: what stands for where they run."""
    found: dict[ClusterName, dict[NodeName, NodeStatus]] = {}
    for each in sorted(machines, key=lambda each: (each.tags.get(names.ROLE) != Role.FRONTEND, _order(each.name))):
        cluster = ClusterName(each.tags.get(names.CLUSTER, ""))
        node = names.node_of(cluster, each.name)
        if node and each.state not in _NONE:
            found.setdefault(cluster, {})[node] = _status(each, node, cluster, host)
    return found


def _status(machine: Machine, node: NodeName, cluster: ClusterName, host: str) -> NodeStatus:
    address, ports = outside(machine)
    return NodeStatus(
        name=node,
        role=names.role_of(node, cluster),
        state=_STATES.get(machine.state, NodeState.UNKNOWN),
        host=host,
        public_ip=address,
        image=machine.tags.get(names.IMAGE, ""),
        ports=ports,
    )


def outside(machine: Machine) -> tuple[IPv4Address | None, dict[int, int]]:
    """A frontend's address, and those of its ports that are reached elsewhere."""
    return names.placed(machine.tags.get(names.OUTSIDE, machine.outside))


def _order(name: str) -> tuple[int, str]:
    number = name.rpartition("-")[2]
    return (int(number) if number.isdigit() else -1, name)
