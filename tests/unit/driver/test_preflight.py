"""Preflight: every fault at once, each with its mend, nothing changed."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from fakes.engine import LIBVIRT
from pragma_boot.config.settings import PublicNetwork
from pragma_boot.driver.libvirt import preflight
from pragma_boot.errors import Fault, PreflightError
from pragma_boot.files import StateFolder

NOWHERE = "qemu+unix:///system?socket=/nonexistent/libvirt-sock"


def faults(tmp_path: Path, **changes: object) -> dict[str, Fault]:
    pytest.importorskip("libvirt")
    with pytest.raises(PreflightError) as caught:
        preflight.check(replace(LIBVIRT, **changes), StateFolder(tmp_path / "state"), (tmp_path,))  # type: ignore[arg-type]
    assert not (tmp_path / "state").exists()
    return {fault.where: fault for fault in caught.value.faults}


def test_all_faults_are_told_at_once_with_their_mends(tmp_path: Path) -> None:
    found = faults(tmp_path, hosts=(NOWHERE, "qemu+ssh://other/system"))
    assert {"hosts", NOWHERE} <= found.keys()
    assert all(fault.mend for fault in found.values())


def test_several_hosts_are_not_available_yet(tmp_path: Path) -> None:
    found = faults(tmp_path, hosts=(NOWHERE, "qemu:///system"))
    assert "several hosts" in found["hosts"].what


@pytest.mark.parametrize("uri", ["qemu+ssh://other/system", "qemu:///session"])
def test_only_this_machines_own_libvirt_will_do(uri: str) -> None:
    assert list(preflight._hosts((uri,)))


def test_a_daemon_that_does_not_run_is_one_fault_with_its_start(tmp_path: Path) -> None:
    assert "start the daemon" in faults(tmp_path, hosts=(NOWHERE,))[NOWHERE].mend


def test_a_bridge_that_is_missing_is_told() -> None:
    public = PublicNetwork("bridge", "no-such-bridge")
    (fault,) = preflight._public(None, replace(LIBVIRT, public=public))
    assert "no-such-bridge" in fault.what
    assert "ip link add" in fault.mend


@pytest.mark.parametrize(
    ("route", "clash"),
    [
        ("eth0\t006433C6\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0", ["eth0"]),
        ("eth0\t00000000\t016433C6\t0003\t0\t0\t0\t00000000\t0\t0\t0", []),
        ("eth0\t000000C6\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0", ["eth0"]),
        ("eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0", []),
    ],
    ids=["same", "default route", "wider", "another"],
)
def test_a_route_into_the_public_network_is_a_clash(route: str, clash: list[str]) -> None:
    assert list(preflight._clashes(IPv4Network("198.51.100.0/24"), [route])) == clash
