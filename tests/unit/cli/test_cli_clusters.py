from __future__ import annotations

import json
from pathlib import Path

from fakes.cli import Pragma
from fakes.site import FakeSite, cluster_view
from pragma_boot.errors import ClusterBusyError, Fault, PendingError
from pragma_boot.model import ImageName
from pragma_boot.repository.base import ImageOutcome


def test_shutdown_then_clean_and_both_again(pragma: Pragma, site: FakeSite) -> None:
    site.add(cluster_view("vc1"))
    assert pragma("clean", "vc1").status == 1
    assert pragma("shutdown", "vc1").out == "vc1 is shut down\n"
    assert pragma("clean", "vc1").out == "vc1 is removed\n"
    assert pragma("shutdown", "vc1").status == 0
    assert pragma("clean", "vc1").status == 0
    assert site.known == {}


def test_clean_of_an_active_cluster_says_what_to_do(pragma: Pragma, site: FakeSite) -> None:
    site.add(cluster_view("vc1"))
    done = pragma("clean", "vc1")
    assert done.out == ""
    assert "→ shut it down first: pragma shutdown vc1" in done.err


def test_start_waits_as_asked_and_says_how_to_log_in(pragma: Pragma, site: FakeSite) -> None:
    site.add(cluster_view("vc1", state="shutdown"))
    done = pragma("start", "vc1", "wait=no")
    assert site.waits == [0.0]
    assert done.out.startswith("vc1 is active: 1 frontend, 1 compute node\n")
    assert json.loads(pragma("start", "vc1", "--json").out)["name"] == "vc1"
    assert site.waits == [0.0, None]


def test_an_image_names_the_one_cluster_that_runs_it(pragma: Pragma, site: FakeSite) -> None:
    site.add(cluster_view("vc1", image="Rocks-7.0"))
    assert pragma("shutdown", "Rocks-7.0").out == "vc1 is shut down\n"


def test_sync_tells_each_image_and_fails_if_one_did(pragma: Pragma, site: FakeSite) -> None:
    site.outcomes = (
        ImageOutcome(ImageName("demo"), "fetched"),
        ImageOutcome(ImageName("big"), "failed", "the disk is full"),
    )
    done = pragma("sync", "repository")
    assert done.status == 1
    assert done.out == "demo  fetched\nbig   failed: the disk is full\n"
    assert "1 of 2 images failed" in done.err


def test_sync_of_good_images_succeeds(pragma: Pragma) -> None:
    assert pragma("sync", "repository", "--dry-run").status == 0


def test_syncs_append_to_one_log(pragma: Pragma, site: FakeSite) -> None:
    for _ in range(2):
        pragma("sync", "repository", "--prune")
    (path,) = (site.root / "log").iterdir()
    assert path.name == "sync.log"
    assert path.read_text().count("demo: fresh\n") == 2


def test_a_second_sync_does_nothing_and_succeeds(pragma: Pragma, site: FakeSite) -> None:
    site.fails = ClusterBusyError("another 'sync repository' is running")
    done = pragma("sync", "repository")
    assert (done.status, done.out) == (0, "")
    assert done.err == "pragma: note: another 'sync repository' is running: this one does nothing\n"


def test_check_site_lists_every_fault_with_its_mend(pragma: Pragma, site: FakeSite) -> None:
    site.faults = (Fault("libvirt", "is not running", "start libvirtd"), Fault("disks", "are small"))
    done = pragma("check", "site")
    assert (done.status, done.err) == (1, "pragma: note: nodes' disks are remembered\n")
    assert done.out == "libvirt: is not running\n    mend: start libvirtd\ndisks: are small\n"


def test_check_site_without_faults(pragma: Pragma) -> None:
    done = pragma("check", "site")
    assert (done.status, done.out) == (0, "the site is in order\n")
    assert pragma("check", "site", "json=1").out == "[]\n"


def test_init_passes_its_parameters_on(pragma: Pragma, tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    assert pragma("init", f"folder={folder}", "--force").out == f"wrote {folder}/site_conf.conf (force)\n"
    assert pragma("init", "remove=yes").out.startswith("removed ")


def test_image_build_passes_its_parameters_on(pragma: Pragma, site: FakeSite) -> None:
    done = pragma("image", "build", "small", "flavour=tiny", "size=256M", "release=bookworm")
    assert site.built == [("small", "tiny", "bookworm", 256 * 1024**2)]
    assert done.out == "image small is in the repository: /r/small/small.xml\nboot it:  pragma boot small 2\n"


def test_an_unknown_flavour_is_a_usage_error(pragma: Pragma) -> None:
    done = pragma("image", "build", "x", "flavour=dmeo")
    assert done.status == 2
    assert "did you mean 'demo'?" in done.err


def test_image_publish_passes_its_parameters_on(pragma: Pragma, site: FakeSite) -> None:
    url = "https://images.example.org/demo.qcow2?version=2"
    done = pragma("image", "publish", "demo", f"url={url}", "checksum=abc")
    assert done.status == 0
    assert "image demo is ready in the cloud: demo-template" in done.out
    assert site.published == [("demo", {"frontend": url, "compute": ""}, "abc")]


def test_what_goes_only_later_has_a_status_of_its_own(pragma: Pragma, site: FakeSite) -> None:
    site.add(cluster_view("lab", state="shutdown"))
    site.fails = PendingError("network x of lab stays until tomorrow", resolution="after that: pragma clean lab")
    done = pragma("clean", "lab")
    assert done.status == 3
    assert "after that: pragma clean lab" in done.err
