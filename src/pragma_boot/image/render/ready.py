"""The node's own report of its readiness: a script, what it has to check, and who starts it at each boot.

The causes that it may tell, in the order in which they are looked for: `wrong-name`, then for each interface
`no-device NETWORK`, `no-carrier NETWORK`, `no-address ADDRESS`; `disk-full`, `no-key`, `no-sshd`; at last `no-frontend`
of a compute node, and `no-compute NODE` and `no-nat` of a frontend.
"""

from __future__ import annotations

import shlex
from importlib import resources
from ipaddress import IPv4Address

from pragma_boot.image.base import Edit, Symlink, Write
from pragma_boot.image.profile import MARK, GuestProfile, Hook
from pragma_boot.image.render import nat, overlay
from pragma_boot.image.render.target import Target, block, without_block
from pragma_boot.model import PRIVATE, REPORT_MARK, Nic

REPORT = "/etc/pragma/report"
_UNIT = "/etc/systemd/system/{name}"
_WANTED = "/etc/systemd/system/multi-user.target.wants/{name}"


def can_report(profile: GuestProfile) -> bool:
    """Whether nodes of this image tell on their console when they are ready (`REPORT_MARK`)."""
    return profile.legacy is None and profile.ed25519 and profile.hook is not Hook.NONE


def report(target: Target) -> list[Edit]:
    """The script, its facts, and what starts them (and address translation) at each boot."""
    script = resources.files("pragma_boot.image.render").joinpath("report.sh").read_bytes()
    edits: list[Edit] = [
        Write("/etc/pragma/node", _facts(target).encode(), 0o644),
        Write(REPORT, script.replace(b"@REPORT_MARK@", REPORT_MARK.encode()), 0o755),
    ]
    return edits + _hook(target)


def _facts(target: Target) -> str:
    frontend, cluster = target.allocation.frontend, target.access.cluster
    keys = [line for line in (cluster.public, *target.access.user_keys) if line]
    facts = {
        "name": str(target.node.name),
        "role": str(target.node.role),
        "hostname": target.hostname,
        "nics": " ".join(map(_nic, target.node.nics)),
        "key": _blob(keys[0]) if keys else "",
        "frontend": str(frontend.name),
        "frontend_ip": str(frontend.nic(PRIVATE).address.ip),
        # without the cluster's key nobody can log in to them to see
        "computes": " ".join(f"{node.name},{node.nic(PRIVATE).address.ip}" for node in target.allocation.computes)
        if cluster.public
        else "",
        # elsewhere the script has ended before the report starts
        "nat": nat.TRIED if target.profile.hook is Hook.SYSTEMD and nat.needs_script(target) else "",
        **overlay.facts(target),
    }
    return "".join((f"{MARK}\n", *(f"{key}={shlex.quote(value)}\n" for key, value in facts.items())))


def _blob(line: str) -> str:
    """The base64 part of an authorized_keys line, which may begin with options."""
    return next((word for word in line.split() if word.startswith("AAAA")), line)


def _nic(nic: Nic) -> str:
    """network,mac,address,destination,mask: the last two as /proc/net/route has them."""
    network = nic.address.network
    return f"{nic.network},{nic.mac},{nic.address.ip},{_hex(network.network_address)},{_hex(network.netmask)}"


def _hex(address: IPv4Address) -> str:
    return address.packed[::-1].hex().upper()


def _hook(target: Target) -> list[Edit]:
    hook, started = target.profile.hook, _started(target)
    if hook is Hook.SYSTEMD:
        units = [("report", _REPORT_UNIT), *((name, _UNITS[name]) for name, _ in started)]
        return [edit for name, text in units for edit in _service(f"pragma-{name}.service", text)]
    if hook is Hook.INIT:
        return [_boot_script(number, name, line) for number, (name, line) in enumerate(started, 1)]
    lines = [
        "[ ! -x /etc/pragma/network ] || /bin/sh /etc/pragma/network || :",
        *(line for _, line in started),
        f"/bin/sh {REPORT} < /dev/null > /dev/null 2>&1 &",
    ]
    if hook is Hook.LOCAL_D:
        return [Write("/etc/local.d/pragma.start", "\n".join(["#!/bin/sh", MARK, *lines, ""]).encode(), 0o755)]
    return [_rc_local(target, lines)] if hook is Hook.RC_LOCAL else []


def _started(target: Target) -> list[tuple[str, str]]:
    """What the node's boot starts beside its report, in order: names, and shell lines."""
    started = [("nat", f"/bin/sh {nat.SCRIPT} || :")] if nat.needs_script(target) else []
    started += [("overlay", f"/bin/sh {overlay.SCRIPT} || :")] if overlay.needs_script(target) else []
    names = f"/bin/sh {overlay.NAMES} sync < /dev/null > /dev/null 2>&1 &"
    return started + ([("names", names)] if overlay.tells_names(target) else [])


def _boot_script(number: int, name: str, line: str) -> Edit:
    """One of /etc/pragma/boot.d, which the image's own init runs in their order."""
    path = f"/etc/pragma/boot.d/{number}0-{name}"
    if line.endswith("&"):
        return Write(path, f"#!/bin/sh\n{MARK}\n{line}\n".encode(), 0o755)
    return Symlink(path, line.split()[1])


def _rc_local(target: Target, lines: list[str]) -> Write:
    """Our lines come first: the file often ends in `exit 0`."""
    path = "/etc/rc.d/rc.local" if target.profile.text("/etc/rc.d/rc.local") else "/etc/rc.local"
    old = without_block(target.profile.text(path))
    first, _, rest = old.partition("\n")
    if not first.startswith("#!"):
        first, rest = "#!/bin/sh", old
    return Write(path, f"{first}\n{block(lines)}{rest}".encode(), 0o755)


def _service(name: str, text: str) -> list[Edit]:
    unit = _UNIT.format(name=name)
    return [Write(unit, text.encode()), Symlink(_WANTED.format(name=name), unit)]


def network_service(target: Target) -> list[Edit]:
    """The unit that runs our own network script, where systemd is the image's only service."""
    return _service("pragma-network.service", _NETWORK_UNIT) if target.profile.systemd else []


_REPORT_UNIT = f"""{MARK}
[Unit]
Description=Tell on the console when this node of a virtual cluster is ready

[Service]
ExecStart=/bin/sh {REPORT}
StandardOutput=null

[Install]
WantedBy=multi-user.target
"""
_NAT_UNIT = f"""{MARK}
[Unit]
Description=Let compute nodes out through this frontend
# After ssh: nobody waits for it on the way to it, and loading the kernel's modules keeps a slow CPU busy.
After=nftables.service iptables.service firewalld.service ssh.service sshd.service
ReloadPropagatedFrom=nftables.service firewalld.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {nat.SCRIPT}
ExecReload=/bin/sh {nat.SCRIPT}

[Install]
WantedBy=multi-user.target
"""
_OVERLAY_UNIT = f"""{MARK}
[Unit]
Description=Bring up this node's part of the overlay
After=network.target iptables.service
Before=pragma-names.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {overlay.SCRIPT}

[Install]
WantedBy=multi-user.target
"""
_NAMES_UNIT = f"""{MARK}
[Unit]
Description=Tell this cluster's names in the overlay, and learn the others'
After=network.target

[Service]
ExecStart=/bin/sh {overlay.NAMES} sync
Restart=always
RestartSec=30

[Install]
WantedBy=multi-user.target
"""
_UNITS = {"nat": _NAT_UNIT, "overlay": _OVERLAY_UNIT, "names": _NAMES_UNIT}
_NETWORK_UNIT = f"""{MARK}
[Unit]
Description=Bring up the networks of this node of a virtual cluster
After=systemd-udev-settle.service
Before=network.target
Wants=network.target systemd-udev-settle.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /etc/pragma/network

[Install]
WantedBy=multi-user.target
"""
