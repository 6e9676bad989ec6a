"""What nodes get: golden files of every back end, and the promises that hold for all of them."""

from __future__ import annotations

import ipaddress
import re
import subprocess
from collections.abc import Callable

import pytest

from fakes import images
from fakes.guest import FakeGuest
from pragma_boot.image.base import Move, Remove, Write
from pragma_boot.image.inspect import inspect
from pragma_boot.image.render import can_report, edits
from pragma_boot.model import Allocation, NodeAllocation

BACKENDS = sorted(images.ROOTS)
CASES = {
    "frontend-2": (False, 0),
    "frontend-3": (True, 0),
    "compute-1": (False, 1),
    "compute-2": (True, 1),
}


def prepare(guest: FakeGuest, cluster: Allocation, node: NodeAllocation) -> FakeGuest:
    guest.apply(edits(inspect(guest), cluster, node, images.access(cluster), b"<vc/>\n"))
    return guest


def prepared(name: str, case: str = "frontend-2", **more: str | bytes | None) -> FakeGuest:
    overlay, index = CASES[case]
    cluster = images.allocation(overlay=overlay)
    return prepare(images.root(name, **more), cluster, cluster.nodes[index])


def text(guest: FakeGuest, path: str) -> str:
    return guest.read(path).decode()


def dump(guest: FakeGuest, before: FakeGuest) -> str:
    """What the preparation changed, readable; keys' private parts and the report script left out."""
    old, lines = before.tree(), []
    for path, (mode, content) in guest.tree().items():
        if old.get(path) == (mode, content) or (content is None and path in old):
            continue
        lines.append(f"=== {path} {mode:o}")
        if isinstance(content, str):
            lines.append(f"-> {content}")
        elif content is not None:
            shown = "(a script of its own file)\n" if path == "/etc/pragma/report" else _readable(content)
            lines += [f"    {line}".rstrip() for line in shown.splitlines()]
    lines += [f"=== {path} GONE" for path in old if path not in guest.tree()]
    return "\n".join(lines) + "\n"


def _readable(content: bytes) -> str:
    if b"PRIVATE KEY" in content or b"\0" in content:
        return "(a private key)"
    return content.decode()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", BACKENDS)
def test_golden(name: str, case: str, golden: Callable[[str, str], None]) -> None:
    golden(f"render/{name}-{case}.txt", dump(prepared(name, case), images.root(name)))


@pytest.mark.parametrize("name", BACKENDS)
def test_preparing_twice_gives_the_same_tree(name: str) -> None:
    guest = prepared(name)
    once = guest.tree()
    cluster = images.allocation()
    assert prepare(guest, cluster, cluster.frontend).tree() == once


@pytest.mark.parametrize("name", BACKENDS)
def test_a_frontend_disk_becomes_a_compute_node_without_traces_of_its_network(name: str) -> None:
    guest = prepared(name, "frontend-3")
    cluster = images.allocation()
    prepare(guest, cluster, cluster.computes[0])
    network = re.compile(r"/etc/(systemd/network|netplan|network|sysconfig|NetworkManager|udev)")
    seen = [p for p, (_, content) in guest.tree().items() if isinstance(content, bytes) and network.match(p)]
    assert not [path for path in seen if b"198.51.100.10" in guest.read(path) or b"10.103" in guest.read(path)]


@pytest.mark.parametrize("name", BACKENDS)
def test_every_private_key_is_for_root_only(name: str) -> None:
    tree = prepared(name).tree()
    secret = [path for path, (_, content) in tree.items() if isinstance(content, bytes) and b"PRIVATE KEY" in content]
    assert secret
    assert {tree[path][0] for path in [*secret, "/root/vc-out.xml", "/root/.ssh/authorized_keys"]} == {0o600}
    assert tree["/root/.ssh"][0] == 0o700


@pytest.mark.parametrize("name", BACKENDS)
def test_compute_nodes_never_get_the_cluster_private_key(name: str) -> None:
    private = images.access(images.allocation()).cluster.private.encode()
    contents = [content for _, content in prepared(name, "compute-1").tree().values() if isinstance(content, bytes)]
    assert not [content for content in contents if private in content]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", BACKENDS)
def test_every_node_knows_every_node_by_one_private_address(name: str, case: str) -> None:
    hosts = [line.split() for line in text(prepared(name, case), "/etc/hosts").splitlines() if line[:1].isdigit()]
    for node in images.allocation().nodes:
        assert next(words[0] for words in hosts if node.name in words) == str(node.nics[0].address.ip)


def test_own_names_leave_the_loopback_and_foreign_lines_stay() -> None:
    hosts = text(prepared("networkd"), "/etc/hosts")
    assert "127.0.1.1" not in hosts
    assert "10.9.9.9 storage" in hosts
    assert "127.0.0.1\tlocalhost" in hosts


def test_forced_commands_go_and_other_keys_stay() -> None:
    keys = text(prepared("netplan"), "/root/.ssh/authorized_keys")
    assert "Please login as" not in keys
    assert keys.startswith("ssh-rsa BBBB operator\n")
    assert keys.count(images.USER_KEY) == 1


def test_the_only_host_key_is_the_node_own() -> None:
    guest = prepared("networkd")
    keys = [name for name in guest.listdir("/etc/ssh") if name.startswith("ssh_host_")]
    assert keys == ["ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"]
    own = text(guest, "/etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    known = [line for line in text(guest, "/etc/ssh/ssh_known_hosts").splitlines() if own in line]
    assert known[0].split()[0].split(",")[:2] == ["vc1", "vc1.site.example.org"]


def test_old_enterprise_linux_keeps_the_host_keys_it_can_use() -> None:
    guest = images.root("ifcfg", **{"/etc/redhat-release": "CentOS release 6.10 (Final)\n"})
    del guest.entries["/usr/lib/systemd/system/systemd-networkd.service"]
    profile = inspect(guest)
    cluster = images.allocation()
    prepare(guest, cluster, cluster.frontend)
    assert guest.exists("/etc/ssh/ssh_host_rsa_key")
    assert not guest.exists("/etc/ssh/ssh_known_hosts")
    assert not can_report(profile)
    assert "too old" in " ".join(profile.warnings)


def test_root_login_is_allowed_only_where_it_was_forbidden() -> None:
    assert text(prepared("ifupdown"), "/etc/ssh/sshd_config").startswith(
        "# BEGIN pragma\nPermitRootLogin without-password\n# END pragma\nPort 22\n"
    )
    assert text(prepared("wicked"), "/etc/ssh/sshd_config") == images.ROOTS["wicked"]["/etc/ssh/sshd_config"]


def test_root_is_added_to_the_users_that_may_log_in() -> None:
    config = "Include /etc/ssh/sshd_config.d/*.conf\nAllowUsers ann\n"
    lines = text(prepared("networkd", **{"/etc/ssh/sshd_config": config}), "/etc/ssh/sshd_config.d/00-pragma.conf")
    assert "AllowUsers root\n" in lines
    assert "AllowGroups" not in lines


def test_the_image_own_root_key_is_saved_once() -> None:
    own = {"/root/.ssh/id_ed25519": "theirs", "/root/.ssh/id_ed25519.pub": "ssh-ed25519 AAAA admin@golden"}
    guest = prepared("networkd", **own)
    cluster = images.allocation()
    prepare(guest, cluster, cluster.frontend)
    assert text(guest, "/var/lib/pragma/saved/root/.ssh/id_ed25519") == "theirs"
    assert "OPENSSH" in text(guest, "/root/.ssh/id_ed25519")


def test_a_legacy_consumer_gets_cleaning_and_its_document_only() -> None:
    guest = images.root("ifcfg", **{"/opt/vc-out-parser/vc-out-parser.py": ""})
    profile = inspect(guest)
    cluster = images.allocation()
    todo = edits(profile, cluster, cluster.frontend, images.access(cluster), b"<vc/>")
    assert profile.legacy == "/opt/vc-out-parser"
    assert [edit.path for edit in todo if isinstance(edit, Write)] == ["/root/vc-out.xml"]
    assert Move("/etc/udev/rules.d/70-persistent-net.rules", "/var/lib/pragma/saved/etc/udev/rules.d/70-persistent-net.rules") in todo  # fmt: skip # noqa: E501
    assert not [edit for edit in todo if isinstance(edit, Remove) and "ssh_host" in edit.path]
    assert not can_report(profile)


def test_nat_matches_the_private_subnet_and_no_device() -> None:
    rules = text(prepared("networkd"), "/etc/pragma/nat")
    assert "ip saddr 10.1.0.0/16 ip daddr != 10.1.0.0/16 masquerade" in rules
    assert not re.search(r"eth\d|oifname|iifname", rules)


@pytest.mark.parametrize(("name", "fact"), [("networkd", "/run/pragma-nat"), ("busybox", "''")])
def test_the_report_waits_for_the_script_that_runs_beside_it(name: str, fact: str) -> None:
    guest = prepared(name)
    assert f"\nnat={fact}\n" in text(guest, "/etc/pragma/node")
    assert "> /run/pragma-nat' EXIT\n" in text(guest, "/etc/pragma/nat")


def test_a_frontend_alone_translates_nothing() -> None:
    cluster = images.allocation(computes=0)
    guest = prepare(images.root("networkd"), cluster, cluster.frontend)
    assert not guest.exists("/etc/pragma/nat")
    assert "\nnat=''\n" in text(guest, "/etc/pragma/node")
    assert not guest.exists("/etc/sysctl.d/90-pragma.conf")


def test_firewalld_outside_network_manager_trusts_the_private_subnet() -> None:
    unit = "/etc/systemd/system/multi-user.target.wants/firewalld.service"
    guest = prepared("networkd", "compute-1", **{unit: "-> /usr/lib/systemd/system/firewalld.service"})
    assert '<source address="10.1.0.0/16"/>' in text(guest, "/etc/firewalld/zones/pragma.xml")


def test_scripts_are_posix(tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in BACKENDS:
        for path in ("/etc/pragma/nat", "/etc/pragma/report", "/etc/pragma/network", "/etc/rc.local"):
            guest = prepared(name)
            if guest.exists(path):
                subprocess.run(["dash", "-n"], input=guest.read(path), check=True)


def test_rendering_is_the_same_each_time() -> None:
    cluster = images.allocation(overlay=True)
    profile, keys = inspect(images.root("networkmanager")), images.access(cluster)
    first = edits(profile, cluster, cluster.frontend, keys, b"x")
    assert first == edits(profile, cluster, cluster.frontend, keys, b"x")


def test_netplan_is_yaml_with_one_match_per_mac() -> None:
    yaml = pytest.importorskip("yaml")
    facts = yaml.safe_load(text(prepared("netplan", "frontend-3"), "/etc/netplan/60-pragma.yaml"))
    cards = facts["network"]["ethernets"]
    assert [card["match"]["macaddress"][-2:] for card in cards.values()] == ["01", "02", "03"]
    assert all(ipaddress.ip_interface(card["addresses"][0]) for card in cards.values())
    assert cards["vc-public"]["routes"] == [{"to": "0.0.0.0/0", "via": "198.51.100.1"}]


def test_long_network_names_make_short_device_names() -> None:
    cluster = images.allocation(overlay=True)
    profile = inspect(images.root("ifupdown"))
    from dataclasses import replace

    nics = (*cluster.frontend.nics[:2], replace(cluster.frontend.nics[2], network="a_very_long_network_name"))
    node = replace(cluster.frontend, nics=nics)
    wide = replace(cluster, nodes=(node, *cluster.computes))
    todo = edits(profile, wide, node, images.access(wide), b"x")
    assert "/etc/systemd/network/10-pragma-net2.link" in [edit.path for edit in todo]
