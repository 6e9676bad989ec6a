"""What the verbs do to a machine, and what they do not do."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from fakes import images, machine
from pragma_boot.agent.main import Agent
from pragma_boot.agent.root import LiveRoot
from pragma_boot.model import Allocation
from pragma_boot.network.vc_out import document

SAMPLES = Path(__file__).parents[2] / "golden" / "vc-out"


class Bench:
    """One machine of an image, with devices, and an agent whose verbs may be called."""

    def __init__(self, top: Path, name: str, index: int = 0, **more: str | bytes | None) -> None:
        self.top = str(top)
        self.cluster: Allocation = images.allocation()
        self.node = self.cluster.nodes[index]
        self.data = document(self.cluster, self.node, (), images.access(self.cluster))
        prefix = "eth" if name in ("busybox", "script") else "ens"
        nics = [(f"{prefix}{number}", nic.mac) for number, nic in enumerate(self.node.nics)]
        machine.build(self.top, images.root(name, **more).tree(), nics)
        self.system = machine.FakeSystem(self.top)
        self.root = LiveRoot(self.top)

    def run(self, verb: str, port: int = 80) -> int:
        return Agent(self.root, self.system, port).run(verb)

    def put(self, data: bytes | None = None) -> Bench:
        self.write("/root/vc-out.xml", self.data if data is None else data)
        return self

    def write(self, path: str, data: bytes | str) -> None:
        place = Path(self.top + path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data.encode() if isinstance(data, str) else data)

    def read(self, path: str) -> str:
        return self.root.read(path).decode()

    def status(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.read("/var/lib/pragma-guest/status.json"))
        return found


# ----------------------------------------------------------------------------------------------------------- local


@pytest.mark.parametrize("name", sorted(images.ROOTS))
def test_a_second_run_changes_nothing(name: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path, name).put()
    assert bench.run("local") == 0
    before, times = machine.tree_of(bench.top), stamps(bench.top)
    bench.system.commands.clear()
    assert bench.run("local") == 0
    assert machine.tree_of(bench.top) == before
    assert bench.system.commands == []
    Path(bench.top + "/var/lib/pragma-guest/applied.sha256").unlink()  # also when it has to look at everything again
    assert bench.run("local") == 0
    assert {path: stamp for path, stamp in stamps(bench.top).items() if times.get(path) != stamp} == {}


def stamps(top: str) -> dict[str, int]:
    return {path: os.lstat(top + path).st_ino for path, (_, content) in machine.tree_of(top).items() if content}


def test_a_file_that_vanished_comes_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "networkd").put()
    bench.run("local")
    Path(bench.top + "/etc/systemd/network/10-pragma-private.network").unlink()
    assert bench.run("local") == 0
    assert "10.1.1.1/16" in bench.read("/etc/systemd/network/10-pragma-private.network")


def test_another_document_makes_another_node(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "networkd").put()
    bench.run("local")
    bench.put(bench.data.replace(b"vc1.site.example.org", b"vc1.other.example.org"))
    assert bench.run("local") == 0
    assert bench.read("/etc/hostname") == "vc1.other.example.org\n"
    assert bench.system.hostname == "vc1.other.example.org"


def test_what_it_did_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "ifupdown").put()
    bench.run("local")
    assert bench.system.said == ["pragma-guest: frontend vc1.site.example.org configured"]
    status = bench.status()
    assert (status["role"], status["fqdn"], status["backend"]) == ("frontend", "vc1.site.example.org", "ifupdown")
    assert status["errors"] == []
    assert [nic["device"] for nic in status["nics"]] == ["private", "public"]
    assert "PRIVATE KEY" not in json.dumps(status)


def test_names_are_given_to_devices_that_files_name(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "wicked").put()
    bench.run("local")
    assert sorted(path.name for path in Path(bench.top + "/sys/class/net").iterdir()) == ["private", "public"]


def test_without_udev_the_kernel_names_are_used_as_they_are(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "busybox").put()
    Path(bench.top + "/sys/class/net/eth0").rename(bench.top + "/sys/class/net/eth7")
    bench.run("local")
    assert "iface eth7 inet static\n    address 10.1.1.1\n" in bench.read("/etc/network/interfaces.d/60-pragma")


def test_a_device_may_come_late(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "networkd").put()
    nic = bench.node.nics[0]
    Path(bench.top + "/sys/class/net/ens0").rename(bench.top + "/late")
    bench.system.later.append((12.0, lambda: machine.add_device(bench.top, "ens9", nic.mac)))
    assert bench.run("local") == 0
    assert bench.system.clock == 12.0


def test_without_the_private_device_nothing_is_written(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "networkd").put()
    Path(bench.top + "/sys/class/net/ens0").rename(bench.top + "/elsewhere")
    machine.add_device(bench.top, "br0", bench.node.nics[0].mac, hardware=False)
    before = machine.tree_of(bench.top)
    assert bench.run("local") == 1
    assert machine.tree_of(bench.top) == before
    assert bench.system.clock == 30.0
    assert "52:54:00:4a:00:01" in bench.status()["errors"][0]
    assert bench.system.said[0].startswith("pragma-guest: local failed: no network device")


def test_another_missing_device_is_told_and_the_rest_configured(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "networkd").put()
    Path(bench.top + "/sys/class/net/ens1").rename(bench.top + "/elsewhere")
    assert bench.run("local") == 0
    assert bench.status()["errors"] == ["no device for the network public"]
    assert bench.root.exists("/etc/systemd/network/10-pragma-private.network")


def test_a_bad_document_is_told_and_changes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "netplan").put(b"<!DOCTYPE vc><vc/>")
    before = machine.tree_of(bench.top)
    assert bench.run("local") == 1
    assert machine.tree_of(bench.top) == before
    assert "DOCTYPE" in bench.status()["errors"][0]


def test_netplan_is_told_as_its_generator_ran_before(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "netplan").put()
    bench.run("local")
    assert "netplan generate" in bench.system.commands


def test_a_disk_prepared_on_the_host_is_left_alone(tmp_path: Path) -> None:
    from pragma_boot.image.inspect import inspect
    from pragma_boot.image.render import edits

    cluster = images.allocation()
    guest = images.root("networkd", **{"/usr/libexec/pragma-guest": "#!"})
    guest.apply(edits(inspect(guest), cluster, cluster.frontend, images.access(cluster), b"<vc/>"))
    machine.build(str(tmp_path), guest.tree())
    system = machine.FakeSystem(str(tmp_path))
    assert Agent(LiveRoot(str(tmp_path)), system).run("local") == 0
    assert (system.commands, system.said) == ([], [])


def test_a_machine_with_an_old_consumer_is_its_business(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "ifcfg", **{"/opt/vc-out-parser/vc-out-parser.py": ""}).put()
    before = machine.tree_of(bench.top)
    assert [bench.run(verb) for verb in ("local", "fetch", "post")] == [0, 0, 0]
    assert (machine.tree_of(bench.top), bench.system.commands) == (before, [])


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "networkd", **{"/etc/pragma-guest.disabled": ""}).put()
    assert bench.run("local") == 0
    assert not bench.root.exists("/var/lib/pragma-guest/status.json")


def test_configuration_decides_and_nonsense_in_it_is_passed_over(tmp_path: Path) -> None:
    text = "nat=no\nbackend=systemd\nbackend = 'networkd'\nsource=everywhere\n"
    bench = Bench(tmp_path, "ifupdown", **{"/etc/pragma-guest.conf": text}).put()
    assert bench.run("local") == 0
    assert bench.root.exists("/etc/systemd/network/10-pragma-private.network")
    assert not bench.root.exists("/etc/pragma/nat")


@pytest.mark.parametrize("name", ["fe-v2.xml", "cn-v2.xml", "fe-v4.xml", "cn-v4.xml"])
def test_old_documents_make_nodes_that_keep_their_host_keys(name: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path, "networkd", 1 if name.startswith("cn") else 0)
    bench.put((SAMPLES / "old" / name).read_bytes())
    machine.add_device(bench.top, "ens9", "52:54:00:4a:00:04")  # the compute node's in the samples
    assert bench.run("local") == 0
    assert "ssh-rsa AAAA root@x" in bench.read("/root/.ssh/authorized_keys")
    assert bench.root.exists("/etc/ssh/ssh_host_rsa_key")
    assert not bench.root.exists("/root/.ssh/id_ed25519")
    assert "HostKey" not in bench.read("/etc/ssh/sshd_config.d/00-pragma.conf")
    assert "computes=''" in bench.read("/etc/pragma/node")


# ----------------------------------------------------------------------------------------------------------- fetch


@contextmanager
def web(answers: list[tuple[int, bytes]]) -> Iterator[tuple[int, list[str]]]:
    """A server on 127.0.0.1 that gives these answers in turn, the last one for ever: its port, and what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, body = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            self.send_header("Location", "http://192.0.2.1/")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


LEASES = {
    "networkd": ("/run/systemd/netif/leases/2", "ADDRESS=10.1.1.1\nSERVER_ADDRESS=127.0.0.1\n"),
    "networkmanager": ("/var/lib/NetworkManager/internal-x-ens3.lease", "SERVER_ADDRESS=127.0.0.1\n"),
    "ifupdown": ("/var/lib/dhcp/dhclient.ens3.leases", "option dhcp-server-identifier 192.0.2.9;\n"
                 "lease {\n  option dhcp-server-identifier 127.0.0.1;\n}\n"),
    "wicked": ("/var/lib/wicked/lease-ens3-dhcp-ipv4.xml", "<server-id>127.0.0.1</server-id>\n"),
    "busybox": ("/run/udhcpc/eth0.lease", "ip=10.1.1.1\nserverid=127.0.0.1\n"),
}  # fmt: skip
UP = {
    "networkd": ["networkctl reload", "networkctl reconfigure ens0", "networkctl reconfigure ens1"],
    "networkmanager": ["firewall-cmd --reload", "nmcli connection reload", "nmcli --wait 30 connection up vc-private"],
    "ifupdown": ["ifdown ens0", "ip addr flush dev ens0", "ifup private", "ifup public"],
    "wicked": ["wicked ifdown ens0", "wicked ifup private", "netconfig update -f"],
    "busybox": ["ip addr flush dev eth0", "ifup eth0"],
}


@pytest.mark.parametrize("name", LEASES)
def test_the_dhcp_server_has_the_document(name: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path, name)
    bench.write(*LEASES[name])
    with web([(200, bench.data)]) as (port, asked):
        assert bench.run("fetch", port) == 0
    assert asked == ["/latest/user-data"]
    assert bench.root.read("/root/vc-out.xml").strip() == bench.data.strip()
    assert Path(bench.top + "/root/vc-out.xml").stat().st_mode & 0o777 == 0o600
    commands = iter(bench.system.commands)
    assert all(wanted in commands for wanted in UP[name]), bench.system.commands
    assert str(bench.status()["source"]).startswith("http://127.0.0.1")
    assert not bench.root.exists("/run/pragma-guest/fresh"), "no other start is needed"
    assert ("systemctl start" in " ".join(bench.system.commands)) == (name != "busybox")
    assert bench.run("local") == 0
    assert len(bench.system.said) == 1, "it is applied by then"


def test_an_address_that_is_right_already_stays_up(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "busybox")
    bench.write(*LEASES["busybox"])
    bench.system.addresses = {"eth0": "2: eth0    inet 10.1.1.1/16 brd 10.1.255.255 scope global eth0\n"}
    with web([(200, bench.data)]) as (port, _):
        bench.run("fetch", port)
    assert "ifdown eth0" not in bench.system.commands
    assert "ifup eth0" not in bench.system.commands
    assert "ifup eth1" in bench.system.commands


def test_it_asks_again_until_there_is_a_document(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "networkd")
    bench.write(*LEASES["networkd"])
    with web([(404, b""), (302, b""), (200, b""), (200, b"#!/bin/sh\n"), (200, bench.data)]) as (port, asked):
        assert bench.run("fetch", port) == 0
    assert len(asked) == 5
    assert bench.system.clock == 2 + 4 + 8 + 16


def test_it_does_not_sleep_when_something_happens(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "networkd")
    bench.system.later.append((0.5, lambda: bench.write(*LEASES["networkd"])))
    with web([(200, bench.data)]) as (port, _):
        assert bench.run("fetch", port) == 0
    assert bench.system.clock == 0.5


def test_it_gives_up_after_five_minutes_and_writes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "networkd")
    bench.write(*LEASES["networkd"])
    before = machine.tree_of(bench.top)
    with web([(200, b"<vc/>")]) as (port, asked):
        assert bench.run("fetch", port) == 1
    assert bench.system.clock == 300
    assert 10 < len(asked) < 20
    assert machine.tree_of(bench.top) == before
    assert "no frontend's fqdn" in bench.status()["errors"][0]


def test_names_and_gateways_are_asked_where_no_lease_tells(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "networkd")
    head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n"
    bench.write("/proc/net/route", head + "ens1\t00000000\t0100007F\t0003\t0\t0\t0\t00000000\n")
    bench.system.names = {"data-server": ["127.0.0.9"]}
    with web([(200, bench.data)]) as (port, asked):
        assert bench.run("fetch", port) == 0
    assert len(asked) == 1
    assert str(bench.status()["source"]).startswith("http://127.0.0.1")


def test_too_much_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "networkd", **{"/etc/pragma-guest.conf": "source=cloudstack\n"})
    bench.write(*LEASES["networkd"])
    with web([(200, b"<" + b" " * 2**21), (200, bench.data)]) as (port, asked):
        assert bench.run("fetch", port) == 0
    assert len(asked) == 2


@pytest.mark.parametrize("path", ["cloudstack/userdata/user_data.txt", "openstack/latest/user_data"])
def test_a_config_drive_comes_first(path: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path, "networkd", **{"/dev/disk/by-label/config-2": ""})
    bench.system.drive = {path: bench.data}
    assert bench.run("fetch") == 0
    assert bench.system.mounted is None
    assert (
        "mount -o ro,nosuid,nodev,noexec /dev/disk/by-label/config-2 /run/pragma-guest/drive" in bench.system.commands
    )
    assert str(bench.status()["source"]).startswith("ConfigDrive")


def test_a_config_drive_is_found_without_udev(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "busybox")
    bench.system.outputs = {"blkid -L config-2": "/dev/sr0\n"}
    bench.system.drive = {"openstack/latest/user_data": bench.data}
    assert bench.run("fetch") == 0
    assert bench.status()["source"] == "ConfigDrive /dev/sr0"


def test_what_cloud_init_has_fetched_serves(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "netplan", **{"/var/lib/cloud/instances/i-1/user-data.txt": "x"})
    bench.write("/var/lib/cloud/instances/i-1/user-data.txt", bench.data)
    assert bench.run("fetch") == 0
    assert "config: disabled" in bench.read("/etc/cloud/cloud.cfg.d/99-pragma.cfg")
    assert "netplan apply" in bench.system.commands


def test_cloud_init_may_keep_the_network(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "netplan", **{"/etc/pragma-guest.conf": "keep_cloud_init_network=yes\n"}).put()
    assert bench.run("local") == 0
    assert not bench.root.exists("/etc/cloud/cloud.cfg.d/99-pragma.cfg")


def test_nothing_is_fetched_where_a_document_is(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "networkd").put()
    assert bench.run("fetch") == 0
    assert bench.system.commands == []


# ------------------------------------------------------------------------------------------------------------ post


def test_after_the_first_start_systemd_learns_of_our_units(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "networkd").put()
    bench.run("local")
    bench.system.commands.clear()
    assert bench.run("post") == 0
    assert "systemctl start --no-block pragma-nat.service pragma-report.service" in bench.system.commands
    assert "sysctl -q -p /etc/sysctl.d/90-pragma.conf" in bench.system.commands
    Path(bench.top + "/run/pragma-guest/fresh").unlink()  # the next start
    bench.system.commands.clear()
    assert bench.run("post") == 0
    assert bench.system.commands == []


def test_host_keys_are_made_where_there_are_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "networkd", 0)
    bench.put((SAMPLES / "old" / "fe-v4.xml").read_bytes())
    bench.run("local")
    Path(bench.top + "/etc/ssh/ssh_host_rsa_key").unlink()
    assert bench.run("post") == 0
    assert "ssh-keygen -A" in bench.system.commands


def test_without_any_init_it_starts_the_scripts_itself(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "busybox", **{"/etc/init.d/late": None, "/usr/bin/python3": ""})
    Path(bench.top + "/etc/inittab").unlink()
    bench.put().run("local")
    assert bench.run("post") == 0
    assert "/bin/sh /etc/pragma/nat" in bench.system.commands
    assert bench.system.started == ["/bin/sh /etc/pragma/report"]


def test_without_a_document_there_is_nothing_to_finish(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "networkd")
    assert bench.run("post") == 0
    assert bench.system.commands == []
