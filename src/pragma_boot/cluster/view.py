"""Clusters as people and programs see them: what is recorded, and what the engine says of it now."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface

from pragma_boot.cluster.site import Site
from pragma_boot.cluster.store import Record
from pragma_boot.errors import ClusterError, ClusterNotFoundError
from pragma_boot.model import (
    OVERLAY,
    PRIVATE,
    PUBLIC,
    Allocation,
    ClusterName,
    ClusterState,
    NodeName,
    NodeState,
    NodeStatus,
    Role,
)

BROKEN = "broken"
SSH = 22
_UNFINISHED = {ClusterState.PLANNED: "booting", ClusterState.ALLOCATED: "booting", ClusterState.CLEANING: "cleaning"}


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node. ip: the private address; host: where it runs; both empty when unknown.

    networks: its address with the prefix length on each further network, by the network's name.
    """

    name: str
    role: Role
    state: str
    ip: str
    cpus: int
    memory_mib: int
    host: str
    networks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClusterView:
    """One cluster, frontend first. state: active, shutdown, broken, booting or cleaning; note says why it is broken.

    ports: frontend's port → port of public_ip that leads to it; empty where they are the same.
    """

    name: str
    image: str
    state: str
    fqdn: str
    public_ip: str
    created: str
    owner: str
    nodes: tuple[NodeView, ...]
    note: str
    ports: Mapping[int, int] = field(default_factory=dict)

    @property
    def ssh_port(self) -> int:
        """Where the frontend's ssh server is reached, at public_ip."""
        return self.ports.get(SSH, SSH)


def clusters(site: Site) -> tuple[ClusterView, ...]:
    """Every cluster that is recorded or that the engine runs for us, by name. Faults of one do not hide another."""
    found = site.driver.survey()
    records = {record.name: record for record in site.store.all()}
    return tuple(
        _view(site, name, records.get(name), found.get(name, {})) for name in sorted(records.keys() | found.keys())
    )


def cluster(site: Site, name: ClusterName) -> ClusterView:
    """One cluster. Raises ClusterNotFoundError."""
    record = site.store.get(name)
    found = site.driver.status(name)
    if record is None and not found:
        raise _not_found(site, name)
    return _view(site, name, record, found)


def as_started(site: Site, allocation: Allocation) -> ClusterView:
    """A cluster whose nodes have all just been started, without asking the engine."""
    found = {
        node.name: NodeStatus(
            node.name, node.role, NodeState.ACTIVE, node.host, allocation.public_ip, allocation.image, allocation.ports
        )
        for node in allocation.nodes
    }
    return _view(site, allocation.cluster, site.store.get(allocation.cluster), found)


def resolve(site: Site, text: str, *, gone: bool = False) -> ClusterName:
    """The cluster that *text* means: its name; else its image's, if exactly one cluster runs that image.

    gone: accept the name of a cluster that was here and has been removed, before any image's: for commands that may
    be repeated, and must not hit another cluster then.
    Raises ClusterNotFoundError, or ClusterError when several clusters run the image.
    """
    record = site.store.get(text)
    if record:
        return record.name
    views = clusters(site)
    if any(view.name == text for view in views) or (gone and site.store.was_removed(text)):
        return ClusterName(text)
    running = [view.name for view in views if view.image == text]
    if len(running) > 1:
        raise ClusterError(
            f"{len(running)} clusters run the image {text}",
            details="\n".join(running),
            resolution="name one of them",
        )
    if not running:
        raise _not_found(site, text)
    return ClusterName(running[0])


def _not_found(site: Site, text: str) -> ClusterNotFoundError:
    names = [record.name for record in site.store.all()]
    near = difflib.get_close_matches(text, names, n=3)
    return ClusterNotFoundError(
        f"there is no cluster {text!r:.70}",
        resolution=f"did you mean {' or '.join(near)}?" if near else "'pragma list cluster' shows all clusters",
    )


def _view(site: Site, name: ClusterName, record: Record | None, found: Mapping[NodeName, NodeStatus]) -> ClusterView:
    if record is None:
        return _foreign(name, found)
    locked = record.state in _UNFINISHED and site.store.is_locked(name)
    held = site.store.overlay(name)
    nodes = _nodes(record, found, held.addresses if held else {})
    state, note = _judge(record, nodes, locked)
    if state != nodes[0].state and state in {BROKEN, *_UNFINISHED.values()}:
        nodes = tuple(_with_state(node, state if node.state == NodeState.ACTIVE else node.state) for node in nodes)
    return ClusterView(
        name=name,
        image=record.image,
        state=state,
        fqdn=record.fqdn,
        public_ip=str(record.public_ip or ""),
        created=record.created,
        owner=record.owner,
        nodes=nodes,
        note=note,
        ports=_ports(found.values()) or (record.allocation.ports if record.allocation else {}),
    )


def _ports(found: Iterable[NodeStatus]) -> Mapping[int, int]:
    return next((each.ports for each in found if each.ports), {})


def _nodes(
    record: Record, found: Mapping[NodeName, NodeStatus], overlay: Mapping[str, IPv4Interface]
) -> tuple[NodeView, ...]:
    allocated = {node.name: node for node in record.allocation.nodes} if record.allocation else {}
    views = []
    for node in record.nodes:
        status = found.get(node.name)
        state = status.state.value if status else NodeState.MISSING.value
        host = status.host if status else ""
        mine = allocated.get(node.name)
        known = {nic.network: nic.address for nic in mine.nics} if mine else {}
        private = str(known[PRIVATE].ip) if known else ""
        further = {name: str(address) for name, address in known.items() if name not in (PRIVATE, PUBLIC)}
        further |= {OVERLAY: str(overlay[node.name])} if node.name in overlay else {}
        size = mine or node
        views.append(NodeView(node.name, node.role, state, private, size.cpus, size.memory_mib, host, further))
    return tuple(views)


def _judge(record: Record, nodes: tuple[NodeView, ...], locked: bool) -> tuple[str, str]:
    """The cluster's state and, when it is broken, why."""
    if record.state in _UNFINISHED:
        if locked:
            return _UNFINISHED[record.state], ""
        return BROKEN, record.note or f"a command ended before its time; remove the rest: pragma clean {record.name}"
    states = {node.state for node in nodes}
    if len(states) == 1 and states <= {NodeState.ACTIVE, NodeState.SHUTDOWN, NodeState.PAUSED}:
        return states.pop(), record.note
    odd = ", ".join(f"{node.name} is {node.state}" for node in nodes if node.state != NodeState.ACTIVE)
    return BROKEN, record.note or odd


def _with_state(node: NodeView, state: str) -> NodeView:
    return replace(node, state=state)


def _foreign(name: ClusterName, found: Mapping[NodeName, NodeStatus]) -> ClusterView:
    """A cluster that only the engine remembers: its record was lost."""
    ordered = sorted(found.values(), key=lambda status: (status.role is Role.COMPUTE, status.name))
    nodes = tuple(NodeView(each.name, each.role, each.state.value, "", 0, 0, each.host) for each in ordered)
    states = {node.state for node in nodes}
    complete = bool(nodes) and nodes[0].role is Role.FRONTEND
    known = next((each for each in ordered if each.public_ip), None)
    return ClusterView(
        name=name,
        image=next((each.image for each in ordered if each.image), ""),
        state=states.pop() if complete and len(states) == 1 else BROKEN,
        fqdn="",
        public_ip=str(known.public_ip) if known else "",
        created="",
        owner="",
        nodes=nodes,
        note="its record is lost; this is what the hypervisor says",
        ports=_ports(ordered),
    )
