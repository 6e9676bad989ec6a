"""What nodes get for an overlay: golden files of every back end and role, and the promises that hold for all."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from fakes import images
from fakes.guest import FakeGuest
from pragma_boot import run
from pragma_boot.image.inspect import inspect
from pragma_boot.image.profile import Backend, WireGuard
from pragma_boot.image.render import edits
from pragma_boot.model import Allocation, Overlay
from pragma_boot.network import vc_out
from pragma_boot.network.overlay import addresses, membership

NETWORK = IPv4Network("172.20.4.0/22")
NATIVE = (Backend.NETWORKD, Backend.NETWORK_MANAGER, Backend.NETPLAN)
ROLES = {"hub": ("hub", 0), "hub-compute": ("hub", 1), "member": ("member", 0), "member-compute": ("member", 1)}


def cluster(kind: str) -> Allocation:
    """A cluster of a frontend and a compute node that is an overlay's hub, or a member of one."""
    plain = images.allocation(computes=1)
    entropy = random.Random(7).randbytes
    information, members = membership.found(plain, NETWORK, slots=2, entropy=entropy)
    if kind == "member":
        members = membership.join(plain, information, (1, 2))
    hub = addresses.hub_address(NETWORK)
    return replace(plain, overlay=Overlay(hub, information.mtu, members, images.pair(9, "pragma-overlay")))


def prepared(name: str, role: str = "") -> FakeGuest:
    kind, index = ROLES[role] if role else ("hub", 0)
    allocation = cluster(kind) if role else replace(cluster("hub"), overlay=None)
    guest = images.root(name)
    profile = inspect(guest)
    way = WireGuard.NATIVE if profile.backend in NATIVE else WireGuard.TOOLS
    profile = replace(profile, wireguard=way, networkd_group=998)
    guest.apply(edits(profile, allocation, allocation.nodes[index], images.access(allocation), b"<vc/>\n"))
    return guest


def dump(name: str, role: str) -> str:
    """What the overlay adds to a node's files."""
    plain, lines = prepared_without(name, role).tree(), []
    guest = prepared(name, role)
    for path, (mode, content) in guest.tree().items():
        if plain.get(path) == (mode, content) or (content is None and path in plain):
            continue
        group = guest.entries[path].group
        lines.append(f"=== {path} {mode:o}" + (f" group {group}" if group else ""))
        if isinstance(content, str):
            lines.append(f"-> {content}")
        elif content is not None:
            lines += [f"    {line}".rstrip() for line in readable(path, content).splitlines()]
    return "\n".join(lines) + "\n"


def readable(path: str, content: bytes) -> str:
    if path == "/etc/pragma/names":
        return "(a script of its own file)"
    return "(a private key)" if b"OPENSSH" in content or b"\0" in content else content.decode()


def prepared_without(name: str, role: str) -> FakeGuest:
    kind, index = ROLES[role]
    allocation = replace(cluster(kind), overlay=None)
    guest = images.root(name)
    guest.apply(edits(inspect(guest), allocation, allocation.nodes[index], images.access(allocation), b"<vc/>\n"))
    return guest


@pytest.mark.parametrize("role", ["hub", "member", "member-compute"])
@pytest.mark.parametrize("name", sorted(images.ROOTS))
def test_golden(name: str, role: str, golden: Callable[[str, str], None]) -> None:
    golden(f"render-overlay/{name}-{role}.txt", dump(name, role))


@pytest.mark.parametrize("role", ["hub", "member-compute"])
def test_golden_document(role: str, golden: Callable[[str, str], None]) -> None:
    kind, index = ROLES[role]
    allocation = cluster(kind)
    golden(f"vc-out/overlay.{role}.xml", vc_out.document(allocation, allocation.nodes[index], ()).decode())


@pytest.mark.parametrize("name", sorted(images.ROOTS))
@pytest.mark.parametrize("role", ROLES)
def test_no_secret_is_readable_by_others(name: str, role: str) -> None:
    kind, index = ROLES[role]
    overlay = cluster(kind).overlay
    assert overlay
    node = cluster(kind).nodes[index].name
    secrets = [overlay.members[node].private_key, overlay.members[node].peers[0].preshared_key]
    secrets.append(overlay.names_key.private)
    holding = {}
    for path, (mode, content) in prepared(name, role).tree().items():
        if isinstance(content, bytes) and any(secret.encode() in content for secret in secrets):
            holding[path] = mode
    assert holding
    assert set(holding.values()) <= {0o600, 0o640}, holding
    assert all(path.endswith(".netdev") for path, mode in holding.items() if mode == 0o640)


@pytest.mark.parametrize("name", sorted(images.ROOTS))
def test_nodes_of_no_overlay_have_nothing_of_it(name: str) -> None:
    assert not [path for path in prepared(name).tree() if "overlay" in path or "wg0" in path or "names" in path]


@pytest.mark.parametrize("name", sorted(images.ROOTS))
def test_only_the_hub_lets_other_frontends_tell_names(name: str) -> None:
    for role in ROLES:
        keys = prepared(name, role).read("/root/.ssh/authorized_keys").decode()
        assert ('command="/bin/sh /etc/pragma/names serve"' in keys) == (role == "hub")


@pytest.mark.parametrize("role", ROLES)
def test_the_script_is_one_for_every_shell(role: str, tmp_path: Path) -> None:
    for name in ("busybox", "ifupdown", "ifcfg", "wicked"):
        script = tmp_path / "overlay"
        script.write_bytes(prepared(name, role).read("/etc/pragma/overlay"))
        for shell in (["dash", "-n"], ["bash", "-n"], ["busybox", "sh", "-n"]):
            run.run([*shell, script])


def test_a_disk_that_was_in_an_overlay_has_no_trace_of_it_when_it_is_prepared_for_another_cluster() -> None:
    for name in sorted(images.ROOTS):
        guest = prepared(name, "member")
        plain = replace(cluster("hub"), overlay=None)
        guest.apply(edits(inspect(guest), plain, plain.frontend, images.access(plain), b"<vc/>\n"))
        left = [path for path in guest.tree() if "overlay" in path or "wg0" in path or "names" in path]
        assert left == [], name
