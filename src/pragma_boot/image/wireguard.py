"""Whether an image can take part in a WireGuard overlay: its kernel, and who sets the interface up. Only reads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from pragma_boot.errors import Fault, GuestError
from pragma_boot.image import peek
from pragma_boot.image.base import Files, Guest
from pragma_boot.image.kernel import default_entry
from pragma_boot.image.profile import Backend, GuestProfile, Hook, WireGuard

_MODULES = ("/lib/modules", "/usr/lib/modules")
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu")
_NETWORKD_SINCE, _NETWORK_MANAGER_SINCE = (237,), (1, 16)
_KERNEL_MEND = (
    "use an image whose kernel has WireGuard: Linux 5.6 or later with its module (Debian 11, Ubuntu 20.04, Enterprise"
    " Linux 9, SLES 15 SP3 and later)"
)
_TOOLS_MEND = "install wireguard-tools (wg) in the image, or let systemd-networkd or NetworkManager run its network"


def with_wireguard(guest: Files, profile: GuestProfile) -> GuestProfile:
    """The profile with what it says of WireGuard filled in; it is looked for only where a cluster is in an overlay."""
    group = _group(guest, "systemd-network")
    native = {
        Backend.NETWORKD: lambda: group != 0 and _since(_systemd(guest), _NETWORKD_SINCE),
        Backend.NETWORK_MANAGER: lambda: _since(_network_manager(guest), _NETWORK_MANAGER_SINCE),
        Backend.NETPLAN: lambda: _netplan_can(guest),
    }
    if native.get(profile.backend, lambda: False)():
        way = WireGuard.NATIVE
    else:
        tools = peek.program(guest, "wg") and peek.program(guest, "ip")
        way = WireGuard.TOOLS if tools and profile.hook is not Hook.NONE else WireGuard.NONE
    return replace(profile, wireguard=way, networkd_group=group)


def faults(guest: Guest, profile: GuestProfile) -> tuple[Fault, ...]:
    """All that keeps nodes of this image out of an overlay; *profile* is `with_wireguard`'s. Empty: nothing."""
    if profile.legacy:
        mend = "use an image without vc-out consumers of its own: those know nothing of overlays"
        return (Fault("the image", f"it configures its nodes itself ({profile.legacy})", mend),)
    found = []
    versions = _kernels(guest)
    if lacking := [version for version in versions if not _has_module(guest, version)]:
        found.append(Fault("its kernel", f"{', '.join(lacking)} has no WireGuard", _KERNEL_MEND))
    elif not versions:
        found.append(Fault("its kernel", "no modules of one are there (/lib/modules), so no WireGuard", _KERNEL_MEND))
    if profile.wireguard is WireGuard.NONE:
        found.append(Fault("its tools", f"nothing in it sets up WireGuard (network: {profile.backend})", _TOOLS_MEND))
    return tuple(found)


def _kernels(guest: Guest) -> tuple[str, ...]:
    """The version of the kernel that starts; of all there are, where the boot loader's choice is not plain."""
    there = {name for folder in _MODULES for name in guest.listdir(folder)}
    entry = default_entry(guest)
    chosen = entry.kernel.rpartition("/")[2].partition("-")[2] if entry else ""
    return (chosen,) if chosen in there else tuple(sorted(there))


def _has_module(guest: Files, version: str) -> bool:
    for folder in _MODULES:
        for name in ("modules.dep", "modules.builtin"):
            if re.search(rb"(?m)(?:^|/)wireguard\.ko", _content(guest, f"{folder}/{version}/{name}")):
                return True
    return False


def _content(guest: Files, path: str) -> bytes:
    try:
        return guest.read(path) if guest.exists(path) else b""
    except GuestError:
        return b""


def _group(guest: Files, name: str) -> int:
    """The number of a group in the image; 0 where it has none (or root's, which is as good as none here)."""
    found = re.search(rf"(?m)^{name}:[^:]*:(\d{{1,9}}):", peek.text(guest, "/etc/group"))
    return int(found[1]) if found else 0


def _systemd(guest: Files) -> Iterable[tuple[int, ...]]:
    folders = [f"{library}/systemd" for library in _LIBRARIES]
    return _versions(guest, folders, r"libsystemd-shared-(\d{3})")


def _network_manager(guest: Files) -> Iterable[tuple[int, ...]]:
    folders = [f"{library}/NetworkManager" for library in _LIBRARIES]
    return _versions(guest, folders, r"(\d+)\.(\d+)\.\d+")


def _versions(guest: Files, folders: Iterable[str], pattern: str) -> list[tuple[int, ...]]:
    names = [name for folder in folders for name in guest.listdir(folder)]
    matches = (re.match(pattern, name) for name in names)
    return [tuple(map(int, found.groups())) for found in matches if found]


def _since(versions: Iterable[tuple[int, ...]], needed: tuple[int, ...]) -> bool:
    """Whether the newest is new enough; true when none tells: kernels with WireGuard come with new programs."""
    return max(versions, default=needed) >= needed


def _netplan_can(guest: Files) -> bool:
    candidates = [path for library in _LIBRARIES for path in peek.paths(guest, library, "libnetplan.so.*")]
    candidates += ["/usr/lib/netplan/generate", "/lib/netplan/generate", "/usr/libexec/netplan/generate"]
    return any(b"wireguard" in _content(guest, path) for path in candidates)
