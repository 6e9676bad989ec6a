import gzip
import hashlib
import json
import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from fakes.publisher import TOP, Publisher
from fakes.repository import DISK, document
from fakes.web import Fault, WebServer
from pragma_boot.errors import ImageError, ImageNotFoundError, PragmaError, RepositoryError
from pragma_boot.files import UNFINISHED
from pragma_boot.model import DiskFormat, LocalImage, Progress, Role, image_name
from pragma_boot.repository.http import HttpRepository
from pragma_boot.repository.patience import StatusError, TransientError
from pragma_boot.repository.web import Web
from pragma_boot.run import run, which

DEMO = image_name("demo")


@pytest.fixture
def publisher(server: WebServer, tmp_path: Path) -> Publisher:
    return Publisher(server, tmp_path)


@pytest.fixture
def repository(publisher: Publisher, web: Web) -> HttpRepository:
    return HttpRepository(publisher.settings, publisher.locks, web)


def get(repository: HttpRepository) -> LocalImage:
    return repository.fetch(repository.describe(DEMO))


def outcomes(repository: HttpRepository, *, dry_run: bool = False) -> list[str]:
    return [one.outcome for one in repository.sync(dry_run=dry_run).images]


# ------------------------------------------------------------------------------------------------------- what is here


def test_what_is_here_needs_no_server(publisher: Publisher, repository: HttpRepository) -> None:
    publisher.offer("demo")
    first = get(repository)
    asked = len(publisher.server.asked)
    assert get(repository) == first
    assert len(publisher.server.asked) == asked


def test_a_catalog_that_cannot_be_refreshed_tells_its_age(publisher: Publisher, repository: HttpRepository) -> None:
    publisher.offer("demo")
    repository.catalog()
    state = publisher.settings.directory / ".fetch" / "vcdb.txt.json"
    os.utime(state, (state.stat().st_mtime - 7300,) * 2)
    publisher.server.httpd.shutdown()
    publisher.server.httpd.server_close()
    catalog = HttpRepository(publisher.settings, publisher.locks).catalog()
    assert [entry.name for entry in catalog.entries] == ["demo"]
    assert "cannot be reached" in catalog.notes[0]
    assert catalog.notes[0].endswith("this list is 2 hours old")


def test_without_any_catalog_an_unreachable_server_is_an_error(
    publisher: Publisher, repository: HttpRepository
) -> None:
    publisher.server.httpd.shutdown()
    publisher.server.httpd.server_close()
    with pytest.raises(TransientError, match="cannot be reached") as caught:
        repository.catalog()
    assert "http_proxy" in (caught.value.resolution or "")


@pytest.mark.skipif(os.geteuid() != 0 or not which("mount"), reason="mounts a file system that cannot be written")
def test_whoever_may_not_write_still_sees_the_list(publisher: Publisher, repository: HttpRepository) -> None:
    publisher.offer("demo")
    copy = publisher.settings.directory
    copy.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", copy])
    try:
        assert [entry.name for entry in repository.catalog().entries] == ["demo"]
    finally:
        run(["umount", copy])


def test_sync_shows_the_progress_of_what_changed_alone(publisher: Publisher, repository: HttpRepository) -> None:
    for name in ("demo", "plain"):
        publisher.offer(name, document(), disk_img=DISK)
    repository.sync()
    publisher.put("demo/disk.img", DISK[::-1])
    reports: list[Progress] = []
    repository.sync(progress=reports.append)
    assert {report.subject for report in reports} == {"demo"}


def test_a_new_catalog_is_seen_at_once(publisher: Publisher, repository: HttpRepository) -> None:
    publisher.offer("demo")
    repository.catalog()
    publisher.offer("more")
    assert [entry.name for entry in repository.catalog().entries] == ["demo", "more"]


def test_an_old_tools_empty_file_is_not_taken_for_the_image(publisher: Publisher, repository: HttpRepository) -> None:
    publisher.offer("demo", document(), disk_img=DISK)
    place = publisher.settings.directory / "demo"
    place.mkdir(parents=True)
    (place / "disk.img").touch()
    (place / "demo.xml").touch()
    assert get(repository).frontend.path.read_bytes() == DISK


# -------------------------------------------------------------------------------------------------------------- URLs


def test_documents_at_the_top_are_found_as_old_publishers_had_them(
    publisher: Publisher, repository: HttpRepository
) -> None:
    publisher.put("demo.xml", document())
    publisher.put("disk.img", DISK)
    publisher.put("vcdb.txt", "demo,images/demo.xml\n")
    assert get(repository).frontend.path.read_bytes() == DISK
    assert publisher.server.asked[-1].path == f"{TOP}/disk.img"


def test_images_are_looked_for_in_the_folder_of_their_name_too(
    publisher: Publisher, repository: HttpRepository
) -> None:
    publisher.put("xml/demo.xml", document())
    publisher.put("demo/disk.img", DISK)
    publisher.put("vcdb.txt", "demo,xml/demo.xml\n")
    assert get(repository).frontend.path.read_bytes() == DISK


def test_names_are_percent_encoded(publisher: Publisher, repository: HttpRepository) -> None:
    publisher.put("demo/a%20b%2B%25.img", DISK)
    publisher.put("demo/demo.xml", document("a b+%.img"))
    publisher.put("vcdb.txt", "demo,demo/demo.xml\n")
    assert get(repository).frontend.path.read_bytes() == DISK


@pytest.mark.parametrize("path", ["../demo.xml", "/etc/passwd", ".fetch/demo.xml", "demo/../../x.xml"])
def test_catalog_entries_that_leave_the_repository_are_left_out(
    publisher: Publisher, repository: HttpRepository, path: str
) -> None:
    publisher.put("vcdb.txt", f"demo,{path}\n")
    catalog = repository.catalog()
    assert catalog.entries == ()
    assert "leaves the repository" in catalog.warnings[0]


def test_an_absolute_entry_in_our_own_folder_is_meant_relative(
    publisher: Publisher, repository: HttpRepository
) -> None:
    publisher.offer("demo")
    publisher.put("vcdb.txt", f"demo,{publisher.settings.directory}/demo/demo.xml\n")
    assert get(repository).frontend.size == len(DISK)


def test_part_names_that_leave_the_repository_are_refused(publisher: Publisher, repository: HttpRepository) -> None:
    publisher.offer("demo", document("../../../../etc/shadow"))
    with pytest.raises(ImageError, match="has 1 fault"):
        repository.describe(DEMO)


# ------------------------------------------------------------------------------------------------------- hostile input


def test_a_web_page_is_no_catalog_and_no_document(publisher: Publisher, repository: HttpRepository) -> None:
    publisher.put("vcdb.txt", "<!DOCTYPE html><html><body>Sign in</body></html>")
    with pytest.raises(RepositoryError, match="is a web page"):
        repository.catalog()
    publisher.offer("demo", "<html><body>Sign in</body></html>")
    with pytest.raises(ImageError, match="is a web page"):
        repository.describe(DEMO)
    assert not (publisher.settings.directory / "demo" / "demo.xml").exists()


def test_a_document_with_faults_never_replaces_a_good_one(publisher: Publisher, repository: HttpRepository) -> None:
    publisher.offer("demo")
    get(repository)
    publisher.put("demo/demo.xml", "<vc><frontend/></vc>")
    report = repository.sync()
    assert [one.outcome for one in report.images] == ["failed"]
    assert f"{publisher.url}/demo/demo.xml:1: the architecture is missing" in report.images[0].reason
    assert get(repository).frontend.size == len(DISK)


@pytest.mark.parametrize(
    ("source", "data", "why"),
    [
        ("disk.img.gz", gzip.compress(DISK)[:-9], "cut"),
        ("disk.img.gz", DISK, "no gzip file"),
        ("disk.img", b"", "empty"),
        ("disk.img", gzip.compress(DISK), "gzip"),
        ("disk.img", b"QFI\xfb" + bytes(600), "qcow2"),
    ],
)
def test_bad_disks_are_refused_and_not_published(
    publisher: Publisher, repository: HttpRepository, source: str, data: bytes, why: str
) -> None:
    publisher.offer("demo", document(source), **{source.replace(".", "_"): data})
    with pytest.raises(ImageError) as caught:
        get(repository)
    assert why in (caught.value.details or "")
    assert not list(publisher.settings.cache.rglob("*.disk"))


def test_an_unknown_name_is_looked_up_once_more_and_names_the_nearest(
    publisher: Publisher, repository: HttpRepository
) -> None:
    publisher.offer("demo")
    repository.catalog()
    with pytest.raises(ImageNotFoundError) as caught:
        repository.describe(image_name("dem"))
    assert "did you mean demo?" in (caught.value.resolution or "")


# ------------------------------------------------------------------------------------------------------- fetch and sync


@pytest.mark.parametrize("suffix", ["gz", "xz", "bz2", "zst"])
def test_disks_are_unpacked_while_they_arrive(
    publisher: Publisher, repository: HttpRepository, suffix: str, tmp_path: Path
) -> None:
    import bz2
    import lzma

    from backports import zstd

    pack = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "zst": zstd.compress}[suffix]
    publisher.offer("demo", document(f"disk.img.{suffix}"), **{f"disk_img_{suffix}": pack(DISK)})
    reports: list[Progress] = []
    local = repository.fetch(repository.describe(DEMO), reports.append)
    assert local.frontend.path.read_bytes() == DISK
    assert local.frontend.path.stat().st_blocks * 512 < len(DISK)
    assert {report.phase for report in reports} == {"download"}


def test_disks_are_kept_as_qcow2_where_the_site_wants_that(publisher: Publisher, web: Web, tmp_path: Path) -> None:
    publisher.offer("demo")
    raw = HttpRepository(publisher.settings, publisher.locks, web)
    as_qcow2 = HttpRepository(publisher.with_settings(cache_format="qcow2"), publisher.locks, web)
    first, second = get(raw).frontend, get(as_qcow2).frontend
    assert (first.format, second.format, second.size) == (DiskFormat.RAW, DiskFormat.QCOW2, len(DISK))
    assert as_qcow2.cached(as_qcow2.describe(DEMO)) == get(as_qcow2)
    run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", first.path, second.path])
    assert outcomes(as_qcow2) == ["fresh"]
    assert as_qcow2.prune([]) == (first.path,)


def test_parts_come_side_by_side_and_are_joined_in_order(publisher: Publisher, repository: HttpRepository) -> None:
    packed = gzip.compress(DISK)
    third = len(packed) // 3
    names = "".join(f"<part>p.{letter}</part>" for letter in "abc")
    publisher.offer(
        "demo", document("disk.img", f"<file type='splited_gzip'>{names}</file>"),
        p_a=packed[:third], p_b=packed[third : 2 * third], p_c=packed[2 * third :],
    )  # fmt: skip
    publisher.server.fail(f"{TOP}/demo/p.a", Fault(cut=10))
    together = threading.Barrier(3, timeout=20)  # it breaks unless all three are asked for at once
    for letter in "bc":
        publisher.server.fail(f"{TOP}/demo/p.{letter}", Fault(before=together.wait))
    publisher.server.fail(f"{TOP}/demo/p.a", Fault(before=together.wait))
    reports: list[Progress] = []
    local = repository.fetch(repository.describe(DEMO), reports.append)
    assert local.frontend.path.read_bytes() == DISK
    assert (reports[-1].done, reports[-1].total) == (len(packed), len(packed))


def test_a_missing_part_is_one_error_that_names_it(publisher: Publisher, repository: HttpRepository) -> None:
    publisher.offer("demo", document("disk.img", "<file type='splited'><part>a</part><part>b</part></file>"), a=DISK)
    with pytest.raises(StatusError, match="demo/b cannot be had"):
        get(repository)


@pytest.mark.skipif(os.geteuid() != 0 or not which("mount"), reason="mounts a small file system")
@pytest.mark.parametrize("told", [False, True])
def test_a_full_cache_is_one_error(publisher: Publisher, repository: HttpRepository, told: bool) -> None:
    """Seen while unpacking; where an index tells sizes, before anything is fetched."""
    packed, path = gzip.compress(os.urandom(8 << 20), 1), f"{TOP}/demo/disk.img.gz"
    publisher.offer("demo", document("disk.img.gz"), disk_img_gz=packed)
    if told:
        publisher.put("vcdb.json", index_of(publisher, "demo/disk.img.gz"))
    cache = publisher.settings.cache
    cache.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=6m", "pragma-test", cache])
    try:
        with pytest.raises(PragmaError) as caught:
            get(repository)
        assert not [file for file in cache.rglob("*") if file.is_file()]
    finally:
        run(["umount", cache])
    assert "free some" in (caught.value.resolution or "")
    assert (publisher.server.sent(path) == 0) is told
    assert get(repository).frontend.path.read_bytes() == gzip.decompress(packed)


def index_of(publisher: Publisher, *paths: str) -> str:
    """An index with the documents and these disks."""
    entries = []
    for path in ("demo/demo.xml", *paths):
        data = publisher.server.objects[f"{TOP}/{path}"].data
        entries.append({"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    cluster = {"xml": "demo/demo.xml", "sha256": entries[0]["sha256"], "files": entries[1:]}
    return json.dumps({"version": 1, "clusters": {"demo": cluster}})


def test_an_interrupted_fetch_goes_on(publisher: Publisher, repository: HttpRepository) -> None:
    packed = gzip.compress(os.urandom(3 << 20))
    publisher.offer("demo", document("disk.img.gz"), disk_img_gz=packed)
    path = f"{TOP}/demo/disk.img.gz"
    publisher.server.fail(path, Fault(cut=1 << 20), *[Fault(503)] * 4)
    with pytest.raises(TransientError):
        get(repository)
    local = get(repository)
    assert local.frontend.path.read_bytes() == gzip.decompress(packed)
    assert publisher.server.sent(path) == len(packed)


@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_nothing_of_an_object_that_was_replaced_meanwhile_stays(
    publisher: Publisher, web: Web, tmp_path: Path, form: str
) -> None:
    """The first one's data lies where the second one has zeros, and some of it is unpacked already."""
    first, second = os.urandom(4 << 20), bytes(3 << 20) + os.urandom(1 << 20)
    publisher.offer("demo", document("disk.img.gz"), disk_img_gz=gzip.compress(first, 1))
    path = f"{TOP}/demo/disk.img.gz"
    arriving = publisher.settings.cache / "demo" / f"{UNFINISHED}arriving"

    def replace() -> None:
        deadline = time.monotonic() + 20
        while arriving.stat().st_size < 1 << 20:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        publisher.put("demo/disk.img.gz", gzip.compress(second, 1))

    publisher.server.fail(path, Fault(cut=3 << 20), Fault(before=replace))
    disk = get(HttpRepository(publisher.with_settings(cache_format=form), publisher.locks, web)).frontend.path
    (tmp_path / "second").write_bytes(second)
    run(["qemu-img", "compare", "-f", form, "-F", "raw", disk, tmp_path / "second"])


def fetch_by_itself(publisher: Publisher) -> None:
    get(HttpRepository(publisher.settings, publisher.locks))


def test_two_processes_fetch_and_unpack_an_image_once(publisher: Publisher) -> None:
    packed = gzip.compress(os.urandom(3 << 20))
    publisher.offer("demo", document("disk.img.gz"), disk_img_gz=packed)
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=fetch_by_itself, args=(publisher,)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert publisher.server.sent(f"{TOP}/demo/disk.img.gz") == len(packed)
    assert len(list(publisher.settings.cache.rglob("*.disk"))) == 1


def test_sync_replaces_what_changed_and_overlays_keep_theirs(publisher: Publisher, repository: HttpRepository) -> None:
    """Also for a disk that is not packed: its old form must not be changed under a stopped cluster."""
    publisher.offer("demo", document(), disk_img=DISK)
    assert outcomes(repository) == ["fetched"]
    old = get(repository).frontend.path
    publisher.put("demo/disk.img", DISK[::-1])
    assert outcomes(repository, dry_run=True) == ["fetched"]
    assert outcomes(repository) == ["fetched"]
    new = get(repository).frontend.path
    assert (old.read_bytes(), new.read_bytes()) == (DISK, DISK[::-1])
    assert outcomes(repository, dry_run=True) == outcomes(repository) == ["fresh"]


def test_an_unpacked_disk_takes_its_space_once(publisher: Publisher, repository: HttpRepository) -> None:
    publisher.offer("demo", document(), disk_img=DISK)
    assert get(repository).frontend.path.samefile(publisher.settings.directory / "demo" / "disk.img")


def test_a_changed_document_alone_is_news(publisher: Publisher, repository: HttpRepository) -> None:
    publisher.offer("demo", document(), disk_img=DISK)
    repository.sync()
    publisher.put("demo/demo.xml", document(compute="<compute/>"))
    assert outcomes(repository) == ["fetched"]


def test_prune_removes_what_was_fetched_for_images_that_are_gone(
    publisher: Publisher, repository: HttpRepository
) -> None:
    for name in ("demo", "gone"):
        publisher.offer(name)
    repository.sync()
    publisher.withdraw("gone")
    repository.sync()
    (removed,) = repository.prune([])
    assert removed.parent.name == "gone"
    copy = publisher.settings.directory
    assert not (copy / "gone").exists()
    assert (copy / "demo" / "disk.img.gz").exists()
    assert outcomes(repository, dry_run=True) == ["fresh"]


def test_prune_leaves_strangers_files_and_broken_images_alone(publisher: Publisher, repository: HttpRepository) -> None:
    for name in ("demo", "other"):
        publisher.offer(name)
    repository.sync()
    copy = publisher.settings.directory
    (copy / "notes.txt").write_text("mine")
    (copy / "demo" / "demo.xml").write_text("damaged")
    assert repository.prune([]) == ()
    assert (copy / "notes.txt").exists()
    assert (copy / "demo" / "disk.img.gz").exists()


def test_an_empty_catalog_prunes_nothing(publisher: Publisher, repository: HttpRepository) -> None:
    publisher.offer("demo")
    repository.sync()
    publisher.withdraw("demo")
    repository.sync()
    with pytest.raises(RepositoryError, match="is empty"):
        repository.prune([])


def test_fetch_of_a_role_with_a_disk_of_its_own(publisher: Publisher, repository: HttpRepository) -> None:
    compute = "<compute><disk><source file='cn.img'/></disk></compute>"
    publisher.offer("demo", document(compute=compute), disk_img=DISK, cn_img=DISK[::-1])
    local = get(repository)
    assert local.for_role(Role.COMPUTE).path.read_bytes() == DISK[::-1]


def test_secrets_of_the_url_are_in_no_file_and_no_message(server: WebServer, tmp_path: Path, web: Web) -> None:
    publisher = Publisher(server, tmp_path)
    publisher.offer("demo")
    secret = publisher.url.replace("http://", "http://reader:hunter22@")
    repository = HttpRepository(publisher.with_settings(repository_url=secret), publisher.locks, web)
    get(repository)
    assert server.asked[-1].headers["authorization"].startswith("Basic ")
    server.forbid = lambda _: (403, b"")
    with pytest.raises(PragmaError) as caught:
        repository.describe(image_name("other"))
    told = f"{caught.value.message} {caught.value.details} {caught.value.resolution}"
    states = [path.read_text() for path in tmp_path.rglob(".fetch/*.json")]
    assert not any("hunter22" in text for text in (told, *states))
    assert len(states) >= 3
