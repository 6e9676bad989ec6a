"""Which folder is the site's."""

from pathlib import Path

import pytest

from pragma_boot.config import find
from pragma_boot.config.find import SYSTEM_FOLDERS, find_folder, search_path
from pragma_boot.errors import ConfigError


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("bin", "etc", "src/pragma_boot"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "bin/pragma").touch()
    return tmp_path


def test_a_checkouts_etc_comes_before_the_systems(checkout: Path):
    assert search_path({}, checkout / "src/pragma_boot") == (checkout / "etc", *SYSTEM_FOLDERS)


def test_a_checkout_in_opt_is_looked_at_once(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(find, "SYSTEM_FOLDERS", (Path("/etc/pragma_boot"), checkout / "etc"))
    assert search_path({}, checkout / "src/pragma_boot") == (checkout / "etc", Path("/etc/pragma_boot"))


def test_an_installed_package_has_the_systems_only(checkout: Path):
    installed = checkout / "lib/site-packages/pragma_boot"
    assert search_path({}, installed) == SYSTEM_FOLDERS


def test_a_source_without_a_launcher_is_no_checkout(checkout: Path):
    (checkout / "bin/pragma").unlink()
    assert search_path({}, checkout / "src/pragma_boot") == SYSTEM_FOLDERS


def test_the_variable_stands_alone(checkout: Path, tmp_path: Path):
    named = {"PRAGMA_BOOT_ETC": str(tmp_path / "mine")}
    assert search_path(named, checkout / "src/pragma_boot") == (tmp_path / "mine",)


def test_an_empty_variable_is_none(checkout: Path):
    assert search_path({"PRAGMA_BOOT_ETC": ""}, checkout / "src/pragma_boot")[0] == checkout / "etc"


def test_the_first_folder_with_a_site_is_found(checkout: Path):
    (checkout / "etc/site_conf.conf").touch()
    assert find_folder({}, checkout / "src/pragma_boot") == checkout / "etc"


def test_templates_alone_are_no_site(tmp_path: Path):
    (tmp_path / "site_conf.conf.template").touch()
    with pytest.raises(ConfigError) as caught:
        find_folder({"PRAGMA_BOOT_ETC": str(tmp_path)})
    assert [fault.where for fault in caught.value.faults] == [str(tmp_path / "site_conf.conf")]
    assert "pragma init" in str(caught.value.resolution)
    assert "PRAGMA_BOOT_ETC" in str(caught.value.resolution)


def test_users_look_at_their_own_first_and_root_last(checkout: Path):
    package, home = checkout / "src/pragma_boot", {"HOME": "/home/me"}
    own = Path("/home/me/.config/pragma_boot")
    assert search_path(home, package, root=False) == (own, checkout / "etc", *SYSTEM_FOLDERS)
    assert search_path(home, package, root=True) == (checkout / "etc", *SYSTEM_FOLDERS, own)
    elsewhere = home | {"XDG_CONFIG_HOME": "/cfg"}
    assert search_path(elsewhere, package, root=False)[0] == Path("/cfg/pragma_boot")
    assert search_path(home | {"XDG_CONFIG_HOME": "relative"}, package, root=False)[0] == own
