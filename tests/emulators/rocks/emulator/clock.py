"""Virtual time: each call takes a tick, and what is due happens before the call looks at the site."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .model import Event, State, Volume

if TYPE_CHECKING:
    from .store import Store

_DAY = 86400


def advance(store: Store, tick: float) -> None:
    """Let *tick* virtual seconds pass, and real ones as the site's scale says; then run the events that are due."""
    state = store.state
    real = time.time()
    if state.wall:
        state.now += (real - state.wall) * state.options.scale
    state.wall = real
    state.now += tick
    while due := [event for event in state.queue if event.at <= state.now]:
        event = min(due, key=lambda event: event.at)
        state.queue.remove(event)
        _ACTIONS[event.what](store, *event.args)


def later(state: State, seconds: float, what: str, *args: str) -> None:
    """Let *what* happen after so many virtual seconds."""
    state.queue.append(Event(state.now + seconds, what, list(args)))


def passed(seconds: float) -> str:
    """A span as Python 2 prints it: ``H:MM:SS`` or ``N days, H:MM:SS``."""
    days, rest = divmod(int(seconds), _DAY)
    clock = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} day{'s' if days > 1 else ''}, {clock}" if days else clock


def gone(store: Store, host: str, vm: str) -> None:
    """A machine's process has ended: its volume is unmapped some seconds later, if the VM still has rows then."""
    store.state.domains.get(host, {}).pop(vm, None)
    if store.state.img_storage:
        later(store.state, store.state.options.unmap_seconds, "unmap", vm)


def _unmap(store: Store, vm: str) -> None:
    node = next((node for node in store.state.nodes if node.name == vm and node.vm), None)
    if not node or not node.vm or not node.vm.disks or not node.vm.disks[0].nas:
        return
    nas = node.vm.disks[0].nas.nas
    for volume in store.state.volumes:
        if (volume.nas, volume.name) == (nas, f"{vm}-vol") and volume.state == "mapped":
            unmap(store, volume)


def unmap(store: Store, volume: Volume) -> None:
    """Take a volume from its remote host; a copy there is first written back, which takes time."""
    state = store.state
    if volume.device and volume.device.endswith("-snap"):
        volume.state, volume.since = "NAS<-VM", state.now
        later(state, state.options.copy_seconds, "copied", volume.nas, volume.name)
    else:
        _forget(store, volume)


def _forget(store: Store, volume: Volume) -> None:
    if volume.device and volume.remotehost:
        store.real(volume.remotehost, volume.device).unlink(missing_ok=True)
    volume.remotehost = volume.remotepool = volume.target = volume.device = None
    volume.state, volume.locked = "unmapped", False


def _copied(store: Store, nas: str, name: str) -> None:
    for volume in store.state.volumes:
        if (volume.nas, volume.name) != (nas, name):
            continue
        if volume.state == "NAS->VM":
            volume.state, volume.since = "mapped", store.state.now
        elif volume.state == "NAS<-VM":
            _forget(store, volume)


_ACTIONS: dict[str, Callable[..., None]] = {"unmap": _unmap, "copied": _copied, "off": gone}
