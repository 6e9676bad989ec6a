"""Everything that is wrong with a site, at once, each with its mend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fakes.rocks import VERSIONS, RocksBench
from pragma_boot.driver.kvm_rocks.preflight import TOOLS, check
from pragma_boot.errors import Fault, PreflightError

Make = Callable[..., RocksBench]


def faults(bench: RocksBench, *networks: str, root: bool = True) -> dict[str, Fault]:
    with pytest.raises(PreflightError) as caught:
        check(bench.settings, bench.rocks, bench.ssh, networks, root=root)
    assert all(fault.mend for fault in caught.value.faults)
    return {fault.where: fault for fault in caught.value.faults}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_site_in_order_has_no_fault_and_is_not_changed(make: Make, version: str) -> None:
    bench = make(version)
    with bench.leaves_nothing():
        bench.driver.preflight(["public"])
    assert all(words.startswith(("list", "report", "dump")) for words in bench.words())


def test_others_than_root_need_words_before_rocks(bench: RocksBench) -> None:
    assert "rocks = 'sudo -n" in faults(bench, root=False)["user"].mend
    bench.settings = replace(bench.settings, rocks=("sudo", "-n", "rocks"))
    check(replace(bench.settings, rocks=("env", *bench.settings.rocks)), bench.rocks, bench.ssh, root=False)


def test_missing_guest_tools_are_told_with_all_else(bench: RocksBench) -> None:
    tools = {
        ("qemu-nowhere", "python3-nowhere"): "install one",
        ("qemu-nowhere", "python3-json"): "never",
        ("ssh-nowhere",): "install it",
        ("sh",): "never",
    }
    bench.site.faults({"match": "^list host interface", "empty": True, "times": None})
    with pytest.raises(PreflightError) as caught:
        check(bench.settings, bench.rocks, bench.ssh, root=True, tools=tools)
    found = {fault.where: fault.what for fault in caught.value.faults}
    assert found.pop("rocks list host interface")
    assert found == {
        "qemu-nowhere": "qemu-nowhere or python3-nowhere is not installed",
        "ssh-nowhere": "ssh-nowhere is not installed",
    }


def test_what_disks_are_filled_and_sent_with_is_looked_for() -> None:
    assert {"qemu-img", "qemu-storage-daemon", "python3-guestfs", "debugfs", "ssh"} == {
        name for group in TOOLS for name in group
    }


def test_a_missing_program_is_told_alone(bench: RocksBench) -> None:
    bench.settings = replace(bench.settings, rocks=("/opt/nowhere/rocks",))
    assert list(faults(bench)) == ["rocks"]


@pytest.mark.parametrize("answer", [
    {"rc": 255, "stdout": 'error - invalid rocks command "report"\n'}, {"stdout": "6.1.1\n", "rc": 0},
])  # fmt: skip
def test_a_rocks_that_is_too_old_is_told(bench: RocksBench, answer: dict[str, object]) -> None:
    bench.site.faults({"match": "^report version", "times": None, **answer})
    assert "older than 6.2" in faults(bench)["rocks"].what


def test_a_missing_kvm_roll_is_told(bench: RocksBench) -> None:
    wrong = {"rc": 255, "stdout": 'error - invalid rocks command "list"\n', "times": None}
    bench.site.faults({"match": "^list host vm", **wrong})
    assert "kvm roll" in faults(bench)["rocks list host vm"].mend


@pytest.mark.parametrize("version", VERSIONS)
def test_all_that_is_wrong_is_told_at_once(make: Make, version: str) -> None:
    bench = make(version)
    with bench.site.change() as state:
        state.down += ["vm-container-0-1", "vm-container-0-2"]
    found = faults(bench, "openflow", root=False)
    assert {"user", "vm-container-0-1", "vm-container-0-2", "network openflow"} <= set(found)
    assert "No route to host" in found["vm-container-0-1"].what


def test_a_database_that_is_down_is_told_of_every_listing(bench: RocksBench) -> None:
    bench.site.faults({"db_down": True, "times": None})
    found = faults(bench)
    assert {"rocks list host", "rocks list host interface", "rocks list cluster"} <= set(found)
    assert "mysql" in found["rocks list host interface"].mend


def test_a_container_that_rocks_does_not_have_is_told(bench: RocksBench) -> None:
    bench.settings = replace(bench.settings, containers=("vm-container-7-7",), frontend_container="mars")
    assert "vm-container-7-7" in faults(bench)["containers"].what
