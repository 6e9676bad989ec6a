"""`add cluster` and `remove cluster`: many steps, each kept at once, none undone when a later one fails."""

from __future__ import annotations

from .call import Call, command
from .edits import change
from .errors import AbortError, CrashError
from .hosts import by_id, check_new_name, interfaces, members, next_ip, next_mac, node, one, resolve, vlan_of
from .lists import appliance_of, largest
from .model import Disk, Interface, Node, Route, State, Vm

_USAGE = (
    "{ip} {num-computes} [cluster-naming=bool] [container-hosts=string] [cpus-per-compute=string] "
    "[disk-per-compute=string] [disk-per-frontend=string] [fe-container=string] [fe-name=string] [ip=string] "
    "[mem-per-compute=string] [num-computes=string] [virt-type=string] [vlan=string]"
)


@command("add cluster", _USAGE)
def add_cluster(call: Call) -> None:
    """Frontend, then computes. Checks next to nothing beforehand."""
    ip, count = _wanted(call)
    vlan = _vlan(call)
    containers = _containers(call)
    place = one(call.state, call.params.get("fe-container", call.state.frontend)).name
    call.step("checked")
    call.say(f"Creating Virtual Frontend on Physical Host {place} --> ")
    _carry_vlan(call, place, vlan)
    name = _add_frontend(call, place, vlan)
    _make_public(call, name, ip)
    call.say(f"\tcreated frontend VM named: {name}")
    call.say("<-- Done.")
    if count:
        call.say(f"Creating {count} Virtual Cluster nodes  --> ")
        for index in range(count):
            _add_compute(call, name, index, containers[index % len(containers)], vlan)
        call.say("<-- Done.")
    call.say("Syncing Network Configuration --> ")
    call.state.syncs.append("config")
    call.step("synced")
    call.say("<-- Done.")


def _wanted(call: Call) -> tuple[str, int]:
    ip, count = call.positional("ip", "num-computes")
    if not ip:
        raise AbortError("must supply an IP address for the frontend")
    if not count:
        raise AbortError("must supply the number of compute nodes")
    try:
        number = int(count)
    except ValueError:
        raise AbortError("num-computes must be an integer") from None
    if call.flag("cluster-naming") and "fe-name" not in call.params:
        raise AbortError("you must select a fe-name when using cluster-naming")
    if call.params.get("virt-type", "hvm") != "hvm":
        raise AbortError("KVM support only 'hvm' virtualization")
    return ip, number


def _vlan(call: Call) -> int:
    if "vlan" in call.params:
        return call.number("vlan", 0, f"Vlan ID ({call.params['vlan']}) must be an integer")
    call.say("Getting Free VLAN --> ")
    taken = {row.vlan for row in call.state.interfaces}
    free = next((number for number in range(2, 4096) if number not in taken), None)
    if free is None:
        raise AbortError("Not able to find a free VLAN")
    call.say("<-- Done")
    return free


def _containers(call: Call) -> list[str]:
    named = call.params.get("container-hosts", "").split()
    if named:
        return [one(call.state, name).name for name in named]
    default = [node.name for node in call.state.nodes if node.membership == "VM Container"]
    return default or [call.state.frontend]


def _carry_vlan(call: Call, host: str, vlan: int) -> None:
    owner, device = node(call.state, host), f"vlan{vlan}"
    if all(row.device != device for row in interfaces(call.state, owner)):
        row = Interface(call.state.next_id(), owner.id, device, subnet="private", vlan=vlan)
        call.state.interfaces.append(row)
    call.step(f"vlan {host}")


def _add_frontend(call: Call, place: str, vlan: int) -> str:
    memory = 2048 if call.state.version == "7.0" else 1024
    size = int(call.params.get("disk-per-frontend", 36))
    name = _add_vm(call, call.params.get("fe-name"), "Frontend", place, cpus=1, mem=memory, size=size)
    call.step("frontend node")
    subnet = call.params.get("subnet", "private")
    ip, first = next_ip(call.state, subnet), next_mac(call.state)
    call.step("frontend addresses")  # nothing is reserved: whoever asks now gets the same
    owner = node(call.state, name)
    row = Interface(call.state.next_id(), owner.id, "eth0", first, ip, name, subnet, vlan)
    call.state.interfaces.append(row)
    second = next_mac(call.state)
    call.state.interfaces.append(Interface(call.state.next_id(), owner.id, "eth1", second, name=name, vlan=0))
    call.step("frontend")
    return name


def _make_public(call: Call, name: str, ip: str) -> None:
    owner = one(call.state, name)  # as Rocks does, by name: a name that is no good as an argument fails here
    row = next(row for row in interfaces(call.state, owner) if row.device == "eth1")
    change(call.state, row, "subnet", "public")
    change(call.state, row, "ip", ip)
    call.step("public")
    gateway = call.params.get("gateway", call.state.attrs.get("Kickstart_PublicGateway"))
    node(call.state, name).routes.append(Route("0.0.0.0", "0.0.0.0", gateway))
    call.step("route")
    owner = node(call.state, name)
    owner.runaction, owner.installaction, owner.boot = "os", "install vm frontend", "install"
    call.step("actions")


def _add_compute(call: Call, frontend: str, index: int, place: str, vlan: int) -> None:
    _carry_vlan(call, place, vlan)
    wanted = f"vm-{frontend}-{index}" if call.flag("cluster-naming") else None
    cpus, mem, size = _resources(call)
    name = _add_vm(call, wanted, "Hosted VM", place, cpus=cpus, mem=mem, size=size)
    mac = next_mac(call.state)
    owner = node(call.state, name)
    call.state.interfaces.append(Interface(call.state.next_id(), owner.id, "eth0", mac, name=name, vlan=vlan))
    call.step(f"compute {index}")
    owner = node(call.state, name)
    owner.runaction, owner.installaction, owner.boot = None, "install", "install"
    call.step(f"compute {index} actions")
    call.say(f"\tcreated compute VM named: {name}")


def _resources(call: Call) -> tuple[int, int, int]:
    keys = (("cpus-per-compute", "1"), ("mem-per-compute", "1024"), ("disk-per-compute", "36"))
    values = [call.params.get(key, default) for key, default in keys]
    try:
        cpus, mem, size = map(int, values)
    except ValueError as error:
        raise CrashError("ValueError", str(error)) from None
    return cpus, mem, size


def _add_vm(call: Call, name: str | None, membership: str, place: str, *, cpus: int, mem: int, size: int) -> str:
    state = call.state
    phys = node(state, place)
    slice_ = _slice(state, phys)
    virtual = Node(state.next_id(), "", membership, cpus, phys.rack, phys.rank)
    virtual.name = name or f"{appliance_of(state, virtual).name}-{phys.rack}-{phys.rank}-{slice_}"
    check_new_name(state, virtual.name)
    folder = largest(phys)
    if not folder:
        raise AbortError(f"could not find a partition on host ({place}) to hold the VM's disk image")
    prefix = f"{folder.rstrip('/')}/kvm/disks"
    disk = Disk(state.next_id(), "file", prefix, f"{virtual.name}.vda", "vda", "virtio", size)
    virtual.vm = Vm(phys.id, mem, slice_, disks=[disk])
    virtual.attrs["os"] = "linux"
    virtual.installaction = "install headless"
    if state.version == "7.0":
        virtual.attrs["UseTracker"], virtual.installaction = "False", "install notracker"
    state.nodes.append(virtual)
    return virtual.name


def _slice(state: State, phys: Node) -> int:
    return max((node.vm.slice + 1 for node in state.nodes if node.vm and node.vm.phys == phys.id), default=0)


@command("remove cluster", "{frontend}...")
def remove_cluster(call: Call) -> None:
    """Everything on the frontend's VLAN goes, whosever it is; what runs goes on running, files and zvols stay."""
    if not call.args:
        raise AbortError("must supply at least one frontend name")
    for frontend in resolve(call.state, call.args):
        if not vlan_of(call.state, frontend):
            raise AbortError(f"host {frontend.name} is not a virtual frontend")
    for name in [found.name for found in resolve(call.state, call.args)]:
        if any(found.name == name for found in call.state.nodes):
            _remove(call, name)


def _remove(call: Call, name: str) -> None:
    frontend = node(call.state, name)
    vlan = vlan_of(call.state, frontend)
    names = [found.name for found in members(call.state, frontend) if found is not frontend] + [name]
    carriers = _carriers(call, names)
    for host in carriers:
        call.say(f"Removing vlan {vlan}  on host  {host}")
        owner = node(call.state, host).id
        call.state.interfaces = [
            row for row in call.state.interfaces if (row.node, row.device) != (owner, f"vlan{vlan}")
        ]
        if host in call.state.down:
            call.say(f"{host}: down")
        call.step(f"vlan {host}")
    call.say(f"Removing hosts:  {' '.join(names)}")
    for member in names:
        remove_node(call, member)
        call.step(f"host {member}")
    call.say("Syncing configuration")
    call.state.syncs += [*(f"network {host}" for host in carriers), "config", "config"]
    call.step("synced")


def _carriers(call: Call, names: list[str]) -> list[str]:
    hosts = set()
    for name in names:
        virtual = node(call.state, name)
        phys = by_id(call.state, virtual.vm.phys if virtual.vm else None)
        if not phys:
            raise CrashError("AttributeError", "'NoneType' object has no attribute 'name'")
        hosts.add(phys.name)
    return sorted(hosts)


def remove_node(call: Call, name: str) -> None:
    """Drop one host's rows; a domain of it that runs is not touched."""
    gone = node(call.state, name)
    phys = by_id(call.state, gone.vm.phys) if gone.vm else None
    if phys and call.is_down(phys.name):
        call.say(f"Warning (libvirt):  unable to connect to server at '{phys.name}:16509': No route to host")
    call.state.interfaces = [row for row in call.state.interfaces if row.node != gone.id]
    call.state.nodes.remove(gone)
    call.state.syncs.append("config")


@command("remove host", "{host}...")
def remove_host(call: Call) -> None:
    """Hosts alone; VLAN rows on others stay."""
    if not call.args:
        raise AbortError("must supply at least one host")
    for name in [found.name for found in resolve(call.state, call.args)]:
        remove_node(call, name)
        call.step(f"host {name}")
