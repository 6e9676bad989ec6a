"""The `demo` flavour: a small whole Debian with its own kernel, systemd, ssh and nftables, quick to boot."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from pragma_boot.build import tree
from pragma_boot.build.packages import Release, unpack

PACKAGES = (
    "linux-image-cloud-amd64", "tiny-initramfs", "grub-pc-bin", "grub2-common", "systemd-sysv", "udev", "dbus",
    "openssh-server", "nftables", "iproute2", "iputils-ping", "kmod", "procps", "netbase", "less", "ca-certificates",
)  # fmt: skip
SIZE = 2 * 1024 * 1024 * 1024
OPTIONS = "rw rootfstype=ext4 console=ttyS0,115200 no_timer_check quiet"
"""Writable from the start: a journal is replayed by the kernel, so no check has to run before.

no_timer_check: an emulated CPU on a busy host is late with the ticks that the kernel would wait for, and panic without.
"""

# Useless in a virtual machine that lives for hours or days, and dear at its start.
_MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "fstrim.timer", "systemd-pstore.service", "getty@tty1.service", "systemd-networkd-wait-online.service",
    "systemd-network-generator.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
    "modprobe@.service", "dev-hugepages.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
    "sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "proc-sys-fs-binfmt_misc.automount",
)  # fmt: skip
_ENABLED = ("systemd-networkd.service", "ssh-host-keys.service")
_LEFT = (
    "var/log/apt", "var/log/*.log", "var/cache/apt/*", "var/cache/ldconfig/*", "var/cache/debconf/*-old",
    "var/lib/apt/lists/*", "var/lib/dpkg/*-old", "etc/ssh/ssh_host_*", "etc/*-", "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/apt/sources.list.d/*", "etc/dpkg/dpkg.cfg.d/99mmdebstrap", "etc/modules-load.d/modules.conf",
)  # fmt: skip


def make_tree(root: Path, release: Release, work: Path, say: Callable[[str], None]) -> tuple[str, str]:
    """Fill the folder *root*; returns the names of kernel and initrd in it. Raises PragmaError."""
    with resources.as_file(resources.files("pragma_boot.build") / "files/demo/etc") as etc:
        unpack(
            release,
            root,
            variant="minbase",
            packages=PACKAGES,
            work=work,
            options=_options(etc, work),
            say=say,
        )
    say("tidying up")
    for pattern in _LEFT:
        for left in root.glob(pattern):
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    sources = "".join(f"{source.line(None)}\n" for source in release.sources)
    texts = {
        "etc/hostname": "demo\n",
        "etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost\n",
        "etc/resolv.conf": "# Written by whoever prepares the disk.\n",
        "etc/machine-id": "",
        "etc/apt/sources.list": sources,
    }
    for name, text in texts.items():
        tree.write(root / name, text)
    for folder in ("etc", "var"):  # newer than /usr: nothing has to be brought up to date at the first start
        tree.write(root / folder / ".updated", "")
    return tree.newest(root, "boot/vmlinuz-*"), tree.newest(root, "boot/initrd.img-*")


def _options(etc: Path, work: Path) -> list[str]:
    """For mmdebstrap: our files before the kernel's package looks at them, units once all is installed."""
    systemctl = 'chroot "$1" systemctl --quiet'
    return [
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        f"--essential-hook=copy-in {etc}/tiny-initramfs {etc}/default {etc}/modprobe.d {etc}/systemd /etc",
        f"--customize-hook={systemctl} enable {' '.join(_ENABLED)}",
        f"--customize-hook={systemctl} mask {' '.join(_MASKED)}",
    ]
