"""The commands that change hosts and their interfaces: `add`, `set` and `remove`."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from ipaddress import IPv4Network

from .call import Call, command
from .errors import AbortError, CrashError
from .hosts import check_address, check_new_name, interfaces, one, resolve
from .model import Assignment, Disk, Interface, Node, State, Subnet

_MAC = re.compile(r"(?i)[0-9a-f]{2}(:[0-9a-f]{2}){5,}$")
_DISK = re.compile(r"(.*):([^:]*)")


@command("add host", "{host} [cpus=string] [membership=string] [rack=string] [rank=string]")
def add_host(call: Call) -> None:
    """A new physical host."""
    if len(call.args) != 1:
        raise AbortError("must supply one host")
    name = call.args[0]
    check_new_name(call.state, name)
    membership = call.params.get("membership", "Compute")
    cpus, rack, rank = (int(call.params.get(key, default)) for key, default in (("cpus", 1), ("rack", 0), ("rank", 0)))
    call.state.nodes.append(Node(call.state.next_id(), name, membership, cpus, rack, rank))


_INTERFACE = "[iface=string] [ip=string] [mac=string] [module=string] [name=string] [subnet=string] [vlan=string]"


@command("add host interface", "{host} {iface} " + _INTERFACE)
def add_host_interface(call: Call) -> None:
    """A row, then each parameter in turn: what fails leaves the row and the parameters before it."""
    (iface,) = call.positional("iface")
    if len(call.args) != 1:
        raise AbortError("must supply one host")
    if not iface:
        raise AbortError("missing iface")
    node = one(call.state, call.args[0])
    if any(iface in (row.device, row.mac) for row in interfaces(call.state, node)):
        raise AbortError(f'interface "{iface}" exists')
    row = Interface(call.state.next_id(), node.id, iface)
    if _MAC.match(iface):
        row.device, row.mac = None, iface
    number = row.id
    call.state.interfaces.append(row)
    for key in ("ip", "mac", "module", "name", "subnet", "vlan"):
        if key in call.params:
            call.step(key)
            row = next(other for other in call.state.interfaces if other.id == number)
            change(call.state, row, key, call.params[key])


def change(state: State, row: Interface, key: str, value: str | None) -> None:
    """One `set host interface KEY`. An unknown network is taken without a word."""
    if key == "vlan":
        row.vlan = _vlan(value)
    elif key == "ip":
        if value:
            check_address(value)
        row.ip = value or None
    elif key == "subnet":
        row.subnet = value if any(subnet.name == value for subnet in state.subnets) else None
        owner = next(node for node in state.nodes if node.id == row.node)
        row.name = row.name or owner.name
    else:
        setattr(row, key, value or None)


def _vlan(value: str | None) -> int | None:
    try:
        return int(value or 0) or None
    except ValueError:
        raise AbortError(f'vlan "{value}" must be an integer') from None


def _set_interface(call: Call) -> None:
    key = call.command.words.split()[-1]
    iface, value = call.positional("iface", key)
    if not call.args:
        raise AbortError("must supply host")
    for node in resolve(call.state, call.args):
        for row in interfaces(call.state, node):
            if iface in (row.device, row.mac):
                change(call.state, row, key, value)


for _key in ("ip", "mac", "module", "name", "subnet", "vlan"):
    command(f"set host interface {_key}", f"{{host}}... {{iface}} {{{_key}}} [iface=string] [{_key}=string]")(
        _set_interface
    )


@command("remove host interface", "{host}... {iface} [iface=string]")
def remove_host_interface(call: Call) -> None:
    """Rows whose device matches, also by pattern; none is no error."""
    (iface,) = call.positional("iface")
    if not call.args:
        raise AbortError("must supply host")
    pattern = (iface or "").replace("%", "*")
    owners = {node.id for node in resolve(call.state, call.args)}
    call.state.interfaces = [
        row
        for row in call.state.interfaces
        if row.node not in owners or not (fnmatchcase(row.device or "", pattern) or row.mac == iface)
    ]


@command("set host cpus", "{host}... {cpus} [cpus=string]")
def set_host_cpus(call: Call) -> None:
    """CPUs of hosts; effective at the next start."""
    (cpus,) = call.positional("cpus")
    if not call.args:
        raise AbortError("must supply host")
    if not cpus:
        raise AbortError("must supply cpus")
    nodes = resolve(call.state, call.args)
    try:
        number = int(cpus)
    except ValueError:
        raise CrashError("ValueError", f"invalid literal for int() with base 10: '{cpus}'") from None
    for node in nodes:
        node.cpus = number


@command("set host attr", "{host}... {attr} {value} [attr=string] [value=string]")
def set_host_attr(call: Call) -> None:
    """An attribute of hosts themselves; it goes with the host."""
    attr, value = call.positional("attr", "value")
    if not call.args:
        raise AbortError("must supply host")
    if not attr or not value:
        raise AbortError("must supply attr and value")
    for node in resolve(call.state, call.args):
        node.attrs[attr] = value


@command("set host boot", "{host}... [action=string]")
def set_host_boot(call: Call) -> None:
    """What hosts do at their next start."""
    (action,) = call.positional("action")
    if not call.args:
        raise AbortError("must supply host")
    if action not in ("os", "run", "install"):
        raise AbortError('invalid action. action must be "os", "run" or "install"')
    for node in resolve(call.state, call.args):
        node.boot = action


def _set_action(call: Call) -> None:
    (action,) = call.positional("action")
    if not call.args:
        raise AbortError("must supply host")
    for node in resolve(call.state, call.args):
        setattr(node, call.command.words.split()[-1], None if action in (None, "none") else action)


for _key in ("runaction", "installaction"):
    command(f"set host {_key}", "{host}... {action} [action=string]")(_set_action)


@command(
    "set host vm",
    "{host} [disk=string] [disksize=string] [mem=string] [physnode=string] [slice=string] [virt-type=string]",
)
def set_host_vm(call: Call) -> None:
    """Memory, disks and place of one VM."""
    if len(call.args) != 1:
        raise AbortError("must supply only one host")
    node = one(call.state, call.args[0])
    vm = node.vm
    if not vm:
        raise CrashError("IntegrityError", "(1048, \"Column 'Vm_Node' cannot be null\")")
    if "physnode" in call.params:
        vm.phys = one(call.state, call.params["physnode"]).id
    if "disk" in call.params:
        _set_disks(call, node)
    elif "disksize" in call.params:
        _set_sizes(vm.disks, call.params["disksize"])
    if "mem" in call.params:
        vm.mem = call.number("mem", vm.mem, '"mem" parameter must be an integer')
    if "slice" in call.params:
        vm.slice = call.number("slice", vm.slice, '"slice" parameter must be an integer')


def _set_disks(call: Call, node: Node) -> None:
    assert node.vm
    sizes = _sizes(call.params.get("disksize", ""))
    wanted = [_disk(call.state, spec) for spec in call.params["disk"].split()]
    if any(disk.nas for disk in node.vm.disks):
        text = "Cannot delete or update a parent row: a foreign key constraint fails (`cluster`.`img_nas_server`)"
        raise CrashError("IntegrityError", f'(1451, "{text}")')
    for disk, size in zip(wanted, sizes, strict=False):
        disk.size = size
    node.vm.disks = wanted


def _disk(state: State, spec: str) -> Disk:
    place, *rest = spec.split(",")
    match = _DISK.fullmatch(place)
    if len(rest) != 2 or not match:
        raise AbortError("Invalid disk specification. Please see rocks add host vm help.")
    kind, path = match.groups()
    if kind not in ("file", "qcow2", "qed", "phy"):
        raise AbortError("Invalid disk specification. Please see rocks add host vm help.")
    prefix, name = ("", path) if kind == "phy" or "/" not in path else path.rsplit("/", 1)
    return Disk(state.next_id(), kind, prefix, name, rest[0], rest[1], 36)


def _sizes(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split()]
    except ValueError:
        raise AbortError('"disksize" values must be integers') from None


def _set_sizes(disks: list[Disk], text: str) -> None:
    sizes = _sizes(text)
    if len(sizes) > len(disks):
        raise AbortError(f"too many disksize vm has only {len(disks)} disks")
    for disk, size in zip(disks, sizes, strict=False):
        disk.size = size if size > 0 else disk.size


@command("set host vm nas", "{host}... [nas=string] [zpool=string]", nas=True)
def set_host_vm_nas(call: Call) -> None:
    """The NAS of the first disk; `none` leaves a row of empty texts."""
    nas, zpool = call.params.get("nas", ""), call.params.get("zpool", "")
    if not call.args:
        raise AbortError("must supply host")
    if nas.lower() == "none":
        nas = zpool = ""
    elif not any(node.name == nas for node in call.state.nodes):
        raise AbortError(f"nas {nas} must be a valid rocks host")
    elif not zpool:
        raise AbortError("you need to specify a zpool parameter or set the img_zpools attribute")
    for node in resolve(call.state, call.args):
        if not node.vm:
            raise AbortError(f"node {node.name} is not a virtual node")
        first = node.vm.disks[0]
        first.nas = Assignment(first.nas.id if first.nas else call.state.next_id(), nas, zpool)


@command("remove host vm nas", "{host}...", nas=True)
def remove_host_vm_nas(call: Call) -> None:
    """Drop the assignments of VMs."""
    if not call.args:
        raise AbortError("must supply host")
    for node in resolve(call.state, call.args):
        for disk in node.vm.disks if node.vm else []:
            disk.nas = None


@command("add network", "{name} [dnszone=string] [mtu=string] [netmask=string] [servedns=bool] [subnet=string]")
def add_network(call: Call) -> None:
    """A new network."""
    name, subnet, netmask = call.positional("name", "subnet", "netmask")
    if not name or not subnet or not netmask:
        raise AbortError("must supply the network name, subnet and netmask")
    if any(row.name == name for row in call.state.subnets):
        raise AbortError(f'network "{name}" exists')
    mtu = call.number("mtu", 1500, "mtu must be an integer")
    zone = call.params.get("dnszone", name)
    IPv4Network(f"{subnet}/{netmask}")
    call.state.subnets.append(Subnet(name, subnet, netmask, mtu, zone, call.flag("servedns")))
