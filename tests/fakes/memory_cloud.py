"""The memory driver as a cloud would be: images, addresses and MACs are its own, and documents reach the nodes.

It shows, without a cloud, what `DriverInfo` promises of such engines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface
from zlib import crc32

from pragma_boot.config.settings import ClusterSettings
from pragma_boot.driver import placing
from pragma_boot.driver.base import DriverInfo
from pragma_boot.driver.memory import MemoryDriver
from pragma_boot.errors import CapacityError, DriverError, Fault, PendingError, PreflightError
from pragma_boot.files import StateFolder
from pragma_boot.model import (
    PRIVATE,
    PUBLIC,
    Allocation,
    ClusterName,
    Leases,
    Mac,
    Nic,
    NodeAllocation,
    NodeName,
    NodeSpec,
    Plan,
    ProgressSink,
    Role,
    Templates,
    compute_addresses,
    no_progress,
)

_OUTSIDE = tuple(IPv4Address("203.0.113.10") + step for step in range(4))
_INSIDE = IPv4Interface("10.200.0.0/24")


@dataclass
class MemoryTemplates:
    """Templates that are ready, in memory."""

    names: set[str] = field(default_factory=set)

    def ready(self) -> frozenset[str]:
        """As in the contract."""
        return frozenset(self.names)

    def publish(self, name: str, url: str, checksum: str = "", progress: ProgressSink = no_progress) -> None:
        """As in the contract; a URL that ends in `missing` leads nowhere."""
        if url.endswith("missing"):
            raise DriverError(f"template {name} cannot be had", details="404 Not Found", resolution="mend the URL")
        self.names.add(name)


class MemoryCloudDriver(MemoryDriver):
    """Promises in driver.base. Nodes have 1, 2 or 4 CPUs; everything else is as in its base."""

    info = DriverInfo(
        "memory",
        wants_disks=False,
        assigns_addresses=True,
        assigns_macs=True,
        document_limit=24576,
    )
    sizes = (1, 2, 4)

    def __init__(
        self,
        state: StateFolder,
        clusters: ClusterSettings,
        before_step: Callable[[str], None] = lambda _step: None,
    ) -> None:
        super().__init__(state, clusters, before_step=before_step)
        self._templates = MemoryTemplates({"demo"})
        self.held = False

    def fit(self, plan: Plan) -> Plan:
        """As in the contract: computes of sizes that there are, and images that are ready."""
        ready = self.templates().ready()
        missing = sorted({name for name in plan.templates.values() if name not in ready})
        if missing:
            faults = [Fault(f"template {name}", "is not ready", f"pragma image publish {name}") for name in missing]
            raise PreflightError("this cluster cannot be made here", faults)
        sizes = [size for node in plan.computes for size in _split(node.cpus, self.sizes)]
        memory = plan.computes[0].memory_mib if plan.computes else 0
        computes = [
            NodeSpec(NodeName(f"compute-{index}"), Role.COMPUTE, size, memory) for index, size in enumerate(sizes)
        ]
        return replace(plan, nodes=(plan.frontend, *computes))

    def allocate(self, plan: Plan, leases: Leases) -> Allocation:
        """As in the contract."""
        hosts = placing.place(plan, self.capacity())
        mine = self._read().get(plan.cluster)
        free = (address for address in _OUTSIDE if address not in self.in_use().addresses)
        address = IPv4Address(mine["public_ip"]) if mine else next(free, None)
        if address is None:
            raise CapacityError("the cloud has no public address left", resolution="clean a cluster")
        inside = iter(compute_addresses(plan.private_network, len(plan.computes)))
        nodes = []
        for index, spec in enumerate(plan.nodes):
            frontend = spec.role is Role.FRONTEND
            own = plan.private_network if frontend else next(inside)
            nics = [Nic(PRIVATE, _mac(plan, index, 0), own, None if frontend else plan.private_network.ip)]
            if frontend:
                outer = IPv4Interface((_INSIDE.ip + 10 + _OUTSIDE.index(address), _INSIDE.network.prefixlen))
                nics.append(Nic(PUBLIC, _mac(plan, index, 1), outer, _INSIDE.ip + 1))
            nodes.append(
                NodeAllocation(spec.name, spec.role, spec.cpus, spec.memory_mib, hosts[spec.name], tuple(nics))
            )
        allocation = Allocation(plan.cluster, plan.image, leases.fqdn, address, 0, (), tuple(nodes))
        self._set_aside(allocation)
        return allocation

    def console_log(self, cluster: object, node: object) -> None:
        """As in the contract: consoles are not logged."""

    def templates(self) -> Templates:
        """As in the contract: ``demo`` is there from the start."""
        return self._templates

    def release(self, cluster: ClusterName) -> None:
        """As in the contract; what is held goes later."""
        super().release(cluster)
        if self.held:
            raise PendingError(f"the network of {cluster} goes tomorrow", resolution=f"then: pragma clean {cluster}")


def _split(cpus: int, sizes: tuple[int, ...]) -> list[int]:
    """The smallest size that is enough; the largest, over and over, for more than there is."""
    found = []
    while cpus > 0:
        size = next((size for size in sizes if size >= cpus), sizes[-1])
        found.append(size)
        cpus -= size
    return found


def _mac(plan: Plan, node: int, nic: int) -> Mac:
    seed = crc32(plan.cluster.encode()) & 0xFFFF
    return Mac(f"06:00:{seed >> 8:02x}:{seed & 255:02x}:{node:02x}:{nic:02x}")
