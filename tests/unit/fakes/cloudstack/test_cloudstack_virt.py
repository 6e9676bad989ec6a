"""Machines as libvirt domains, with libvirt's own pretended host; the routers and forwardings are real."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from fakes.cloudstack import Cloud, Config, Refused, default_site
from fakes.cloudstack.hypervisor import Forward
from fakes.cloudstack.router import Forwarder, Guest, UserDataServer
from fakes.cloudstack.scene import Scene
from fakes.cloudstack.virt import LibvirtHypervisor
from pragma_boot.run import run

libvirt = pytest.importorskip("libvirt", reason="the bindings of libvirt are not installed")

URI = "test:///default"


def _get(gateway: str, port: int, client: str, path: str) -> tuple[int, bytes]:
    """As the guest with the address *client* asks."""
    connection = HTTPConnection(gateway, port, timeout=5, source_address=(client, 0))
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.9.1.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.img"
    path.write_bytes(b"\0" * 65536)
    return path


@pytest.fixture
def real(tmp_path: Path, base: Path, port: int) -> Iterator[LibvirtHypervisor]:
    with LibvirtHypervisor("cs", tmp_path, {"frontend": base}, uri=URI, kind="tcg", port=port, grace=0) as made:
        yield made


@pytest.fixture
def scene(real: LibvirtHypervisor) -> Iterator[Scene]:
    config = Config(allow_user_expunge=True, allow_public_cidrs=True)
    made = Scene(Cloud(default_site(first_ip="127.9.9.10"), config, hypervisor=real))
    yield made
    made.cloud.check()


def _names() -> tuple[list[str], list[str]]:
    """Domains and networks that are there."""
    connection = libvirt.open(URI)
    try:
        domains = sorted(one.name() for one in connection.listAllDomains())
        networks = sorted(one.name() for one in connection.listAllNetworks())
    finally:
        connection.close()
    return [name for name in domains if name.startswith("cs-")], [name for name in networks if name.startswith("cs-")]


def test_a_machines_whole_life(scene: Scene, real: LibvirtHypervisor, port: int, tmp_path: Path) -> None:
    private, public = scene.network("private", "127.9.1.1"), scene.network("public", "127.9.2.1")
    made = scene.machine("vc1", private, public, userdata="PHZjLW91dC8+")
    assert _names() == ([], [])
    scene.start(made)
    assert _names() == ([f"cs-{made['id'][:8]}.vc1"], sorted(f"cs-{one['id'][:8]}" for one in (private, public)))
    ips = {nic["networkname"]: nic["ipaddress"] for nic in made["nic"]}
    for gateway, client in (("127.9.1.1", ips["private"]), ("127.9.2.1", ips["public"])):
        assert _get(gateway, port, client, "/latest/user-data") == (200, b"<vc-out/>")
    assert _get("127.9.1.1", port, ips["private"], "/latest/meta-data/local-hostname") == (200, b"vc1")
    assert _get("127.9.1.1", port, "127.9.1.254", "/latest/user-data")[0] == 404
    scene.user.ok("updateVirtualMachine", id=made["id"], userdata="QUJD")
    assert _get("127.9.1.1", port, ips["private"], "/latest/user-data") == (200, b"ABC")
    overlay = tmp_path / f"{made['id']}.overlay.qcow2"
    assert "backing file: " in run(["qemu-img", "info", overlay]).text
    scene.user.done("stopVirtualMachine", id=made["id"])
    assert _names()[0] == []
    scene.start(made)
    scene.user.done("destroyVirtualMachine", id=made["id"], expunge=True)
    for network in (private, public):
        scene.user.done("deleteNetwork", id=network["id"])
    assert (_names(), overlay.exists(), real.routers) == (([], []), False, {})


def test_a_domains_devices_are_what_the_model_says(scene: Scene) -> None:
    first, second = scene.network("private", "127.9.1.1"), scene.network("public", "127.9.2.1")
    made = scene.machine("vc1", second, first, startvm=True)
    connection = libvirt.open(URI)
    text = connection.lookupByName(f"cs-{made['id'][:8]}.vc1").XMLDesc()
    network = connection.networkLookupByName(f"cs-{first['id'][:8]}").XMLDesc()
    connection.close()
    macs = {nic["networkname"]: nic["macaddress"] for nic in made["nic"]}
    assert 0 < text.index(macs["public"]) < text.index(macs["private"])
    (nic,) = [one for one in made["nic"] if one["networkname"] == "private"]
    assert f"<host mac='{nic['macaddress']}' name='vc1' ip='{nic['ipaddress']}'/>" in network
    assert "<ip address='127.9.1.1' netmask='255.255.255.0'>" in network


def test_a_machine_that_vanishes_has_stopped(scene: Scene) -> None:
    made = scene.machine("vc1", scene.network("private", "127.9.1.1"), startvm=True)
    connection = libvirt.open(URI)
    connection.lookupByName(f"cs-{made['id'][:8]}.vc1").destroy()
    connection.close()
    scene.cloud.tick()
    assert scene.cloud.machine("vc1").state == "Stopped"


def test_what_cannot_start_fails_its_job(scene: Scene) -> None:
    network = scene.network("private", "127.9.1.1")
    with pytest.raises(Refused, match=r"530: .*there is no disk for the template compute"):
        scene.machine("vc1", network, template="compute", startvm=True)
    elsewhere = scene.network("elsewhere", "10.255.1.1")  # no address of this host, as the bridge is a pretended one
    with pytest.raises(Refused, match="534: Unable to start the virtual router of elsewhere"):
        scene.machine("vc2", elsewhere, startvm=True)
    assert len(_names()[1]) == 1


def test_a_saved_cloud_comes_back_without_power(scene: Scene, real: LibvirtHypervisor, port: int) -> None:
    made = scene.machine("vc1", scene.network("private", "127.9.1.1"), startvm=True)
    saved = scene.cloud.snapshot()
    real.stop(scene.cloud.machine("vc1"), True)
    real.network_down(next(one for one in saved.networks.values() if one.name == "private"))
    again = Scene(Cloud(saved, scene.cloud.config, hypervisor=real))
    again.cloud.tick()
    assert again.cloud.machine("vc1").state == "Stopped"
    again.start(made)
    assert _get("127.9.1.1", port, made["nic"][0]["ipaddress"], "/latest/meta-data/local-hostname") == (200, b"vc1")


def test_everything_goes_at_the_end(tmp_path: Path, base: Path, port: int) -> None:
    (tmp_path / "mine.qcow2").touch()
    with LibvirtHypervisor("cs", tmp_path, {"frontend": base}, uri=URI, kind="tcg", port=port) as real:
        scene = Scene(Cloud(config=Config(allow_public_cidrs=True), hypervisor=real))
        scene.machine("vc1", scene.network("private", "127.9.1.1"), startvm=True)
        assert [len(some) for some in _names()] == [1, 1]
    assert _names() == ([], [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.qcow2", "tiny.img"]


def test_user_data_is_absent_until_it_is_there() -> None:
    server = UserDataServer("127.9.1.1", 0)
    try:
        assert _get("127.9.1.1", server.port, "127.9.1.5", "/latest/user-data")[0] == 404
        server.guests["127.9.1.5"] = Guest("n", "i", "127.9.1.5", keys=("ssh-ed25519 A",))
        assert _get("127.9.1.1", server.port, "127.9.1.5", "/latest/user-data")[0] == 404
        assert b"instance-id" in _get("127.9.1.1", server.port, "127.9.1.5", "/latest/meta-data/")[1]
        assert server.asked[0] == ("127.9.1.5", "/latest/user-data")
    finally:
        server.close()


def test_connections_to_a_public_port_reach_the_guest() -> None:
    forwarder = Forwarder()
    with socket.create_server(("127.9.1.5", 0)) as guest, socket.create_server(("127.9.9.9", 0)) as free:
        public, inner = free.getsockname()[1], guest.getsockname()[1]
        free.close()

        def echo() -> None:
            connection, _ = guest.accept()
            with connection:
                connection.sendall(b"SSH-2.0-x\r\n" + connection.recv(10))

        threading.Thread(target=echo, daemon=True).start()
        here = Forward("127.9.9.9", public, "tcp", "n", "127.9.1.5", inner)
        forwarder.set(frozenset({here, Forward("127.9.9.9", public, "udp", "n", "127.9.1.5", inner)}))
        with socket.create_connection(("127.9.9.9", public), 5) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            with client.makefile("rb") as answer:
                assert answer.read() == b"SSH-2.0-x\r\nhello"
        forwarder.set(frozenset())
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.9.9.9", public), 5)


def test_a_guest_that_is_not_up_drops_the_connection() -> None:
    forwarder = Forwarder()
    with socket.create_server(("127.9.9.9", 0)) as free:
        public = free.getsockname()[1]
    forwarder.set(frozenset({Forward("127.9.9.9", public, "tcp", "n", "127.9.1.6", 1)}))
    try:
        with socket.create_connection(("127.9.9.9", public), 5) as client:
            assert client.recv(10) == b""
    finally:
        forwarder.close()
