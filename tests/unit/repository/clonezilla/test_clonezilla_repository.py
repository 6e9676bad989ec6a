"""What only class clonezilla does: filters, documents, changed images, offline, cziso."""

from __future__ import annotations

import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.clonezilla import SECTOR, iso_of, run, small_disk, small_image, write_files
from fakes.drive import FakeDrive, Refusal
from fakes.repository import DISK, document
from fakes.saved_images import SMALL, DrivePublisher, FolderPublisher, WebPublisher
from fakes.web import web_server
from pragma_boot import files
from pragma_boot.errors import ImageError, PragmaError, RepositoryError
from pragma_boot.model import DiskFormat, FileSource, Role, image_name
from pragma_boot.repository.clonezilla.repository import ClonezillaRepository
from pragma_boot.repository.patience import Patience
from pragma_boot.run import which

DEMO = image_name("demo")
OTHER = small_disk(random.Random(1).randbytes(len(DISK)))
QUICK = Patience(attempts=3, connect=20, read=20, sleep=lambda _: None)


@pytest.fixture
def publisher(tmp_path: Path) -> FolderPublisher:
    return FolderPublisher(tmp_path)


def repository(publisher: FolderPublisher | DrivePublisher | WebPublisher, **others: object) -> ClonezillaRepository:
    settings = replace(publisher.settings, others={**publisher.settings.others, **others})
    return ClonezillaRepository(settings, settings.cache.parent / "locks", QUICK)


def raw(path: Path) -> bytes:
    run("qemu-img", "convert", "-O", "raw", path, path.with_suffix(".converted"))
    return path.with_suffix(".converted").read_bytes()


# ------------------------------------------------------------------------------------------------- documents and files


def test_the_disk_the_document_and_the_catalog_are_written(publisher: FolderPublisher) -> None:
    publisher.offer("demo")
    made = repository(publisher)
    local = made.fetch(made.describe(DEMO))
    here = publisher.settings.directory
    assert publisher.settings.catalog.read_text() == "demo,demo/demo-local.xml\n"
    assert (local.frontend.path, local.frontend.format) == (here / "demo/demo-frontend.qcow2", DiskFormat.QCOW2)
    assert local.compute == local.frontend
    assert raw(local.frontend.path) == SMALL
    text = (here / "demo/demo-local.xml").read_text()
    assert '<driver name="qemu" type="qcow2"/>' in text
    assert '<source file="demo-frontend.qcow2"/>' in text
    assert "any.img" not in text
    assert oct(local.frontend.path.stat().st_mode)[-3:] == "444"


def test_both_roles_have_their_disks(publisher: FolderPublisher) -> None:
    compute = "<compute><domain><devices><disk type='file'><source file='x'/></disk></devices></domain></compute>"
    folder = publisher.offer("demo", xml=document("any.img", compute=compute))
    write_files(folder / "demo-compute", small_image(OTHER))
    made = repository(publisher)
    local = made.fetch(made.describe(DEMO))
    assert [raw(local.for_role(role).path) for role in Role] == [SMALL, OTHER]


def test_a_compute_disk_needs_no_compute_in_the_document(publisher: FolderPublisher) -> None:
    folder = publisher.offer("demo")
    write_files(folder / "demo-compute", small_image(OTHER))
    made = repository(publisher)
    assert raw(made.fetch(made.describe(DEMO)).compute.path) == OTHER


def test_a_compute_without_a_disk_shares_the_frontends(publisher: FolderPublisher) -> None:
    compute = "<compute><domain><devices><disk type='file'><source file='x'/></disk></devices></domain></compute>"
    publisher.offer("demo", xml=document("any.img", compute=compute))
    made = repository(publisher)
    local = made.fetch(made.describe(DEMO))
    assert local.compute == local.frontend


def test_a_document_with_faults_is_told_before_anything_is_restored(publisher: FolderPublisher) -> None:
    publisher.offer("demo", xml=document("any.img", arch="sparc"))
    report = repository(publisher).sync()
    assert "sparc" in report.failed[0].reason
    assert not list(publisher.settings.directory.glob("*/*.qcow2"))


@pytest.mark.parametrize("page", ["<html><body>Sorry</p></html>", "<!DOCTYPE a><vc/>", "x" * 100, ""])
def test_a_page_in_place_of_the_document_is_refused(page: str, publisher: FolderPublisher) -> None:
    folder = publisher.offer("demo")
    (folder / "demo.xml").write_text(page)
    report = repository(publisher).sync()
    assert [one.outcome for one in report.images] == ["failed"]
    assert not publisher.settings.catalog.exists()


def test_a_failed_restore_leaves_nothing_but_what_was(publisher: FolderPublisher) -> None:
    folder = publisher.offer("demo")
    image = next((folder / "demo-frontend").glob("*.gz"))
    image.write_bytes(image.read_bytes()[:-100])
    (made := repository(publisher)).sync()
    assert [path.name for path in publisher.settings.directory.rglob("*") if path.is_file()] == []
    with pytest.raises(ImageError, match="vda1"):
        made.fetch(made.describe(DEMO))


# ------------------------------------------------------------------------------------------------------ what is offered


@pytest.mark.parametrize(
    ("include", "exclude", "names"),
    [
        ((), (), ["centos", "rocks-6", "rocks-7", "test-rocks"]),
        (("rocks",), (), ["rocks-6", "rocks-7"]),
        ((".*rocks",), ("rocks-6",), ["rocks-7", "test-rocks"]),
        (("rocks", "cent"), ("rocks-7", "c"), ["rocks-6"]),
        ((), (".*-6$",), ["centos", "rocks-7", "test-rocks"]),
    ],
)
def test_names_are_matched_at_their_start_and_exclusion_wins(
    include: tuple[str, ...], exclude: tuple[str, ...], names: list[str], publisher: FolderPublisher
) -> None:
    for name in ("centos", "rocks-6", "rocks-7", "test-rocks"):
        publisher.offer(name)
    made = repository(publisher, include_images=include, exclude_images=exclude)
    assert [entry.name for entry in made.catalog().entries] == names


def test_what_is_missing_is_named(publisher: FolderPublisher) -> None:
    folder = publisher.offer("demo")
    (folder / "demo-frontend").rename(folder / "demo-fronted")
    (made := repository(publisher)).describe(DEMO)
    with pytest.raises(ImageError, match="is not complete") as caught:
        made.fetch(made.describe(DEMO))
    assert "demo-fronted" in (caught.value.details or "")


def test_names_that_lead_elsewhere_are_never_used(tmp_path: Path) -> None:
    drive = FakeDrive()
    with drive.running() as url:
        published = DrivePublisher(drive, url, tmp_path)
        for name in ("../evil", "a/b", ".hidden", "a\nb", ""):
            published.offer(name) if name == "a" else drive.folder(name)
        folder = published.offer("demo")
        drive.file("../../frontend.iso", b"x", folder, modified="2027-01-01")
        made = repository(published)
        assert [entry.name for entry in made.catalog().entries] == ["demo"]
        assert made.sync().failed == ()


def test_of_two_isos_the_newer_is_taken(tmp_path: Path) -> None:
    drive = FakeDrive()
    with drive.running() as url:
        published = DrivePublisher(drive, url, tmp_path)
        folder = published.offer("demo")
        newer = iso_of(small_image(OTHER), tmp_path)
        drive.file("new-frontend.iso", newer, folder, modified="2026-06-01T00:00:00.000Z")
        made = repository(published)
        assert raw(made.fetch(made.describe(DEMO)).frontend.path) == OTHER


def test_an_empty_repository_is_an_error_of_sync(publisher: FolderPublisher) -> None:
    with pytest.raises(RepositoryError, match="offers no image"):
        repository(publisher).sync()


@pytest.mark.parametrize("url", ["", "some/where", "ftp://host/x", "abc"])
def test_a_wrong_place_is_told(url: str, publisher: FolderPublisher) -> None:
    with pytest.raises(RepositoryError) as caught:
        repository(publisher, repository_url=url).catalog()
    assert "repository_url" in (caught.value.resolution or "")


def test_drive_without_a_key_asks_for_one(publisher: FolderPublisher) -> None:
    made = repository(publisher, repository_url="0B3cw7uKWQ3fXabc", google_api_endpoint="http://127.0.0.1:1")
    with pytest.raises(RepositoryError, match="needs an API key"):
        made.catalog()


# -------------------------------------------------------------------------------------------------- changes and offline


def test_a_changed_disk_gets_another_name_and_clusters_keep_theirs(publisher: FolderPublisher) -> None:
    publisher.offer("demo")
    made = repository(publisher)
    first = made.fetch(made.describe(DEMO)).frontend.path
    assert [one.outcome for one in made.sync().images] == ["fresh"]
    publisher.offer("demo", OTHER)
    assert [one.outcome for one in made.sync().images] == ["fetched"]
    second = made.fetch(made.describe(DEMO)).frontend.path
    assert second != first
    assert (raw(first), raw(second)) == (SMALL, OTHER)
    assert made.prune([first]) == ()
    assert made.prune([]) == (first,)
    assert raw(second) == OTHER


def test_a_changed_document_restores_nothing(publisher: FolderPublisher) -> None:
    publisher.offer("demo")
    made = repository(publisher)
    made.sync()
    disk = publisher.settings.directory / "demo/demo-frontend.qcow2"
    before = disk.stat()
    (publisher.folder / "demo/demo.xml").write_text(
        document("any.img").replace("<frontend>", "<frontend memory='1048576'>")
    )
    assert [one.outcome for one in made.sync().images] == ["fetched"]
    assert disk.stat() == before
    assert made.describe(DEMO).frontend.memory_mib == 1024


def test_a_disk_that_somebody_changed_is_restored_beside_it(publisher: FolderPublisher) -> None:
    publisher.offer("demo")
    made = repository(publisher)
    disk = made.fetch(made.describe(DEMO)).frontend.path
    disk.chmod(0o644)
    with disk.open("ab") as file:
        file.write(b"x")
    assert made.cached(made.describe(DEMO)) is None
    again = made.fetch(made.describe(DEMO)).frontend.path
    assert again != disk
    assert raw(again) == SMALL


def test_what_a_killed_command_left_is_removed(publisher: FolderPublisher) -> None:
    publisher.offer("demo")
    left = files.make_folder(publisher.settings.directory / "demo") / f"{files.UNFINISHED}demo-frontend.qcow2.x"
    left.write_bytes(b"half")
    assert repository(publisher).sync().failed == ()
    assert not left.exists()


@pytest.mark.skipif(os.geteuid() != 0 or not which("mount"), reason="mounts a small file system")
def test_a_disk_that_runs_full_is_one_error_and_left_empty(publisher: FolderPublisher) -> None:
    """Half of the disk fits, and what is packed would: that it does not is seen while it is written."""
    publisher.offer("demo", small_disk(b"much the same ".ljust(SECTOR) * 16_384))
    here = files.make_folder(publisher.settings.directory)
    run("mount", "-t", "tmpfs", "-o", "size=4m", "pragma-test", here)
    try:
        (failed,) = repository(publisher).sync().failed
        assert "No space left on device" in failed.reason
        assert not [path for path in here.rglob("*") if path.is_file()]
    finally:
        run("umount", here)


def test_two_at_once_restore_once(publisher: FolderPublisher) -> None:
    publisher.offer("demo")
    image = repository(publisher).describe(DEMO)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: repository(publisher).fetch(image), range(4)))
    assert len({one.frontend for one in found}) == 1
    assert len(list((publisher.settings.directory / "demo").glob("*.qcow2"))) == 1


def test_a_file_that_is_not_ours_is_never_replaced(publisher: FolderPublisher) -> None:
    publisher.offer("demo")
    made = repository(publisher)
    theirs = files.make_folder(publisher.settings.directory / "demo") / "demo-frontend.qcow2"
    theirs.write_bytes(b"precious")
    assert raw(made.fetch(made.describe(DEMO)).frontend.path) == SMALL
    assert theirs.read_bytes() == b"precious"


def test_without_the_server_restored_images_boot_and_list(tmp_path: Path) -> None:
    with web_server() as server:
        published = WebPublisher(server, tmp_path)
        published.offer("demo")
        made = repository(published)
        local = made.fetch(made.describe(DEMO))
    offline = repository(published)
    catalog = offline.catalog()
    assert [entry.name for entry in catalog.entries] == ["demo"]
    assert "only the images that are here" in catalog.warnings[0]
    again = offline.cached(offline.describe(DEMO))
    assert again is not None
    assert again.frontend == local.frontend
    for method in (offline.sync, lambda: offline.prune([])):
        with pytest.raises(RepositoryError):
            method()


def test_of_an_iso_on_a_server_only_the_image_is_read(tmp_path: Path) -> None:
    drive = FakeDrive()
    with drive.running() as url:
        published = DrivePublisher(drive, url, tmp_path)
        folder = published.offer("demo")
        room = tmp_path / "room"
        saved = write_files(room / "image", small_image(SMALL))
        (room / "live").write_bytes(random.Random(3).randbytes(8_000_000))
        argv = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", room / "big.iso", "-graft-points"]
        run(*argv, f"/live/filesystem.squashfs={room / 'live'}", f"/home/partimag/x/={saved}/")
        drive.file("big-frontend.iso", (room / "big.iso").read_bytes(), folder, modified="2027")
        made = repository(published)
        assert raw(made.fetch(made.describe(DEMO)).frontend.path) == SMALL
        sizes = [
            int(last) - int(first) + 1 for _, _, asked in drive.asked if asked for first, last in [asked[6:].split("-")]
        ]
        assert sum(sizes) < 1_000_000


def test_a_server_that_fails_at_times_is_borne(tmp_path: Path) -> None:
    drive = FakeDrive()
    with drive.running() as url:
        published = DrivePublisher(drive, url, tmp_path)
        published.offer("demo")
        made = repository(published)
        image = made.describe(DEMO)
        drive.refusals = [
            Refusal(403, "userRateLimitExceeded"),
            Refusal(),
            Refusal(500, "backendError"),
            Refusal(cut=0),
        ]
        assert raw(made.fetch(image).frontend.path) == SMALL


def test_a_kept_iso_is_a_verified_whole(tmp_path: Path) -> None:
    drive = FakeDrive()
    with drive.running() as url:
        published = DrivePublisher(drive, url, tmp_path)
        published.offer("demo")
        made = repository(published, keep_isos=True)
        assert raw(made.fetch(made.describe(DEMO)).frontend.path) == SMALL
        iso = next(file for file in drive.files.values() if file.name.endswith(".iso"))
        assert (published.settings.directory / "demo" / iso.name).read_bytes() == iso.data


def test_sources_are_files_beside_the_document(publisher: FolderPublisher) -> None:
    publisher.offer("demo")
    source = repository(publisher).describe(DEMO).frontend.source
    assert isinstance(source, FileSource)
    assert source.file == "demo-frontend.qcow2"


# --------------------------------------------------------------------------------------------------------------- cziso

CZISO = """#!{python}
import pathlib, shutil, sys
command, iso, target, option = sys.argv[1:]
assert (command, option) == ("restore", "overwrite=true") and open(iso, "rb").read(32774)[-5:] == b"CD001"
path = pathlib.Path(target.removeprefix("file://"))
if {fails}:
    sys.exit("cziso: no virtual machine")
path.write_bytes(b"by cziso".ljust(1024, b"."))
"""


@pytest.mark.parametrize("fails", [False, True])
def test_cziso_restores_where_the_site_wants_it(fails: bool, tmp_path: Path) -> None:
    program = tmp_path / "cziso"
    program.write_text(CZISO.format(python=sys.executable, fails=fails))
    program.chmod(0o755)
    drive = FakeDrive()
    with drive.running() as url:
        published = DrivePublisher(drive, url, tmp_path)
        published.offer("demo")
        made = repository(published, cziso=program, local_image_url="file://$repository_dir/$imagename.img")
        folder = published.settings.directory / "demo"
        if fails:
            with pytest.raises(PragmaError) as caught:
                made.fetch(made.describe(DEMO))
            assert "no virtual machine" in (caught.value.details or "")
        else:
            disk = made.fetch(made.describe(DEMO)).frontend.path
            assert disk == folder / "demo-frontend.img"
            assert disk.read_bytes().startswith(b"by cziso")
        assert not [path for path in folder.glob("*") if path.suffix == ".iso" or files.UNFINISHED in path.name]
