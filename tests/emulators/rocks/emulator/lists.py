"""The commands `list …`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from . import machines
from .call import Call, command
from .errors import AbortError, CrashError
from .hosts import by_id, interfaces, members, resolve, vms
from .model import Appliance, Node, Route, State
from .py2 import Long
from .table import Row

_INTRINSIC_70 = ("arch", "rocks_release", "rocks_version", "rocks_version_major")


@command("list host", "[host]...")
def list_host(call: Call) -> None:
    """Hosts, or those of an appliance: ``list host vm-container``."""
    rows: list[Row] = [
        (
            node.name,
            [node.membership, *map(Long, (node.cpus, node.rack, node.rank)), node.runaction, node.installaction],
        )
        for node in resolve(call.state, call.args)
    ]
    call.table(["host", "membership", "cpus", "rack", "rank", "runaction", "installaction"], rows)


@command("list host interface", "[host]...", old=True)
def list_host_interface(call: Call) -> None:
    """Interfaces; those that carry VLANs show little."""
    masks = {subnet.name: subnet.netmask for subnet in call.state.subnets}
    rows: list[Row] = []
    for node in _alphabetical(call):
        for row in interfaces(call.state, node):
            vlan = None if row.vlan is None else Long(row.vlan)
            shown = [row.mac, row.ip, masks.get(row.subnet or ""), row.module, row.name]
            if (row.device or "").startswith("vlan"):
                shown = [None] * 5
            rows.append((node.name, [row.subnet, row.device, *shown, vlan, row.options, row.channel]))
    header = "host subnet iface mac ip netmask module name vlan options channel"
    call.table(header.split(), rows)


@command("list host vm", "[host]... [showdisks=bool] [status=bool]")
def list_host_vm(call: Call) -> None:
    """VMs: a row for the first MAC and disk, further rows for further ones."""
    if call.flag("status"):
        machines.refresh(call.store)
    status, disks = call.flag("status"), call.flag("showdisks")
    header = ["vm-host", "slice", "mem", "cpus", "mac", "host", "virt-type"]
    header += ["status"] if status else []
    header += ["disk", "disksize", "cdrom"] if disks else []
    states = _states(call) if status else {}
    rows: list[Row] = []
    for node in vms(resolve(call.state, call.args)):
        rows += [(node.name, cells) for cells in _vm_rows(call.state, node, states, disks)]
    call.table(header, rows)


def _vm_rows(state: State, node: Node, states: dict[str, str], show_disks: bool) -> list[list[object]]:
    vm = node.vm
    assert vm
    macs: Sequence[str | None] = [row.mac for row in interfaces(state, node) if row.mac]
    rows = []
    for index, (mac, disk) in enumerate(zip_longest(macs or [None], vm.disks)):
        phys = by_id(state, vm.phys)
        first = index == 0
        cells: list[object] = [Long(vm.slice), Long(vm.mem), Long(node.cpus)] if first else [None] * 3
        cells += [mac, *([phys.name if phys else "None", vm.virt] if first else [None, None])]
        if states:
            cells.append(states[node.name] if first else None)
        if show_disks:
            cells += [disk.spec, Long(disk.size)] if disk else [None, None]
            cells.append(vm.cdrom if first else None)
        rows.append(cells)
    return rows


def _states(call: Call) -> dict[str, str]:
    """What each VM does, asked host by host."""
    if call.fault.vanish:
        raise CrashError("libvirtError", "Domain not found: no domain with matching id 7")
    found = {}
    for node in call.state.nodes:
        if not node.vm:
            continue
        phys = by_id(call.state, node.vm.phys)
        if not phys or call.is_down(phys.name):
            where = phys.name if phys else "None"
            call.err.append(f"libvirt:  error : unable to connect to server at '{where}:16509': No route to host\n")
            found[node.name] = "nostate-error"
        else:
            found[node.name] = call.state.domains.get(phys.name, {}).get(node.name, "nostate")
    return found


@command("list cluster", "[cluster]... [status=bool]")
def list_cluster(call: Call) -> None:
    """Frontends, virtual ones first, and what shares their VLAN."""
    if call.flag("status"):
        machines.refresh(call.store)
    chosen = resolve(call.state, call.args)
    frontends = [node for node in chosen if node.membership == "Frontend"]
    if call.args and len(frontends) < len(chosen):
        other = next(node for node in chosen if node not in frontends)
        raise AbortError(f"host {other.name} is not a virtual frontend")
    status = call.flag("status")
    states = _states(call) if status else {}
    rows: list[Row] = []
    for frontend in sorted(frontends, key=lambda node: node.vm is None):
        kind = "VM" if frontend.vm else "physical"
        rows.append((frontend.name, ["", kind, *([states.get(frontend.name)] if status else [])]))
        for client in _clients(call.state, frontend):
            rows.append(("", [client.name, kind, *([states.get(client.name)] if status else [])]))
    call.table(["frontend", "client nodes", "type", *(["status"] if status else [])], rows, trim=False)


def _clients(state: State, frontend: Node) -> list[Node]:
    if frontend.vm:
        return [node for node in members(state, frontend) if node is not frontend]
    return [node for node in state.nodes if node.membership == "Compute" and not node.vm]


@command("list host vm nas", "[host]...", nas=True)
def list_host_vm_nas(call: Call) -> None:
    """The NAS of each VM's disks; assigned ones first, as the join gives them."""
    disks = [(node, disk) for node in vms(resolve(call.state, call.args)) for disk in node.vm.disks]  # type: ignore[union-attr]
    disks.sort(key=lambda pair: (pair[1].nas is None, pair[1].id))
    rows = [(node.name, [disk.nas.nas, disk.nas.zpool] if disk.nas else [None, None]) for node, disk in disks]
    call.table(["vm-host", "nas", "zpool"], rows)


@command("list host boot", "[host]...")
def list_host_boot(call: Call) -> None:
    """Boot actions."""
    call.table(["host", "action"], [(node.name, [node.boot]) for node in _alphabetical(call)])


@command("list host route", "[host]...", old=True)
def list_host_route(call: Call) -> None:
    """Routes: a host's own ones take the place of the global ones to the same network."""
    rows: list[Row] = []
    for node in _alphabetical(call):
        routes = {route.network: (route, "G") for route in call.state.routes}
        routes |= {route.network: (route, "H") for route in node.routes}
        for network in sorted(routes):
            route, source = routes[network]
            rows.append((node.name, [network, route.netmask, _gateway(call.state, node, route), source]))
    call.table(["host", "network", "netmask", "gateway", "source"], rows, trim=False)


def _gateway(state: State, node: Node, route: Route) -> str | None:
    if not route.subnet:
        return route.gateway
    return next((row.device for row in interfaces(state, node) if row.subnet == route.subnet), None)


@command("list host attr", "[host]...")
def list_host_attr(call: Call) -> None:
    """Attributes that hold for a host, with where each comes from."""
    rows: list[Row] = []
    for node in _alphabetical(call):
        rows += [(node.name, [name, *value]) for name, value in sorted(attributes(call.state, node).items())]
    call.table(["host", "attr", "value", "source"], rows, trim=False)


def attributes(state: State, node: Node) -> dict[str, tuple[str, str]]:
    """Name to value and source of a host's attributes."""
    appliance = appliance_of(state, node)
    found = {name: (value, "G") for name, value in state.attrs.items()}
    if state.version != "7.0":
        found = {name: value for name, value in found.items() if name not in _INTRINSIC_70}
    found |= {name: (value, "A") for name, value in state.appliance_attrs.get(appliance.name, {}).items()}
    found |= {name: (value, "H") for name, value in node.attrs.items()}
    own = {"hostname": node.name, "rack": str(node.rack), "rank": str(node.rank)}
    own |= {"appliance": appliance.name, "membership": node.membership}
    return found | {name: (value, "I") for name, value in own.items()}


def appliance_of(state: State, node: Node) -> Appliance:
    """The appliance whose membership a host has."""
    return next(appliance for appliance in state.appliances if appliance.membership == node.membership)


@command("list attr")
def list_attr(call: Call) -> None:
    """Global attributes."""
    call.table(["attr", "value"], [(name, [value]) for name, value in sorted(call.state.attrs.items())], trim=False)


@command("list network", "[network]...")
def list_network(call: Call) -> None:
    """Networks by name."""
    known = {subnet.name: subnet for subnet in call.state.subnets}
    for name in call.args:
        if name not in known:
            raise AbortError(f'unknown network "{name}"')
    rows: list[Row] = []
    for name in sorted(set(call.args) or known):
        row = known[name]
        rows.append((name, [row.subnet, row.netmask, Long(row.mtu), row.dnszone, row.servedns]))
    call.table(["network", "subnet", "netmask", "mtu", "dnszone", "servedns"], rows)


@command("list appliance", "[appliance]...")
def list_appliance(call: Call) -> None:
    """Appliances in the order of their creation."""
    known = call.state.appliances
    for name in call.args:
        if all(appliance.name != name for appliance in known):
            raise AbortError(f'appliance "{name}" is not in the database')
    chosen = [appliance for appliance in known if not call.args or appliance.name in call.args]
    call.table(["appliance", "graph", "node"], [(row.name, [row.graph, row.node]) for row in chosen])


@command("list membership")
def list_membership(call: Call) -> None:
    """Memberships and their appliances."""
    call.table(["membership", "appliance"], [(row.membership, [row.name]) for row in call.state.appliances])


@command("list host partition", "[host]... [bigmnt=bool]")
def list_host_partition(call: Call) -> None:
    """Partitions; with `bigmnt` only the mount point of the largest of each host."""
    nodes = _alphabetical(call)
    if call.flag("bigmnt"):
        call.plain([mount for node in nodes if (mount := largest(node))])
        return
    rows = [(node.name, [mount, size]) for node in nodes for mount, size in node.partitions.items()]
    call.table(["host", "mountpoint", "size"], rows)


def largest(node: Node) -> str | None:
    """The mount point of a host's largest partition; None when it has none."""
    units = {"MB": 1, "GB": 1000, "TB": 1_000_000}
    sizes = {mount: float(size[:-2]) * units[size[-2:]] for mount, size in node.partitions.items()}
    return max(sizes, key=lambda mount: sizes[mount], default=None)


def _alphabetical(call: Call) -> list[Node]:
    return sorted(resolve(call.state, call.args), key=lambda node: node.name)
