"""Make the running system use the files that were just written, without a restart of the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pragma_boot.agent import devices
from pragma_boot.agent.root import LiveRoot
from pragma_boot.agent.system import System
from pragma_boot.image import peek
from pragma_boot.image.profile import Backend, GuestProfile, Hook
from pragma_boot.image.render.target import Target
from pragma_boot.model import Mac, Nic

_OWN_NETWORK = "/etc/init.d/network"
_SLOW = 120.0


class Activation:
    """How one machine's network manager is told. Called before (`let_go`) and after (`take_up`) the files change.

    names: the devices of the node's interfaces as they are called just now, by MAC.
    """

    def __init__(self, root: LiveRoot, system: System, target: Target) -> None:
        self._root = root
        self._system = system
        self._target = target
        self._profile: GuestProfile = target.profile

    def let_go(self, names: Mapping[Mac, str]) -> None:
        """Before the old files go: take down what only they know. A device that is right already stays up."""
        down = {Backend.IFUPDOWN: "ifdown", Backend.IFCFG: "ifdown"}.get(self._profile.backend)
        for nic, name in self._devices(names):
            if name == self._target.device(nic) and devices.configured(self._system, name, nic):
                continue
            if self._profile.backend is Backend.WICKED:
                self._system.run(["wicked", "ifdown", name], _SLOW)
            elif down and not self._ours:
                self._system.run([down, name], _SLOW)
            if down:
                self._system.run(["ip", "addr", "flush", "dev", name])

    def take_up(self, names: Mapping[Mac, str]) -> None:
        """After the new files are there: bring the network up as they say."""
        if self._profile.firewalld:
            self._system.run(["firewall-cmd", "--reload"])
        actions: Mapping[Backend, Callable[[list[tuple[Nic, str]]], None]] = {
            Backend.NETPLAN: lambda _: self._each(["netplan", "apply"]),
            Backend.NETWORK_MANAGER: self._network_manager,
            Backend.NETWORKD: self._networkd,
            Backend.WICKED: self._wicked,
            Backend.IFUPDOWN: self._ifup,
            Backend.IFCFG: self._ifup,
            Backend.SCRIPT: lambda _: self._each(["/bin/sh", "/etc/pragma/network"]),
        }
        actions[self._profile.backend](self._devices(names))

    @property
    def _ours(self) -> bool:
        """Whether the image's own init brings the network up, in a script that may run again."""
        return self._profile.hook is Hook.INIT and self._root.exists(_OWN_NETWORK)

    def _devices(self, names: Mapping[Mac, str]) -> list[tuple[Nic, str]]:
        return [(nic, names[nic.mac]) for nic in self._target.node.nics if nic.mac in names]

    def _each(self, *commands: Sequence[str]) -> None:
        for command in commands:
            self._system.run(command, _SLOW)

    def _networkd(self, nics: list[tuple[Nic, str]]) -> None:
        if self._profile.enable_networkd:
            self._each(["systemctl", "start", "systemd-networkd.service"])
            return
        told = [["networkctl", "reload"], *(["networkctl", "reconfigure", name] for _, name in nics)]
        if not all(self._system.run(command) for command in told):  # before 244 it knows neither
            self._each(["systemctl", "restart", "systemd-networkd.service"])

    def _network_manager(self, nics: list[tuple[Nic, str]]) -> None:
        self._each(["nmcli", "general", "reload"], ["nmcli", "connection", "reload"])
        self._each(*(["nmcli", "--wait", "30", "connection", "up", f"vc-{nic.network}"] for nic, _ in nics))

    def _wicked(self, nics: list[tuple[Nic, str]]) -> None:
        self._each(*(["wicked", "ifup", name] for _, name in nics), ["netconfig", "update", "-f"])

    def _ifup(self, nics: list[tuple[Nic, str]]) -> None:
        if self._ours:
            self._each([_OWN_NETWORK])
            return
        waiting = [name for nic, name in nics if not devices.configured(self._system, name, nic)]
        self._each(*(["ifup", name] for name in waiting))


def before_the_network(root: LiveRoot, system: System, profile: GuestProfile) -> None:
    """At the start of a machine whose document was there: no network manager has read anything yet, but generators."""
    if profile.backend is Backend.NETPLAN:  # its generator ran when systemd did
        system.run(["netplan", "generate"])
    if profile.systemd and root.changed:
        system.run(["systemctl", "daemon-reload"])


def relabel(root: LiveRoot, system: System) -> None:
    """Give changed files their SELinux labels, where SELinux is at work."""
    if root.changed and root.exists("/sys/fs/selinux/enforce") and system.has("restorecon"):
        system.run(["restorecon", "-F", *(path for path in root.changed if root.readlink(path) or root.exists(path))])


def start_units(root: LiveRoot, system: System, *, known: bool) -> None:
    """Start our own units, which this start was planned without; *known*: it has read them since (that is dear)."""
    folder = "/etc/systemd/system/multi-user.target.wants"
    names = [name for name in root.listdir(folder) if name.startswith("pragma-") and "guest" not in name]
    if names and not known:
        system.run(["systemctl", "daemon-reload"])
    if names:
        system.run(["systemctl", "start", "--no-block", *names])
    for path in peek.paths(root, "/etc/sysctl.d", "9?-pragma*.conf"):
        system.run(["sysctl", "-q", "-p", path])
    rules = "/etc/tmpfiles.d/pragma.conf"
    if peek.text(root, rules):
        system.run(["systemd-tmpfiles", "--create", rules])
