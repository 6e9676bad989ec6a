"""What `local` and `post` do to a machine, and what they do not do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fakes import images, machine
from fakes.agent_bench import Bench
from pragma_boot.agent.main import Agent
from pragma_boot.agent.root import LiveRoot

SAMPLES = Path(__file__).parents[2] / "golden" / "vc-out"

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


def test_a_fault_of_ours_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "netplan").put()
    bench.system.later.append((0.0, lambda: 1 / 0))
    Path(bench.top + "/sys/class/net/ens0").rename(bench.top + "/elsewhere")
    assert bench.run("local") == 1
    assert bench.system.said == ["pragma-guest: local failed: unexpected ZeroDivisionError: division by zero"]
    assert "ZeroDivisionError" in bench.status()["errors"][0]


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
