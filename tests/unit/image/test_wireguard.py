"""Whether an image can be in an overlay: what its kernel, its network's manager and its tools say."""

from __future__ import annotations

import pytest

from fakes import images
from fakes.guest import FakeGuest
from pragma_boot.image.inspect import inspect
from pragma_boot.image.profile import WireGuard
from pragma_boot.image.wireguard import faults, with_wireguard

Files = dict[str, str | bytes | None]

KERNEL = "/lib/modules/6.1.0-9-amd64"
MODULE: Files = {f"{KERNEL}/modules.dep": "kernel/drivers/net/wireguard/wireguard.ko.xz: kernel/net/udp_tunnel.ko.xz\n"}
GROUP: Files = {"/etc/group": "root:x:0:\nsystemd-network:x:998:\nusers:x:100:\n"}
TOOLS: Files = {"/usr/bin/wg": "", "/usr/sbin/ip": ""}
GRUB = """
set default="0"
menuentry 'Linux' {
    linux /boot/vmlinuz-6.1.0-9-amd64 root=UUID=1 ro
    initrd /boot/initrd.img-6.1.0-9-amd64
}
"""


def found(name: str, files: Files) -> tuple[WireGuard, list[str]]:
    guest = images.root(name, **files)
    profile = with_wireguard(guest, inspect(guest))
    return profile.wireguard, [fault.what for fault in faults(guest, profile)]


@pytest.mark.parametrize(
    ("name", "files", "way"),
    [
        ("networkd", GROUP, WireGuard.NATIVE),
        ("networkd", {**GROUP, "/usr/lib/systemd/libsystemd-shared-252.so": ""}, WireGuard.NATIVE),
        ("networkd", {**GROUP, **TOOLS, "/usr/lib/systemd/libsystemd-shared-232.so": ""}, WireGuard.TOOLS),
        ("networkd", TOOLS, WireGuard.TOOLS),
        ("networkd", {"/etc/group": "systemd-network:x:0:\n"}, WireGuard.NONE),
        ("networkmanager", {}, WireGuard.NATIVE),
        ("networkmanager", {"/usr/lib64/NetworkManager/1.46.0-1.el9/x.so": ""}, WireGuard.NATIVE),
        ("networkmanager", {"/usr/lib64/NetworkManager/1.14.0-14.el8/x.so": ""}, WireGuard.NONE),
        ("netplan", {"/usr/lib/x86_64-linux-gnu/libnetplan.so.1": b"\x7fELF..wireguard\0"}, WireGuard.NATIVE),
        ("netplan", {"/usr/lib/netplan/generate": b"\x7fELF..wireguard\0"}, WireGuard.NATIVE),
        ("netplan", {"/usr/lib/x86_64-linux-gnu/libnetplan.so.0": b"\x7fELF"}, WireGuard.NONE),
        ("ifupdown", TOOLS, WireGuard.TOOLS),
        ("ifupdown", {"/usr/bin/wg": ""}, WireGuard.NONE),
        ("busybox", TOOLS, WireGuard.TOOLS),
        ("script", TOOLS, WireGuard.TOOLS),
        ("script", {**TOOLS, "/etc/rc.local": "-> /nowhere"}, WireGuard.NONE),
    ],
)
def test_who_sets_the_interface_up(name: str, files: Files, way: WireGuard) -> None:
    assert found(name, {**MODULE, **files}) == (
        way,
        [] if way is not WireGuard.NONE else [f"nothing in it sets up WireGuard (network: {_backend(name)})"],
    )


def _backend(name: str) -> str:
    return str(inspect(images.root(name)).backend)


@pytest.mark.parametrize(
    ("files", "lacking"),
    [
        (MODULE, False),
        ({f"{KERNEL}/modules.builtin": "kernel/drivers/net/wireguard/wireguard.ko\n"}, False),
        ({f"{KERNEL}/modules.dep": "extra/wireguard.ko:\n"}, False),
        ({f"{KERNEL}/modules.dep": "wireguard.ko:\n"}, False),
        ({f"{KERNEL}/modules.dep": "kernel/notwireguard.ko:\nkernel/x.ko: kernel/udp.ko\n"}, True),
        ({f"{KERNEL}/modules.dep": ""}, True),
        ({}, True),
        ({**MODULE, "/lib/modules/4.19.0-1-amd64/modules.dep": ""}, True),
    ],
)
def test_the_kernel_has_wireguard_or_has_not(files: Files, lacking: bool) -> None:
    assert bool(found("networkd", {**GROUP, **files})[1]) == lacking


def test_only_the_kernel_that_starts_counts() -> None:
    old: Files = {"/lib/modules/4.19.0-1-amd64/modules.dep": "", "/boot/grub/grub.cfg": GRUB}
    assert found("networkd", {**GROUP, **MODULE, **old})[1] == []
    new: Files = {"/lib/modules/4.19.0-1-amd64/modules.dep": "x/wireguard.ko:\n", "/boot/grub/grub.cfg": GRUB}
    assert found("networkd", {**GROUP, f"{KERNEL}/modules.dep": "", **new})[1] == ["6.1.0-9-amd64 has no WireGuard"]


def test_all_faults_are_told_at_once_each_with_its_mend() -> None:
    guest = FakeGuest.of({**images.ROOTS["ifupdown"], f"{KERNEL}/modules.dep": ""})
    told = faults(guest, with_wireguard(guest, inspect(guest)))
    assert [fault.where for fault in told] == ["its kernel", "its tools"]
    assert all(fault.mend for fault in told)


def test_an_image_that_configures_its_nodes_itself_is_refused() -> None:
    assert "vc-out-parser" in found("networkd", {**GROUP, **MODULE, "/opt/vc-out-parser/x": ""})[1][0]
