"""Set aside everything of a cluster: networks, machines that do not run, an address; all of it ours to undo.

Order (cloudstack.md c.3): public network → private network → machines, address and tags side by side → translation.
What is there already, of an allocation that was cut off, is taken as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from pragma_boot.driver.cloudstack import names, network, outside, reading, sizes
from pragma_boot.driver.cloudstack.client import ApiError
from pragma_boot.driver.cloudstack.cloud import Cloud
from pragma_boot.driver.cloudstack.crew import Task, carried_out
from pragma_boot.driver.cloudstack.outside import Outside
from pragma_boot.driver.cloudstack.reading import Address, Machine, Net
from pragma_boot.errors import CapacityError, DriverError
from pragma_boot.model import PRIVATE, PUBLIC, Allocation, Leases, Nic, NodeAllocation, NodeName, NodeSpec, Plan, Role

_log = logging.getLogger(__name__)

_SHORT = (533, 535)
_MASKED = 530
_ADDRESS = "the address"


@dataclass(frozen=True, slots=True)
class _Nets:
    private: Net
    public: Net


@dataclass(frozen=True, slots=True)
class _Wish:
    """A machine that is to be there. template: its id; group: the affinity group's, or empty."""

    node: NodeSpec
    address: IPv4Interface
    template: str
    group: str


@dataclass
class Allocator:
    """One allocation."""

    cloud: Cloud
    plan: Plan
    leases: Leases

    def run(self) -> Allocation:
        """The contract's `allocate`. Raises CapacityError or DriverError."""
        cloud = self.cloud
        with cloud.using_public():
            nets = self._networks()
            addresses = network.private_addresses(self.plan, nets.private)
            made = self._make(nets, addresses)
        frontend = made[str(self.plan.frontend.name)]
        address = made.get(_ADDRESS)
        assert isinstance(frontend, Machine)
        way = self._way(nets.public, frontend, address if isinstance(address, Address) else None)
        self._tag(made, way)
        return self._allocation(nets, made, way)

    def _networks(self) -> _Nets:
        cloud = self.cloud
        with cloud.alone():
            public = network.public(cloud)
            cloud.journal.note(self.plan.cluster, public=public.id)
            if public.kind == "Isolated":
                tasks: dict[str, Callable[[], Task[None]]] = {
                    "its address": partial(outside.source_nat, cloud, public),
                    "its tags and rules": partial(network.open_public, cloud, public),
                }
                cloud.crew.run(tasks).raise_first(f"set up the network {public.name}")
        return _Nets(network.private(cloud, self.plan, public), public)

    # ------------------------------------------------------------------------------------------------------- machines

    def _make(self, nets: _Nets, addresses: list[IPv4Interface]) -> dict[str, Any]:
        """All that can be made side by side: machines by node, and the address."""
        cloud, plan = self.cloud, self.plan
        there = {each.name: each for each in reading.machines(cloud.client, networkid=nets.private.id)}
        templates = cloud.templates()
        group = cloud.crew.one(self._group())
        tasks: dict[str, Callable[[], Task[Any]]] = {
            _ADDRESS: partial(self._address, nets),
            "the private network": partial(self._tag_private, nets.private),
        }
        for node, address in zip(plan.nodes, addresses, strict=True):
            found = there.get(names.host_name(plan.cluster, node.name))
            template = str(templates[plan.templates.get(node.role, plan.image)]["id"])
            wish = _Wish(node, address, template, group)
            tasks[str(node.name)] = partial(self._machine, wish, found, nets)
        outcome = cloud.crew.run(tasks)
        outcome.raise_first(f"set aside {plan.cluster}")
        return outcome.results

    def _machine(self, wish: _Wish, found: Machine | None, nets: _Nets) -> Task[Machine]:
        cloud = self.cloud
        if found is None:
            found = yield from self._deploy(wish, nets)
        cloud.journal.note(self.plan.cluster, machines={found.name: found.id})
        if wish.node.role is Role.FRONTEND and cloud.settings.public_first:
            port = found.port(nets.public.id)
            if port and not port.default:
                yield from self._make_default(found.id, port.id)
        return found

    def _deploy(self, wish: _Wish, nets: _Nets) -> Task[Machine]:
        node = wish.node
        cloud, name = self.cloud, names.host_name(self.plan.cluster, node.name)
        choice = sizes.choose(cloud.sizes, node.cpus, node.memory_mib)
        if choice is None:
            raise CapacityError(f"no service offering has {node.cpus} CPUs and {node.memory_mib} MiB")
        links: list[dict[str, str | int]] = [{"networkid": nets.private.id, "ip": str(wish.address.ip)}]
        if node.role is Role.FRONTEND:
            links.append({"networkid": nets.public.id})

        def look() -> dict[str, Any] | None:
            rows = reading.machine_rows(cloud.client, networkid=nets.private.id)
            return next((row for row in rows if row.get("name") == name), None)

        def noted(ident: str) -> None:
            cloud.journal.note(self.plan.cluster, machines={name: ident})

        try:
            result = yield from carried_out(
                cloud.client,
                "deployVirtualMachine",
                look,
                made=noted,
                name=name,
                displayname=name,
                zoneid=cloud.zone_id,
                serviceofferingid=choice.size.id,
                templateid=wish.template,
                iptonetworklist=links,
                details=choice.details,
                affinitygroupids=wish.group or None,
                startvm=False,
            )
        except ApiError as error:
            raise _no_machine(error, name, wish.address) from error
        row = result.get("virtualmachine")
        found = reading.machine(row if isinstance(row, dict) else result)
        if not all(port.address for port in found.ports) or len(found.ports) < len(links):
            found = cloud.machine(found.id) or found  # some servers answer with less than they list
        return found

    def _make_default(self, machine: str, port: str) -> Task[None]:
        """Address translation works to the default interface only: apache/cloudstack issue 8366."""

        def there() -> dict[str, Any] | None:
            now = self.cloud.machine(machine)
            return {} if now and any(each.id == port and each.default for each in now.ports) else None

        yield from carried_out(
            self.cloud.client,
            "updateDefaultNicForVirtualMachine",
            there,
            virtualmachineid=machine,
            nicid=port,
        )

    def _group(self) -> Task[str]:
        """An affinity group that keeps nodes apart where that is possible; its id, empty where none is wanted."""
        cloud, cluster = self.cloud, self.plan.cluster
        if not cloud.settings.anti_affinity:
            return ""
        name = f"pragma-{cluster}-{cloud.owner[:8]}"

        def look() -> dict[str, Any] | None:
            rows = cloud.client.rows("listAffinityGroups", "affinitygroup", name=name)
            return next((row for row in rows if row.get("name") == name), None)

        found = look()
        if found is None:
            result = yield from carried_out(
                cloud.client,
                "createAffinityGroup",
                look,
                made=lambda ident: _noted_group(cloud, cluster, ident),
                name=name,
                type="non-strict host anti-affinity",
            )
            row = result.get("affinitygroup")
            found = row if isinstance(row, dict) else result
        cloud.journal.note(cluster, group=str(found.get("id", "")))
        return str(found.get("id", ""))

    # -------------------------------------------------------------------------------------------------- ways and tags

    def _tag_private(self, net: Net) -> Task[None]:
        if names.OWNER not in net.tags:
            marks = names.marks(
                self.plan.cluster, self.cloud.owner, names.PRIVATE_NET, pragma_image=str(self.plan.image)
            )
            yield from self.cloud.tag("Network", [net.id], marks)

    def _address(self, nets: _Nets) -> Task[Address | None]:
        """What the private network needs first: it cannot start without, and a shortage is to show before that."""
        yield from outside.source_nat(self.cloud, nets.private)
        return (yield from outside.address(self.cloud, self.plan.cluster, nets.public))

    def _way(self, public: Net, frontend: Machine, address: Address | None) -> Outside:
        cloud = self.cloud
        port = frontend.port(public.id)
        if public.kind != "Isolated" and port and port.address:
            return Outside(port.address.ip)
        if address:
            return outside.translate(cloud, address, frontend)
        return cloud.crew.one(outside.forward(cloud, public, frontend))

    def _tag(self, made: Mapping[str, Any], way: Outside) -> None:
        """Say of every machine whose it is; a frontend also bears its outside address."""
        cloud, plan = self.cloud, self.plan
        tasks: dict[str, Callable[[], Task[None]]] = {}
        for role in Role:
            some = [made[str(node.name)] for node in plan.nodes if node.role is role]
            new = [each.id for each in some if names.OWNER not in each.tags]
            place = names.place(way.ip, way.ports)
            marks = names.marks(
                plan.cluster,
                cloud.owner,
                role.value,
                pragma_image=str(plan.image),
                pragma_address=place if role is Role.FRONTEND else "",
            )
            if new:
                tasks[role.value] = partial(cloud.tag, "UserVm", new, marks)
        cloud.crew.run(tasks).raise_first(f"tag the machines of {plan.cluster}")

    def _allocation(self, nets: _Nets, made: Mapping[str, Any], way: Outside) -> Allocation:
        cloud, plan = self.cloud, self.plan
        host, home = str(cloud.zone.get("name", "")), plan.frontend.name
        nodes = []
        for node in plan.nodes:
            machine: Machine = made[str(node.name)]
            nics = [_nic(PRIVATE, node.name, machine, nets.private.id)]
            if node.role is Role.FRONTEND:
                nics.append(_nic(PUBLIC, node.name, machine, nets.public.id, leaves=True))
            choice = sizes.choose(cloud.sizes, node.cpus, node.memory_mib)
            cpus, memory = (choice.cpus, choice.memory_mib) if choice else (node.cpus, node.memory_mib)
            nodes.append(NodeAllocation(node.name, node.role, cpus, memory, host, tuple(nics)))
        gateway = next(each for each in nodes if each.name == home).nics[0].address.ip
        routed = [each if each.role is Role.FRONTEND else _through(each, gateway) for each in nodes]
        return Allocation(
            cluster=plan.cluster,
            image=plan.image,
            fqdn=self.leases.fqdn,
            public_ip=way.ip,
            vlan=0,
            dns=resolvers(cloud),
            nodes=tuple(routed),
            ports=way.ports,
        )


def resolvers(cloud: Cloud) -> tuple[IPv4Address, ...]:
    """The DNS servers of nodes: the site's, else the zone's."""
    given = cloud.settings.clusters.dns
    zone = [cloud.zone.get(key) for key in ("dns1", "dns2")]
    return given or tuple(IPv4Address(each) for each in zone if each)


def _nic(tag: str, node: NodeName, machine: Machine, net: str, *, leaves: bool = False) -> Nic:
    port = machine.port(net)
    if port is None or port.address is None:
        raise DriverError(
            f"{node} has no address on its {tag} network",
            details=f"machine {machine.id}, network {net}",
            resolution="see the network in the cloud; then repeat",
        )
    return Nic(tag, port.mac, port.address, port.gateway if leaves else None)


def _through(node: NodeAllocation, gateway: IPv4Address) -> NodeAllocation:
    first, *others = node.nics
    nics = (Nic(first.network, first.mac, first.address, gateway, first.mtu), *others)
    return NodeAllocation(node.name, node.role, node.cpus, node.memory_mib, node.host, nics)


def _noted_group(cloud: Cloud, cluster: Any, ident: str) -> None:
    cloud.journal.note(cluster, group=ident)


def _no_machine(error: ApiError, name: str, address: IPv4Interface) -> DriverError | CapacityError:
    """What a refused machine means; users are told nothing of a shortage but that something went wrong inside."""
    if error.code in _SHORT:
        return CapacityError(
            f"the cloud has no room for {name}", details=f"{error.code}: {error.text}", resolution=error.resolution
        )
    if error.code == _MASKED:
        return DriverError(
            f"the cloud cannot make {name}",
            details=f"{error.code}: {error.text}",
            resolution=f"it may have no storage left, or {address.ip} may be in use there: its operator's log says",
        )
    return error
