"""Clusters of an engine without disks for us: it has the images, assigns addresses, and hands documents to nodes."""

from pathlib import Path

import pytest
from lxml import etree

from fakes.cluster_site import make_cloud, traces
from pragma_boot.cluster.boot import BootRequest, boot, preview
from pragma_boot.cluster.stop import clean, shutdown, start
from pragma_boot.cluster.view import cluster, clusters
from pragma_boot.errors import CapacityError, ClusterExistsError, DriverError, PendingError, PreflightError
from pragma_boot.model import ClusterName, ImageName

DEMO, LAB = ImageName("demo"), ClusterName("lab")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVzZXIta2V5LXBsYWNlaG9sZGVyLW9ubHkAAAAA user@example.org"


def request(cpus: int = 5, name: str = "lab") -> BootRequest:
    return BootRequest(DEMO, cpus, ClusterName(name), (KEY,))


def test_addresses_and_sizes_are_the_engines(tmp_path: Path) -> None:
    site, _ = make_cloud(tmp_path)
    view = boot(site, request())
    assert (view.name, view.state, view.public_ip) == ("lab", "active", "203.0.113.10")
    assert [(node.name, node.cpus) for node in view.nodes] == [("lab", 1), ("compute-0", 4), ("compute-1", 1)]
    record = site.store.get("lab")
    assert record
    assert (str(record.public_ip), record.fqdn) == ("203.0.113.10", "lab.internal")


def test_nothing_is_leased_and_no_image_is_fetched(tmp_path: Path) -> None:
    site, _ = make_cloud(tmp_path)
    boot(site, request())
    used = site.store.in_use(site.driver.in_use())
    assert not used.vlans - {0}
    assert not list((tmp_path / "images").iterdir())
    assert not (tmp_path / "disks").exists()


def test_every_node_is_handed_its_document_and_the_keys(tmp_path: Path) -> None:
    site, _ = make_cloud(tmp_path)
    boot(site, request())
    folder = site.settings.site.state.cluster("lab")
    for node in ("lab", "compute-0", "compute-1"):
        path = folder / "vc-out" / f"{node}.xml"
        assert path.stat().st_mode & 0o777 == 0o600
        root = etree.fromstring(path.read_bytes())
        assert KEY in root.findtext("key")
        assert "PRIVATE KEY" in root.findtext("pragma/hostkey")
    assert not (folder / "known_hosts").exists(), "nobody here knows what keys the engine's image has"


def test_the_log_has_the_lines_of_schedulers_once_they_are_known(tmp_path: Path, logged: list[str]) -> None:
    boot(make_cloud(tmp_path)[0], request())
    assert [line for line in logged if line.startswith(("Found", "Allocated", "Successfully"))] == [
        "Found available public IP 203.0.113.10 -> lab.internal",
        "Allocated cluster lab with compute nodes: compute-0, compute-1",
        "Successfully deployed frontend lab",
    ]


def test_no_secret_of_a_document_is_logged(tmp_path: Path, logged: list[str]) -> None:
    site, _ = make_cloud(tmp_path)
    boot(site, request())
    private = (site.settings.site.state.cluster("lab") / "key").read_text().splitlines()[1]
    assert private not in "\n".join(logged)


def test_a_preview_says_what_would_be_assigned(tmp_path: Path) -> None:
    site, _ = make_cloud(tmp_path)
    seen = preview(site, request())
    assert (seen.cluster, seen.public_ip, [node.cpus for node in seen.nodes]) == ("lab", "", [1, 4, 1])
    assert traces(tmp_path) == set()


def test_an_image_without_template_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    site, driver = make_cloud(tmp_path)
    driver.templates().publish("demo", "http://x/demo.img")
    driver._templates.names.clear()
    with pytest.raises(PreflightError) as caught:
        boot(site, request())
    assert "pragma image publish demo" in (caught.value.details or "")
    assert clusters(site) == ()


def test_names_are_still_reserved_one_by_one(tmp_path: Path) -> None:
    site, _ = make_cloud(tmp_path)
    boot(site, request())
    with pytest.raises(ClusterExistsError):
        boot(site, request())
    assert boot(site, BootRequest(DEMO, 1)).name == "demo"
    assert boot(site, BootRequest(DEMO, 1)).name == "demo-2"


def test_shortage_of_addresses_leaves_nothing(tmp_path: Path) -> None:
    site, _ = make_cloud(tmp_path)
    for number in range(4):
        boot(site, request(1, f"lab{number}"))
    before = traces(tmp_path)
    with pytest.raises(CapacityError):
        boot(site, request(1, "late"))
    assert traces(tmp_path) == before
    assert len(clusters(site)) == 4


def test_shutdown_start_and_clean(tmp_path: Path) -> None:
    site, _ = make_cloud(tmp_path)
    boot(site, request())
    shutdown(site, LAB)
    assert cluster(site, LAB).state == "shutdown"
    start(site, LAB)
    assert cluster(site, LAB).state == "active"
    shutdown(site, LAB)
    clean(site, LAB)
    assert clusters(site) == ()
    assert traces(tmp_path) == set()


def test_what_goes_later_is_told_and_a_later_clean_finishes_it(tmp_path: Path) -> None:
    site, driver = make_cloud(tmp_path)
    boot(site, request())
    shutdown(site, LAB)
    driver.held = True
    with pytest.raises(PendingError) as caught:
        clean(site, LAB)
    assert caught.value.exit_code == 3
    assert "tomorrow" in cluster(site, LAB).note
    assert not site.settings.site.state.cluster("lab").exists()
    driver.held = False
    clean(site, LAB)
    assert clusters(site) == ()


def test_a_failure_in_deploy_is_undone(tmp_path: Path) -> None:
    def fail(step: str) -> None:
        if step == "deploy lab: start compute-1":
            raise DriverError("no host has room")

    site, _ = make_cloud(tmp_path, before_step=fail)
    with pytest.raises(DriverError):
        boot(site, request())
    assert clusters(site) == ()
    assert traces(tmp_path) == set()


def test_documents_shrink_to_the_engines_limit(tmp_path: Path, logged: list[str]) -> None:
    site, driver = make_cloud(tmp_path)
    driver._hosts = {"memory": (1000, 10**7)}
    boot(site, request(4 * 80))
    documents = (site.settings.site.state.cluster("lab") / "vc-out").glob("*.xml")
    assert max(len(path.read_bytes()) for path in documents) <= 24576
    assert any("leaving keys out" in line for line in logged)


def test_too_many_nodes_for_a_document_are_refused_and_undone(tmp_path: Path) -> None:
    site, driver = make_cloud(tmp_path)
    driver.sizes = (1,)  # type: ignore[assignment]
    driver._hosts = {"memory": (1000, 10**7)}
    with pytest.raises(CapacityError) as caught:
        boot(site, request(200))
    assert "too many" in caught.value.message
    assert clusters(site) == ()
