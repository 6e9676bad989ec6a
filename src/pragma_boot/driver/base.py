"""The contract of site drivers: the order of calls, and the promise of each.

Call order::

    preflight → in_use → capacity → allocate → deploy → status … → shutdown → start … → shutdown → release

`release` may be called after any of them, also when that call failed or its process was killed. Everything that a
driver makes carries our metadata (cluster, node, role, image, public address), so that `survey` finds clusters whose
folder and database are lost. Each driver passes tests/contract/test_driver.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from pragma_boot.errors import NotAvailableError
from pragma_boot.model import (
    Allocation,
    Capacity,
    ClusterName,
    Disk,
    InUse,
    KernelBoot,
    Leases,
    NodeName,
    NodeStatus,
    Plan,
    ProgressSink,
    PublicSide,
    Templates,
    Volumes,
    no_progress,
)


@dataclass(frozen=True, slots=True)
class DriverInfo:
    """Capabilities as data: nobody asks for a driver's name.

    wants_disks: `deploy` needs a prepared disk for each node. Else images are the engine's own (`templates`), and
    `deploy` needs each node's vc-out document, which travels some other way.
    assigns_names: the engine chooses node names itself.
    assigns_addresses: the engine chooses addresses itself; leases then hold names alone, and `allocate` is called
    beside other allocations.
    assigns_macs: the engine chooses MACs itself, addresses are leased; leased MACs are then not used.
    sends_disks: `deploy` copies the disks to the hosts, where `diskdir` is then; `release` removes the copies.
    has_volumes: images may be on volumes of the site; `volumes` handles them.
    document_limit: bytes that a node's document may have at most; 0: any number.
    refused_names: a regular expression of names that the engine cannot give to a cluster.
    has_console: `console_log` gives a file for each node that runs.
    direct_kernel: `deploy` can start a node's kernel without the image's boot loader.
    options: names of optional command line features that it has: `add-iface`, `enable-ent`, `ipop`. With the first
    two it puts nodes on the plan's further networks (`Plan.extra`). `ipop` (overlays) asks for `wants_disks`, and for
    the frontend's own interface on `public` to have the address that other sites reach.
    """

    name: str
    wants_disks: bool = True
    assigns_names: bool = False
    assigns_addresses: bool = False
    assigns_macs: bool = False
    sends_disks: bool = False
    has_volumes: bool = False
    document_limit: int = 0
    refused_names: str = ""
    has_console: bool = False
    direct_kernel: bool = False
    options: frozenset[str] = frozenset()


NO_KERNELS: Mapping[NodeName, KernelBoot] = MappingProxyType({})
"""Every node starts by its own boot loader."""

NO_DOCUMENTS: Mapping[NodeName, bytes] = MappingProxyType({})
"""Every node's document is on its disk already."""


class Driver(Protocol):
    """One site's engine. Methods may be called from one thread at a time; each call stands alone."""

    info: DriverInfo

    def preflight(self, networks: Collection[str] = ()) -> None:
        """Look at the site; read-only. Raises PreflightError with every fault at once, each with its mend.

        networks: names of further networks of the site (`ClusterSettings.networks`) that are to be looked at, too:
        those that a boot is about to use, or all.
        """

    def set_up(self) -> tuple[str, ...]:
        """Make what the site needs once, for all clusters (its public network); idempotent.

        Returns a line for each thing made. `allocate` and `start` make what is missing, too. Raises DriverError.
        """

    def tear_down(self) -> tuple[str, ...]:
        """Take away what `set_up` made; to be called when no cluster is left; idempotent. Returns as `set_up`."""

    def capacity(self) -> Capacity:
        """What each host has and has free; read-only. Raises DriverError when a host cannot be asked."""

    def in_use(self) -> InUse:
        """Addresses, VLANs, MACs and cluster names the site already uses, ours or not; read-only."""

    def public_side(self) -> PublicSide:
        """The public network's mask, gateway and resolvers as nodes shall be told; read-only."""

    def fit(self, plan: Plan) -> Plan:
        """The plan as this engine can make it: with the sizes, and so the number, of nodes that it has; read-only.

        Most engines give the plan back. Raises PreflightError with everything that speaks against it, or
        CapacityError.
        """

    def allocate(self, plan: Plan, leases: Leases) -> Allocation:
        """Set aside hosts and networks. Names, MACs and addresses are final after it; nothing runs.

        The cluster's private network exists after it. Raises CapacityError or DriverError; then `release` clears up.
        """

    def deploy(
        self,
        allocation: Allocation,
        disks: Mapping[NodeName, Disk],
        kernels: Mapping[NodeName, KernelBoot],
        progress: ProgressSink = no_progress,
        documents: Mapping[NodeName, bytes] = NO_DOCUMENTS,
    ) -> None:
        """Define and start all nodes: the frontend first, the computes side by side.

        kernels: for nodes whose first start skips the boot loader; may be empty.
        disks, documents: as `DriverInfo.wants_disks` says, for every node of the allocation; the other is empty.
        Returns when all are started (not when they are ready). Raises DriverError; then `release` clears up.
        """

    def start(
        self,
        cluster: ClusterName,
        progress: ProgressSink = no_progress,
        kernels: Mapping[NodeName, KernelBoot] = NO_KERNELS,
    ) -> None:
        """Start the nodes that do not run, frontend first; idempotent. Raises DriverError.

        kernels: as in `deploy`; empty where `DriverInfo.direct_kernel` is not set.
        """

    def status(self, cluster: ClusterName) -> Mapping[NodeName, NodeStatus]:
        """The cluster's nodes as the engine tells; empty when it knows none. Read-only.

        An engine that defines nodes in `allocate` tells them from then on, as shut down.
        """

    def survey(self) -> Mapping[ClusterName, Mapping[NodeName, NodeStatus]]:
        """Every cluster of ours at this site, in one look; read-only; cheap with a thousand clusters."""

    def console_log(self, cluster: ClusterName, node: NodeName) -> Path | None:
        """The file that the node's serial console is logged to, made anew by each boot and appended to; or None."""

    def shutdown(self, cluster: ClusterName, *, grace: float, progress: ProgressSink = no_progress) -> None:
        """Stop all nodes: asked to, and after *grace* seconds forced; side by side; idempotent. Raises DriverError."""

    def release(self, cluster: ClusterName) -> None:
        """Undo `allocate` and `deploy` from any half-way point, running nodes included; idempotent.

        Leaves no domain, network, NVRAM or snapshot. Disks and folders are their makers' to remove.
        Raises DriverError that names what could not be removed; everything else is gone then. PendingError, when
        what is left goes by itself, but only later: a `release` after that finishes it.
        """

    def volumes(self) -> Volumes:
        """What handles the site's volumes. Raises NotAvailableError where `DriverInfo.has_volumes` is not set."""

    def templates(self) -> Templates:
        """What handles the engine's own images. Raises NotAvailableError where `DriverInfo.wants_disks` is set."""


def no_templates(info: DriverInfo) -> NotAvailableError:
    """The error of a driver whose nodes are made from the repository's disks."""
    return NotAvailableError(
        f"the {info.name} driver has no templates: its nodes are made from the repository's disks",
        resolution="boot an image of the repository; nothing is to be published for it",
    )


def no_volumes(info: DriverInfo) -> NotAvailableError:
    """The error of a driver without volumes."""
    return NotAvailableError(
        f"images on volumes are not available with the {info.name} driver",
        resolution="use an image whose disks are files",
    )
