"""Frontends whose ports are forwarded: what lists, results and ssh say of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from fakes.site import cluster_view
from pragma_boot.cli import render
from pragma_boot.cli.commands.ssh import ssh_command

MOVED = replace(cluster_view("moved"), public_ip="127.0.0.2", ports={22: 10022, 80: 10080})


def test_a_port_other_than_22_gets_a_column_and_the_address_stays_last() -> None:
    lines = render.cluster_table([cluster_view("usual"), MOVED]).splitlines()
    assert lines[0].split() == ["FRONTEND", "COMPUTE", "NODES", "STATUS", "PORT", "PUBLIC", "IP"]
    assert [line.split()[-2:] for line in lines[1:]] == [
        ["22", "198.51.100.10"],
        ["-----", "-" * 15],
        ["10022", "127.0.0.2"],
        ["-----", "-" * 15],
    ]
    assert all(len(line.rpartition(" ")[0]) == len(lines[1].rpartition(" ")[0]) for line in lines[1:])


def test_without_such_a_port_the_table_is_as_it_was() -> None:
    same = replace(cluster_view("same"), ports={22: 22})
    assert "PORT" not in render.cluster_table([cluster_view("usual"), same])


def test_what_to_type_names_the_port() -> None:
    assert "log in:  ssh -p 10022 root@127.0.0.2\n" in render.booted(MOVED)
    assert "ssh root@198.51.100.10" in render.booted(cluster_view("usual"))


def test_json_has_all_ports() -> None:
    assert json.loads(render.as_json(render.cluster_json(MOVED)))["ports"] == {"22": 10022, "80": 10080}
    assert render.cluster_json(cluster_view("usual"))["ports"] == {}


def test_ssh_goes_there_also_on_the_way_to_a_compute_node(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    words = ssh_command(MOVED, MOVED.nodes[0], tmp_path, ())
    assert words[words.index("-p") + 1] == "10022"
    assert words[-1] == "root@127.0.0.2"
    onwards = ssh_command(MOVED, MOVED.nodes[1], tmp_path, ())
    assert "-p" not in onwards
    (jump,) = (word for word in onwards if word.startswith("ProxyCommand="))
    assert " -p 10022 " in jump
    assert jump.endswith("root@127.0.0.2")
