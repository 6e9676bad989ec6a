import errno
import gzip
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.repository import DISK, MIB
from pragma_boot.errors import ImageError, PragmaError
from pragma_boot.files import UNFINISHED
from pragma_boot.model import Packing
from pragma_boot.repository.assemble import Recipe
from pragma_boot.repository.cache import Cache


def accept(_: Path) -> None:
    """Takes every disk."""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    part = tmp_path / "disk.gz"
    part.write_bytes(gzip.compress(DISK))
    return Recipe(Packing.GZIP, (part,))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache" / "demo")


def listing(cache_folder: Path) -> list[str]:
    return sorted(path.suffix or path.name for path in cache_folder.iterdir())


def test_a_made_disk_is_found_and_read_only(cache: Cache, recipe: Recipe) -> None:
    assert cache.find(recipe) is None
    made = cache.make(recipe, "demo", accept)
    assert cache.find(recipe) == made
    assert made.read_bytes() == DISK
    assert made.stat().st_mode & 0o777 == 0o444
    assert listing(made.parent) == [".disk", ".json"]


def test_originals_are_never_touched(cache: Cache, recipe: Recipe) -> None:
    before = recipe.parts[0].stat().st_mtime_ns, recipe.parts[0].read_bytes()
    cache.make(recipe, "demo", accept)
    assert before == (recipe.parts[0].stat().st_mtime_ns, recipe.parts[0].read_bytes())


def test_a_changed_original_makes_another_file_and_leaves_the_first(cache: Cache, recipe: Recipe) -> None:
    first = cache.make(recipe, "demo", accept)
    recipe.parts[0].write_bytes(gzip.compress(DISK + bytes(512)))
    assert cache.find(recipe) is None
    second = cache.make(recipe, "demo", accept)
    assert first != second
    assert first.read_bytes() == DISK
    assert cache.prune([second]) == (first,)
    assert listing(second.parent) == [".disk", ".json"]


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [(".disk", "remove"), (".disk", "cut"), (".disk", "touch"), (".json", "remove"), (".json", "cut")],
)
def test_a_disk_that_is_not_as_it_was_made_is_not_right(cache: Cache, recipe: Recipe, suffix: str, damage: str) -> None:
    made = cache.make(recipe, "demo", accept)
    file = made.with_suffix(suffix)
    if damage == "remove":
        file.unlink()
    elif damage == "cut":
        file.chmod(0o644)
        os.truncate(file, 10)
    else:
        os.utime(file, ns=(0, 0))
    assert cache.find(recipe) is None
    assert cache.make(recipe, "demo", accept) == made
    assert cache.find(recipe) == made


def test_a_refused_disk_leaves_nothing(cache: Cache, recipe: Recipe, tmp_path: Path) -> None:
    def refuse(_: Path) -> None:
        raise ImageError("no")

    with pytest.raises(ImageError, match="no"):
        cache.make(recipe, "demo", refuse)
    assert listing(tmp_path / "cache" / "demo") == []


def test_an_original_that_changes_meanwhile_is_refused(cache: Cache, recipe: Recipe) -> None:
    def change(_: object) -> None:
        os.utime(recipe.parts[0], ns=(0, 0))

    with pytest.raises(ImageError, match="changed while it was read"):
        cache.make(recipe, "demo", accept, change)
    assert cache.find(recipe) is None


def test_leftovers_of_a_killed_command_are_swept(cache: Cache, recipe: Recipe, tmp_path: Path) -> None:
    leftover = tmp_path / "cache" / "demo" / f"{UNFINISHED}x.disk.abc"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    cache.make(recipe, "demo", accept)
    assert not leftover.exists()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = (
        os.geteuid() == 0
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "pragma-test", folder], check=False, capture_output=True
        ).returncode
        == 0
    )
    if not mounted:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_one_error_with_its_mend_and_nothing_is_left(small: Path, tmp_path: Path) -> None:
    part = tmp_path / "disk.gz"
    part.write_bytes(gzip.compress(b"much the same " * MIB))
    with pytest.raises(PragmaError) as caught:
        Cache(small / "demo").make(Recipe(Packing.GZIP, (part,)), "demo", accept)
    assert caught.value.details == os.strerror(errno.ENOSPC)
    assert "free some space" in (caught.value.resolution or "")
    assert listing(small / "demo") == []


def test_too_little_room_is_told_before_the_work(small: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    with part.open("wb") as file:
        file.write(os.urandom(3 * MIB))
        os.fsync(file)  # so that the file system knows what it takes
    with pytest.raises(PragmaError, match="no room to unpack image demo") as caught:
        Cache(small / "demo").make(Recipe(Packing.SPLIT, (part,)), "demo", accept)
    assert "2 MiB free" in (caught.value.details or "")
