"""QEMU's command line, and what the driver keeps of it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from pragma_boot.driver.qemu import outside, records
from pragma_boot.driver.qemu.command import command
from pragma_boot.driver.qemu.records import ClusterNote, Folder, Machine
from pragma_boot.model import ClusterName, KernelBoot, Mac, NodeName, Role

GOLDEN = Path(__file__).parents[3] / "golden/qemu/frontend.txt"
FRONTEND = Machine(
    cluster=ClusterName("demo"),
    node=NodeName("demo"),
    role=Role.FRONTEND,
    cpus=2,
    memory_mib=1024,
    accel="kvm",
    disk="/disks/demo/demo.qcow2",
    disk_format="qcow2",
    backing="/images/demo, new.img",
    backing_format="raw",
    macs={"private": Mac("52:54:00:aa:00:01"), "public": Mac("52:54:00:aa:00:02")},
    console="/state/console, demo.log",
)
COMPUTE = replace(FRONTEND, node=NodeName("compute-0"), role=Role.COMPUTE, macs={"private": Mac("52:54:00:aa:00:03")})
NOTE = ClusterNote(
    ClusterName("demo"), "image", "demo.internal", IPv4Address("127.0.0.2"), 100, "machine", "here", {22: 10022}
)
QEMU = Path("/usr/bin/qemu-system-x86_64")
SIDE = outside.Side(IPv4Interface("10.0.2.3/24"), IPv4Address("10.0.2.2"), IPv4Address("10.0.2.1"))


def words(machine: Machine, kernel: KernelBoot | None = None, public: str | None = None) -> list[str]:
    return command(machine, QEMU, monitor=5, lan=6, outside=public, kernel=kernel)


def test_a_frontend_is_started_as_was_agreed(request: pytest.FixtureRequest) -> None:
    with outside.backend("slirp", SIDE, NOTE.public_ip, NOTE.ports) as (public, kept):
        assert kept == ()
        text = "\n".join(words(FRONTEND, KernelBoot(Path("/b/kernel"), Path("/b/initrd"), "root=/dev/vda1 x"), public))
    if request.config.getoption("--regenerate-golden", default=False):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(f"{text}\n")
    assert f"{text}\n" == GOLDEN.read_text()


def test_a_compute_node_has_no_way_out_but_its_cluster() -> None:
    found = words(COMPUTE)
    networks = [found[at + 1] for at, word in enumerate(found) if word == "-netdev"]
    assert [network.partition(",")[0] for network in networks] == ["socket", "hubport", "hubport"]
    assert "-kernel" not in found
    assert "tcg" in " ".join(words(replace(COMPUTE, accel="tcg")))


def test_no_multicast_and_no_port_is_anybodys_lan() -> None:
    for machine in (FRONTEND, COMPUTE):
        joined = " ".join(words(machine))
        assert "mcast" not in joined
        assert "listen=" not in joined
        assert "connect=" not in joined


def test_passts_connections_go_to_the_guest_alone() -> None:
    found = outside._passt(SIDE, NOTE.public_ip, {22: 10022, 80: 8080}, 9)
    assert "--no-map-gw" in found, "this machine's loopback is not the guest's"
    assert [found[at + 1] for at, word in enumerate(found) if word == "--tcp-ports"] == [
        "127.0.0.2/10022:22",
        "127.0.0.2/8080:80",
    ]


def test_what_is_kept_is_read_back(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "demo")
    folder.make(NOTE)
    for machine in (COMPUTE, FRONTEND):
        folder.define(machine)
    assert folder.note() == NOTE
    assert list(folder.machines()) == [FRONTEND, COMPUTE]
    assert records.all_folders(tmp_path) == [folder]
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "demo", *(tmp_path / "demo").rglob("*"))} == {0}
    folder.remove()
    folder.remove()
    assert records.all_folders(tmp_path) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cluster": 1}', '{"ports": {"x": 1}, "public_ip": "no"}', "\xff"])
def test_what_cannot_be_read_is_left_out(tmp_path: Path, text: str) -> None:
    folder = Folder(tmp_path / "demo")
    folder.make(NOTE)
    folder.define(FRONTEND)
    (folder.path / "cluster.json").write_text(text, encoding="latin-1")
    folder.of_node(COMPUTE.node, "json").write_text(text, encoding="latin-1")
    assert folder.note() is None
    assert list(folder.machines()) == [FRONTEND]


def test_a_machines_id_is_told_to_nobody(tmp_path: Path) -> None:
    file = tmp_path / "machine-id"
    file.write_text("0123456789abcdef0123456789abcdef\n")
    found = records.this_machine(file)
    assert found
    assert "0123" not in found
    assert records.this_machine(tmp_path / "none") == ""
