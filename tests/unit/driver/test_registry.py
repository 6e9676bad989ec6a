"""Which driver the settings mean."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.engine import CLUSTERS, LIBVIRT
from pragma_boot.config.settings import KvmRocksSettings, RepositorySettings, Settings, SiteSettings
from pragma_boot.driver.registry import open_driver
from pragma_boot.errors import NotAvailableError
from pragma_boot.files import StateFolder


def settings(driver: str, tmp_path: Path) -> Settings:
    repository = RepositorySettings("local", tmp_path, tmp_path / "vcdb.txt", tmp_path)
    site = SiteSettings(driver, tmp_path, tmp_path, StateFolder(tmp_path), repository)
    rocks = KvmRocksSettings((), None, ("/opt/rocks/bin/rocks",), ("ssh",), CLUSTERS)
    return Settings(
        tmp_path,
        site,
        CLUSTERS,
        libvirt=LIBVIRT if driver == "libvirt" else None,
        kvm_rocks=rocks if driver == "kvm_rocks" else None,
    )


@pytest.mark.parametrize("name", ["libvirt", "memory", "kvm_rocks"])
def test_a_driver_is_opened_by_its_name_and_connects_to_nothing(name: str, tmp_path: Path) -> None:
    assert open_driver(settings(name, tmp_path)).info.name == name
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["cloudstack", "nonsense"])  # the first without its settings
def test_one_that_does_not_exist_yet_is_refused_clearly(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotAvailableError) as caught:
        open_driver(settings(name, tmp_path))
    assert f"site_ve_driver '{name}' is not available yet" in caught.value.message
    assert "libvirt" in str(caught.value.resolution)


def test_opening_loads_neither_bindings_nor_xml() -> None:
    code = (
        "import sys, pragma_boot.driver.libvirt.driver; print(sorted({'libvirt', 'lxml', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "[]"
