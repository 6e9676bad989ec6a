"""Look whether this user can run clusters here: everything that is wrong, at once, each with its mend."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pragma_boot import accel
from pragma_boot.config.settings import QemuSettings
from pragma_boot.driver.qemu import outside, ports
from pragma_boot.errors import DriverError, Fault, PreflightError
from pragma_boot.files import StateFolder
from pragma_boot.run import which

_QEMU = "ask the administrator for QEMU: apt install qemu-system-x86 qemu-utils, or dnf install qemu-kvm qemu-img"


def check(settings: QemuSettings, state: StateFolder, folders: Sequence[Path]) -> None:
    """Raise PreflightError with every fault. folders: where disks and images are, made already or not."""
    faults = [
        *_programs(settings),
        *_addresses(settings),
        *_writable((state.root, *folders)),
        *_acceleration(settings, state),
    ]
    if faults:
        raise PreflightError("this site cannot run clusters yet", faults, resolution="mend these, then repeat")


def _programs(settings: QemuSettings) -> Iterator[Fault]:
    qemu = accel.emulator()
    if qemu is None:
        yield Fault("qemu", "no QEMU system emulator is installed", _QEMU)
    if not which("qemu-img"):
        yield Fault("qemu-img", "it is not installed: no disks could be made", _QEMU)
    if not which("setsid"):
        yield Fault("setsid", "it is not installed: nodes would end with this session", "apt install util-linux")
    there = outside.available(qemu) if qemu else [outside.SLIRP]
    if settings.outside not in (outside.AUTO, *there):
        mend = "ask the administrator: apt or dnf install passt; or set outside = 'auto'"
        yield Fault("outside", f"{settings.outside} is not there on this machine", mend)
    elif not there:
        yield Fault("outside", "this QEMU has no network of its own", "ask the administrator: apt or dnf install passt")


def _addresses(settings: QemuSettings) -> Iterator[Fault]:
    try:
        for address in settings.clusters.public_ips[:1]:
            ports.is_free(address, 0)
    except DriverError as error:
        yield Fault("public_ips", error.message, error.resolution or "")


def _writable(folders: Sequence[Path]) -> Iterator[Fault]:
    for folder in dict.fromkeys(folders):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            yield Fault(str(folder), "you may not write there", "choose another folder in the configuration")


def _acceleration(settings: QemuSettings, state: StateFolder) -> Iterator[Fault]:
    if settings.accel != accel.KVM:
        return
    try:
        accel.works(state, settings.accel)
    except PreflightError as error:
        yield from error.faults
