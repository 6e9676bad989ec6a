from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fakes.cli import Pragma
from fakes.site import FakeSite, cluster_view


def test_the_table_is_what_schedulers_parse(pragma: Pragma, site: FakeSite) -> None:
    site.add(cluster_view("vc1"))
    done = pragma("list", "cluster")
    assert done.out == (
        "FRONTEND   COMPUTE NODES  STATUS   PUBLIC IP\n"
        "vc1:       -------------  active   198.51.100.10\n"
        ":          compute-0      active   ---------------\n"
    )
    assert (done.status, done.err) == (0, "")


def test_columns_grow_with_what_is_in_them(pragma: Pragma, site: FakeSite) -> None:
    site.add(cluster_view("a-very-long-name", 0, state="shutdown"))
    site.add(cluster_view("b", 0))
    assert pragma("list", "cluster").out == (
        "FRONTEND           COMPUTE NODES  STATUS    PUBLIC IP\n"
        "a-very-long-name:  -------------  shutdown  198.51.100.10\n"
        "b:                 -------------  active    198.51.100.10\n"
    )


def test_no_cluster_is_the_heading_alone(pragma: Pragma) -> None:
    assert pragma("list", "cluster").out == "FRONTEND   COMPUTE NODES  STATUS   PUBLIC IP\n"
    assert pragma("list", "cluster", "--json").out == "[]\n"


def test_one_cluster_by_its_name_or_its_image(pragma: Pragma, site: FakeSite) -> None:
    site.add(cluster_view("lab", image="Rocks-7.0"))
    site.add(cluster_view("other"))
    assert pragma("list", "cluster", "lab").out == pragma("list", "cluster", "Rocks-7.0").out
    assert "other" not in pragma("list", "cluster", "lab").out


def test_an_unknown_cluster_is_told_on_stderr_with_status_1(pragma: Pragma) -> None:
    done = pragma("list", "cluster", "nosuch")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("pragma: error: there is no cluster 'nosuch'\n")


@pytest.mark.parametrize("nodes", [0, 1, 2])
def test_a_broken_cluster_lists_whatever_is_left_of_it(pragma: Pragma, site: FakeSite, nodes: int) -> None:
    whole = cluster_view("vc1", 1, state="broken", note="its boot \x1b[31mnever finished")
    site.add(replace(whole, nodes=whole.nodes[2 - nodes :], public_ip=""))
    done = pragma("list", "cluster")
    frontend, *computes = done.out.splitlines()[1:]
    assert frontend == "vc1:       -------------  broken   ---------------"
    assert len(computes) == (nodes > 0)
    assert done.err == "pragma: note: vc1: its boot \\x1b[31mnever finished\n"


def test_the_same_facts_as_json(pragma: Pragma, site: FakeSite) -> None:
    site.add(cluster_view("vc1"))
    (only,) = json.loads(pragma("list", "cluster", "vc1", "json=yes").out)
    assert (only["name"], only["state"], only["fqdn"]) == ("vc1", "active", "vc1.example.org")
    assert only["nodes"][1] == {
        "name": "compute-0", "role": "compute", "state": "active", "ip": "10.1.255.254", "cpus": 2,
        "memory_mib": 1024, "host": "local", "networks": {},
    }  # fmt: skip


def test_the_repository_is_a_heading_and_names(pragma: Pragma, site: FakeSite) -> None:
    site.warnings = ("vcdb.txt:3: no such file",)
    done = pragma("list", "repository")
    assert done.out == "VIRTUAL IMAGE\ndemo\nRocks-7.0\n"
    assert done.err == "pragma: warning: vcdb.txt:3: no such file\n"


def test_the_repository_as_json(pragma: Pragma) -> None:
    assert json.loads(pragma("list", "repository", "--json").out)[0] == {"name": "demo", "document": "/r/demo.xml"}


def test_listing_writes_no_log(pragma: Pragma, site: FakeSite) -> None:
    pragma("list", "cluster")
    assert not site.log_directory().exists()
