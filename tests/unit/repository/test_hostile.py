"""What a publisher, or whoever stands between, may do to a site: one clear error each, and nothing is published."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.clonezilla import SECTOR, crc, iso_of, small_disk, small_image, stream_2, write_files
from fakes.publisher import TOP, Publisher
from fakes.repository import DISK, document
from fakes.saved_images import FolderPublisher
from fakes.web import Fault
from pragma_boot.repository.base import ImageOutcome, Repository
from pragma_boot.repository.clonezilla.repository import ClonezillaRepository
from pragma_boot.repository.http import HttpRepository
from pragma_boot.repository.web import Web

MIB = 1024 * 1024
PAGE = b"<!DOCTYPE html><html><body>Please sign in</body></html>" * 50
BOMB = gzip.compress(bytes(8 * MIB))


def failure(repository: Repository) -> ImageOutcome:
    """How `sync` fared with the only image; a second one finds nothing done either."""
    (first,) = repository.sync().images
    (second,) = repository.sync().images
    assert (first.outcome, second.outcome) == ("failed", "failed")
    assert "Traceback" not in first.reason
    return first


# --------------------------------------------------------------------------------------------------------- web servers


def page_for_document(publisher: Publisher) -> str:
    publisher.offer("demo", PAGE.decode())
    return "is a web page"


def page_for_disk(publisher: Publisher) -> str:
    publisher.offer("demo", document("disk.img"), disk_img=PAGE)
    return "is a web page"


def page_for_packed_disk(publisher: Publisher) -> str:
    publisher.offer("demo", document("disk.img.gz"), disk_img_gz=PAGE)
    return "is a web page"


def part_that_leaves(publisher: Publisher) -> str:
    publisher.offer("demo", document("disk.img", "<file type='gzip'><part>../../../etc/shadow</part></file>"))
    return "../../../etc/shadow"


def absolute_part(publisher: Publisher) -> str:
    publisher.offer("demo", document("/etc/shadow"))
    return "/etc/shadow"


def bomb(publisher: Publisher) -> str:
    """The publisher's index declares a disk of one MiB."""
    publisher.offer("demo", document("disk.img.gz"), disk_img_gz=BOMB)
    xml = publisher.server.objects[f"{TOP}/demo/demo.xml"].data
    told = {"path": "demo/disk.img.gz", "sha256": hashlib.sha256(BOMB).hexdigest(), "disk_size": MIB}
    cluster = {"xml": "demo/demo.xml", "sha256": hashlib.sha256(xml).hexdigest(), "files": [told]}
    publisher.put("vcdb.json", json.dumps({"version": 1, "clusters": {"demo": cluster}}))
    return "more than the 1048576 bytes that its publisher declares"


def redirect_to_a_file(publisher: Publisher) -> str:
    publisher.offer("demo")
    moved = [Fault(302, headers={"Location": "file:///etc/shadow"})] * 8
    publisher.server.fail(f"{TOP}/demo/disk.img.gz", *moved)
    return "to file:, which is neither http nor https"


def entity_bomb(publisher: Publisher) -> str:
    publisher.offer("demo", "<!DOCTYPE vc [<!ENTITY a 'x'><!ENTITY b '&a;&a;'>]><vc>&b;</vc>")
    return "document type"


def disk_that_names_a_file_of_this_host(publisher: Publisher) -> str:
    header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 104, 11, 16, MIB, 0, 1, 512, 1024, 1, 0, 0)
    publisher.offer("demo", document("disk.img"), disk_img=header.ljust(104, b"\0") + b"/etc/shadow".ljust(4096, b"\0"))
    return "lies outside of the repository"


@pytest.mark.parametrize(
    "offer",
    [
        page_for_document, page_for_disk, page_for_packed_disk, part_that_leaves, absolute_part, bomb,
        redirect_to_a_file, entity_bomb, disk_that_names_a_file_of_this_host,
    ],
)  # fmt: skip
def test_of_a_web_server(offer: Callable[[Publisher], str], server, tmp_path: Path, web: Web) -> None:  # type: ignore[no-untyped-def]
    publisher = Publisher(server, tmp_path)
    what = offer(publisher)
    assert what in failure(HttpRepository(publisher.settings, publisher.locks, web)).reason
    assert not list(publisher.settings.cache.rglob("*.disk"))
    kept = [path.name for path in publisher.settings.cache.rglob("*") if path.is_file()]
    assert not kept
    files = [path for path in publisher.settings.directory.rglob("*") if path.is_file() and ".fetch" not in path.parts]
    assert not [path for path in files if PAGE in path.read_bytes()]


# --------------------------------------------------------------------------------------------------- Clonezilla images

Files = dict[str, bytes]
GOOD = small_disk(DISK)


def with_stream(stream: bytes) -> Files:
    return small_image(GOOD, stream, file_system="ext4")


def absurd_size(work: Path) -> bytes:
    """A partclone header, its checksum right, of a file system of 2⁵⁸ bytes."""
    stream = bytearray(stream_2(DISK, range(4)))
    struct.pack_into("<QQ", stream, 52, 1 << 58, 1 << 49)
    struct.pack_into("<I", stream, 106, crc(bytes(stream[:106])))
    return iso_of(with_stream(bytes(stream)), work)


def too_much_data(work: Path) -> bytes:
    """A bomb of gzip in place of the copy of a partition of 3 MiB."""
    files = small_image(GOOD)
    files["vda1.dd-ptcl-img.gz"] = BOMB
    return iso_of(files, work)


def too_much_after_the_last_block(work: Path) -> bytes:
    return iso_of(with_stream(stream_2(DISK, range(len(DISK) // SECTOR)) + bytes(8 * MIB)), work)


def cut_short(work: Path) -> bytes:
    """In the middle of the partition's data; what is behind the image is not needed, and may be missing."""
    files = small_image(GOOD)
    whole, data = iso_of(files, work), files["vda1.dd-ptcl-img.gz"]
    return whole[: whole.index(data) + len(data) // 2]


def no_iso(_: Path) -> bytes:
    return PAGE


def loops(work: Path) -> bytes:
    """The directory /home/partimag is /home itself."""
    iso = bytearray(iso_of(small_image(GOOD), work))
    home, inner = (iso.index(name) - 33 for name in (b"HOME", b"PARTIMAG"))
    iso[inner + 2 : inner + 18] = iso[home + 2 : home + 18]
    return bytes(iso)


def table_beyond_the_disk(work: Path) -> bytes:
    files = small_image(GOOD)
    files["vda-pt.sf"] = files["vda-pt.sf"].replace(b"start=          64", b"start= 99999999999")
    return iso_of(files, work)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (absurd_size, "makes no sense"),
        (too_much_data, "more than the"),
        (too_much_after_the_last_block, "something else after its last block"),
        (cut_short, "cut"),
        (no_iso, "no ISO 9660 image"),
        (loops, "no Clonezilla image"),
        (table_beyond_the_disk, "its partition table makes no sense"),
    ],
)
def test_of_an_iso(make: Callable[[Path], bytes], what: str, tmp_path: Path) -> None:
    publisher = FolderPublisher(tmp_path)
    folder = publisher.offer_broken("demo")
    write_files(folder, {"demo-frontend.1G.iso": make(tmp_path)})
    assert what in failure(ClonezillaRepository(publisher.settings, tmp_path / "locks")).reason
    here = publisher.settings.directory
    assert not [path for path in here.rglob("*") if path.is_file()]
