"""Where the keys of a cloud may stand, and who may read them."""

from pathlib import Path

import pytest

from pragma_boot.config.validate import load_settings
from pragma_boot.errors import ConfigError

SITE = """\
site_ve_driver = "cloudstack"
repository_settings = {"repository_class": "local", "repository_dir": "/images"}
"""
URL = 'baseurl = "https://cloud.example.org/client/api?"\n'
HOME = {"HOME": "/home/user"}


def write(etc: Path, text: str, mode: int = 0o600) -> Path:
    (etc / "site_conf.conf").write_text(SITE)
    (etc / "cloudstack.conf").write_text(URL + text)
    (etc / "cloudstack.conf").chmod(mode)
    return etc


def test_the_environments_keys_win(tmp_path: Path) -> None:
    write(tmp_path, 'apikey = "file-key"\nsecretkey = "file-secret"\n')
    environ = HOME | {"CLOUDSTACK_KEY": "env-key", "CLOUDSTACK_SECRET": "env-secret"}
    found = load_settings(tmp_path, environ).cloudstack
    assert found
    assert (found.apikey, found.secretkey) == ("env-key", "env-secret")
    found = load_settings(tmp_path, HOME).cloudstack
    assert found
    assert (found.apikey, found.secretkey) == ("file-key", "file-secret")


def test_a_file_of_its_own_may_hold_them(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("\nthe-key\n  the-secret\n")
    keys.chmod(0o600)
    write(tmp_path, f'key_file = "{keys}"\n', 0o644)
    found = load_settings(tmp_path, HOME).cloudstack
    assert found
    assert (found.apikey, found.secretkey) == ("the-key", "the-secret")
    assert "the-secret" not in repr(found)


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        ("key\nsecret\n", 0o640, "others than its owner may read it"),
        ("key\n", 0o600, "has 1 lines, not two"),
        (None, 0, "No such file"),
    ],
)
def test_a_file_that_is_not_right_is_refused(tmp_path: Path, content: str | None, mode: int, told: str) -> None:
    keys = tmp_path / "keys"
    if content is not None:
        keys.write_text(content)
        keys.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, f'key_file = "{keys}"\n'), HOME)
    assert told in (caught.value.details or "")


def test_no_keys_at_all_are_a_fault_with_its_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, ""), HOME)
    assert "CLOUDSTACK_SECRET in the environment" in (caught.value.details or "")


def test_a_configuration_that_others_can_read_is_told(tmp_path: Path, logged: list[str]) -> None:
    text = 'apikey = "file-key"\nsecretkey = "file-secret"\n'
    load_settings(write(tmp_path, text, 0o600), HOME)
    assert not any("others can read" in line for line in logged)
    load_settings(write(tmp_path, text, 0o644), HOME)
    assert any("others can read" in line for line in logged)
    assert not any("file-secret" in line for line in logged)
