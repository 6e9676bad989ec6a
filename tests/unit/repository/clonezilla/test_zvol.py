"""A disk restored to a volume of a NAS, over ssh."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fakes.clonezilla import small_disk
from fakes.nas import FakeNas
from fakes.saved_images import FolderPublisher
from pragma_boot.errors import CommandError, PragmaError, RepositoryError
from pragma_boot.model import VolumeSource, image_name
from pragma_boot.repository.clonezilla.place import VolumePlace
from pragma_boot.repository.clonezilla.repository import ClonezillaRepository
from pragma_boot.repository.clonezilla.zvol import Nas, new_volume

MIB = 1024 * 1024
DEMO = image_name("demo")
PLACE = VolumePlace("nas", "tank/vms", "demo-vol")
DISK = small_disk(random.Random(1).randbytes(300 * 512))


@pytest.fixture
def nas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNas:
    fake = FakeNas(tmp_path / "nas")
    monkeypatch.setenv("PATH", f"{fake.bin}:/usr/bin:/bin")
    return fake


def site(tmp_path: Path) -> tuple[FolderPublisher, ClonezillaRepository]:
    publisher = FolderPublisher(tmp_path, local_image_url="zfs://nas/tank/vms/$imagename-vol")
    return publisher, ClonezillaRepository(publisher.settings, tmp_path / "locks")


def test_an_image_becomes_a_volume_that_its_document_names(nas: FakeNas, tmp_path: Path) -> None:
    publisher, repository = site(tmp_path)
    publisher.offer("demo", DISK)
    local = repository.fetch(repository.describe(DEMO))
    assert repository.describe(DEMO).frontend.source == VolumeSource("tank/vms", "demo-frontend-vol", "nas")
    assert nas.volumes() == {"tank/vms/demo-frontend-vol": DISK.ljust(MIB, b"\0")}
    assert (local.frontend.path, local.frontend.size) == (Path("/nas/tank/vms/demo-frontend-vol"), MIB)
    assert local.frontend.volume == VolumeSource("tank/vms", "demo-frontend-vol", "nas")
    again = repository.cached(repository.describe(DEMO))
    assert again is not None
    assert (again.frontend, again.compute) == (local.frontend, local.compute)


def test_a_changed_image_becomes_another_volume_and_prune_takes_the_older(nas: FakeNas, tmp_path: Path) -> None:
    publisher, repository = site(tmp_path)
    publisher.offer("demo", DISK)
    first = repository.fetch(repository.describe(DEMO)).frontend.path
    other = small_disk(random.Random(2).randbytes(200 * 512))
    publisher.offer("demo", other)
    assert [one.outcome for one in repository.sync().images] == ["fetched"]
    assert sorted(nas.volumes().values()) == sorted([DISK.ljust(MIB, b"\0"), other.ljust(MIB, b"\0")])
    assert repository.prune([first]) == ()
    (nas.root / "busy").touch()
    assert repository.prune([]) == ()
    (nas.root / "busy").unlink()
    assert repository.prune([]) == (first,)
    assert list(nas.volumes().values()) == [other.ljust(MIB, b"\0")]


def test_far_places_are_sought_and_near_ones_filled_with_zeros(nas: FakeNas) -> None:
    size = 300 * MIB
    parts = {0: b"first", 3 * MIB: b"near", 200 * MIB: b"far", 100 * MIB: b"back"}
    with new_volume(Nas("nas"), PLACE, size - 5) as target:
        for offset, data in parts.items():
            target.write(offset, memoryview(data))
        target.finish()
    (volume,) = nas.volumes().values()
    assert len(volume) == size
    expected = bytearray(size)
    for offset, data in parts.items():
        expected[offset : offset + len(data)] = data
    assert volume == expected
    assert sum(" dd " in line for line in nas.asked()) == 3


@pytest.mark.parametrize("fault", ["full", "down"])
def test_a_failing_nas_is_told_and_nothing_is_left(fault: str, nas: FakeNas, tmp_path: Path) -> None:
    publisher, repository = site(tmp_path)
    publisher.offer("demo", DISK)
    image = repository.describe(DEMO)
    (nas.root / fault).touch()
    with pytest.raises(PragmaError) as caught:
        repository.fetch(image)
    assert isinstance(caught.value, CommandError)
    assert {"full": "No space left", "down": "No route to host"}[fault] in (caught.value.details or "")
    assert caught.value.resolution
    assert nas.volumes() == {}


def test_a_volume_that_somebody_else_made_is_never_taken(nas: FakeNas) -> None:
    with new_volume(Nas("nas"), PLACE, MIB) as target:
        target.finish()
    with pytest.raises(RepositoryError, match="is on nas already"), new_volume(Nas("nas"), PLACE, MIB):
        pass


def test_what_a_killed_command_left_is_removed(nas: FakeNas) -> None:
    Nas("nas").run("zfs", "create", "-s", "-V", str(MIB), "tank/vms/demo-vol.unfinished-77")
    Nas("nas").run("zfs", "create", "-s", "-V", str(MIB), "tank/vms/other-vol")
    with new_volume(Nas("nas"), PLACE, MIB) as target:
        target.finish()
    assert sorted(nas.volumes()) == ["tank/vms/demo-vol", "tank/vms/other-vol"]


def test_words_for_the_nas_are_quoted() -> None:
    argv = Nas("nas").argv("zfs", "destroy", "tank/a b;rm -rf /")
    assert argv[-2:] == ["nas", "zfs destroy 'tank/a b;rm -rf /'"]
    assert argv[-3] == "--"
