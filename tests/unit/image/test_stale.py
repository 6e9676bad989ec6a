"""Group A and B of guest.md 5.2: what goes, and what stays because it is somebody's."""

from __future__ import annotations

import pytest

from fakes.guest import FakeGuest
from pragma_boot.image.base import Move, Remove
from pragma_boot.image.profile import MARK, SAVED
from pragma_boot.image.stale import can_match_ethernet, cleaning, identity

MAC = "52:54:00:00:00:01"
ETHERNET = "[connection]\nid=x\ntype=ethernet\n"


def fate(path: str, content: str) -> str:
    """What cleaning does to one file: moved, removed or kept."""
    for edit in cleaning(FakeGuest.of({path: content})):
        if isinstance(edit, Move) and edit.path == path:
            assert edit.target == SAVED + path
            return "moved"
        if isinstance(edit, Remove) and edit.path == path:
            return "removed"
    return "kept"


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("/etc/udev/rules.d/70-persistent-net.rules", "", "moved"),
        ("/etc/udev/rules.d/75-persistent-net-generator.rules", "", "moved"),
        ("/etc/udev/rules.d/70-persistent-cd.rules", "", "moved"),
        ("/etc/udev/rules.d/80-net-name-slot.rules", "", "kept"),
        ("/etc/udev/rules.d/10-net-name.rules", f'ATTR{{address}}=="{MAC}"', "moved"),
        ("/etc/udev/rules.d/60-disk.rules", MAC, "kept"),
        ("/etc/systemd/network/10-x.link", f"[Match]\nMACAddress={MAC}\n", "moved"),
        ("/etc/systemd/network/10-x.link", f"[Match]\nPermanentMACAddress={MAC}\n", "moved"),
        ("/etc/systemd/network/10-x.link", "[Match]\nDriver=virtio_net\n", "kept"),
        ("/etc/systemd/network/10-cloud-init-eth0.network", "[Match]\nName=eth0\n", "moved"),
        ("/etc/systemd/network/20-docker.network", "[Match]\nName=docker0\n", "kept"),
        ("/etc/systemd/network/25-br0.netdev", "[NetDev]\nKind=bridge\n", "kept"),
        ("/etc/sysconfig/network-scripts/ifcfg-eth0", "DEVICE=eth0\n", "moved"),
        ("/etc/sysconfig/network-scripts/ifcfg-ens3", 'TYPE="Ethernet"\n', "moved"),
        ("/etc/sysconfig/network-scripts/ifcfg-br0", "TYPE=Bridge\n", "moved"),
        ("/etc/sysconfig/network-scripts/ifcfg-lo", "DEVICE=lo\n", "kept"),
        ("/etc/sysconfig/network-scripts/ifcfg-wlan0", "TYPE=Wireless\n", "kept"),
        ("/etc/sysconfig/network-scripts/route-eth0", "", "moved"),
        ("/etc/sysconfig/network-scripts/ifup-eth", "", "kept"),
        ("/etc/sysconfig/network/ifcfg-eth0", "BOOTPROTO='dhcp'\n", "moved"),
        ("/etc/sysconfig/network/routes", "", "moved"),
        ("/etc/sysconfig/network/config", "", "kept"),
        ("/etc/NetworkManager/system-connections/cloud-init-eth0.nmconnection", ETHERNET, "moved"),
        ("/etc/NetworkManager/system-connections/Wired 1", ETHERNET, "moved"),
        ("/etc/NetworkManager/system-connections/vpn", "[connection]\ntype=wireguard\n", "kept"),
        ("/etc/netplan/90-NM-1.yaml", "", "moved"),
        ("/etc/netplan/README", "", "kept"),
        ("/etc/network/interfaces.d/50-cloud-init", "", "moved"),
        ("/etc/network/interfaces", "auto eth0\n", "moved"),
        ("/etc/cloud/cloud.cfg.d/subiquity-disable-cloudinit-networking.cfg", "", "moved"),
        ("/etc/cloud/cloud.cfg.d/05_logging.cfg", "", "kept"),
        ("/root/vc-out.xml.old", "", "removed"),
        ("/var/lib/dhcp/dhclient.leases", "", "removed"),
        ("/var/lib/NetworkManager/internal-x-eth0.lease", "", "removed"),
        ("/var/lib/NetworkManager/secret_key", "", "kept"),
        ("/var/lib/wicked/lease-eth0.xml", "", "removed"),
        ("/etc/netplan/60-pragma.yaml", f"{MARK}\n", "removed"),
    ],
)
def test_what_goes_and_what_stays(path: str, content: str, expected: str) -> None:
    assert fate(path, content) == expected


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("", True),
        ("[Match]\nName=en* eth*\n", True),
        ("[Match]\nName=br0 eth0\n", True),
        ("[Match]\nName=!eth0\n", True),
        ("[Match]\nType=ether\n", True),
        ("[Match]\nType=!loopback\n", True),
        (f"[Match]\nMACAddress={MAC}\n", True),
        ("[Match]\nName=veth*\n", False),
        ("[Match]\nName=wg0 tun*\n", False),
        ("[Match]\nType=wlan\n", False),
        ("[Match]\nKind=bridge\n", False),
        ("[Match]\nSSID=home\n", False),
        ("[Network]\nName=br0\n", True),
    ],
)
def test_which_network_files_may_take_an_ethernet_device(match: str, expected: bool) -> None:
    assert can_match_ethernet(match) is expected


def test_nothing_stale_means_no_edit() -> None:
    assert cleaning(FakeGuest.of({"/etc/hostname": "x"})) == ()


def test_cleaning_twice_keeps_the_originals() -> None:
    guest = FakeGuest.of({"/etc/network/interfaces": "auto eth0\n"})
    guest.apply(cleaning(guest))
    guest.apply(cleaning(guest))
    assert guest.read(f"{SAVED}/etc/network/interfaces") == b"auto eth0\n"


def test_a_clone_becomes_another_machine() -> None:
    guest = FakeGuest.of(
        {
            "/etc/machine-id": "abc\n",
            "/var/lib/dbus/machine-id": "abc\n",
            "/var/lib/systemd/random-seed": "x",
            "/var/lib/cloud/instance": "-> instances/i",
            "/var/lib/cloud/scripts/x": "stays",
            "/var/log/cloud-init-output.log": "x",
            "/etc/ssh/ssh_host_rsa_key": "x",
        }
    )
    guest.apply(identity(guest, host_keys=False))
    assert guest.read("/etc/machine-id") == b""
    assert guest.exists("/etc/ssh/ssh_host_rsa_key")
    gone = ("/var/lib/dbus/machine-id", "/var/lib/systemd/random-seed", "/var/log/cloud-init-output.log")
    assert not [path for path in gone if guest.exists(path)]
    assert guest.readlink("/var/lib/cloud/instance") is None
    assert guest.exists("/var/lib/cloud/scripts/x")


def test_a_linked_dbus_id_stays() -> None:
    guest = FakeGuest.of({"/etc/machine-id": "abc\n", "/var/lib/dbus/machine-id": "-> /etc/machine-id"})
    guest.apply(identity(guest, host_keys=True))
    assert guest.readlink("/var/lib/dbus/machine-id") == "/etc/machine-id"
