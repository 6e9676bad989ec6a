"""Real machines of an image that nobody prepared: all they know is user data from their DHCP server's address."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from fakes import images
from live.agent_image import agent_image
from live.router import Segment, router
from live.site import ROOM, URI, unfit
from pragma_boot.files import lock
from pragma_boot.image.access import new_access
from pragma_boot.model import Access, Allocation, Mac, NodeAllocation
from pragma_boot.network.vc_out import document

PATIENCE = 240
"""Seconds on a busy host without KVM; a quiet one needs a twentieth."""
PUBLIC, PRIVATE = IPv4Network("198.19.250.0/24"), IPv4Network("198.19.251.0/24")
PREFIX = "pragma-agent-test"


def cluster() -> Allocation:
    """A frontend and a compute node, on these networks."""
    given = images.allocation(computes=1)
    places = {"private": (PRIVATE, 10), "public": (PUBLIC, 10)}

    def moved(node: NodeAllocation, number: int) -> NodeAllocation:
        nics = []
        for index, nic in enumerate(node.nics):
            network, last = places[nic.network]
            gateway = network.network_address + (1 if nic.network == "public" else 10) if nic.gateway else None
            address = IPv4Interface((network.network_address + last + number, 24))
            mac = Mac(f"52:54:00:a6:e{number}:0{index}")
            nics.append(replace(nic, mac=mac, address=address, gateway=gateway))
        return replace(node, nics=tuple(nics))

    return replace(given, nodes=tuple(moved(node, number) for number, node in enumerate(given.nodes)))


class Machine:
    """A libvirt domain of one node, and its console."""

    def __init__(self, domain: object, console: Path) -> None:
        self.domain = domain
        self._console = console

    def hear(self, text: str) -> float:
        """Wait until the console has *text*; the seconds that took."""
        begin = time.monotonic()
        while text not in self.said():
            assert time.monotonic() < begin + PATIENCE, self.said()[-3000:]
            time.sleep(0.1)
        return time.monotonic() - begin

    def said(self) -> str:
        return self._console.read_text(errors="replace") if self._console.exists() else ""


@contextmanager
def booted(connection: object, folder: Path, image: Path, node: NodeAllocation) -> Iterator[Machine]:
    disk, console = folder / f"{node.name}.qcow2", folder / f"{node.name}.log"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image.with_suffix(".qcow2"), disk]
    subprocess.run(argv, check=True)
    nics = "".join(
        f"<interface type='network'><source network='{PREFIX}-{nic.network}'/><mac address='{nic.mac}'/>"
        "<model type='virtio'/></interface>"
        for nic in reversed(node.nics)  # a cloud's order need not be ours
    )
    domain = connection.createXML(
        f"<domain type='qemu'><name>{PREFIX}-{node.name}</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>"
        "<os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>"
        "<cpu mode='maximum'/><devices>"
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{disk}'/>"
        f"<target dev='vda' bus='virtio'/></disk>{nics}"
        f"<serial type='file'><source path='{console}'/><target port='0'/></serial>"
        "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng><memballoon model='none'/>"
        "</devices></domain>"
    )
    try:
        yield Machine(domain, console)
    finally:
        domain.destroy()


@pytest.mark.skipif(unfit() is not None, reason=unfit() or "")
def test_machines_become_a_cluster_from_user_data_alone() -> None:
    import libvirt

    libvirt.registerErrorHandler(lambda *_: None, None)
    nodes = cluster()
    access = new_access((), [node.name for node in nodes.nodes])
    data = {node.nics[0].address.ip: document(nodes, node, (), access) for node in nodes.nodes}
    data[nodes.frontend.nics[1].address.ip] = data[nodes.frontend.nics[0].address.ip]
    with ExitStack() as stack:
        stack.enter_context(lock(ROOM / f"{PREFIX}.lock", wait=PATIENCE))
        image = stack.enter_context(agent_image())
        folder = stack.enter_context(_folder())
        connection = libvirt.open(URI)
        stack.callback(connection.close)
        servers = stack.enter_context(router(connection, _segments(nodes), data))
        machines = [stack.enter_context(booted(connection, folder, image, node)) for node in nodes.nodes]
        for machine, node in zip(machines, nodes.nodes, strict=True):
            machine.hear(f"pragma-node: {node.name} ready")
        frontend, compute = machines
        assert "pragma-guest: frontend vc1.site.example.org configured" in frontend.said()
        assert "pragma-guest: compute compute-0 of vc1.site.example.org configured" in compute.said()
        assert set().union(*(server.asked for server in servers)) >= {nodes.computes[0].nics[0].address.ip}
        say = _shell(folder, nodes, access)
        assert say("ssh compute-0 hostname") == "compute-0.local"
        status = json.loads(say("cat /var/lib/pragma-guest/status.json"))
        assert (status["errors"], status["source"][:7], status["role"]) == ([], "http://", "frontend")
        assert "applied before" in say("/usr/libexec/pragma-guest local 2>&1")
        assert say("stat -c %a /root/vc-out.xml") == "600"


def _segments(nodes: Allocation) -> tuple[Segment, ...]:
    nics = [nic for node in nodes.nodes for nic in node.nics]
    return tuple(
        Segment(
            f"{PREFIX}-{name}", f"pba{name}"[:15], network, {n.mac: n.address.ip for n in nics if n.network == name}
        )
        for name, network in (("public", PUBLIC), ("private", PRIVATE))
    )


@contextmanager
def _folder() -> Iterator[Path]:
    """For disks and consoles, where QEMU's own user may go."""
    folder = ROOM / PREFIX
    subprocess.run(["rm", "-rf", folder], check=True)
    folder.mkdir(mode=0o755)
    try:
        yield folder
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)


def _shell(folder: Path, nodes: Allocation, access: Access) -> Callable[[str], str]:
    """Runs a command on the frontend, whose host key is known beforehand."""
    key, known = folder / "key", folder / "known_hosts"
    key.touch(0o600)
    key.write_text(access.cluster.private)
    address = nodes.frontend.nics[1].address.ip
    known.write_text(f"{address} {access.hosts[nodes.frontend.name].public}\n")
    argv = ["ssh", "-i", key, "-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes", f"root@{address}"]

    def run(command: str) -> str:
        return subprocess.run([*argv, command], check=True, capture_output=True, text=True).stdout.strip()

    return run
