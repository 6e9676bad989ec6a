"""From a plan and its leases to an allocation: where nodes go and which addresses they get. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Interface

from pragma_boot.errors import CapacityError
from pragma_boot.model import (
    PRIVATE,
    PUBLIC,
    Allocation,
    Capacity,
    Leases,
    Nic,
    NodeAllocation,
    NodeName,
    Plan,
    PublicSide,
    Role,
    compute_addresses,
)


def place(plan: Plan, capacity: Capacity) -> dict[NodeName, str]:
    """A host for each node: the largest first, each onto the fitting host with most CPUs, then most memory, free.

    A node fits where its role may go and both are free.

    Raises CapacityError, saying what is asked for and what is free, when a node fits nowhere.
    """
    cpus = {host.host: host.cpus_free for host in capacity.hosts}
    memory = {host.host: host.memory_free_mib for host in capacity.hosts}
    roles = {host.host: host.roles for host in capacity.hosts}
    hosts: dict[NodeName, str] = {}
    for node in sorted(plan.nodes, key=lambda spec: (-spec.cpus, -spec.memory_mib)):
        allowed = (host for host in cpus if node.role in roles[host])
        fitting = [host for host in allowed if cpus[host] >= node.cpus and memory[host] >= node.memory_mib]
        if not fitting:
            raise _no_room(plan, capacity)
        hosts[node.name] = max(fitting, key=lambda host: (cpus[host], memory[host]))
        cpus[hosts[node.name]] -= node.cpus
        memory[hosts[node.name]] -= node.memory_mib
    return hosts


def allocation(plan: Plan, leases: Leases, side: PublicSide, hosts: Mapping[NodeName, str]) -> Allocation:
    """Everything decided: leased MACs and public address, private addresses by the plan's network.

    The frontend leaves by the site's gateway, computes by the frontend; nobody leaves by a further network, where
    addresses ascend in the order of the nodes. Raises CapacityError when the private network is too small.
    """
    assert leases.public_ip is not None  # what assigns addresses itself has no leases, and no use for this
    free = iter(compute_addresses(plan.private_network, len(plan.computes)))
    nodes = []
    for index, spec in enumerate(plan.nodes):
        frontend = spec.role is Role.FRONTEND
        address = plan.private_network if frontend else next(free)
        gateway = None if frontend else plan.private_network.ip
        macs = leases.macs[spec.name]
        nics = [Nic(PRIVATE, macs[PRIVATE], address, gateway)]
        if frontend:
            public = IPv4Interface((side.inside or leases.public_ip, side.network.prefixlen))
            nics.append(Nic(PUBLIC, macs[PUBLIC], public, side.gateway))
        nics += [Nic(net.name, macs[net.name], net.address(index), mtu=net.mtu) for net in plan.extra]
        nodes.append(NodeAllocation(spec.name, spec.role, spec.cpus, spec.memory_mib, hosts[spec.name], tuple(nics)))
    return Allocation(
        cluster=plan.cluster,
        image=plan.image,
        fqdn=leases.fqdn,
        public_ip=leases.public_ip,
        vlan=leases.vlan,
        dns=side.dns,
        nodes=tuple(nodes),
    )


def _no_room(plan: Plan, capacity: Capacity) -> CapacityError:
    cpus = sum(node.cpus for node in plan.nodes)
    memory = sum(node.memory_mib for node in plan.nodes)
    free = "\n".join(
        f"{host.host}: {host.cpus_free} more CPUs may be promised (it has {host.cpus}),"
        f" {host.memory_free_mib} of {host.memory_mib} MiB are free"
        + ("" if len(host.roles) > 1 else f", for {'/'.join(host.roles)} nodes only")
        for host in capacity.hosts
    )
    return CapacityError(
        f"the site has not enough free for {len(plan.nodes)} nodes with {cpus} CPUs and {memory} MiB in all"
        " (the frontend counts)",
        details=free,
        resolution="ask for fewer CPUs or less memory (mem=MB), or clean clusters that are no longer needed; the"
        " setting cpu_overcommit lets a site promise more CPUs than it has",
    )
