"""What an image *is*, as far as a node's preparation depends on it: found once per image, then plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pragma_boot.image.base import Edit

SAVED = "/var/lib/pragma/saved"
"""Where files of the image go that must not be seen any more: this folder plus their old path (guest.md 5.1)."""

MARK = "# written by pragma_boot"
"""In every file of ours that could be taken for the image's own: such a file is replaced, never saved."""


AGENT = "/usr/libexec/pragma-guest"
"""Our guest agent, in images that carry it (guest.md 8)."""


class Backend(StrEnum):
    """Who brings the image's network up, in the order in which it is looked for (guest.md 8.4)."""

    NETPLAN = "netplan"
    NETWORK_MANAGER = "networkmanager"
    WICKED = "wicked"
    NETWORKD = "networkd"
    IFUPDOWN = "ifupdown"
    IFCFG = "ifcfg"
    SCRIPT = "script"
    """None of them: a script of ours, which finds its devices by MAC."""


class Naming(StrEnum):
    """How a network device gets a name that a file can rely on."""

    LINK = "link"
    """systemd's udev reads .link files: devices are called after their networks."""
    RULES = "rules"
    """An older udev reads rules: the same names."""
    KERNEL = "kernel"
    """No udev: eth0, eth1, … in the order of the devices on the bus; the first is private."""


class Nat(StrEnum):
    """What the image can translate addresses with."""

    NFT = "nft"
    IPTABLES = "iptables"
    NONE = "none"


class SshServer(StrEnum):
    """Which ssh server the image has."""

    OPENSSH = "openssh"
    DROPBEAR = "dropbear"
    NONE = "none"


class Hook(StrEnum):
    """What starts our scripts at each boot."""

    SYSTEMD = "systemd"
    RC_LOCAL = "rc.local"
    LOCAL_D = "local.d"
    INIT = "init"
    """The image's own init runs /etc/pragma/boot.d/* and then /etc/pragma/report."""
    NONE = "none"


class WireGuard(StrEnum):
    """Who sets up a WireGuard interface in the image."""

    NATIVE = "native"
    """Its back end, by files of its own form."""
    TOOLS = "tools"
    """A script of ours, with `wg` and `ip`."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class SshdConfig:
    """What sshd's configuration says that stands in root's way.

    dropins: /etc/ssh/sshd_config.d is read before anything that matters; path: the file that is edited otherwise.
    """

    path: str = "/etc/ssh/sshd_config"
    dropins: bool = False
    root_forbidden: bool = False
    needs_host_key: bool = False
    restricted_users: bool = False
    restricted_groups: bool = False
    text: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class GuestProfile:
    """An image as `inspect` found it.

    distro, version: of os-release (`debian`, `12`), empty when unknown.
    legacy: the file that shows an old vc-out consumer (mode L), or None (mode O). agent: whether it carries ours.
    enable_networkd: the back end is there but nothing starts it.
    resolver_ours: /etc/resolv.conf is a plain file (or a link that nobody serves): we write it.
    ed25519: its ssh understands our keys. regenerates_host_keys: its boot makes missing ones.
    slow_keygen: units that would make further host keys at boot, before sshd starts.
    stale: edits of group A (old network identity), identity: group B (guest.md 5.2).
    texts: old content of the files that are merged, not replaced; keyed by path.
    wireguard, networkd_group: filled in by `wireguard.with_wireguard`; the number of systemd-networkd's group.
    warnings: what will not work, each a sentence for the user.
    """

    backend: Backend
    naming: Naming
    hook: Hook
    distro: str = ""
    version: str = ""
    legacy: str | None = None
    agent: bool = False
    systemd: bool = False
    udev: bool = False
    enable_networkd: bool = False
    network_manager: bool = False
    firewalld: bool = False
    nat: Nat = Nat.NONE
    cloud_init: bool = False
    selinux_enforcing: bool = False
    resolver_ours: bool = True
    sshd: SshServer = SshServer.NONE
    sshd_config: SshdConfig = field(default_factory=SshdConfig)
    ed25519: bool = True
    regenerates_host_keys: bool = False
    slow_keygen: tuple[str, ...] = ()
    stale: tuple[Edit, ...] = ()
    identity: tuple[Edit, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)
    wireguard: WireGuard = WireGuard.NONE
    networkd_group: int = 0
    warnings: tuple[str, ...] = ()

    def text(self, path: str) -> str:
        """The image's old content of a merged file; empty when it had none."""
        return self.texts.get(path, "")
