"""Machines that find their document (virtual router, ConfigDrive, cloud-init), and how their network takes it up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from fakes import machine
from fakes.agent_bench import Bench


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
