from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.cli import Pragma
from fakes.site import FakeSite, cluster_view
from pragma_boot.errors import CapacityError, NotAvailableError


def test_boot_says_how_to_log_in_and_nothing_else_on_stdout(pragma: Pragma) -> None:
    done = pragma("boot", "demo", "4")
    assert done.status == 0
    assert done.out == (
        "demo is active: 1 frontend, 2 compute nodes\nlog in:  ssh root@198.51.100.10\n    or:  pragma ssh demo\n"
    )
    assert "compute-1: ready in 2.0 s" in done.err


def test_zero_cpus_is_a_frontend_alone(pragma: Pragma) -> None:
    assert pragma("boot", "demo", "0").out.startswith("demo is active: 1 frontend, no compute nodes\n")


def test_every_parameter_reaches_the_request(pragma: Pragma, site: FakeSite, tmp_path: Path) -> None:
    key = tmp_path / "public_key"
    key.write_text("ssh-ed25519 AAAA user\nssh-rsa BBBB operator\n")
    line = f"boot Rocks-7.0 8 key={key} name=lab mem=4096:512 --wait 30 on-failure=keep enable-ent=yes".split()
    assert pragma(*line, "add-iface=openflow:10.103.0.1/28", "enable-ipop-client=http://x/i").status == 0
    (request,) = site.requests
    assert (request.image, request.cpus, request.name) == ("Rocks-7.0", 8, "lab")
    assert request.keys == ("ssh-ed25519 AAAA user", "ssh-rsa BBBB operator")
    assert (request.frontend_memory_mib, request.compute_memory_mib) == (4096, 512)
    assert (request.wait, request.keep_on_failure) == (30.0, True)
    assert request.options == {
        "enable-ent": "yes",
        "add-iface": "openflow:10.103.0.1/28",
        "enable-ipop-client": "http://x/i",
    }


def test_what_is_not_said_is_left_to_the_site(pragma: Pragma, site: FakeSite) -> None:
    pragma("boot", "demo", "4", "mem=0", "enable-ent=no")
    (request,) = site.requests
    assert (request.name, request.wait, request.frontend_memory_mib, request.compute_memory_mib) == (None,) * 4
    assert request.options == {}
    assert not request.keep_on_failure


def test_the_first_usual_key_is_taken_with_a_note(pragma: Pragma, site: FakeSite, tmp_path: Path) -> None:
    folder = tmp_path / "home" / ".ssh"
    folder.mkdir(parents=True)
    (folder / "id_rsa.pub").write_text("ssh-rsa RRRR\n")
    (folder / "id_ecdsa.pub").write_text("ecdsa EEEE\n")
    done = pragma("boot", "demo", "0")
    assert site.requests[0].keys == ("ecdsa EEEE",)
    assert f"pragma: note: no key= given: {folder}/id_ecdsa.pub may log in" in done.err


def test_without_any_key_a_note_says_how_to_log_in(pragma: Pragma, site: FakeSite) -> None:
    assert "log in with 'pragma ssh'" in pragma("boot", "demo", "0").err
    assert site.requests[0].keys == ()


def test_quiet_leaves_only_the_result(pragma: Pragma) -> None:
    assert pragma("boot", "demo", "1", "-q").err == ""


def test_a_missing_key_file_is_told_before_anything_is_booted(pragma: Pragma, site: FakeSite) -> None:
    done = pragma("boot", "demo", "1", "key=/nowhere/key.pub")
    assert (done.status, done.out, site.known) == (1, "", {})
    assert "cannot read /nowhere/key.pub" in done.err


@pytest.mark.parametrize("word", ["dry-run=yes", "--dry-run", "--dry-run=true"])
def test_a_dry_run_changes_nothing(pragma: Pragma, site: FakeSite, word: str) -> None:
    done = pragma("boot", "demo", "3", word)
    assert done.status == 0
    assert done.out == (
        "would boot demo from demo: 1 frontend, 2 compute nodes\n"
        "public address: 198.51.100.10 (demo.example.org)\n"
        "  demo       frontend  1 CPU, 1024 MB\n"
        "  compute-0  compute   2 CPUs, 1024 MB\n"
        "  compute-1  compute   2 CPUs, 1024 MB\n"
        "nothing was changed\n"
    )
    assert site.known == {}


def test_json_is_all_there_is_on_stdout(pragma: Pragma) -> None:
    booted = json.loads(pragma("boot", "demo", "2", "--json").out)
    assert (booted["name"], booted["public_ip"], booted["note"]) == ("demo", "198.51.100.10", None)
    assert [node["role"] for node in booted["nodes"]] == ["frontend", "compute"]


@pytest.mark.parametrize("cpus", ["-1", "four", "99999999999999999999", "1.5", ""])
def test_a_wrong_number_of_cpus_is_a_usage_error(pragma: Pragma, site: FakeSite, cpus: str) -> None:
    done = pragma("boot", "demo", cpus)
    assert (done.status, done.out, site.requests) == (2, "", [])
    assert "num-cpus is not a number of CPUs" in done.err
    assert "'pragma help boot' explains the command" in done.err


@pytest.mark.parametrize("name", ["../x", "a b", "a;reboot", "x" * 300, "bücher"])
def test_a_wrong_name_is_a_usage_error(pragma: Pragma, name: str) -> None:
    done = pragma("boot", name, "1")
    assert done.status == 2
    assert "cannot name an image" in done.err


def test_what_the_site_refuses_is_a_failure_with_its_mend_and_the_log(pragma: Pragma, site: FakeSite) -> None:
    site.fails = CapacityError("2 CPUs are free", details="host a: 2\nhost b: 0", resolution="clean a cluster")
    done = pragma("boot", "demo", "8", "-q")
    (log,) = (site.root / "log").iterdir()
    assert (done.status, done.out) == (1, "")
    assert done.err == (f"pragma: error: 2 CPUs are free\n  host a: 2\n  host b: 0\n→ clean a cluster\n  log: {log}\n")


def test_options_that_do_not_exist_yet_are_refused_not_ignored(pragma: Pragma, site: FakeSite) -> None:
    site.fails = NotAvailableError("add-iface= is not available with the libvirt driver of this site")
    done = pragma("boot", "demo", "1", "add-iface=x")
    assert done.status == 1
    assert "not available" in done.err


def test_an_unknown_image_is_a_failure(pragma: Pragma) -> None:
    done = pragma("boot", "nosuch", "1")
    assert done.status == 1
    assert "'pragma list repository'" in done.err


def test_further_networks_are_told_with_the_frontends_address(pragma: Pragma, site: FakeSite) -> None:
    wide = cluster_view("vc1")
    site.add(replace(wide, nodes=tuple(replace(node, networks={"lab": "10.103.0.1/28"}) for node in wide.nodes)))
    assert pragma("start", "vc1").out.endswith("network lab: from 10.103.0.1/28\n")
