"""Which names Rocks gives to a cluster's nodes, and which it cannot give at all (rocks.md 1.1, 1.5, 3.7). Pure."""

from __future__ import annotations

import re

from pragma_boot.model import ClusterName, NodeName, Role

REFUSED = (
    r"rack.*|select.*|all|localhost|vm-.*-\d+"
    # Words of commands that `rocks` would take for a part of one, were they a host's name.
    r"|alias|attr|bonded|boot|cpus|cpu|dracut|firewall|graph|host|installaction|installfile|interface|key|membership"
    r"|monitoring|nas|network|partition|power|profile|rank|roll|route|runaction|sec-attr|sharedkey|storagedev"
    r"|storageattr|storageimg|storagemap|sysconfig|tracker|vlan|vm|xml|zvolattr|cluster|console|syslog|cfengine"
    r"|.{57,}"
)
"""Cluster names that Rocks would misread, crash on, or have no room to number nodes in; a regular expression."""

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})")


def is_host(text: str) -> bool:
    """Whether *text* may be handed to `ssh` and `rocks` as a host's name."""
    return bool(_HOST.fullmatch(text))


def machine_of(cluster: ClusterName, node: NodeName) -> str:
    """What Rocks calls a node: the frontend as the cluster, ``compute-3`` of *vc* as ``vm-vc-3``."""
    return cluster if str(node) == str(cluster) else f"vm-{cluster}-{node.removeprefix('compute-')}"


def node_of(cluster: ClusterName, machine: str) -> NodeName | None:
    """The inverse; None for a host that is no node of this cluster: names are matched whole, never by a part."""
    if machine == cluster:
        return NodeName(cluster)
    match = re.fullmatch(rf"vm-{re.escape(cluster)}-(0|[1-9]\d*)", machine)
    return NodeName(f"compute-{match[1]}") if match else None


def role_of(cluster: ClusterName, machine: str) -> Role:
    """The role by the name."""
    return Role.FRONTEND if machine == cluster else Role.COMPUTE


def order(cluster: ClusterName, machine: str) -> tuple[bool, int, str]:
    """A key that sorts the frontend first, then the computes by number."""
    node = node_of(cluster, machine)
    number = int(node.removeprefix("compute-")) if node and machine != cluster else 0
    return machine != cluster, number, machine
