"""Google Drive's API as a client sees it: keys, paging, shortcuts, refusals."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fakes.drive import SHORTCUT, FakeDrive, File, Refusal
from pragma_boot.errors import RepositoryError
from pragma_boot.repository.drive import Drive, DriveAccess, ServiceAccount, parse_folder
from pragma_boot.repository.fetch import Item, download
from pragma_boot.repository.patience import Patience, StatusError, TransientError
from pragma_boot.repository.record import Digest
from pragma_boot.repository.source import WebSource, read_at
from pragma_boot.repository.web import Web

WAITS: list[float] = []
PATIENCE = Patience(attempts=4, sleep=WAITS.append)


@pytest.fixture
def fake() -> Iterator[tuple[FakeDrive, str]]:
    WAITS.clear()
    drive = FakeDrive()
    with drive.running() as url:
        yield drive, url


def client(fake: tuple[FakeDrive, str], key: str = "a-good-api-key", keys: dict[str, str] | None = None) -> Drive:
    access = DriveAccess(fake[1], key)
    return Drive(Web(access, patience=PATIENCE), access, fake[1], keys)


def web(drive: Drive) -> Web:
    return drive._web


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://drive.google.com/drive/folders/0B3cw7uKWQ3fXabc", ("0B3cw7uKWQ3fXabc", "")),
        (
            "https://drive.google.com/drive/u/1/folders/0B3cw7uKWQ3fXab?resourcekey=0-k_",
            ("0B3cw7uKWQ3fXab", "0-k_"),
        ),
        ("https://drive.google.com/open?id=0B3cw7uKWQ3fXabc&usp=sharing", ("0B3cw7uKWQ3fXabc", "")),
        ("0B3cw7uKWQ3fXabc", ("0B3cw7uKWQ3fXabc", "")),
        ("https://example.org/drive/folders/0B3cw7uKWQ3fXabc", None),
        ("https://drive.google.com/drive/folders/a'b%22%20or%20true", None),
        ("/var/lib/images", None),
        ("", None),
    ],
)
def test_folders_are_named_by_url_or_id(url: str, found: tuple[str, str] | None) -> None:
    assert parse_folder(url) == found


def test_a_long_folder_comes_in_pages_with_sizes_and_digests(fake: tuple[FakeDrive, str]) -> None:
    drive = fake[0]
    drive.page = 3
    for number in range(8):
        drive.file(f"file {number}, with, commas", bytes(number), drive.ROOT)
    found = client(fake).items(drive.ROOT)
    assert [(item.name, item.size) for item in found] == [(f"file {n}, with, commas", n) for n in range(8)]
    assert found[7].digest == f"sha256:{hashlib.sha256(bytes(7)).hexdigest()}"
    assert len(drive.asked) == 3


def test_shortcuts_lead_to_what_they_mean_and_googles_documents_are_left_out(fake: tuple[FakeDrive, str]) -> None:
    drive = fake[0]
    elsewhere = drive.folder("elsewhere", "nowhere-000000", key="0-folderkey")
    target = drive.file("target", b"data", elsewhere, key="0-filekey")
    drive.add(File("shortcut-00001", "a file", drive.ROOT, SHORTCUT, target=target))
    drive.add(File("shortcut-00002", "a folder", drive.ROOT, SHORTCUT, target=elsewhere))
    drive.add(File("document-00001", "text", drive.ROOT, "application/vnd.google-apps.document"))
    api = client(fake)
    first, second = api.items(drive.ROOT)
    assert (first.name, first.id, first.size) == ("a file", target, 4)
    assert (second.name, second.is_folder) == ("a folder", True)
    assert [item.name for item in api.items(second.id)] == ["target"]
    assert read_at(WebSource(web(api), api.url(target)), 1, 2) == b"at"


def test_an_old_folder_needs_its_resource_key(fake: tuple[FakeDrive, str]) -> None:
    drive = fake[0]
    old = drive.folder("old", key="0-oldkey")
    drive.file("file", b"x", old)
    with pytest.raises(StatusError, match="needs a resource key") as caught:
        client(fake).items(old)
    assert "resourcekey" in (caught.value.resolution or "")
    assert [item.name for item in client(fake, keys={old: "0-oldkey"}).items(old)] == ["file"]
    assert client(fake).items(drive.ROOT)[0].id == old


def test_keys_are_in_no_url_and_no_log(fake: tuple[FakeDrive, str], caplog: pytest.LogCaptureFixture) -> None:
    drive = fake[0]
    caplog.set_level(logging.DEBUG)
    client(fake, keys={drive.ROOT: "0-secretkey"}).items(drive.ROOT)
    told = " ".join(f"{path}?{query}" for path, query, _ in drive.asked) + caplog.text
    assert "a-good-api-key" not in told
    assert "0-secretkey" not in told


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        (403, "cannotDownloadAbusiveFile", "malware"),
        (403, "downloadQuotaExceeded", "too many people"),
        (404, "notFound", "no such item"),
        (403, "accessNotConfigured", "not enabled"),
        (400, "keyInvalid", "does not accept the key"),
        (403, "forbidden", "does not accept the key"),
    ],
)
def test_refusals_are_final_and_have_their_mend(
    status: int, reason: str, message: str, fake: tuple[FakeDrive, str]
) -> None:
    fake[0].refusals = [Refusal(status, reason)]
    with pytest.raises(StatusError, match=message) as caught:
        client(fake).items(FakeDrive.ROOT)
    assert caught.value.resolution
    assert len(fake[0].asked) == 1


@pytest.mark.parametrize(
    "refusal",
    [Refusal(403, "userRateLimitExceeded"), Refusal(403, "rateLimitExceeded"), Refusal(429, ""), Refusal(500, "")],
)
def test_too_many_requests_are_repeated_later(refusal: Refusal, fake: tuple[FakeDrive, str]) -> None:
    refusal.headers = {"Retry-After": "7"}
    fake[0].refusals = [refusal, refusal]
    assert client(fake).items(FakeDrive.ROOT) == ()
    assert WAITS == [7, 7]
    fake[0].refusals = [refusal] * 4
    with pytest.raises(TransientError):
        client(fake).items(FakeDrive.ROOT)


def test_a_wrong_key_is_told(fake: tuple[FakeDrive, str]) -> None:
    with pytest.raises(StatusError, match="does not accept the key") as caught:
        client(fake, key="a-wrong-api-key").items(FakeDrive.ROOT)
    assert "google_api_key" in (caught.value.resolution or "")


def test_a_file_is_fetched_with_its_digest_and_goes_on_after_a_cut(fake: tuple[FakeDrive, str], tmp_path: Path) -> None:
    drive = fake[0]
    data = bytes(range(256)) * 4000
    ident = drive.file("image.iso", data, drive.ROOT)
    api = client(fake)
    (item,) = api.items(drive.ROOT)
    drive.refusals = [Refusal(cut=300_000)]
    wanted = Item(api.url(ident), tmp_path / "image.iso", item.size, Digest("sha256", item.digest.partition(":")[2]))
    download(web(api), wanted)
    assert (tmp_path / "image.iso").read_bytes() == data


def test_a_range_that_is_cut_goes_on_where_it_was(fake: tuple[FakeDrive, str]) -> None:
    drive = fake[0]
    data = bytes(range(256)) * 4000
    ident = drive.file("image.iso", data, drive.ROOT)
    api = client(fake)
    source = WebSource(web(api), api.url(ident))
    assert source.size == len(data)
    drive.refusals = [Refusal(cut=1000), Refusal(cut=5000), Refusal(503, "backendError")]
    assert read_at(source, 10, 900_000) == data[10:900_010]
    assert drive.asked[-1][2] == f"bytes={10 + 6000}-900009"


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"files": [3]}', b'{"files": {"a": 1}}'])
def test_an_answer_that_makes_no_sense_is_told(answer: bytes, tmp_path: Path) -> None:
    from fakes.web import web_server

    with web_server() as server:
        server.put("/drive/v3/files", answer)
        access = DriveAccess(server.url, "a-good-api-key")
        drive = Drive(Web(access, patience=PATIENCE), access, server.url)
        try:
            assert drive.items("root-folder-0001") == ()
        except RepositoryError as error:
            assert "makes no sense" in error.message


# ---------------------------------------------------------------------------------------------------- service accounts


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def credentials(path: Path, key: rsa.RSAPrivateKey, url: str) -> Path:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    content = {"client_email": "robot@example.org", "private_key": pem, "token_uri": f"{url}/token"}
    path.write_text(json.dumps(content))
    path.chmod(0o600)
    return path


def test_a_service_account_gets_one_token_for_many_requests(
    fake: tuple[FakeDrive, str], key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    drive, url = fake
    drive.public_key = key.public_key()
    account = ServiceAccount.read(credentials(tmp_path / "key.json", key, url), Web(patience=PATIENCE))
    access = DriveAccess(url, account=account)
    api = Drive(Web(access, patience=PATIENCE), access, url)
    drive.file("private", b"x", drive.ROOT)
    assert [item.name for item in api.items(drive.ROOT)] == ["private"]
    api.items(drive.ROOT)
    assert drive.tokens == 1


def test_a_revoked_key_is_told_with_the_time_here(
    fake: tuple[FakeDrive, str], key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    drive, url = fake
    drive.public_key = rsa.generate_private_key(65537, 2048).public_key()
    account = ServiceAccount.read(credentials(tmp_path / "key.json", key, url), Web(patience=PATIENCE))
    with pytest.raises(RepositoryError, match=r"robot@example\.org") as caught:
        account.token()
    assert "the clock here says" in (caught.value.details or "")


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"client_email": 1}', None])
def test_a_file_that_is_no_credentials_is_told(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RepositoryError, match=r"key\.json cannot be used") as caught:
        ServiceAccount.read(path, Web())
    assert "google_credentials" in (caught.value.resolution or "")
