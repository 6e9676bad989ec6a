"""The site driver `cloudstack`: nodes are virtual machines of an Apache CloudStack cloud (docs/cloudstack.md)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from pragma_boot.config.settings import CloudStackSettings
from pragma_boot.driver.base import NO_DOCUMENTS, NO_KERNELS, DriverInfo, no_volumes
from pragma_boot.driver.cloudstack import names, network, reading, status
from pragma_boot.driver.cloudstack.client import Client, Clock
from pragma_boot.driver.cloudstack.cloud import Cloud
from pragma_boot.files import StateFolder
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


def open_client(settings: CloudStackSettings, clock: Clock | None = None) -> Client:
    """The client that the settings describe; connects to nothing yet."""
    return Client(
        settings.url,
        settings.apikey,
        settings.secretkey,
        ca_file=settings.ca_file,
        timeout=settings.timeout,
        clock=clock,
    )


class CloudStackDriver:
    """Promises in driver.base. What the cloud offers is looked up once, ours anew each time.

    client: what makes the calls, where it is not the settings' own.
    """

    info = DriverInfo(
        "cloudstack",
        wants_disks=False,
        assigns_addresses=True,
        assigns_macs=True,
        document_limit=names.DOCUMENT,
        refused_names=names.REFUSED,
    )

    def __init__(self, settings: CloudStackSettings, state: StateFolder, client: Client | None = None) -> None:
        self._cloud = Cloud(client or open_client(settings), settings, state)

    def preflight(self, networks: Collection[str] = ()) -> None:
        """As in the contract."""
        from pragma_boot.driver.cloudstack import fitting  # noqa: PLC0415 - listing does without all these

        fitting.check(self._cloud)

    def set_up(self) -> tuple[str, ...]:
        """As in the contract: what clusters share is made by the first, and goes with the last."""
        return ()

    def tear_down(self) -> tuple[str, ...]:
        """As in the contract."""
        return ()

    def capacity(self) -> Capacity:
        """As in the contract: what the account may have, as if it were one host."""
        from pragma_boot.driver.cloudstack import fitting  # noqa: PLC0415

        return fitting.capacity(self._cloud)

    def in_use(self) -> InUse:
        """As in the contract: the names of all machines of the account, and of all clusters that tags tell."""
        found = reading.machines(self._cloud.client)
        clusters = {each.tags[names.CLUSTER] for each in found if names.CLUSTER in each.tags}
        clusters |= {net.tags[names.CLUSTER] for net in self._cloud.networks() if names.CLUSTER in net.tags}
        addresses = (status.outside(each)[0] for each in found)
        return InUse(
            addresses=frozenset(address for address in addresses if address),
            macs=frozenset(port.mac for each in found for port in each.ports),
            clusters=frozenset(ClusterName(name) for name in clusters | {each.name for each in found}),
        )

    def public_side(self) -> PublicSide:
        """As in the contract; inside the cloud's address translation."""
        from pragma_boot.driver.cloudstack.allocate import resolvers  # noqa: PLC0415

        net = network.find_public(self._cloud)
        cidr = (net.cidr if net else None) or IPv4Network(str(self._cloud.zone.get("guestcidraddress", "10.1.1.0/24")))
        gateway = (net.gateway if net else None) or IPv4Address(int(cidr.network_address) + 1)
        return PublicSide(cidr, gateway, resolvers(self._cloud))

    def fit(self, plan: Plan) -> Plan:
        """As in the contract: sizes are those of service offerings."""
        from pragma_boot.driver.cloudstack import fitting  # noqa: PLC0415

        return fitting.fit(self._cloud, plan)

    def allocate(self, plan: Plan, leases: Leases) -> Allocation:
        """As in the contract. All machines are there after it, with their addresses, and none runs."""
        from pragma_boot.driver.cloudstack.allocate import Allocator  # noqa: PLC0415

        return Allocator(self._cloud, plan, leases).run()

    def deploy(
        self,
        allocation: Allocation,
        disks: Mapping[NodeName, Disk],
        kernels: Mapping[NodeName, KernelBoot],
        progress: ProgressSink = no_progress,
        documents: Mapping[NodeName, bytes] = NO_DOCUMENTS,
    ) -> None:
        """As in the contract."""
        from pragma_boot.driver.cloudstack.power import Power  # noqa: PLC0415

        power = Power(self._cloud, allocation.cluster, progress)
        power.hand_out({node.name: documents.get(node.name, b"") for node in allocation.nodes})
        power.start()

    def start(
        self,
        cluster: ClusterName,
        progress: ProgressSink = no_progress,
        kernels: Mapping[NodeName, KernelBoot] = NO_KERNELS,
    ) -> None:
        """As in the contract."""
        from pragma_boot.driver.cloudstack.power import Power  # noqa: PLC0415

        Power(self._cloud, cluster, progress).start()

    def status(self, cluster: ClusterName) -> Mapping[NodeName, NodeStatus]:
        """As in the contract."""
        found = self._cloud.machines(cluster)
        return status.nodes(found, self._host).get(cluster, {}) if found else {}

    def survey(self) -> Mapping[ClusterName, Mapping[NodeName, NodeStatus]]:
        """As in the contract."""
        found = self._cloud.machines()
        return status.nodes(found, self._host) if found else {}

    def console_log(self, cluster: ClusterName, node: NodeName) -> Path | None:
        """As in the contract: consoles are the cloud's."""
        return None

    def shutdown(self, cluster: ClusterName, *, grace: float, progress: ProgressSink = no_progress) -> None:
        """As in the contract."""
        from pragma_boot.driver.cloudstack.power import Power  # noqa: PLC0415

        Power(self._cloud, cluster, progress).stop(grace)

    def release(self, cluster: ClusterName) -> None:
        """As in the contract."""
        from pragma_boot.driver.cloudstack.release import Release  # noqa: PLC0415

        Release(self._cloud, cluster).run()

    def volumes(self) -> Volumes:
        """As in the contract."""
        raise no_volumes(self.info)

    def templates(self) -> Templates:
        """As in the contract."""
        from pragma_boot.driver.cloudstack.templates import CloudTemplates  # noqa: PLC0415

        return CloudTemplates(self._cloud)

    @property
    def _host(self) -> str:
        return str(self._cloud.zone.get("name", ""))
