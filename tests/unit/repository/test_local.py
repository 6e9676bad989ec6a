import gzip
import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from fakes.repository import DISK, Folder, document
from pragma_boot import files
from pragma_boot.errors import ImageError, ImageNotFoundError, PragmaError, RepositoryError
from pragma_boot.model import DiskFormat, LocalImage, Progress, Role, image_name
from pragma_boot.repository.local import LocalRepository

DEMO = image_name("demo")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def repository(folder: Folder) -> LocalRepository:
    return LocalRepository(folder.settings, folder.locks)


def get(repository: LocalRepository) -> LocalImage:
    return repository.fetch(repository.describe(DEMO))


def refusal(repository: LocalRepository) -> ImageError:
    with pytest.raises(ImageError) as caught:
        get(repository)
    assert caught.value.resolution
    return caught.value


def test_an_unpacked_disk_is_used_where_it_is(folder: Folder, repository: LocalRepository) -> None:
    place = folder.add("demo", disk_img=DISK)
    local = get(repository)
    assert local.frontend == local.compute
    assert (local.frontend.path, local.frontend.size) == (place / "disk.img", len(DISK))
    assert not folder.settings.cache.exists()
    assert not folder.locks.exists()


def test_a_packed_disk_is_assembled_once_for_both_roles(folder: Folder, repository: LocalRepository) -> None:
    place = folder.add_gzip("demo")
    before = sorted((path.name, path.stat().st_mtime_ns) for path in place.iterdir())
    local = get(repository)
    assert local.frontend == local.compute
    assert local.frontend.path.read_bytes() == DISK
    assert local.frontend.format is DiskFormat.RAW
    assert sorted((path.name, path.stat().st_mtime_ns) for path in place.iterdir()) == before


def test_roles_may_be_packed_differently(folder: Folder, repository: LocalRepository) -> None:
    compute = (
        "<compute><disk><source file='cn.img'/></disk>"
        "<file type='splited_gzip'><part>cn.a</part><part>cn.b</part></file></compute>"
    )
    packed = gzip.compress(DISK[::-1], mtime=0)
    folder.add("demo", document(compute=compute), disk_img=DISK, cn_a=packed[:77], cn_b=packed[77:])
    local = get(repository)
    assert local.for_role(Role.FRONTEND).path.parent == folder.root / "demo"
    assert local.for_role(Role.COMPUTE).path.read_bytes() == DISK[::-1]


def test_files_are_also_looked_for_in_the_folder_with_the_images_name(
    folder: Folder, repository: LocalRepository
) -> None:
    place = folder.add("demo", disk_img=DISK)
    shutil.move(place / "demo.xml", folder.root / "elsewhere.xml")
    folder.settings.catalog.write_text("demo,elsewhere.xml\n")
    assert get(repository).frontend.path == place / "disk.img"


def test_a_disk_that_was_unpacked_in_place_needs_no_parts(folder: Folder, repository: LocalRepository) -> None:
    place = folder.add("demo", document("disk.img", "<file type='gzip'><part>disk.img.gz</part></file>"), disk_img=DISK)
    assert get(repository).frontend.path == place / "disk.img"


def test_an_absolute_entry_may_lie_outside_of_the_repository(
    folder: Folder, repository: LocalRepository, tmp_path: Path
) -> None:
    place = shutil.move(folder.add("demo", disk_img=DISK), tmp_path / "far")
    folder.settings.catalog.write_text(f"demo,{place}/demo.xml\n")
    assert get(repository).frontend.path == tmp_path / "far" / "disk.img"


def test_a_changed_original_is_assembled_anew_beside_the_old(folder: Folder, repository: LocalRepository) -> None:
    place = folder.add_gzip("demo")
    old = get(repository).frontend.path
    (place / "disk.img.gz").write_bytes(gzip.compress(DISK + DISK, mtime=0))
    new = get(repository).frontend
    assert (new.path != old, new.size, old.read_bytes()) == (True, 2 * len(DISK), DISK)


def test_prune_removes_the_older_forms_of_an_image(folder: Folder, repository: LocalRepository) -> None:
    place = folder.add_gzip("demo")
    old = get(repository).frontend.path
    (place / "disk.img.gz").write_bytes(gzip.compress(DISK + DISK, mtime=0))
    new = get(repository).frontend.path
    assert repository.prune([old, Path("/elsewhere")]) == ()
    assert repository.prune([]) == (old,)
    assert new.exists()


def test_prune_keeps_the_disk_of_an_image_that_is_broken_just_now(folder: Folder, repository: LocalRepository) -> None:
    place = folder.add_gzip("demo")
    disk = get(repository).frontend.path
    (place / "disk.img.gz").rename(place / "away")
    assert repository.prune([]) == ()
    assert disk.exists()


def test_prune_leaves_strange_files_in_the_cache_alone(folder: Folder, repository: LocalRepository) -> None:
    strange = folder.settings.cache / "kernels" / f"{files.UNFINISHED}x"
    strange.parent.mkdir(parents=True)
    strange.touch()
    assert repository.prune([]) == ()
    assert strange.exists()


def test_every_missing_file_is_named(folder: Folder, repository: LocalRepository) -> None:
    parts = "<file type='splited'><part>a</part><part>b</part><part>c</part></file>"
    folder.add("demo", document(extra=parts), b=DISK)
    assert (refusal(repository).details or "").splitlines() == [f"{folder.root}/demo/a", f"{folder.root}/demo/c"]


def test_links_that_lead_out_of_the_repository_are_refused(
    folder: Folder, repository: LocalRepository, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(DISK)
    place = folder.add("demo")
    (place / "disk.img").symlink_to(tmp_path / "secret")
    assert "outside of the repository" in (refusal(repository).details or "")


def test_a_link_inside_of_the_repository_is_followed(folder: Folder, repository: LocalRepository) -> None:
    folder.add("other", disk_img=DISK)
    place = folder.add("demo")
    (place / "disk.img").symlink_to("../other/disk.img")
    assert get(repository).frontend.path == folder.root / "other" / "disk.img"


@pytest.mark.parametrize(
    ("source", "data", "why"),
    [
        ("disk.img", b"", "empty"),
        ("disk.img", gzip.compress(DISK, mtime=0), "gzip"),
        ("disk.img.gz", gzip.compress(DISK, mtime=0)[:-3], "cut"),
        ("disk.img.gz", DISK, "no gzip file"),
        ("disk.img.gz", gzip.compress(b"x" * 700, mtime=0), "no multiple of 512"),
        ("disk.img.gz", gzip.compress(b"", mtime=0), "empty"),
    ],
)
def test_bad_disks_are_refused_and_nothing_is_left(
    folder: Folder, repository: LocalRepository, source: str, data: bytes, why: str
) -> None:
    folder.add("demo", document(source), **{source.replace(".", "_"): data})
    error = refusal(repository)
    assert why in (error.details or "")
    assert str(folder.root) in error.message
    assert [path for path in folder.settings.cache.rglob("*") if path.is_file()] == []


def test_a_volume_is_refused_by_name(folder: Folder, repository: LocalRepository) -> None:
    folder.add("demo", document().replace("file='disk.img'", "volume='v' pool='p'"))
    assert "is a volume (p/v)" in refusal(repository).message


def test_an_unknown_name_whose_line_is_bad_says_why(folder: Folder, repository: LocalRepository) -> None:
    folder.settings.catalog.write_text("demo,demo/none.xml\n")
    with pytest.raises(ImageNotFoundError) as caught:
        repository.describe(DEMO)
    assert "none.xml: No such file" in (caught.value.details or "")


def test_without_a_catalog_every_question_is_one_plain_error(folder: Folder, repository: LocalRepository) -> None:
    folder.settings.catalog.unlink()
    for question in (repository.catalog, repository.sync, lambda: repository.describe(DEMO)):
        with pytest.raises(RepositoryError, match="catalog"):
            question()


def test_sync_tells_the_faults_of_a_broken_document(folder: Folder, repository: LocalRepository) -> None:
    folder.add("bad", b"<vc><frontend/>")
    folder.add("demo", disk_img=DISK)
    report = repository.sync()
    assert [(one.name, one.outcome) for one in report.images] == [("bad", "failed"), ("demo", "fresh")]
    assert "bad.xml:1: not well-formed XML" in report.failed[0].reason


def test_whoever_waits_is_told_and_finds_the_work_done(folder: Folder, repository: LocalRepository) -> None:
    folder.add_gzip("demo")
    image = repository.describe(DEMO)
    context = multiprocessing.get_context("fork")
    held, results = context.Event(), context.Queue()

    def hold() -> None:
        with files.lock(folder.locks / "image-demo.lock"):
            held.set()
            told.wait(30)

    def wait() -> None:
        def sink(report: Progress) -> None:
            results.put(report.text)
            told.set()

        repository.fetch(image, sink)

    told = context.Event()
    holder, waiter = context.Process(target=hold), context.Process(target=wait)
    holder.start()
    assert held.wait(30)
    waiter.start()
    assert results.get(timeout=30) == "another command is unpacking it"
    holder.join(30)
    waiter.join(30)
    assert (holder.exitcode, waiter.exitcode) == (0, 0)


def test_many_commands_at_once_assemble_one_disk(folder: Folder, repository: LocalRepository) -> None:
    folder.add_gzip("demo", os.urandom(1 << 20))
    image = repository.describe(DEMO)
    context = multiprocessing.get_context("fork")
    times = context.Queue()

    def work() -> None:
        times.put(repository.fetch(image).frontend.path.stat().st_mtime_ns)

    commands = [context.Process(target=work) for _ in range(6)]
    for command in commands:
        command.start()
    seen = {times.get(timeout=60) for _ in commands}
    for command in commands:
        command.join(60)
    assert len(seen) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    ("closed", "what"),
    [
        ("repository/vcdb.txt", "Permission denied"),
        ("repository/demo", "Permission denied"),
        ("repository/demo/demo.xml", "Permission denied"),
        ("repository/demo/disk.img.gz", "Permission denied"),
        ("cache", "Permission denied"),
    ],
)
def test_without_permission_each_step_is_a_plain_error(closed: str, what: str) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def ask() -> None:
        os.setuid(65534)
        try:
            get(repository)
        except PragmaError as error:
            answers.put((error.details, error.resolution))
        else:
            answers.put(("", ""))

    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o777)
        folder = Folder(Path(name))
        folder.add_gzip("demo")
        folder.settings.cache.mkdir()
        folder.settings.cache.chmod(0o777)
        (Path(name) / closed).chmod(0)
        repository = LocalRepository(folder.settings, folder.locks)
        asker = context.Process(target=ask)
        asker.start()
        details, resolution = answers.get(timeout=30)
        asker.join(30)
    assert what in details
    assert resolution
