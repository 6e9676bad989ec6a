"""Look whether this host can run clusters: everything that is wrong, at once, each with its mend. Changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pragma_boot import accel
from pragma_boot.config.settings import LibvirtSettings
from pragma_boot.driver.libvirt import bridges, networks, reach
from pragma_boot.driver.libvirt.connection import Connection, connect, explained
from pragma_boot.errors import DriverError, Fault, PreflightError
from pragma_boot.files import StateFolder
from pragma_boot.model import Disk, KernelBoot
from pragma_boot.run import which

MINIMUM_LIBVIRT = 7_001_000
"""7.1.0, as libvirt counts: the first with the CPU mode `maximum`."""

_LOG_DAEMON = Path("/run/libvirt/virtlogd-sock")
_ROUTES = Path("/proc/net/route")


def check(settings: LibvirtSettings, state: StateFolder, folders: Sequence[Path], further: Iterable[str] = ()) -> None:
    """Raise PreflightError with every fault. folders: what QEMU must reach (disks, images), made already or not.

    further: names of the further networks to look at.
    """
    faults = [*_hosts(settings.hosts), *_programs(settings)]
    try:
        connection = connect(settings.hosts[0])
    except DriverError as error:
        faults.append(Fault(settings.hosts[0], f"{error.message}: {error.details}", error.resolution or ""))
    else:
        faults += _engine(connection, settings.hosts[0])
        faults += _public(connection, settings)
        faults += _further(connection, settings, further)
        faults += _folders(qemu_user(connection), folders)
    faults += _acceleration(settings, state)
    if faults:
        raise PreflightError("this site cannot run clusters yet", faults, resolution="mend these, then repeat")


def qemu_user(connection: Connection) -> reach.Person | None:
    """The user that libvirt runs machines as; None when it does not say (a session's own daemon)."""
    from lxml import etree  # noqa: PLC0415 - listing clusters does without it

    with explained("ask for the host's capabilities"):
        root = etree.fromstring(connection.getCapabilities().encode())
    for model in root.iterfind("host/secmodel"):
        label = model.find("baselabel[@type='kvm']")
        if model.findtext("model") == "dac" and label is not None:
            return reach.person(label.text or "")
    return None


def check_reach(user: reach.Person | None, disks: Collection[Disk], kernels: Collection[KernelBoot]) -> None:
    """Raise DriverError when QEMU's user could not open the nodes' files; its own message would not say why.

    Disks and kernels are given to that user by libvirt, images are not: many nodes share them.
    """
    if user is None:
        return
    images = {disk.backing.path for disk in disks}
    files = images | {disk.path for disk in disks} | {kernel.kernel for kernel in kernels}
    faults = list(_folders(user, {path.parent for path in files}))
    for image in sorted(images):
        if reach.unreadable(image, user):
            faults.append(Fault(str(image), f"QEMU's user {user.name} may not read this image", f"chmod o+r {image}"))
    if faults:
        raise DriverError(
            "QEMU cannot reach the nodes' files",
            details="\n".join(fault.what + ": " + fault.where for fault in faults),
            resolution="; ".join(fault.mend for fault in faults),
        )


def _hosts(hosts: Sequence[str]) -> Iterator[Fault]:
    if len(hosts) > 1:
        yield Fault("hosts", f"several hosts: not available yet ({', '.join(hosts)})", "name one host in libvirt.conf")
    for uri in hosts:
        if urlsplit(uri).hostname:
            yield Fault("hosts", f"{uri} is another machine: not available yet", "run pragma there")
        elif urlsplit(uri).path != "/system":
            yield Fault("hosts", f"{uri} is not the system's libvirt, which networks need", "use qemu:///system")


def _programs(settings: LibvirtSettings) -> Iterator[Fault]:
    if accel.emulator() is None:
        mend = "apt install qemu-system-x86, or dnf install qemu-kvm"
        yield Fault("qemu", "no QEMU system emulator is installed", mend)
    if not which("iptables") and not which("nft"):
        yield Fault("firewall", "libvirt's networks need iptables or nftables", "apt or dnf install iptables nftables")
    if settings.public.kind == "nat" and not which("dnsmasq"):
        mend = "apt install dnsmasq-base, or dnf install dnsmasq"
        yield Fault("dnsmasq", "a NAT network needs dnsmasq, its name server", mend)


def _engine(connection: Connection, uri: str) -> Iterator[Fault]:
    version = _version(connection)
    if version < MINIMUM_LIBVIRT:
        yield Fault(uri, f"libvirt {_dotted(version)} is too old", f"update it to {_dotted(MINIMUM_LIBVIRT)} or later")
    try:
        with explained("run q35 machines"):
            connection.getDomainCapabilities(None, "x86_64", "q35", "qemu")
    except DriverError as error:
        mend = "apt install qemu-system-x86, or dnf install qemu-kvm; then restart libvirtd"
        yield Fault(uri, f"{error.message}: {error.details}", mend)
    if not _LOG_DAEMON.exists():
        mend = "systemctl enable --now virtlogd.socket (or, without systemd: virtlogd -d)"
        yield Fault("virtlogd", "libvirt's log daemon does not run: no console could be logged", mend)


def _public(connection: Connection, settings: LibvirtSettings) -> Iterator[Fault]:
    name, clusters = settings.public.name, settings.clusters
    if settings.public.kind == "bridge":
        if not bridges.is_linux(name):
            mend = f"create it (ip link add {name} type bridge), or set public_network = {{'nat': 'pragma-public'}}"
            yield Fault("public_network", f"the host has no bridge {name}", mend)
        return
    gateway = IPv4Interface((clusters.gw, clusters.public_network.prefixlen))
    addresses = networks.public_address(connection, name)
    if addresses is not None and gateway not in addresses:
        error = networks.wrong_gateway(name, gateway)
        yield Fault("public_network", error.message, error.resolution or "")
    if addresses is None:
        for device in _clashes(clusters.public_network, _ROUTES.read_text().splitlines()[1:]):
            what = f"the host reaches {clusters.public_network} through {device} already"
            yield Fault("public_network", what, "choose another private range for gw, netmask and public_ips")


def _further(connection: Connection, settings: LibvirtSettings, names: Iterable[str]) -> Iterator[Fault]:
    known = settings.clusters.networks
    for name in names:
        yield from bridges.faults(known[name], _version(connection))


def _version(connection: Connection) -> int:
    with explained("ask for libvirt's version"):
        return int(connection.getLibVersion())


def _clashes(network: IPv4Network, routes: Iterable[str]) -> Iterator[str]:
    """Devices that have a route into *network*; *routes* as in ``/proc/net/route`` (addresses in host byte order)."""
    for line in routes:
        device, destination, mask = (line.split("\t")[at] for at in (0, 1, 7))
        address, bits = (IPv4Address(bytes.fromhex(each)[::-1]) for each in (destination, mask))
        if int(bits) and IPv4Network(f"{address}/{bits}", strict=False).overlaps(network):
            yield device


def _folders(user: reach.Person | None, folders: Iterable[Path]) -> Iterator[Fault]:
    if user is None:
        return
    for closed in sorted({found for folder in folders if (found := reach.closed_folder(folder, user))}):
        what = f"QEMU's user {user.name} may not search this folder, so nodes could not reach their disks"
        yield Fault(str(closed), what, f"chmod o+x {closed} (or: setfacl -m u:{user.name}:x {closed})")


def _acceleration(settings: LibvirtSettings, state: StateFolder) -> Iterator[Fault]:
    try:
        if settings.accel != accel.KVM:
            return
        accel.works(state, settings.accel)
    except PreflightError as error:
        yield from error.faults


def _dotted(version: Any) -> str:
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"
