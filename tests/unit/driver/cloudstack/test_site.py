"""Whole sites on the fake cloud: the same commands as everywhere."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from fakes.cloud_site import CloudSite, cloud_site
from fakes.cloudstack import Config, assert_clean
from pragma_boot.cluster.boot import BootRequest, boot, preview
from pragma_boot.cluster.stop import clean, shutdown, start
from pragma_boot.cluster.view import cluster, clusters
from pragma_boot.driver.cloudstack import names
from pragma_boot.errors import CapacityError, ClusterError, DriverError, PendingError
from pragma_boot.model import ClusterName, ImageName

LAB = ClusterName("lab")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVzZXIta2V5LXBsYWNlaG9sZGVyLW9ubHkAAAAA user@example.org"


def request(cpus: int = 6) -> BootRequest:
    return BootRequest(ImageName("demo"), cpus, LAB, (KEY,))


def traces(site: CloudSite) -> set[str]:
    """Files of clusters; the database and locks stay."""
    kept = ("site.db", ".lock")
    return {path.name for path in (site.root / "state").rglob("*") if path.is_file() and not path.name.endswith(kept)}


def test_a_whole_life(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        before = site.cloud.snapshot()
        seen = preview(site.site, request())
        assert [node.cpus for node in seen.nodes] == [1, 4, 4]
        view = boot(site.site, request())
        assert view.state == "active"
        assert [node.name for node in view.nodes] == ["lab", "compute-0", "compute-1"]
        with pytest.raises(ClusterError, match="is active"):
            clean(site.site, LAB)
        shutdown(site.site, LAB)
        assert cluster(site.site, LAB).state == "shutdown"
        assert start(site.site, LAB).state == "active"
        shutdown(site.site, LAB)
        clean(site.site, LAB)
        assert clusters(site.site) == ()
        assert_clean(site.cloud, "user", before)
        assert traces(site) == set()


def test_two_templates_make_the_two_roles(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        boot(site.site, request())
        used = {name: site.cloud.machine(name).templateid for name in ("lab", "lab-compute-0")}
        names = {key: site.cloud.state.templates[ident].name for key, ident in used.items()}
        assert names == {"lab": "frontend", "lab-compute-0": "compute"}


def test_a_boot_that_fails_undoes_itself(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        before = site.cloud.snapshot()
        site.cloud.faults.add("fail", "startVirtualMachine", phase="execute", machine="lab-compute-1")
        with pytest.raises(DriverError):
            boot(site.site, request())
        assert clusters(site.site) == ()
        assert_clean(site.cloud, "user", before)
        assert traces(site) == set()


def test_a_wish_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        before = site.cloud.snapshot()
        with pytest.raises(CapacityError):
            boot(site.site, request(60))
        assert_clean(site.cloud, "user", before)
        assert all(entry.command.startswith("list") for entry in site.cloud.log)


def test_what_may_not_be_expunged_is_listed_with_its_note_and_cleaned_later(tmp_path: Path) -> None:
    with cloud_site(tmp_path, config=Config(allow_user_expunge=False)) as site:
        before = site.cloud.snapshot()
        boot(site.site, request())
        shutdown(site.site, LAB)
        with pytest.raises(PendingError) as caught:
            clean(site.site, LAB)
        assert caught.value.exit_code == 3
        assert "stays until the cloud has expunged" in cluster(site.site, LAB).note
        assert boot(site.site, BootRequest(ImageName("demo"), 1)).state == "active", "nothing is in the way"
        shutdown(site.site, ClusterName("demo"))
        with pytest.raises(PendingError):
            clean(site.site, ClusterName("demo"))
        site.cloud.advance(2 * 86400)
        clean(site.site, LAB)
        clean(site.site, ClusterName("demo"))
        assert clusters(site.site) == ()
        assert_clean(site.cloud, "user", before)


def test_a_record_that_is_lost_leaves_a_cluster_that_can_be_removed(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        before = site.cloud.snapshot()
        view = boot(site.site, request())
        (site.root / "state/site.db").unlink()
        found = clusters(site.site)
        assert [(each.name, each.public_ip, each.image) for each in found] == [("lab", view.public_ip, "demo")]
        shutdown(site.site, LAB)
        clean(site.site, LAB)
        assert_clean(site.cloud, "user", before)


def test_forwarded_ports_are_kept_over_a_stop(tmp_path: Path) -> None:
    with cloud_site(tmp_path, more={"network_offering": "IsolatedNoStaticNat"}, public_ips=8) as site:
        boot(site.site, BootRequest(ImageName("demo"), 0))
        view = boot(site.site, request(1))
        assert view.ports == {22: 20022, 80: 20080, 443: 20443}
        shutdown(site.site, LAB)
        assert start(site.site, LAB).ports == view.ports
        record = site.site.store.get(LAB)
        assert record
        assert record.allocation
        assert record.allocation.ports == view.ports


@pytest.mark.parametrize("text", ["", "x", "1.2.3.4:22", "203.0.113.9 22", "203.0.113.9 a=b,22=x", " 22=1"])
def test_tags_that_nobody_of_us_wrote_mean_little(text: str) -> None:
    assert names.placed(text)[1] == {}


def test_a_place_is_read_as_it_was_written() -> None:
    ports = {22: 20022, 443: 20443}
    assert names.placed(names.place(IPv4Address("203.0.113.9"), ports)) == (IPv4Address("203.0.113.9"), ports)
    assert len(names.place(IPv4Address("203.0.113.9"), {port: port + 20000 for port in range(100)})) <= 255
