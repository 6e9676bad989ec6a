from dataclasses import replace
from pathlib import Path

import pytest

from fakes.repository import Folder
from pragma_boot.errors import ConfigError
from pragma_boot.repository.clonezilla.repository import ClonezillaRepository
from pragma_boot.repository.http import HttpRepository
from pragma_boot.repository.local import LocalRepository
from pragma_boot.repository.registry import open_repository


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_local_is_the_class_that_there_is(folder: Folder) -> None:
    assert isinstance(open_repository(folder.settings, folder.locks), LocalRepository)


def test_remote_classes_open_without_a_request(folder: Folder, tmp_path: Path) -> None:
    others = {"repository_url": "http://127.0.0.1:1", "keypair_id": "K", "private_key_file": tmp_path / "none.pem"}
    for name in ("http", "cloudfront"):
        settings = replace(folder.settings, repository_class=name, others=others)
        assert isinstance(open_repository(settings, folder.locks), HttpRepository)


def test_clonezilla_opens_without_a_request(folder: Folder) -> None:
    settings = replace(folder.settings, repository_class="clonezilla", others={"repository_url": "http://127.0.0.1:1"})
    assert isinstance(open_repository(settings, folder.locks), ClonezillaRepository)


@pytest.mark.parametrize(("name", "hint"), [("locall", "did you mean 'local'"), ("ftp", "one of local, http")])
def test_an_unknown_class_names_the_nearest(folder: Folder, name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_repository(replace(folder.settings, repository_class=name), folder.locks)
    assert hint in (caught.value.details or "")
