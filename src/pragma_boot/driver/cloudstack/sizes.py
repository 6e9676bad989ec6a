"""Which service offering a node gets (cloudstack.md b.8). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pragma_boot.driver.cloudstack.reading import Size
from pragma_boot.errors import CapacityError
from pragma_boot.model import NodeName, NodeSpec, Plan, Role

SPEED = 1000
"""MHz that are asked of an offering whose speed is chosen."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An offering for a node, and the size that the node has with it."""

    size: Size
    cpus: int
    memory_mib: int

    @property
    def details(self) -> dict[str, int] | None:
        """What is to be told besides the offering's id; nothing for a fixed one."""
        if not self.size.custom:
            return None
        speed = {"cpuSpeed": SPEED} if self.size.asks_speed else {}
        return {"cpuNumber": self.cpus, "memory": self.memory_mib, **speed}


def choose(sizes: Sequence[Size], cpus: int, memory_mib: int) -> Choice | None:
    """The smallest fixed offering that is enough, else a custom one; None when none is."""
    fixed = [size for size in sizes if not size.custom and size.cpus >= cpus and size.memory_mib >= memory_mib]
    if fixed:
        size = min(fixed, key=lambda size: (size.cpus, size.memory_mib, size.name))
        return Choice(size, size.cpus, size.memory_mib)
    custom = [size for size in sizes if size.custom and size.cpus >= cpus and size.memory_mib >= memory_mib]
    if not custom:
        return None
    size = min(custom, key=lambda size: (size.asks_speed, size.cpus, size.name))
    return Choice(size, max(cpus, size.least_cpus), max(memory_mib, size.least_memory_mib))


def split(sizes: Sequence[Size], cpus: int, memory_mib: int) -> list[Choice]:
    """Offerings that have *cpus* together: one that is enough, else the largest over and over, and one for the rest.

    The largest is a fixed one where there is any: custom ones without bounds would make one giant of every cluster.
    Raises CapacityError when none has the memory.
    """
    found = []
    while cpus > 0:
        choice = _one(sizes, cpus, memory_mib)
        found.append(choice)
        cpus -= choice.cpus
    return found


def fitted(plan: Plan, sizes: Sequence[Size]) -> Plan:
    """The plan with nodes of sizes that there are. Raises CapacityError."""
    own = plan.frontend
    frontend = choose(sizes, own.cpus, own.memory_mib)
    if frontend is None:
        raise _none(sizes, own.cpus, own.memory_mib)
    chosen = [choice for node in plan.computes for choice in split(sizes, node.cpus, node.memory_mib)]
    computes = (
        NodeSpec(NodeName(f"compute-{index}"), Role.COMPUTE, choice.cpus, choice.memory_mib)
        for index, choice in enumerate(chosen)
    )
    first = replace(own, cpus=frontend.cpus, memory_mib=frontend.memory_mib)
    return replace(plan, nodes=(first, *computes))


def _one(sizes: Sequence[Size], cpus: int, memory_mib: int) -> Choice:
    roomy = [size for size in sizes if size.memory_mib >= memory_mib]
    fixed = [size for size in roomy if not size.custom]
    within = choose(fixed or roomy, cpus, memory_mib)
    if within:
        return within
    if not roomy:
        raise _none(sizes, cpus, memory_mib)
    size = max(fixed or roomy, key=lambda size: (size.cpus, -size.memory_mib, size.name))
    choice = choose([size], size.cpus, memory_mib)
    assert choice
    return choice


def _none(sizes: Sequence[Size], cpus: int, memory_mib: int) -> CapacityError:
    offered = "\n".join(
        f"{size.name}: "
        + (
            f"up to {size.cpus} CPUs, {size.memory_mib} MiB"
            if size.custom
            else f"{size.cpus} CPUs, {size.memory_mib} MiB"
        )
        for size in sizes
    )
    return CapacityError(
        f"no service offering has {cpus} CPUs and {memory_mib} MiB",
        details=offered or "the site has none",
        resolution="ask for less memory (mem=MB), or set service_offerings in cloudstack.conf to larger ones",
    )
