"""The commands of img-storage: what the NAS's daemon maps to which host."""

from __future__ import annotations

import os
import string
import time

from .call import Call, command
from .clock import later, passed, unmap
from .errors import AbortError
from .hosts import one, resolve
from .model import Dataset, Node, Volume
from .py2 import Unicode

GB = 1 << 30


def volume_file(nas: str, zpool: str, name: str) -> str:
    """The path on the NAS of a volume's block device."""
    return f"/dev/zvol/{zpool}/{name}"


def _find(call: Call, nas: str, name: str) -> Volume | None:
    return next((volume for volume in call.state.volumes if (volume.nas, volume.name) == (nas, name)), None)


def _reach(call: Call, nas: str) -> None:
    if call.fault.undeliverable or nas in call.state.down:
        raise AbortError("Message could not be delivered")
    if call.fault.nas_error:
        _refuse(call, "error", call.fault.nas_error)


def _refuse(call: Call, action: str, message: str) -> None:
    call.say(f"XXX:  {{u'action': u'{action}', u'status': u'error', u'error': u'{message}'}}")
    raise AbortError(message)


@command(
    "add host storagemap",
    "{nas} {zpool} {volume} {remotehost} {size} [img_sync=bool] [remotepool=string]",
    nas=True,
)
def add_host_storagemap(call: Call) -> None:
    """Map a volume to a host; the volume is made when neither the daemon nor the pool knows it."""
    if len(call.args) != 5 or not call.args[4].isdigit():
        raise AbortError("you must pass 5 arguments nas_name zpool volume remotehost size")
    nas, zpool, name, remote, size = call.args
    nas, remote = one(call.state, nas).name, one(call.state, remote).name
    sync = call.flag("img_sync") and call.state.img_storage != "0.3"
    if sync and "remotepool" not in call.params:
        raise AbortError("img_sync was true but not remotepool was specified")
    call.say(f"mapping  {nas} : {zpool} / {name}  on  {remote}")
    call.say(_map(call, nas, zpool, name, remote, int(size), call.params.get("remotepool") if sync else None))


def _map(call: Call, nas: str, zpool: str, name: str, remote: str, size: int, remotepool: str | None) -> str:
    _reach(call, nas)
    volume = _find(call, nas, name)
    if volume and volume.remotehost:
        _refuse(call, "map_zvol", "Error when mapping zvol: already mapped")
    if volume and volume.locked:
        _refuse(call, "map_zvol", f"ZVol {name} is busy")
    if remote in call.state.down:
        _refuse(call, "map_zvol", f"Compute node {remote} is unavailable")
    if not volume:
        volume = Volume(nas, name, zpool)
        call.state.volumes.append(volume)
    _ensure(call, nas, f"{zpool}/{name}", size)
    device = f"/dev/mapper/{name}-snap" if remotepool else _free_device(call, remote)
    volume.zpool, volume.remotehost, volume.remotepool, volume.device = zpool, remote, remotepool, device
    volume.target = f"iqn.2001-04.com.{nas}-{name}"
    volume.state, volume.since = "mapped", call.state.now
    if remotepool:
        volume.state = "NAS->VM"
        later(call.state, call.state.options.copy_seconds, "copied", nas, name)
    _link(call, volume)
    return device


def _ensure(call: Call, nas: str, dataset: str, size: int) -> None:
    if any((row.nas, row.name) == (nas, dataset) for row in call.state.datasets):
        return
    call.state.datasets.append(Dataset(nas, dataset, size * GB))
    path = call.store.real(nas, f"/dev/zvol/{dataset}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size * GB)


def _free_device(call: Call, host: str) -> str:
    folder = call.state.options.devices.format(host=host)
    taken = {volume.device for volume in call.state.volumes if volume.remotehost == host}
    names = (f"{folder}/sd{letters}" for letters in _letters())
    return next(name for name in names if name not in taken)


def _letters() -> list[str]:
    one_ = list(string.ascii_lowercase)
    return one_[2:] + [first + second for first in one_ for second in one_]


def _link(call: Call, volume: Volume) -> None:
    """The device on the remote host is the volume's own file."""
    assert volume.remotehost and volume.device
    source = call.store.real(volume.nas, volume_file(volume.nas, volume.zpool, volume.name))
    target = call.store.real(volume.remotehost, volume.device)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if source.exists():
        os.link(source, target)


@command("remove host storagemap", "{nas} {volume}", nas=True)
def remove_host_storagemap(call: Call) -> None:
    """Unmap; waits as long as the volume is busy. Nothing looks whether the device is in use."""
    if len(call.args) != 2:
        raise AbortError("2 arguments are required for this command nas volume")
    nas, name = one(call.state, call.args[0]).name, call.args[1]
    call.say(f"unmapping   {nas} : {name}")
    _reach(call, nas)
    _wait_while_busy(call, nas, name)
    volume = _find(call, nas, name)
    if not volume:
        _refuse(call, "unmap_zvol", f"ZVol {name} not found in database")
    elif not volume.remotehost:
        _refuse(call, "unmap_zvol", f"ZVol {name} is not mapped")
    else:
        unmap(call.store, volume)
        call.say("Success")


def _wait_while_busy(call: Call, nas: str, name: str) -> None:
    if call.fault.nas_busy:
        with call.store.unlocked():
            time.sleep(call.fault.nas_busy)
    while (volume := _find(call, nas, name)) and volume.locked:
        with call.store.unlocked():
            time.sleep(0.05)
        call.store.advance(10)


@command("remove host storageimg", "{nas} {zpool} {volume}", nas=True)
def remove_host_storageimg(call: Call) -> None:
    """``zfs destroy -r`` of a volume that the daemon knows; the snapshot that it was cloned from stays."""
    if len(call.args) != 3:
        raise AbortError("3 arguments are required for this command nas zpool volume")
    nas, zpool, name = one(call.state, call.args[0]).name, *call.args[1:]
    call.say(f"removing   {nas} : {zpool} / {name}")
    _reach(call, nas)
    volume = _find(call, nas, name)
    if not volume:
        _refuse(call, "del_zvol", f"ZVol {name} not found in database")
        return
    if volume.remotehost:
        _refuse(call, "del_zvol", f"Error deleting zvol {name}: is mapped")
    if volume.locked:
        _refuse(call, "del_zvol", f"ZVol {name} is busy")
    full = f"{zpool}/{name}"
    theirs = [row for row in call.state.datasets if row.nas == nas and row.name.split("@")[0] == full]
    if any(row.origin in {own.name for own in theirs} for row in call.state.datasets if row not in theirs):
        _refuse(call, "del_zvol", f"Error executing [zfs destroy -r {full}]")
    for row in theirs:
        call.state.datasets.remove(row)
        call.store.real(nas, f"/dev/zvol/{row.name}").unlink(missing_ok=True)
    call.state.volumes.remove(volume)
    call.say("Success")


@command("list host storagemap", "{nas}", nas=True)
def list_host_storagemap(call: Call) -> None:
    """The volumes that the daemon of a NAS has handled."""
    if len(call.args) != 1:
        raise AbortError("you must enter the nas name")
    nas = one(call.state, call.args[0]).name
    _reach(call, nas)
    old = call.state.img_storage == "0.3"
    rows = [(nas, _mapping(call, volume, old)) for volume in call.state.volumes if volume.nas == nas]
    header = "zvol host zpool target state time" if old else _HEADER
    call.table(["nas", *header.split()], rows)


_HEADER = "zvol zpool remotehost remotepool target state time nextsync locked"


def _mapping(call: Call, volume: Volume, old: bool) -> list[object]:
    name, zpool, host, pool, target = (
        Unicode(text) if text else None
        for text in (volume.name, volume.zpool, volume.remotehost, volume.remotepool, volume.target)
    )
    busy = volume.state.startswith("NAS")
    span = passed(call.state.now - volume.since) if busy else None
    if old:
        return [name, host, zpool, target, volume.state, span]
    due = None
    if volume.state == "mapped" and volume.remotepool:
        due = time.strftime("%a %H:%M.%S", time.gmtime(volume.since + 86400))
    return [name, zpool, host, pool, target, volume.state, span, due, True if volume.locked else None]


@command("list host storagedev", "{host}", nas=True)
def list_host_storagedev(call: Call) -> None:
    """The block devices that volumes are on a host; those without a copy have made-up names."""
    if len(call.args) != 1:
        raise AbortError("you must enter the host name")
    host = one(call.state, call.args[0]).name
    mapped = [volume for volume in call.state.volumes if volume.remotehost == host]
    old = call.state.img_storage == "0.3"
    rows = []
    for index, volume in enumerate(mapped):
        name = volume.name if volume.remotepool else f"volume{index}"
        size = next((row.size // GB for row in call.state.datasets if row.name == f"{volume.zpool}/{volume.name}"), 0)
        device = (volume.device or "").rsplit("/", 1)[-1]
        first: list[object] = [name, None] if old else [name, None, volume.target, device]
        rows.append((host, [*first, volume.state, size, device, True, None, None]))
    header = ["volume", "sync", "target", "device"] if not old else ["zvol", "lvm"]
    call.table(["host", *header, "status", "size (gb)", "block dev", "is started", "synced", "time"], rows)


def attach(call: Call, virtual: Node, host: str) -> None:
    """Map a VM's volume where it is about to start; its disk is the device from then on."""
    assert virtual.vm
    disk = virtual.vm.disks[0]
    assert disk.nas
    nas, zpool = disk.nas.nas, disk.nas.zpool
    sync = virtual.attrs.get("img_sync") == "true" and call.state.img_storage != "0.3"
    name = f"{virtual.name}-vol"
    device = _map(call, nas, zpool, name, host, disk.size, "tank" if sync else None)
    call.say(f"{nas}:{name} mapped to {host}:{device}")
    disk.type, disk.prefix, disk.name = "phy", "", device


def release(call: Call, name: str) -> None:
    """``terminate=true``: what the machine's end triggers, asked for by hand."""
    virtual = resolve(call.state, [name])[0]
    nas = virtual.vm.disks[0].nas if virtual.vm else None
    volume = _find(call, nas.nas, f"{name}-vol") if nas else None
    if volume and volume.state == "mapped":
        unmap(call.store, volume)
