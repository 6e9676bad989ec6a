"""Real virtual machines behind the emulated ones, on this machine's libvirt, when the site's options ask for them.

Options (all text): `uri`; `prefix` of the names of all domains and networks made here; `public`, the libvirt network
that eth1 and every other interface on the network "public" goes to; `type` (kvm or qemu). Containers are one machine:
a VLAN is an isolated network that all of them share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .clock import gone
from .errors import AbortError
from .hosts import by_id, interfaces, node
from .model import Disk, Interface

if TYPE_CHECKING:
    import subprocess

    from .store import Store

_STATES = {"1": "active", "2": "active", "3": "paused", "4": "shutdown", "6": "crashed"}


def refresh(store: Store) -> None:
    """Learn what the real machines do; one that has ended is gone from its host."""
    if not store.state.options.libvirt:
        return
    known = [(host, vm) for host, domains in store.state.domains.items() for vm in domains]
    with store.unlocked():
        found = _states(_virsh(store, "domstats", "--state", "--list-active").stdout)
    for host, vm in known:  # not those that were started meanwhile
        if _name(store, vm) not in found:
            gone(store, host, vm)
    for owner in store.state.nodes:
        phys = by_id(store.state, owner.vm.phys) if owner.vm else None
        if phys and (state := found.get(_name(store, owner.name))):
            store.state.domains.setdefault(phys.name, {})[owner.name] = state


def start(store: Store, vm: str) -> None:
    """Start the real machine of a VM, and make the networks that it needs. Aborts with libvirt's complaint."""
    if not store.state.options.libvirt:
        return
    owner = node(store.state, vm)
    assert owner.vm
    cards = [(row.mac or "", _network(store, row)) for row in interfaces(store.state, owner) if row.mac]
    phys = by_id(store.state, owner.vm.phys)
    disks = [_disk(store, phys.name if phys else "", disk) for disk in owner.vm.disks]
    document = _document(store, vm, owner.vm.mem, owner.cpus, "".join(disks), cards)
    with store.unlocked():
        for _, network in cards:
            _make_network(store, network)
        done = _virsh(store, "create", "/dev/stdin", stdin=document)
    if done.returncode:
        raise AbortError(done.stderr.strip() or "unable to boot the virtual machine")


def stop(store: Store, vm: str, *, gently: bool) -> None:
    """Ask the real machine to end, or end it."""
    if not store.state.options.libvirt:
        return
    with store.unlocked():
        _virsh(store, "shutdown" if gently else "destroy", _name(store, vm))


def clear(store: Store) -> None:
    """End all real machines of the site and take its networks away."""
    prefix = _name(store, "")
    for name in _virsh(store, "list", "--name").stdout.split():
        if name.startswith(prefix):
            _virsh(store, "destroy", name)
    for name in _virsh(store, "net-list", "--name").stdout.split():
        if name.startswith(prefix):
            _virsh(store, "net-destroy", name)


def _quoted(text: str) -> str:
    """An attribute's value with its quotes. (The standard library's own takes too long to import.)"""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), ('"', "&quot;")):
        text = text.replace(character, entity)
    return f'"{text}"'


def _name(store: Store, what: str) -> str:
    return f"{store.state.options.libvirt['prefix']}-{what}"


def _virsh(store: Store, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    import subprocess  # not at the top: most calls need none of it, and each call is a new process

    argv = ["virsh", "--quiet", "--connect", store.state.options.libvirt.get("uri", "qemu:///system"), *words]
    return subprocess.run(argv, input=stdin, text=True, capture_output=True, check=False)


def _states(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("Domain: "):
            name = line.removeprefix("Domain: ").strip("'")
        elif "state.state=" in line:
            state = _STATES.get(line.rsplit("=", 1)[1])
            found |= {name: state} if state else {}
    return found


def _network(store: Store, row: Interface) -> str:
    if row.vlan:
        return _name(store, f"vlan{row.vlan}")
    if row.subnet in (None, "public"):
        return store.state.options.libvirt["public"]
    return _name(store, row.subnet)


def _make_network(store: Store, name: str) -> None:
    if name == store.state.options.libvirt["public"] or _virsh(store, "net-info", name).returncode == 0:
        return
    _virsh(
        store, "net-create", "/dev/stdin", stdin=f"<network><name>{name}</name><bridge stp='off' delay='0'/></network>"
    )


def _disk(store: Store, host: str, disk: Disk) -> str:
    path = _quoted(str(store.real(host, disk.path)))
    kind = "qcow2" if disk.type == "qcow2" else "raw"
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='{kind}'/><source file={path}/>"
        f"<target dev={_quoted(disk.device)} bus={_quoted(disk.bus)}/></disk>"
    )


def _document(store: Store, vm: str, mem: int, cpus: int, disks: str, cards: list[tuple[str, str]]) -> str:
    log = store.folder / "console" / f"{vm}.log"
    kind = store.state.options.libvirt.get("type", "qemu")
    nics = "".join(
        f"<interface type='network'><mac address={_quoted(mac)}/><source network={_quoted(network)}/>"
        "<model type='virtio'/></interface>"
        for mac, network in cards
    )
    return (
        f"<domain type='{kind}'><name>{_name(store, vm)}</name><memory unit='MiB'>{mem}</memory><vcpu>{cpus}</vcpu>"
        "<os><type arch='x86_64'>hvm</type><boot dev='hd'/></os><features><acpi/><apic/></features>"
        f"<on_reboot>restart</on_reboot><on_poweroff>destroy</on_poweroff><devices>{disks}{nics}"
        f"<serial type='file'><source path={_quoted(str(log))} append='on'/><target port='0'/></serial>"
        "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices></domain>"
    )
