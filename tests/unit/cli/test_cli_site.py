"""The commands on a configured site: real files, store and repository, and the driver that runs nothing."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from fakes.cli import Result
from fakes.memory_site import MEMORY_CONF, configure
from fakes.site import FakeSite
from pragma_boot.cli.main import main
from pragma_boot.cli.site import ConfiguredSite, SiteAccess
from pragma_boot.cluster.plan import Sizes, make_plan
from pragma_boot.cluster.site import open_site
from pragma_boot.config.validate import load_settings
from pragma_boot.model import ClusterName, ClusterState, Disk, DiskFormat, ImageName, LocalDisk, NodeName


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "vcdb.txt").write_text("demo,demo/demo.xml\n")
    configure(tmp_path, tmp_path)
    monkeypatch.setenv("PRAGMA_BOOT_ETC", str(tmp_path))
    return tmp_path


@pytest.fixture
def pragma(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    def call(*argv: str) -> Result:
        status = main(argv)
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return call


@pytest.fixture
def running(folder: Path) -> str:
    """A cluster, from its plan to its nodes, by the layers below."""
    site = open_site(load_settings())
    sizes = Sizes(cpus=4, cpus_per_node=2, frontend_memory_mib=512, compute_memory_mib=512)
    plan = make_plan(ClusterName("vc1"), ImageName("demo"), sizes, IPv4Interface("10.1.1.1/16"), ())
    leases = site.store.reserve(
        plan,
        driver="memory",
        address=IPv4Address("198.51.100.10"),
        fqdn="vc1.internal",
        vlans=range(100, 110),
        site=site.driver.in_use(),
    )
    allocation = site.driver.allocate(plan, leases)
    site.store.record_allocation(allocation)
    source = LocalDisk(folder / "demo.img", DiskFormat.RAW, 1)
    disks = {node.name: Disk(NodeName(node.name), folder / node.name, DiskFormat.QCOW2, source) for node in plan.nodes}
    site.driver.deploy(allocation, disks, {})
    site.store.record_state(plan.cluster, ClusterState.RUNNING)
    return "vc1"


@pytest.mark.parametrize("implementation", [ConfiguredSite, FakeSite])
def test_both_sites_have_what_the_commands_ask_for(implementation: type) -> None:
    for name, method in inspect.getmembers(SiteAccess, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.signature(getattr(implementation, name)) == inspect.signature(method), name


def test_a_cluster_from_list_to_clean(pragma: Callable[..., Result], running: str) -> None:
    assert pragma("list", "cluster").out == (
        "FRONTEND   COMPUTE NODES  STATUS   PUBLIC IP\n"
        "vc1:       -------------  active   198.51.100.10\n"
        ":          compute-0      active   ---------------\n"
        ":          compute-1      active   ---------------\n"
    )
    assert pragma("clean", running).status == 1
    assert pragma("shutdown", "demo").out == "vc1 is shut down\n"
    (stopped,) = json.loads(pragma("list", "cluster", running, "--json").out)
    assert {node["state"] for node in stopped["nodes"]} == {"shutdown"}
    assert pragma("start", running, "wait=no").out.startswith("vc1 is active: 1 frontend, 2 compute nodes\n")
    assert pragma("shutdown", running).status == 0
    assert pragma("clean", running).out == "vc1 is removed\n"
    assert pragma("clean", running).status == 0
    assert pragma("list", "cluster", "--json").out == "[]\n"


def test_each_changing_command_leaves_a_log(pragma: Callable[..., Result], running: str, folder: Path) -> None:
    pragma("shutdown", running)
    (log,) = (folder / "log").iterdir()
    assert log.name.startswith("pragma-shutdown-")
    assert "Cluster vc1 is shut down" in log.read_text()


def test_the_repository_and_an_image_that_is_not_there(pragma: Callable[..., Result]) -> None:
    done = pragma("list", "repository")
    assert done.status == 0
    assert done.out.startswith("VIRTUAL IMAGE\n")
    assert pragma("boot", "nosuch", "2").status == 1


def test_all_faults_of_the_configuration_are_told_at_once(pragma: Callable[..., Result], folder: Path) -> None:
    (folder / "memory.conf").write_text(MEMORY_CONF.replace("255.255.255.0", "none").replace("range", "rnge"))
    done = pragma("list", "cluster")
    assert (done.status, done.out) == (1, "")
    assert "memory.conf:2 netmask" in done.err
    assert "memory.conf:5 vlans" in done.err
    checked = pragma("check", "site")
    assert checked.status == 1
    assert "memory.conf:2 netmask" in checked.out


def test_without_a_configuration_the_error_leads_to_init(
    pragma: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PRAGMA_BOOT_ETC", str(tmp_path / "nowhere"))
    done = pragma("list", "cluster")
    assert done.status == 1
    assert "pragma init" in done.err


def test_keys_are_read_by_the_real_reader(pragma: Callable[..., Result], folder: Path) -> None:
    private = folder / "id"
    private.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0c2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n")
    done = pragma("boot", "demo", "1", f"key={private}")
    assert done.status == 2
    assert "private key" in done.err
    assert "c2VjcmV0" not in done.err
