"""Plans and allocations as plain JSON values, for the site database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from pragma_boot.model import Allocation, ClusterName, ImageName, Mac, Nic, NodeAllocation, NodeName, NodeSpec, Role


def dump_specs(nodes: Iterable[NodeSpec]) -> list[dict[str, Any]]:
    """Planned nodes: name, role, cpus, memory_mib."""
    return [_spec(node) for node in nodes]


def load_specs(values: Iterable[Mapping[str, Any]]) -> tuple[NodeSpec, ...]:
    """The inverse of `dump_specs`."""
    return tuple(
        NodeSpec(NodeName(value["name"]), Role(value["role"]), value["cpus"], value["memory_mib"]) for value in values
    )


def dump_allocation(allocation: Allocation) -> dict[str, Any]:
    """An allocation with its nodes and their interfaces."""
    return {
        "cluster": allocation.cluster,
        "image": allocation.image,
        "fqdn": allocation.fqdn,
        "public_ip": str(allocation.public_ip),
        "vlan": allocation.vlan,
        "dns": [str(address) for address in allocation.dns],
        "ports": {str(inside): outside for inside, outside in allocation.ports.items()},
        "nodes": [
            {**_spec(node), "host": node.host, "nics": [_nic(nic) for nic in node.nics]} for node in allocation.nodes
        ],
    }


def load_allocation(value: Mapping[str, Any]) -> Allocation:
    """The inverse of `dump_allocation`."""
    return Allocation(
        cluster=ClusterName(value["cluster"]),
        image=ImageName(value["image"]),
        fqdn=value["fqdn"],
        public_ip=IPv4Address(value["public_ip"]),
        vlan=value["vlan"],
        dns=tuple(IPv4Address(address) for address in value["dns"]),
        ports={int(inside): outside for inside, outside in value.get("ports", {}).items()},  # older records have none
        nodes=tuple(
            NodeAllocation(
                NodeName(node["name"]),
                Role(node["role"]),
                node["cpus"],
                node["memory_mib"],
                node["host"],
                tuple(
                    Nic(
                        nic["network"],
                        Mac(nic["mac"]),
                        IPv4Interface(nic["address"]),
                        IPv4Address(nic["gateway"]) if nic["gateway"] else None,
                        nic["mtu"],
                    )
                    for nic in node["nics"]
                ),
            )
            for node in value["nodes"]
        ),
    )


def _spec(node: NodeSpec | NodeAllocation) -> dict[str, Any]:
    return {"name": node.name, "role": node.role.value, "cpus": node.cpus, "memory_mib": node.memory_mib}


def _nic(nic: Nic) -> dict[str, Any]:
    return {
        "network": nic.network,
        "mac": nic.mac,
        "address": str(nic.address),
        "gateway": str(nic.gateway) if nic.gateway else None,
        "mtu": nic.mtu,
    }
