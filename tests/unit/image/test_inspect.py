"""What an image is found to be."""

from __future__ import annotations

import pytest

from fakes import images
from fakes.guest import FakeGuest
from pragma_boot.errors import GuestError
from pragma_boot.image.inspect import inspect, sshd_config
from pragma_boot.image.profile import Backend, Hook, Naming, Nat, SshServer

EXPECTED = {
    "networkd": (Backend.NETWORKD, Naming.LINK, Nat.NFT, SshServer.OPENSSH, Hook.SYSTEMD),
    "networkmanager": (Backend.NETWORK_MANAGER, Naming.LINK, Nat.NFT, SshServer.OPENSSH, Hook.SYSTEMD),
    "netplan": (Backend.NETPLAN, Naming.LINK, Nat.IPTABLES, SshServer.OPENSSH, Hook.SYSTEMD),
    "ifupdown": (Backend.IFUPDOWN, Naming.LINK, Nat.IPTABLES, SshServer.OPENSSH, Hook.SYSTEMD),
    "ifcfg": (Backend.IFCFG, Naming.LINK, Nat.IPTABLES, SshServer.OPENSSH, Hook.SYSTEMD),
    "wicked": (Backend.WICKED, Naming.LINK, Nat.NFT, SshServer.OPENSSH, Hook.SYSTEMD),
    "script": (Backend.SCRIPT, Naming.KERNEL, Nat.NONE, SshServer.DROPBEAR, Hook.RC_LOCAL),
    "busybox": (Backend.IFUPDOWN, Naming.KERNEL, Nat.NFT, SshServer.OPENSSH, Hook.INIT),
}


@pytest.mark.parametrize("name", images.ROOTS)
def test_every_kind_of_image_is_told_apart(name: str) -> None:
    found = inspect(images.root(name))
    assert (found.backend, found.naming, found.nat, found.sshd, found.hook) == EXPECTED[name]


def test_inspecting_changes_nothing() -> None:
    guest = images.root("netplan")
    before = guest.tree()
    inspect(guest)
    assert guest.tree() == before


def test_a_file_system_without_etc_is_refused_and_shown() -> None:
    with pytest.raises(GuestError, match="has no /etc") as caught:
        inspect(FakeGuest.of({"/data/file": "x"}))
    assert "data" in (caught.value.details or "")


@pytest.mark.parametrize(
    "path",
    [
        "/opt/vc-out-parse/vc-out-parser.py",
        "/etc/init.d/vc-out-parser",
        "/etc/rc.d/init.d/vc-out-parser",
        "/usr/lib/systemd/system/rocks-dynip.service",
        "/opt/rocks/lib/python2.7/site-packages/rocks/commands/reconfigure/__init__.py",
    ],
)
def test_legacy_consumers_are_seen(path: str) -> None:
    found = inspect(images.root("ifcfg", **{path: ""}))
    assert found.legacy
    assert path.startswith(found.legacy)
    assert found.identity == ()


def test_a_masked_service_is_not_enabled() -> None:
    mask = {"/etc/systemd/system/NetworkManager.service": "-> /dev/null"}
    found = inspect(images.root("networkmanager", **mask))
    assert (found.backend, found.enable_networkd) == (Backend.NETWORKD, True)


def test_netplan_needs_configuration_outside_ubuntu() -> None:
    release = {"/etc/os-release": "ID=debian\nVERSION_ID=13\n"}
    assert inspect(images.root("netplan", **release)).backend is Backend.NETPLAN
    guest = images.root("netplan", **release)
    del guest.entries["/etc/netplan/50-cloud-init.yaml"]
    assert inspect(guest).backend is Backend.NETWORKD


def test_interfaces_without_ifup_count_only_where_there_is_no_systemd() -> None:
    guest = images.root("ifupdown")
    del guest.entries["/usr/sbin/ifup"]
    assert inspect(guest).backend is Backend.NETWORKD


@pytest.mark.parametrize(
    ("target", "unit", "ours"),
    [
        ("../run/systemd/resolve/stub-resolv.conf", "systemd-resolved", False),
        ("../run/systemd/resolve/stub-resolv.conf", "other", True),
        ("/run/NetworkManager/resolv.conf", "NetworkManager", False),
        ("/nowhere", "other", True),
    ],
)
def test_a_resolver_link_is_replaced_only_when_nobody_serves_it(target: str, unit: str, ours: bool) -> None:
    wants = f"/etc/systemd/system/multi-user.target.wants/{unit}.service"
    guest = images.root("networkd", **{"/etc/resolv.conf": f"-> {target}", wants: "-> /x"})
    assert inspect(guest).resolver_ours is ours


def test_what_will_not_work_is_said() -> None:
    said = " ".join(inspect(FakeGuest.of({"/etc/hostname": "x"})).warnings)
    assert "neither nft nor iptables" in said
    assert "no ssh server" in said
    assert "/etc/pragma/report" in said


def test_huge_and_strange_files_do_no_harm() -> None:
    guest = images.root(
        "networkd",
        **{
            "/etc/hosts": b"x" * 5_000_000,
            "/etc/os-release": b"\xff\xfe\0ID=debian\n",
            "/root/.ssh/authorized_keys": None,
            "/etc/systemd/network/9.network": b"\0[Match\n=\n",
        },
    )
    assert inspect(guest).text("/etc/hosts") == ""


def test_without_os_release_the_old_release_file_is_read() -> None:
    found = inspect(images.root("ifcfg"))
    assert (found.distro, found.version) == ("centos", "7.9.2009")


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("", (False, False, False)),
        ("Include /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin no\n", (True, True, False)),
        ("PermitRootLogin no\nInclude /etc/ssh/sshd_config.d/*.conf\n", (False, True, False)),
        ("permitrootlogin=yes\nPermitRootLogin no\n", (False, False, False)),
        ("Match User x\nPermitRootLogin no\n", (False, False, False)),
        ("HostKey /etc/ssh/ssh_host_rsa_key\n", (False, False, True)),
        ("#PermitRootLogin no\nHostKey /etc/ssh/ssh_host_ed25519_key\n", (False, False, False)),
    ],
)
def test_sshd_takes_the_first_value(text: str, facts: tuple[bool, bool, bool]) -> None:
    found = sshd_config("/etc/ssh/sshd_config", text, True)
    assert (found.dropins, found.root_forbidden, found.needs_host_key) == facts


def test_users_that_leave_root_out_are_seen() -> None:
    found = sshd_config("/etc/ssh/sshd_config", "AllowUsers ann\nAllowGroups wheel root\n", True)
    assert (found.restricted_users, found.restricted_groups) == (True, False)
