"""Why a node is not ready: from its console, its own last report and its state, to a sentence and its mend.

Pure. What the node says of itself (`pragma-node: NAME waiting CAUSE`) is exact but comes late in a boot; before that
the console is all there is. A cause is *fatal* when waiting cannot help: the wait ends at once then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pragma_boot.cluster.console import clean, plain
from pragma_boot.model import NodeState

RESTARTS = 3
"""So many starts of the firmware or the kernel in one console are a node that starts over and over."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a node is not ready.

    code: for programs and tests. text: a clause ("its kernel panicked"). mend: what to do.
    fatal: waiting cannot help.
    """

    code: str
    text: str
    mend: str
    fatal: bool = False


_INIT = Cause(
    "no-init",
    "its kernel found no init program to start",
    "the image's root file system is damaged or not a system's root: repair or rebuild the image",
    fatal=True,
)
_ROOT = Cause(
    "no-root",
    "its root file system was not found or could not be mounted",
    "compare root= on the image's kernel command line (and its /etc/fstab) with the disk's partitions; the image's"
    " initrd must have the virtio_blk driver",
    fatal=True,
)
_MEMORY = Cause(
    "out-of-memory",
    "its memory is too small: the kernel had to kill programs",
    "give the nodes more memory with mem=MIB",
)
_MEMORY_FATAL = Cause(
    "out-of-memory",
    "its memory is too small for its kernel to go on",
    "give the nodes more memory with mem=MIB",
    fatal=True,
)
_PANIC = Cause(
    "kernel-panic",
    "its kernel panicked",
    "read the last console lines: the image's kernel does not fit this machine or this image is damaged",
    fatal=True,
)
_TIMER = Cause(
    "late-timer",
    "its kernel panicked because this host was too busy to give its emulated CPU a timer's ticks in time",
    "repeat when the host is less busy, or add no_timer_check to the kernel command line of the image",
    fatal=True,
)
_CORRUPT = Cause(
    "bad-filesystem",
    "its file system has errors",
    "check the image's disk in the repository (fsck), or fetch the image anew; see that the host's disk is healthy",
)
_CORRUPT_FATAL = Cause(
    _CORRUPT.code, "its file system has errors that only a person can repair", _CORRUPT.mend, fatal=True
)
_BOOT_DEVICE = Cause(
    "no-boot-device",
    "its disk has no boot loader",
    "the image must be bootable through the BIOS: install a boot loader into it, or set direct_kernel = True in"
    " libvirt.conf",
    fatal=True,
)
_BOOT_LOADER = Cause(
    "boot-loader",
    "its boot loader did not find what it should start",
    "reinstall the boot loader in the image (grub-install, update-grub)",
    fatal=True,
)
_EMERGENCY = Cause(
    "emergency-mode",
    "its system stopped in emergency mode",
    "the console names the failed unit, mostly a mount of /etc/fstab whose device is not in the cluster: add nofail"
    " there, or remove the line from the image",
    fatal=True,
)
_DISK_FULL = Cause(
    "disk-full", "its root file system is full", "make room in the image, or enlarge its disk and its file system"
)

_T = r"^(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? )?"
"""A console line's start, with the kernel's time stamp or without."""

_SIGNS: tuple[tuple[re.Pattern[str], Cause], ...] = tuple(
    (re.compile(pattern, re.MULTILINE), cause)
    for pattern, cause in (
        (r"^initramfs: (?:Timeout while waiting|Failed to mount root|No root filesystem)", _ROOT),
        (_T + r"Kernel panic - not syncing: (?:No working init|Requested init|No init found)", _INIT),
        (_T + r"Kernel panic - not syncing: VFS:", _ROOT),
        (_T + r"Kernel panic - not syncing: (?:Out of memory|System is deadlocked on memory)", _MEMORY_FATAL),
        (_T + r"Kernel panic - not syncing: IO-APIC \+ timer doesn't work", _TIMER),
        (_T + r"Initramfs unpacking failed: write error", _MEMORY_FATAL),
        (r"RUN fsck MANUALLY|^fsck exited with status code (?:[4-9]|\d\d)", _CORRUPT_FATAL),
        (r"^Gave up waiting for (?:the )?root|^ALERT!.*does not exist.*Dropping to a shell", _ROOT),
        (r"^\(initramfs\)|^dracut:/?#", _ROOT),
        (r"^/bin/sh: can't access tty; job control turned off", _INIT),
        (_T + r"Kernel panic - not syncing", _PANIC),
        (r"^No bootable device", _BOOT_DEVICE),
        (r"^(?:Entering rescue mode|grub rescue>|grub> )", _BOOT_LOADER),
        (
            r"^You are in (?:emergency|rescue) mode|^Give root password for maint|^Cannot open access to console",
            _EMERGENCY,
        ),
        (_T + r"(?:Out of memory: Kill|.*\boom-kill:)", _MEMORY),
        (r"No space left on device", _DISK_FULL),
        (
            _T
            + r"(?:EXT[234]-fs error|XFS .*[Cc]orruption|BTRFS (?:error|critical)|.*Remounting filesystem read-only)",
            _CORRUPT,
        ),
    )
)
_PANIC_REASON = re.compile(_T + r"Kernel panic - not syncing: (.+)", re.MULTILINE)
_ROOT_AWAITED = re.compile(
    r"^initramfs: Waiting for|^Begin: Waiting for root file system|dracut-initqueue.*: timeout", re.MULTILINE
)
_POWER_OFF = re.compile(r"^.*\breboot: (?:Power down|System halted)|^Requesting system (?:poweroff|halt)", re.MULTILINE)
_STARTS = tuple(re.compile(pattern, re.MULTILINE) for pattern in (_T + r"Linux version \d", r"^SeaBIOS \(version"))

_NOT_RUNNING = {
    NodeState.SHUTDOWN: Cause(
        "stopped",
        "its virtual machine stopped without being shut down",
        "somebody killed it, or QEMU failed: see libvirt's log of the domain, below /var/log/libvirt/qemu, and the"
        " host's kernel log (out of memory?)",
        fatal=True,
    ),
    NodeState.CRASHED: Cause(
        "crashed",
        "its virtual machine crashed or was killed",
        "look for QEMU in the host's kernel log (out of memory?) and in libvirt's log of the domain, below"
        " /var/log/libvirt/qemu",
        fatal=True,
    ),
    NodeState.MISSING: Cause(
        "vanished",
        "its virtual machine is gone",
        "somebody else removed it; 'pragma clean' removes what is left",
        fatal=True,
    ),
    NodeState.PAUSED: Cause(
        "paused",
        "its virtual machine is paused",
        "the host's disk may be full (the engine pauses a node that cannot write): free some space; or somebody"
        " paused it",
    ),
}
_SWITCHED_OFF = Cause(
    "switched-off",
    "it switched itself off",
    "read the last console lines; its init may have failed, or the image is made to power off",
    fatal=True,
)
_UNKNOWN = Cause(
    "unknown", "its engine cannot be asked about it", "'pragma check site' tells what is wrong with the site"
)
_SILENT_KVM = Cause(
    "silent",
    "it runs but has printed nothing on its console",
    "KVM may not work on this host: set accel = 'auto' or 'tcg' in libvirt.conf; or the image's kernel command line"
    " lacks console=ttyS0",
)
_SILENT = Cause(
    "silent",
    "it runs but has printed nothing on its console",
    "the image must be bootable, and its kernel command line needs console=ttyS0",
)
_RESTARTS = Cause(
    "restarts",
    "it starts over and over",
    "give it more memory with mem=MIB; if that does not help, its console tells what went before each restart",
)
_NO_REPORT = Cause(
    "no-report",
    "it started but has not reported anything",
    "read its console: its init may hang, or may not start the reporter /etc/pragma/report; slow hosts need a larger"
    " wait=SECONDS",
)

# What nodes report (image.render writes it): code → clause with the report's word, mend.
_REPORTS: dict[str, tuple[str, str]] = {
    "wrong-name": ("its host name is wrong", "something in the image sets the host name: remove it"),
    "no-device": (
        "its kernel shows no interface for the network {0}",
        "the image's kernel needs the virtio_net driver, in its initrd or in /lib/modules",
    ),
    "no-carrier": (
        "its interface {0} has no carrier",
        "see that the network of that interface exists and is up on the host (virsh net-list, ip link)",
    ),
    "no-address": (
        "no interface of it has the address {0}",
        "the image's network service did not take our configuration: look at its journal",
    ),
    "disk-full": (_DISK_FULL.text, _DISK_FULL.mend),
    "no-key": ("root's authorized keys are not in place", "something in the image rewrites /root/.ssh: remove it"),
    "no-sshd": (
        "no ssh server listens on it",
        "install and enable an ssh server in the image; its console says if it failed",
    ),
    "no-frontend": (
        "it does not reach the frontend",
        "see that the frontend runs, and that the image has no firewall on the private network",
    ),
    "no-compute": (
        "the frontend cannot log in on {0} by ssh",
        "see that node's console; the image's ssh server must let root in with a key",
    ),
    "no-nat": (
        "its address translation for the compute nodes has not started",
        "look at the journal of pragma-nat.service on it: a service of the image may hold it up",
    ),
    "no-overlay": (
        "it has not the address {0} in the overlay",
        "something keeps WireGuard from starting in the image: look at the journal, and at 'wg' or 'ip address'",
    ),
    "no-hub": (
        "it does not reach the hub of the overlay, {0}",
        "see that the hub's frontend runs, and that firewalls of both sites let UDP to its port 51820 pass",
    ),
    "no-names": (
        "it has not learnt the names of the overlay's other nodes",
        "see on it what '/etc/pragma/names sync' says; the hub's ssh server must answer in the overlay",
    ),
    "no-banner": (
        "its ssh port does not answer ({0})",
        "the image cannot report, so its ssh server is what we ask: see that one is installed, enabled and let through"
        " by the image's firewall",
    ),
}


def fatal_sign(text: str) -> Cause | None:
    """The fatal cause that console *text* shows, or None. Cheap: meant for every piece of fresh text."""
    bare = plain(text)
    return next((cause for pattern, cause in _SIGNS if cause.fatal and pattern.search(bare)), None)


def diagnose(console_tail: str, last_report: str | None, state: NodeState, accel: str = "") -> Cause:
    """The best explanation of why a node is not ready.

    console_tail: what its console said last, as it came. last_report: the CAUSE of its last `waiting` line.
    accel: `kvm` when the node runs with KVM, for the hint that a silent console needs.

    The order: what the console shows to be fatal; a node that does not run; what explains a report (no memory, no
    space); the report; and then what can be said of a node that never reported.
    """
    return next(_explanations(plain(console_tail), last_report, state, accel))


def _explanations(text: str, last_report: str | None, state: NodeState, accel: str) -> Iterator[Cause]:
    sign = next((cause for pattern, cause in _SIGNS if pattern.search(text)), None)
    if sign and sign.fatal:
        yield _with_reason(sign, text)
    if state is NodeState.SHUTDOWN and _POWER_OFF.search(text):
        yield _SWITCHED_OFF
    if state in _NOT_RUNNING:
        yield _NOT_RUNNING[state]
    if max(len(start.findall(text)) for start in _STARTS) >= RESTARTS:
        yield _RESTARTS
    if sign:
        yield sign
    if last_report:
        yield _reported(last_report)
    if state is NodeState.UNKNOWN:
        yield _UNKNOWN
    if _ROOT_AWAITED.search(text):
        yield replace(_ROOT, fatal=False)
    if text.strip():
        yield _NO_REPORT
    yield _SILENT_KVM if accel == "kvm" else _SILENT


def describe_report(report: str) -> str:
    """A report's cause in words, for progress: `no-sshd` is "no ssh server listens on it"."""
    return _reported(report).text


def _with_reason(cause: Cause, text: str) -> Cause:
    """A panic with the kernel's own reason for it."""
    reason = _PANIC_REASON.search(text)
    return replace(cause, text=f"{cause.text} ({clean(reason[1], 80)})") if reason and cause is _PANIC else cause


def _reported(report: str) -> Cause:
    code, _, word = clean(report, 120).partition(" ")
    if code in _REPORTS:
        text, mend = _REPORTS[code]
        return Cause(code, text.format(clean(word, 64) or "?"), mend)
    return Cause("reported", f"it reports {clean(report, 120)!r}", "log in on its console, or read its journal")
