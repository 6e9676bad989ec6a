"""`start host vm` and `stop host vm`."""

from __future__ import annotations

from . import machines, nas
from .call import Call, command
from .clock import gone, later
from .errors import AbortError, unreachable
from .hosts import by_id, node, resolve, vm_of
from .model import Node

_REFUSALS = {
    "active": "The host {} is already running.",
    "shutdown": "The host {} is already running.",
    "crashed": "The host {} is already running.",
    "paused": "The host {} is puased. You need to resume it (rocks resume host vm).",
}


@command("start host vm", "{host}...")
def start_host_vm(call: Call) -> None:
    """Start VMs one after the other, up to the first failure; returns when QEMU runs."""
    for name in _acted_on(call):
        _start(call, name)


@command("stop host vm", "{host}... [action=string] [terminate=bool]")
def stop_host_vm(call: Call) -> None:
    """Power VMs off; one that does not run is no error, and neither is a failure."""
    for name in _acted_on(call):
        host = _phys(call, node(call.state, name))
        if call.flag("terminate"):
            nas.release(call, name)
            continue
        if call.is_down(host):
            raise unreachable(host)
        if name in call.state.domains.get(host, {}):
            _stop(call, host, name)


def _acted_on(call: Call) -> list[str]:
    nodes = resolve(call.state, call.args)
    return [found.name for found in sorted(nodes, key=lambda found: found.vm is None)]


def _phys(call: Call, virtual: Node) -> str:
    phys = by_id(call.state, vm_of(virtual, call.state).phys)
    if not phys:
        raise AbortError(f"host {virtual.name} does not have a physical host")
    return phys.name


def _start(call: Call, name: str) -> None:
    virtual = node(call.state, name)
    host = _phys(call, virtual)
    machines.refresh(call.store)
    virtual = node(call.state, name)
    if virtual.vm and virtual.vm.disks[0].nas and virtual.vm.disks[0].nas.nas:
        nas.attach(call, virtual, host)
        call.step("mapped")
    if call.is_down(host):
        raise unreachable(host)
    if refusal := _REFUSALS.get(call.state.domains.get(host, {}).get(name, "")):
        raise AbortError(refusal.format(name))
    call.state.syncs.append(f"vlan {host}")
    call.step("vlan")
    _make_up_missing(call, name, host)
    machines.start(call.store, name)
    virtual = node(call.state, name)
    call.state.domains.setdefault(host, {})[name] = "active"
    if virtual.membership == "Frontend" and virtual.boot == "install":
        call.state.installed.append(name)
    call.step("running")
    virtual = node(call.state, name)
    if virtual.installaction == "install vm frontend":
        virtual.boot = "os"


def _make_up_missing(call: Call, name: str, host: str) -> None:
    vm = node(call.state, name).vm
    for disk in vm.disks if vm else []:
        path = call.store.real(host, disk.path)
        if disk.type == "phy" or path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(disk.size * 10**9)
        call.state.blanks.append(f"{host}:{disk.path}")


def _stop(call: Call, host: str, name: str) -> None:
    state = call.state
    if call.params.get("action") == "shutdown" and state.version == "7.0":
        machines.stop(call.store, name, gently=True)
        if not state.options.libvirt and state.options.shutdown_seconds is not None:
            later(state, state.options.shutdown_seconds, "off", host, name)
        return
    if call.params.get("action") in ("reset", "reboot") and state.version == "7.0":
        return
    machines.stop(call.store, name, gently=False)
    if call.fault.no_unmap:
        call.state.domains.get(host, {}).pop(name, None)
    else:
        gone(call.store, host, name)
