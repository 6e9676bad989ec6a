import hashlib
import json
from pathlib import Path

import pytest

from fakes.publisher import TOP, Publisher
from fakes.repository import DISK, document
from fakes.web import WebServer
from pragma_boot.errors import FaultsError, ImageError, PragmaError, RepositoryError
from pragma_boot.model import image_name
from pragma_boot.repository import manifest
from pragma_boot.repository.http import HttpRepository
from pragma_boot.repository.index import write_index
from pragma_boot.repository.manifest import Entry
from pragma_boot.repository.record import Digest
from pragma_boot.repository.web import Web
from pragma_boot.run import run

DEMO = image_name("demo")
ONE = "1" * 64


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("line", "digest"),
    [
        (f"{ONE}  a/b", Digest("sha256", ONE)),
        (f"{ONE} *a/b", Digest("sha256", ONE)),
        (f"{'A' * 32}  a/b", Digest("md5", "a" * 32)),
        (f"{'2' * 40}  ./a/b", Digest("sha1", "2" * 40)),
        (f"{'3' * 128}  a/b", Digest("sha512", "3" * 128)),
        (f"SHA256 (a/b) = {ONE}", Digest("sha256", ONE)),
        (f"# comment\n\n{ONE}  a/b\r", Digest("sha256", ONE)),
    ],
)
def test_lines_of_checksum_programs_are_read(line: str, digest: Digest) -> None:
    assert manifest.read(f"{line}\n".encode(), "SHA256SUMS", "here") == {"a/b": Entry(digest)}


def test_sums_of_blake2_are_told_by_the_files_name() -> None:
    found = manifest.read(f"{'4' * 128}  a\n".encode(), "B2SUMS", "here")
    assert found["a"].digest.algorithm == "blake2b"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SHA256SUMS", "<html>"), ("SHA256SUMS", f"{ONE}  /etc/passwd"), ("SHA256SUMS", f"{ONE}  ../x"),
        ("SHA256SUMS", f"{ONE[:-1]}  x"), ("SHA256SUMS", "\xff"), ("SHA256SUMS", f"CRC (x) = {ONE}"),
        ("vcdb.json", "[]"), ("vcdb.json", "{}"), ("vcdb.json", '{"version": 2, "clusters": {}}'),
        ("vcdb.json", "[" * 100_000),
        ("vcdb.json", '{"version": 1, "clusters": {"a": {"xml": "a", "sha256": "1", "files": []}}}'),
        ("vcdb.json", f'{{"version": 1, "clusters": {{"a": {{"xml": "../a", "sha256": "{ONE}", "files": []}}}}}}'),
        ("vcdb.json", f'{{"version": 1, "clusters": {{"a": {{"xml": "a", "sha256": "{ONE}", "files": [{{}}]}}}}}}'),
        ("vcdb.json", f'{{"version": 1, "clusters": {{}}, "catalog": {{"path": 1, "sha256": "{ONE}"}}}}'),
        ("vcdb.json", f'{{"version": 1, "clusters": {{}}, "catalog": {{"path": "a", "sha256": "{ONE}", "size": -1}}}}'),
    ],
)  # fmt: skip
def test_a_broken_manifest_is_an_error_not_silence(name: str, text: str) -> None:
    with pytest.raises(RepositoryError, match="the manifest here cannot be read") as caught:
        manifest.read(text.encode("latin-1"), name, "here")
    assert caught.value.details
    assert caught.value.resolution


# ------------------------------------------------------------------------------------------------------------- fetching


@pytest.fixture
def publisher(server: WebServer, tmp_path: Path) -> Publisher:
    made = Publisher(server, tmp_path)
    made.offer("demo", document(), disk_img=DISK)
    return made


def repository(publisher: Publisher, web: Web, **others: object) -> HttpRepository:
    return HttpRepository(publisher.with_settings(**others), publisher.locks, web)


def publish_sums(publisher: Publisher, name: str = "SHA256SUMS", **wrong: str) -> None:
    found = {path.removeprefix(f"{TOP}/"): sha256(one.data) for path, one in publisher.server.objects.items()}
    lines = "".join(f"{digest}  {path}\n" for path, digest in (found | wrong).items() if path != name)
    publisher.put(name, lines)


def test_what_a_manifest_says_is_verified(publisher: Publisher, web: Web) -> None:
    publish_sums(publisher)
    opened = repository(publisher, web)
    assert opened.fetch(opened.describe(DEMO)).frontend.path.read_bytes() == DISK
    publish_sums(publisher, **{"demo/disk.img": "0" * 64})
    (outcome,) = opened.sync().images
    assert outcome.outcome == "failed"
    assert "not what its checksums were made of" in outcome.reason


def test_a_manifest_of_another_name_must_be_there(publisher: Publisher, web: Web) -> None:
    publish_sums(publisher, "checksums.txt")
    repository(publisher, web, manifest="checksums.txt").catalog()
    with pytest.raises(PragmaError, match=r"nothere\.txt cannot be had"):
        repository(publisher, web, manifest="nothere.txt").catalog()


def test_with_a_manifest_an_unchanged_image_is_not_asked_for(publisher: Publisher, web: Web) -> None:
    publish_sums(publisher)
    opened = repository(publisher, web)
    opened.sync()
    publisher.server.asked.clear()
    assert [one.outcome for one in opened.sync().images] == ["fresh"]
    assert {one.path.removeprefix(f"{TOP}/") for one in publisher.server.asked} <= {"vcdb.json", "SHA256SUMS"}


def test_a_manifest_that_is_gone_counts_no_more(publisher: Publisher, web: Web) -> None:
    publish_sums(publisher, **{"demo/disk.img": "0" * 64})
    repository(publisher, web).catalog()
    del publisher.server.objects[f"{TOP}/SHA256SUMS"]
    opened = repository(publisher, web)
    assert [one.outcome for one in opened.sync().images] == ["fetched"]


# ------------------------------------------------------------------------------------------------------------- indexing


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A repository as its publisher has it: one packed image, one that is not, no catalog."""
    import gzip

    top = tmp_path / "published"
    for name, file, data in (("demo", "disk.img.gz", gzip.compress(DISK)), ("plain", "disk.img", DISK)):
        (top / name).mkdir(parents=True)
        (top / name / f"{name}.xml").write_text(document(file))
        (top / name / file).write_bytes(data)
    return top


def serve(publisher: Publisher, top: Path) -> None:
    publisher.server.objects.clear()
    for path in top.rglob("*"):
        if path.is_file():
            publisher.put(str(path.relative_to(top)), path.read_bytes())


def test_an_index_tells_every_file_and_makes_the_catalog(top: Path) -> None:
    done = write_index(top)
    assert [path.name for path in done.written] == ["SHA256SUMS", "vcdb.json"]
    assert done.images == 2
    assert (top / "vcdb.txt").read_text() == "demo,demo/demo.xml\nplain,plain/plain.xml\n"
    index = json.loads((top / "vcdb.json").read_text())
    (file,) = index["clusters"]["demo"]["files"]
    assert file["disk_size"] == len(DISK)
    assert file["compression"] == "gzip"
    run(["sha256sum", "--check", "--strict", "--quiet", top / "SHA256SUMS"], env={"PWD": str(top)}, check=False)
    entries = manifest.read((top / "vcdb.json").read_bytes(), "vcdb.json", "here")
    sums = manifest.read((top / "SHA256SUMS").read_bytes(), "SHA256SUMS", "here")
    assert {path: entry.digest for path, entry in entries.items()} == {path: one.digest for path, one in sums.items()}
    for path, entry in entries.items():
        assert entry.digest.value == sha256((top / path).read_bytes())


def test_nothing_is_written_while_an_image_has_a_fault(top: Path) -> None:
    (top / "plain" / "disk.img").unlink()
    (top / "demo" / "demo.xml").write_text("<vc/>")
    with pytest.raises(FaultsError) as caught:
        write_index(top)
    assert [fault.where for fault in caught.value.faults] == ["demo", "plain"]
    assert not (top / "vcdb.json").exists()


def test_a_folder_without_images_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="there is no image"):
        write_index(tmp_path)


# -------------------------------------------------------------------------------------------------------------- signing


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A publisher's private key, and a site's list of signers that names it."""
    key, signers = tmp_path / "key", tmp_path / "signers"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key])
    signers.write_text(f"publisher@example.org {(tmp_path / 'key.pub').read_text()}")
    return key, signers


def test_a_signed_index_is_accepted_from_its_publisher_alone(
    top: Path, keys: tuple[Path, Path], publisher: Publisher, web: Web, tmp_path: Path
) -> None:
    key, signers = keys
    assert [path.name for path in write_index(top, key).written] == ["SHA256SUMS", "vcdb.json.sig", "vcdb.json"]
    serve(publisher, top)
    opened = repository(publisher, web, manifest_signers=signers)
    assert [one.outcome for one in opened.sync().images] == ["fetched", "fetched"]
    publisher.put("vcdb.json", (top / "vcdb.json").read_bytes() + b" ")
    with pytest.raises(RepositoryError, match="not of a trusted publisher"):
        opened.sync()
    other = tmp_path / "other"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", other])
    write_index(top, other)
    serve(publisher, top)
    with pytest.raises(RepositoryError, match="not of a trusted publisher"):
        repository(publisher, web, manifest_signers=signers).sync()


def test_where_signatures_are_wanted_nothing_unsigned_passes(
    top: Path, keys: tuple[Path, Path], publisher: Publisher, web: Web
) -> None:
    key, signers = keys
    write_index(top, key)
    serve(publisher, top)
    publisher.put("extra/extra.xml", document())
    publisher.put("vcdb.txt", "extra,extra/extra.xml\n")
    with pytest.raises(ImageError, match="not what its checksums"):
        repository(publisher, web, manifest_signers=signers).sync()
    write_index(top)
    serve(publisher, top)
    assert not (top / "vcdb.json.sig").exists()
    with pytest.raises(PragmaError, match=r"vcdb\.json\.sig cannot be had"):
        repository(publisher, web, manifest_signers=signers).sync()
