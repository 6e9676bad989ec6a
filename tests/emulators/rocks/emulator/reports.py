"""The commands `report …`, `dump …` and `run host`."""

from __future__ import annotations

import shlex

from .call import Call, command
from .errors import AbortError
from .hosts import by_id, next_ip, next_mac, resolve, vms
from .lists import attributes


@command("report version")
def report_version(call: Call) -> None:
    """Rocks' version."""
    call.plain([call.state.version[:3]])


@command("report nextip", "{subnet}")
def report_nextip(call: Call) -> None:
    """The next free address of a network."""
    if len(call.args) != 1:
        raise AbortError("must supply one network")
    call.plain([next_ip(call.state, call.args[0])])


@command("report vm nextmac")
def report_vm_nextmac(call: Call) -> None:
    """The next free MAC."""
    call.plain([next_mac(call.state)])


@command("report host attr", "[host]... [attr=string]")
def report_host_attr(call: Call) -> None:
    """Attributes' values; of one attribute only the value."""
    for node in resolve(call.state, call.args):
        known = attributes(call.state, node)
        if "attr" in call.params:
            call.plain([known[call.params["attr"]][0]] if call.params["attr"] in known else [])
        else:
            call.plain([f"{name}:{value}" for name, (value, _) in sorted(known.items())])


@command("dump host vm", "[host]...")
def dump_host_vm(call: Call) -> None:
    """The commands that would make the VMs again."""
    for node in vms(resolve(call.state, call.args)):
        vm = node.vm
        assert vm
        phys = by_id(call.state, vm.phys)
        where = "localhost" if phys and phys.name == call.state.frontend else (phys.name if phys else "None")
        disks, sizes = " ".join(disk.spec for disk in vm.disks), " ".join(str(disk.size) for disk in vm.disks)
        values = f"physnode='{where}' disk='{disks}' disksize='{sizes}' mem='{vm.mem}' slice='{vm.slice}'"
        call.say(f"/opt/rocks/bin/rocks set host vm {node.name} {values} virt-type='{vm.virt}'")


@command("dump host vm nas", "[host]...", nas=True)
def dump_host_vm_nas(call: Call) -> None:
    """The commands that would assign the VMs' NAS again."""
    for node in vms(resolve(call.state, call.args)):
        first = node.vm.disks[0].nas if node.vm else None
        if first:
            words = shlex.join([node.name, f"nas={first.nas}", f"zpool={first.zpool}"])
            call.say(f"/opt/rocks/bin/rocks set host vm nas {words}")


@command("run host", "[host]... {command} [collate=string] [delay=string] [managed=bool] [timeout=string]")
def run_host(call: Call) -> None:
    """A command on hosts; how it ended is lost."""
    from .remote import run  # not at the top: it takes long to import

    (words,) = call.positional("command")
    if not words:
        raise AbortError("must supply a command")
    hosts = [node.name for node in resolve(call.state, call.args) if not node.vm]
    down = list(call.state.down)
    with call.store.unlocked():
        for host in hosts:
            prefix = f"{host}: " if call.flag("collate") else ""
            output = f"{host}: down" if host in down else prefix + run(call.store, host, words).strip()
            call.say(output)
