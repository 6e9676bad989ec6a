"""Look at an image's root file system once, and tell what preparing its nodes depends on. Only reads."""

from __future__ import annotations

import re
from dataclasses import replace

from pragma_boot.errors import GuestError
from pragma_boot.image import peek, stale
from pragma_boot.image.base import Files
from pragma_boot.image.profile import (
    AGENT,
    Backend,
    GuestProfile,
    Hook,
    Naming,
    Nat,
    SshdConfig,
    SshServer,
)

_ENTERPRISE = {"rhel", "centos", "rocky", "almalinux", "ol", "scientific", "redhat"}
_MERGED = (
    "/etc/hosts",
    "/etc/network/interfaces",
    "/etc/rc.local",
    "/etc/rc.d/rc.local",
    "/etc/ssh/ssh_known_hosts",
    "/etc/sysconfig/network",
    "/etc/sysconfig/network/config",
    "/root/.ssh/authorized_keys",
    "/root/.ssh/id_ed25519.pub",
    "/root/.ssh/known_hosts",
)
_RESOLVER_OWNERS = (
    ("systemd/resolve", ("systemd-resolved.service",)),
    ("NetworkManager", ("NetworkManager.service",)),
    ("netconfig", ("wicked.service", "NetworkManager.service")),
)
_INITS = ("/etc/inittab", "/etc/rc", "/init", "/sbin/init")
_SERVICES = (  # not every folder below /etc: each costs milliseconds
    "/etc/init.d",
    "/etc/rc.d",
    "/etc/rc.d/init.d",
    "/etc/sysconfig",
    "/etc/systemd/system",
    "/usr/lib/systemd/system",
)


def inspect(guest: Files) -> GuestProfile:
    """Find out what *guest* is (guest.md 5, 8.1 and 8.4).

    Raises GuestError when the file system has no /etc: it is no root file system then.
    """
    if not guest.is_dir("/etc"):
        raise GuestError(
            "the image's root file system has no /etc",
            details=f"in / there is: {', '.join(guest.listdir('/')[:20]) or 'nothing'}",
            resolution="use an image whose first partition holds an installed Linux system",
        )
    distro, version = _release(guest)
    systemd = peek.first(guest, "/usr/lib/systemd/systemd", "/lib/systemd/systemd") is not None
    units = peek.enabled_units(guest, systemd=systemd)
    backend, enable_networkd = _backend(guest, distro, version, units, systemd)
    sshd, config = _sshd(guest)
    ed25519 = not (distro in _ENTERPRISE and _number(version) in range(1, 7))
    regenerates = _regenerates_host_keys(guest)
    legacy = legacy_consumer(guest)
    profile = GuestProfile(
        backend=backend,
        naming=_naming(guest, systemd),
        hook=_hook(guest, systemd),
        distro=distro,
        version=version,
        legacy=legacy,
        agent=guest.exists(AGENT),
        systemd=systemd,
        udev=_naming(guest, systemd) is not Naming.KERNEL,
        enable_networkd=enable_networkd,
        network_manager=peek.program(guest, "NetworkManager"),
        firewalld="firewalld.service" in units,
        nat=_nat(guest),
        cloud_init=peek.program(guest, "cloud-init") or guest.is_dir("/etc/cloud/cloud.cfg.d"),
        selinux_enforcing=_selinux(guest),
        resolver_ours=_resolver_ours(guest, units),
        sshd=sshd,
        sshd_config=config,
        ed25519=ed25519,
        regenerates_host_keys=regenerates,
        slow_keygen=_slow_keygen(guest),
        stale=stale.cleaning(guest),
        identity=() if legacy else stale.identity(guest, host_keys=ed25519 or regenerates),
        texts=_texts(guest),
    )
    return _with_warnings(profile)


def _texts(guest: Files) -> dict[str, str]:
    found = {path: peek.text(guest, path) for path in _MERGED}
    return {path: text for path, text in found.items() if text}


def _release(guest: Files) -> tuple[str, str]:
    facts = peek.assignments(peek.text(guest, peek.first(guest, "/etc/os-release", "/usr/lib/os-release") or ""))
    if "ID" in facts:
        return facts["ID"].lower(), facts.get("VERSION_ID", "")
    old = peek.text(guest, peek.first(guest, "/etc/redhat-release", "/etc/system-release") or "")
    found = re.match(r"(\w+)[^0-9]*([0-9.]+)", old)
    return ({"red": "rhel"}.get(found[1].lower(), found[1].lower()), found[2]) if found else ("", "")


def _number(version: str) -> int:
    found = re.match(r"\d{1,4}", version)
    return int(found[0]) if found else 0


def legacy_consumer(guest: Files) -> str | None:
    """The file that shows an old vc-out consumer; None where there is none (guest.md 8.1)."""
    found = peek.paths(guest, "/opt", "vc-out-parse*")
    for folder in _SERVICES:
        found += peek.paths(guest, folder, "vc-out-parser*", "rocks-dynip*")
    for lib in ("/opt/rocks/lib", "/opt/rocks/lib64"):
        for python in peek.paths(guest, lib, "python*"):
            command = f"{python}/site-packages/rocks/commands/reconfigure"
            found += [command] if guest.exists(command) else []
    return min(found) if found else None


def _backend(guest: Files, distro: str, version: str, units: frozenset[str], systemd: bool) -> tuple[Backend, bool]:
    """Choose by guest.md 8.4; the second value: networkd is there, but has to be enabled."""
    old_enterprise = distro in _ENTERPRISE and _number(version) < 8
    scripts = guest.is_dir("/etc/sysconfig/network-scripts")
    networkd = peek.first(
        guest, "/usr/lib/systemd/system/systemd-networkd.service", "/lib/systemd/system/systemd-networkd.service"
    )
    interfaces = guest.exists("/etc/network/interfaces") and (not systemd or peek.program(guest, "ifup"))
    choices = (
        (Backend.NETPLAN, peek.program(guest, "netplan") and (distro == "ubuntu" or guest.listdir("/etc/netplan"))),
        (Backend.IFCFG, old_enterprise and scripts and "systemd-networkd.service" not in units),
        (Backend.NETWORK_MANAGER, "NetworkManager.service" in units),
        (Backend.WICKED, units & {"wicked.service", "wickedd.service"}),
        (Backend.NETWORKD, networkd and "systemd-networkd.service" in units),
        (Backend.IFUPDOWN, interfaces),
        (Backend.IFCFG, scripts and _number(version) < 10 and peek.program(guest, "ifup") and not networkd),
    )
    for backend, fits in choices:
        if fits:
            return backend, False
    return (Backend.NETWORKD, True) if systemd and networkd else (Backend.SCRIPT, False)


def _naming(guest: Files, systemd: bool) -> Naming:
    if peek.first(guest, "/usr/lib/systemd/systemd-udevd", "/lib/systemd/systemd-udevd", "/usr/bin/udevadm"):
        return Naming.LINK if systemd else Naming.RULES
    return Naming.RULES if peek.program(guest, "udevd", "udevadm") or guest.exists("/lib/udev/udevd") else Naming.KERNEL


def _hook(guest: Files, systemd: bool) -> Hook:
    if systemd:
        return Hook.SYSTEMD
    scripts = [path for path in _INITS if guest.readlink(path) is None]  # a link leads to a program
    scripts += peek.paths(guest, "/etc/init.d", "*")
    if any("/etc/pragma/report" in peek.text(guest, path) for path in scripts):
        return Hook.INIT
    if guest.is_dir("/etc/local.d") and guest.exists("/etc/runlevels/default/local"):
        return Hook.LOCAL_D
    if peek.first(guest, "/etc/rc.d/rc.local", "/etc/rc.local"):
        return Hook.RC_LOCAL
    return Hook.NONE


def _nat(guest: Files) -> Nat:
    if peek.program(guest, "nft"):
        return Nat.NFT
    return Nat.IPTABLES if peek.program(guest, "iptables") else Nat.NONE


def _selinux(guest: Files) -> bool:
    return peek.assignments(peek.text(guest, "/etc/selinux/config")).get("SELINUX", "").lower() == "enforcing"


def _resolver_ours(guest: Files, units: frozenset[str]) -> bool:
    """Whether nobody in the guest serves what /etc/resolv.conf points to."""
    target = guest.readlink("/etc/resolv.conf") or ""
    for word, services in _RESOLVER_OWNERS:
        if word in target:
            return not units.intersection(services)
    return not ("resolvconf" in target and peek.program(guest, "resolvconf"))


def _sshd(guest: Files) -> tuple[SshServer, SshdConfig]:
    if not peek.program(guest, "sshd"):
        return (SshServer.DROPBEAR if peek.program(guest, "dropbear") else SshServer.NONE), SshdConfig()
    path = peek.first(guest, "/etc/ssh/sshd_config", "/usr/etc/ssh/sshd_config") or "/etc/ssh/sshd_config"
    return SshServer.OPENSSH, sshd_config(path, peek.text(guest, path), guest.is_dir("/etc/ssh/sshd_config.d"))


def sshd_config(path: str, content: str, folder: bool) -> SshdConfig:
    """Read the global part of an sshd_config; the first value of a keyword wins there, so order matters."""
    root_login, included = "", False
    hosts: list[str] = []
    users: set[str] = set()
    groups: set[str] = set()
    outside = re.sub(r"(?ms)^# BEGIN pragma$.*?^# END pragma$", "", content)
    for raw in outside.splitlines():
        words = raw.replace("=", " ", 1).split()
        key = words[0].lower() if words else ""
        if key == "match":
            break
        if key == "include" and "/etc/ssh/sshd_config.d/*.conf" in words:
            included = included or not root_login
        elif key == "permitrootlogin":
            root_login = root_login or " ".join(words[1:]).lower()
        elif key == "hostkey":
            hosts += words[1:]
        elif key == "allowusers":
            users.update(words[1:])
        elif key == "allowgroups":
            groups.update(words[1:])
    return SshdConfig(
        path=path,
        dropins=included and folder,
        root_forbidden=root_login in {"no", "forced-commands-only"},
        needs_host_key=bool(hosts) and not any("ed25519" in host for host in hosts),
        restricted_users=bool(users) and "root" not in users,
        restricted_groups=bool(groups) and "root" not in groups,
        text=content,
    )


def _regenerates_host_keys(guest: Files) -> bool:
    return bool(
        peek.first(
            guest,
            "/usr/lib/systemd/system/sshd-keygen@.service",
            "/usr/lib/systemd/system/sshd-keygen.service",
            "/usr/sbin/sshd-keygen",
            "/usr/sbin/sshd-gen-keys-start",
            "/etc/rc.d/init.d/sshd",
        )
        or peek.program(guest, "cloud-init", "dropbearkey")
    )


def _slow_keygen(guest: Files) -> tuple[str, ...]:
    if not guest.exists("/usr/lib/systemd/system/sshd-keygen@.service"):
        return ()
    return ("sshd-keygen@rsa.service", "sshd-keygen@ecdsa.service")


def _with_warnings(profile: GuestProfile) -> GuestProfile:
    if profile.legacy:
        return profile
    said = (
        (profile.nat is Nat.NONE and not profile.firewalld, "the image has neither nft nor iptables: its compute nodes"
         " reach nothing beyond the frontend"),
        (profile.sshd is SshServer.NONE, "the image has no ssh server: nobody can log in to its nodes"),
        (not profile.ed25519, "the image's OpenSSH is too old for ed25519 keys: the frontend cannot log in to its"
         " compute nodes"),
        (profile.hook is Hook.NONE, "the image has neither systemd nor an rc.local: nothing starts /etc/pragma/report"
         " and /etc/pragma/nat"),
    )  # fmt: skip
    return replace(profile, warnings=tuple(text for applies, text in said if applies))
