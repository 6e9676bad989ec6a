from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.cli import Pragma
from fakes.site import FakeSite, cluster_view
from pragma_boot import run
from pragma_boot.cli.commands.ssh import find_node, ssh_command
from pragma_boot.errors import ClusterError, PragmaError, UsageError

VIEW = cluster_view("vc1", 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "clusters" / "100% vc1"
    folder.mkdir(parents=True)
    (folder / "key").write_text("key")
    (folder / "known_hosts").write_text("")
    return folder


def configured(argv: list[str]) -> dict[str, str]:
    """What ssh itself makes of the words."""
    lines = run.run([argv[0], "-G", *argv[1:]]).text.splitlines()
    return dict(line.split(" ", 1) for line in lines if " " in line)


def escaped(path: Path) -> str:
    return str(path).replace("%", "%%")


def test_the_frontend_is_reached_at_its_public_address(folder: Path) -> None:
    config = configured(ssh_command(VIEW, VIEW.nodes[0], folder, []))
    assert (config["hostname"], config["user"], config["hostkeyalias"]) == ("198.51.100.10", "root", "vc1")
    assert config["identityfile"] == escaped(folder / "key")  # ssh expands this one later
    assert config["userknownhostsfile"] == str(folder / "known_hosts")
    assert (config["stricthostkeychecking"], config["identitiesonly"]) == ("true", "yes")


def test_a_compute_is_reached_through_its_frontend(folder: Path) -> None:
    config = configured(ssh_command(VIEW, VIEW.nodes[2], folder, []))
    assert (config["hostname"], config["hostkeyalias"]) == ("10.1.255.253", "compute-1")
    jump = shlex.split(config["proxycommand"].replace("%%", "%"))
    assert jump[-3:] == ["-W", "10.1.255.253:22", "root@198.51.100.10"]
    assert configured(jump)["hostkeyalias"] == "vc1"
    assert configured(jump)["identityfile"] == escaped(folder / "key")


def test_a_cluster_without_host_keys_of_ours_is_believed_once(folder: Path) -> None:
    (folder / "known_hosts").unlink()
    for visited in (False, True):  # one node that was visited makes no other unknown
        config = configured(ssh_command(VIEW, VIEW.nodes[0], folder, []))
        assert config["stricthostkeychecking"] == "accept-new"
        assert config["userknownhostsfile"] == str(folder / "visited_hosts")
        (folder / "visited_hosts").write_text("vc1 ssh-ed25519 AAAA\n" if not visited else "")


@pytest.mark.parametrize(
    ("tail", "command"), [(["uptime"], "uptime"), (["ls", "a b"], "ls 'a b'"), (["cd /tmp && ls"], "cd /tmp && ls")]
)
def test_words_reach_the_node_as_they_were_typed(folder: Path, tail: list[str], command: str) -> None:
    assert ssh_command(VIEW, VIEW.nodes[0], folder, tail)[-3:] == ["root@198.51.100.10", "--", command]


def test_nodes_are_found_by_name(folder: Path) -> None:
    assert find_node(VIEW, None) is find_node(VIEW, "frontend") is find_node(VIEW, "vc1") is VIEW.nodes[0]
    assert find_node(VIEW, "compute-1") is VIEW.nodes[2]
    with pytest.raises(UsageError) as caught:
        find_node(VIEW, "compute1")
    assert caught.value.details == "did you mean 'compute-1'?"


def test_a_key_that_is_not_ours_to_read_is_said(folder: Path) -> None:
    (folder / "key").unlink()
    with pytest.raises(PragmaError, match="is not there or not yours to read"):
        ssh_command(VIEW, VIEW.nodes[0], folder, [])


def test_a_cluster_without_nodes_has_no_way_in() -> None:
    from dataclasses import replace

    with pytest.raises(ClusterError, match="has no nodes"):
        find_node(replace(VIEW, nodes=()), None)


def test_the_command_becomes_ssh(tmp_path: Path) -> None:
    stub = tmp_path / "bin" / "ssh"
    stub.parent.mkdir()
    stub.write_text('#!/bin/sh\nfor word; do last="$word"; done\necho "ssh runs: $last"\nexit 7\n')
    stub.chmod(0o755)
    script = (
        "import sys, pathlib; from fakes.site import FakeSite, cluster_view; from pragma_boot.cli.main import main;"
        "site = FakeSite(pathlib.Path(sys.argv[1])); site.add(cluster_view('vc1'));"
        "folder = site.cluster_folder('vc1'); folder.mkdir(parents=True); (folder / 'key').touch();"
        "sys.exit(main(['ssh', 'vc1', 'compute-0', '--', 'uptime', '-p'], site))"
    )
    environment = {"PATH": f"{stub.parent}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (7, "ssh runs: uptime -p\n"), done.stderr


def test_an_unknown_node_is_a_usage_error(pragma: Pragma, site: FakeSite) -> None:
    site.add(cluster_view("vc1"))
    assert pragma("ssh", "vc1", "compute-9").status == 2
