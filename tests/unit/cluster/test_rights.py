"""Which kind of site a caller can have, from what the kernel and libvirt say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.memory_site import configure
from pragma_boot.cluster import init
from pragma_boot.cluster.rights import why_no_system
from pragma_boot.config.find import user_folder
from pragma_boot.config.validate import load_settings
from pragma_boot.errors import DriverError

WHOLE, MAPPED = "0 0 4294967295\n", "0 1000 1\n"
ALL, NONE = "000001ffffffffff", "0000000000000000"


@pytest.fixture
def proc(tmp_path: Path) -> Callable[[str, str], Path]:
    def make(capabilities: str, ids: str) -> Path:
        (tmp_path / "status").write_text(f"Name:\tx\nCapEff:\t{capabilities}\n")
        (tmp_path / "uid_map").write_text(ids)
        return tmp_path

    return make


def refuses() -> object:
    raise DriverError("cannot connect to qemu:///system", details="authentication failed\nmore")


def test_users_have_the_systems_kind_where_libvirt_lets_them(proc: Callable[[str, str], Path]) -> None:
    assert why_no_system(lambda: None, root=False, proc=proc(NONE, WHOLE)) == ""
    assert "authentication failed" in why_no_system(refuses, root=False, proc=proc(NONE, WHOLE))


def test_root_may_start_what_does_not_run_but_cannot_have_a_capability(proc: Callable[[str, str], Path]) -> None:
    null = Path("/dev/null")
    assert why_no_system(refuses, root=True, proc=proc(ALL, WHOLE), tap=null) == ""
    assert "CAP_NET_ADMIN" in why_no_system(refuses, root=True, proc=proc(NONE, WHOLE), tap=null)
    assert "tap" in why_no_system(refuses, root=True, proc=proc(ALL, WHOLE), tap=Path("/nowhere/tun"))


def test_root_of_a_user_namespace_is_somebody_else_outside(proc: Callable[[str, str], Path]) -> None:
    null = Path("/dev/null")
    assert "may not be used" in why_no_system(refuses, root=True, proc=proc(ALL, MAPPED), tap=null)
    assert why_no_system(lambda: None, root=True, proc=proc(ALL, MAPPED), tap=null) == ""


def test_init_makes_a_site_of_ones_own_by_itself_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "PRAGMA_BOOT_ETC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    lines = init.init_site(None, why=lambda: "there are no bridges here", force=True)
    assert lines[0].startswith("there are no bridges here; so this is a site of your own")
    home = tmp_path / ".config/pragma_boot"
    assert user_folder() == home
    settings = load_settings(home)
    assert settings.site.site_ve_driver == "qemu"
    assert settings.qemu
    assert settings.qemu.ports == (22,)
    assert all(address.is_loopback for address in settings.clusters.public_ips)
    assert settings.site.state.root == tmp_path / ".local/state/pragma_boot"
    assert settings.site.repository.cache == tmp_path / ".cache/pragma_boot"
    assert settings.site.repository.catalog == tmp_path / ".local/share/pragma_boot/images/vcdb.txt"
    assert settings.site.repository.catalog.exists()
    again = init.init_site(None, user=True)
    assert "stays as it is" in again[0]
    removed = init.init_site(home, remove=True)
    assert f"removed {home / 'qemu.conf'}" in removed
    assert not (tmp_path / ".local/state/pragma_boot").exists()


def test_a_named_folder_may_be_a_users_site_too(tmp_path: Path) -> None:
    init.init_site(tmp_path / "etc", user=True)
    assert load_settings(tmp_path / "etc").qemu
    assert (tmp_path / "etc/qemu.conf").exists()


def test_a_site_that_is_there_is_not_asked_about(tmp_path: Path) -> None:
    folder = configure(tmp_path / "etc", tmp_path)
    assert "stays as it is" in init.init_site(folder, why=lambda: "nobody asks this")[0]
