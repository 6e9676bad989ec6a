import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from fakes.web import Fault, WebServer
from pragma_boot.errors import ImageError, PragmaError, RepositoryError
from pragma_boot.model import Progress
from pragma_boot.repository.arrival import Meter
from pragma_boot.repository.fetch import Item, download
from pragma_boot.repository.patience import Patience, StatusError, TransientError
from pragma_boot.repository.record import Digest, Place
from pragma_boot.repository.web import Web

MIB = 1024 * 1024
DATA = random.Random(1).randbytes(4 * MIB + 77)
OTHER = random.Random(2).randbytes(4 * MIB + 77)
SHA256 = Digest("sha256", hashlib.sha256(DATA).hexdigest())


@pytest.fixture
def item(server: WebServer, tmp_path: Path) -> Item:
    return Item(server.put("/vc/disk.img", DATA), tmp_path / "vc" / "disk.img")


def leftovers(folder: Path) -> list[str]:
    """Names of files below *folder*, but for locks."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_a_file_is_fetched_whole_and_recorded(web: Web, item: Item) -> None:
    done = download(web, item)
    assert (done.changed, item.target.read_bytes()) == (True, DATA)
    assert done.record.digests["sha256"] == SHA256.value
    assert item.target.stat().st_mode & 0o777 == 0o644
    assert leftovers(item.target.parent) == ["disk.img", "disk.img.json"]
    assert Place(item.target).record() == done.record


def test_an_unchanged_file_is_not_sent_again(web: Web, item: Item, server: WebServer) -> None:
    download(web, item)
    assert not download(web, item).changed
    assert server.sent("/vc/disk.img") == len(DATA)
    assert server.asked[-1].headers["if-none-match"] == server.objects["/vc/disk.img"].etag


def test_a_file_whose_digest_is_right_needs_no_network(web: Web, server: WebServer, item: Item) -> None:
    download(web, item)
    requests = len(server.asked)
    assert not download(web, Item(item.url, item.target, len(DATA), SHA256)).changed
    assert len(server.asked) == requests


def test_a_file_that_somebody_copied_here_is_taken_by_its_digest(web: Web, server: WebServer, item: Item) -> None:
    item.target.parent.mkdir()
    item.target.write_bytes(DATA)
    assert not download(web, Item(item.url, item.target, len(DATA), SHA256)).changed
    assert server.asked == []


def test_a_digest_of_another_kind_is_looked_at_once(web: Web, server: WebServer, item: Item) -> None:
    download(web, item)
    requests = len(server.asked)
    md5 = Item(item.url, item.target, digest=Digest("md5", hashlib.md5(DATA).hexdigest()))
    assert not download(web, md5).changed
    assert len(server.asked) == requests
    assert set(Place(item.target).record().digests) == {"md5", "sha256"}  # type: ignore[union-attr]


def test_not_modified_does_not_make_a_wrong_digest_right(web: Web, item: Item) -> None:
    download(web, item)
    with pytest.raises(ImageError, match="not what its checksums were made of"):
        download(web, Item(item.url, item.target, digest=Digest("sha256", "0" * 64)))
    assert item.target.read_bytes() == DATA


def test_a_file_that_wget_left_is_taken_by_size_and_time(web: Web, server: WebServer, item: Item) -> None:
    item.target.parent.mkdir()
    item.target.write_bytes(DATA)
    os.utime(item.target, (1_700_000_000, 1_700_000_000))
    assert not download(web, item).changed


def test_a_strange_file_of_that_name_is_replaced(web: Web, item: Item) -> None:
    item.target.parent.mkdir()
    item.target.write_bytes(b"")  # what a failed wget leaves
    assert download(web, item).changed
    assert item.target.read_bytes() == DATA


def test_a_changed_object_replaces_the_file_by_rename(web: Web, server: WebServer, item: Item) -> None:
    download(web, item)
    with item.target.open("rb") as reader:
        server.put("/vc/disk.img", OTHER)
        assert download(web, item).changed
        assert reader.read() == DATA
    assert item.target.read_bytes() == OTHER


@pytest.mark.parametrize("quarter", range(4))
def test_a_cut_goes_on_where_it_was(web: Web, server: WebServer, item: Item, quarter: int) -> None:
    server.fail("/vc/disk.img", Fault(cut=quarter * len(DATA) // 4))
    download(web, item)
    assert item.target.read_bytes() == DATA
    assert server.asked[1].range == (f"bytes={quarter * len(DATA) // 4}-" if quarter else "")
    assert server.sent("/vc/disk.img") == len(DATA)


def test_a_range_that_is_refused_starts_over(web: Web, server: WebServer, item: Item) -> None:
    server.fail("/vc/disk.img", Fault(cut=len(DATA) // 2), Fault(416, headers={"Content-Range": "bytes */17"}))
    download(web, item)
    assert item.target.read_bytes() == DATA
    assert [one.range for one in server.asked] == ["", f"bytes={len(DATA) // 2}-", ""]


def test_a_cut_in_every_attempt_that_brings_something_is_borne(web: Web, server: WebServer, item: Item) -> None:
    server.fail("/vc/disk.img", *[Fault(cut=400_000)] * 9)
    download(web, item)
    assert item.target.read_bytes() == DATA


def test_a_server_without_ranges_starts_over(web: Web, server: WebServer, item: Item) -> None:
    server.ranges = False
    server.fail("/vc/disk.img", Fault(cut=len(DATA) // 2))
    download(web, item)
    assert item.target.read_bytes() == DATA


def test_an_object_without_validators_is_never_resumed(web: Web, server: WebServer, item: Item) -> None:
    server.validators = False
    server.fail("/vc/disk.img", Fault(cut=len(DATA) // 2))
    download(web, item)
    assert item.target.read_bytes() == DATA
    assert [one.range for one in server.asked] == ["", ""]


def test_an_object_that_changed_in_between_starts_over(web: Web, server: WebServer, item: Item) -> None:
    change = Fault(before=lambda: server.put("/vc/disk.img", OTHER))
    server.fail("/vc/disk.img", Fault(cut=len(DATA) // 2), change)
    download(web, item)
    assert item.target.read_bytes() == OTHER


def test_a_206_of_another_object_is_not_joined(web: Web, server: WebServer, item: Item) -> None:
    """Some servers ignore If-Range."""
    server.fail("/vc/disk.img", Fault(cut=len(DATA) // 2), Fault(headers={"ETag": '"another"'}))
    download(web, item)
    assert item.target.read_bytes() == DATA


def test_a_wrong_digest_is_fetched_once_more_and_then_refused(web: Web, server: WebServer, item: Item) -> None:
    wrong = Item(item.url, item.target, len(DATA), Digest("sha256", "0" * 64))
    with pytest.raises(ImageError, match="not what its checksums were made of") as caught:
        download(web, wrong)
    assert "sha256" in (caught.value.details or "")
    assert len(server.asked) == 2
    assert leftovers(item.target.parent) == []


def test_a_wrong_size_is_refused_before_the_body(web: Web, server: WebServer, item: Item) -> None:
    with pytest.raises(ImageError) as caught:
        download(web, Item(item.url, item.target, len(DATA) + 1, SHA256))
    assert f"it has {len(DATA)} bytes, the manifest says {len(DATA) + 1}" in (caught.value.details or "")
    assert leftovers(item.target.parent) == []


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha512", "blake2b"])
def test_every_algorithm_of_manifests_is_checked(web: Web, item: Item, algorithm: str) -> None:
    digest = Digest(algorithm, hashlib.new(algorithm, DATA).hexdigest())
    record = download(web, Item(item.url, item.target, digest=digest)).record
    assert set(record.digests) == {algorithm, "sha256"}


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(
    web: Web, server: WebServer, item: Item, status: int, pauses: list[float]
) -> None:
    server.fail("/vc/disk.img", Fault(status, headers={"Retry-After": "17"}), Fault(status))
    download(web, item)
    assert pauses[0] == 17
    assert 1 <= pauses[1] <= 2  # the second failure in a row: two seconds, less some chance


def test_patience_has_an_end_and_what_arrived_is_kept(web: Web, server: WebServer, item: Item) -> None:
    server.fail("/vc/disk.img", Fault(cut=MIB), *[Fault(503)] * 4)
    with pytest.raises(TransientError, match="cannot be had just now"):
        download(web, item)
    assert not item.target.exists()
    download(web, item)
    assert server.sent("/vc/disk.img") == len(DATA)


def test_a_server_that_asks_for_too_much_patience_gets_none(server: WebServer, web: Web, item: Item) -> None:
    server.fail("/vc/disk.img", Fault(503, headers={"Retry-After": "86400"}))
    with pytest.raises(TransientError):
        download(web, item)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(web: Web, server: WebServer, item: Item, status: int) -> None:
    server.fail("/vc/disk.img", Fault(status))
    with pytest.raises(StatusError) as caught:
        download(web, item)
    assert (caught.value.status, len(server.asked)) == (status, 1)
    assert caught.value.resolution


def test_a_complete_part_is_published_without_another_byte(web: Web, server: WebServer, item: Item) -> None:
    interrupt(server, item, len(DATA))
    download(web, item)
    assert item.target.read_bytes() == DATA
    assert server.sent("/vc/disk.img") == len(DATA)


def interrupt(server: WebServer, item: Item, after: int) -> None:
    """Leave a part of *after* bytes, as a killed command would."""
    place = Place(item.target)
    probe = Web(patience=Patience(attempts=1))
    server.fail("/vc/disk.img", Fault(cut=min(after, len(DATA) - 1)))
    with pytest.raises(TransientError):
        download(probe, item)
    with place.part.open("ab") as part:
        part.write(DATA[part.tell() : after])
    server.asked[-1].sent = after


def test_after_a_crash_of_the_machine_only_flushed_bytes_are_trusted(web: Web, server: WebServer, item: Item) -> None:
    interrupt(server, item, MIB)
    state = item.target.parent / ".fetch" / "disk.img.part.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"boot": "before", "durable": 1000}))
    download(web, item)
    assert server.asked[-1].range == "bytes=1000-"
    assert item.target.read_bytes() == DATA


def test_a_broken_state_file_costs_only_time(web: Web, server: WebServer, item: Item) -> None:
    interrupt(server, item, MIB)
    (item.target.parent / ".fetch" / "disk.img.part.json").write_text("[]")
    download(web, item)
    assert item.target.read_bytes() == DATA


def fetch_slowly(url: str, target: Path) -> None:
    class Slow(Meter):
        def at(self, file: str, done: int, total: int | None) -> None:
            if done >= 2 * MIB:
                os.kill(os.getpid(), signal.SIGKILL)

    download(Web(), Item(url, target), Slow("x", lambda _: None))


def test_a_killed_command_costs_no_byte_twice(web: Web, server: WebServer, item: Item) -> None:
    killed = multiprocessing.get_context("fork").Process(target=fetch_slowly, args=(item.url, item.target))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert not item.target.exists()
    here = Place(item.target).part.stat().st_size
    assert here >= 2 * MIB
    download(web, item)
    assert server.asked[-1].range == f"bytes={here}-"
    assert item.target.read_bytes() == DATA


def fetch_plainly(url: str, target: Path) -> None:
    download(Web(), Item(url, target, len(DATA), SHA256))


def test_two_processes_make_one_download(server: WebServer, item: Item) -> None:
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=fetch_plainly, args=(item.url, item.target)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert server.sent("/vc/disk.img") == len(DATA)


def test_no_room_is_said_before_the_first_byte(web: Web, server: WebServer, item: Item) -> None:
    with pytest.raises(PragmaError, match="no room"):
        download(web, Item(item.url, item.target, beside=1e12))
    assert leftovers(item.target.parent) in ([], ["disk.img.part.json"])


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="mounts a small file system")
def test_a_disk_that_runs_full_is_left_empty(web: Web, server: WebServer, tmp_path: Path) -> None:
    from pragma_boot.run import run

    (tmp_path / "small").mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=3M", "tmpfs", tmp_path / "small"])
    try:
        server.lengths = False  # so that it is not known beforehand
        target = tmp_path / "small" / "disk.img"
        with pytest.raises(PragmaError) as caught:
            download(web, Item(server.put("/disk.img", DATA), target, len(DATA) and None, SHA256))
        assert caught.value.resolution
        assert leftovers(target.parent) == []
    finally:
        run(["umount", tmp_path / "small"])


def test_a_body_whose_end_cannot_be_told_is_refused(web: Web, server: WebServer, item: Item) -> None:
    server.lengths = False
    with pytest.raises(RepositoryError, match="has no length"):
        download(web, item)
    assert download(web, Item(item.url, item.target, len(DATA))).changed


@pytest.mark.parametrize("page", [b"\n<!DOCTYPE html><html>", b"<HTML><body>Sign in"])
def test_a_web_page_is_no_image(web: Web, server: WebServer, tmp_path: Path, page: bytes) -> None:
    item = Item(server.put("/vc/disk.iso", page), tmp_path / "disk.iso")
    with pytest.raises(ImageError, match="is a web page"):
        download(web, item)
    assert leftovers(tmp_path) == []


def test_long_names_have_room_for_their_state(web: Web, server: WebServer, tmp_path: Path) -> None:
    name = "n" * 250
    download(web, Item(server.put(f"/{name}", DATA), tmp_path / name))
    assert (tmp_path / name).read_bytes() == DATA


def test_progress_tells_bytes_and_total(web: Web, item: Item) -> None:
    reports: list[Progress] = []
    download(web, item, Meter("demo", reports.append))
    assert (reports[-1].done, reports[-1].total) == (len(DATA), len(DATA))
    assert {(report.phase, report.subject) for report in reports} == {("download", "demo")}
