"""Templates: which are ready, and how an image becomes one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.cloud_site import cloud_site
from pragma_boot.cluster.offer import offered, publish
from pragma_boot.errors import DriverError, UsageError
from pragma_boot.model import ImageName, Progress, Role

URL = "http://images.example.org/lab.qcow2"


def test_those_of_the_zone_that_are_ready(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        ready = site.driver.templates().ready()
        assert {"frontend", "compute", "featured", "twice"} <= ready
        assert not {"slow", "elsewhere"} & ready


def test_an_image_is_fetched_by_the_cloud_and_waited_for(tmp_path: Path) -> None:
    told: list[Progress] = []
    with cloud_site(tmp_path, more={"template_filter": "community"}) as site:
        site.driver.templates().publish("lab", URL, "{SHA-256}" + "0" * 64, told.append)
        (_,) = [each for each in site.cloud.state.templates.values() if each.name == "lab"]
        asked = next(entry.params for entry in site.cloud.log if entry.command == "registerTemplate")
        assert (asked["format"], asked["hypervisor"], asked["checksum"]) == ("QCOW2", "KVM", "{SHA-256}" + "0" * 64)
        assert "lab" in site.driver.templates().ready()
        assert told
        asked_before = len([entry for entry in site.cloud.log if entry.command == "registerTemplate"])
        site.driver.templates().publish("lab", URL)
        assert len([entry for entry in site.cloud.log if entry.command == "registerTemplate"]) == asked_before


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("http://x.example.org/a.qcow2", "QCOW2"),
        ("http://x.example.org/a.qcow2.bz2?token=1", "QCOW2"),
        ("https://x.example.org/a.img.gz", "RAW"),
        ("https://x.example.org/a", "QCOW2"),
    ],
)
def test_the_format_follows_from_the_name(tmp_path: Path, url: str, form: str) -> None:
    with cloud_site(tmp_path) as site:
        site.driver.templates().publish("lab", url)
        assert next(e.params for e in site.cloud.log if e.command == "registerTemplate")["format"] == form


def test_a_lost_answer_registers_no_second(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        site.cloud.faults.add("lost", "registerTemplate")
        site.driver.templates().publish("lab", URL)
        assert len([each for each in site.cloud.state.templates.values() if each.name == "lab"]) == 1


def test_a_download_that_failed_is_told_with_the_clouds_words(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site, pytest.raises(DriverError) as caught:
        site.driver.templates().publish("lab", "http://images.example.org/missing.qcow2")
    assert caught.value.details


def test_an_image_of_two_disks_is_two_templates(tmp_path: Path) -> None:
    with cloud_site(tmp_path) as site:
        for template in list(site.cloud.state.templates.values()):
            if template.name in ("frontend", "compute"):
                del site.cloud.state.templates[template.id]
        catalog = offered(site.site)
        assert catalog.entries == ()
        assert "no template frontend and compute here" in catalog.notes[0]
        with pytest.raises(UsageError, match="compute-url="):
            publish(site.site, ImageName("demo"), {Role.FRONTEND: URL})
        urls = {Role.FRONTEND: URL, Role.COMPUTE: URL}
        assert publish(site.site, ImageName("demo"), urls) == ("frontend", "compute")
        assert [entry.name for entry in offered(site.site).entries] == ["demo"]
